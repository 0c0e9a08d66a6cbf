//! A tenant as text that outlives the process, so that what served last can serve again.
//!
//! Takes a resolved tenant, gives JSON, and the other way; of a plugin only the digest, which finds its bytes elsewhere.
//! Never holds a secret in clear text, as the tenant does not. What another version wrote is no tenant.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    CertificateName, Credential, DropExamples, Limits, Mode, OnFailure, OverRate, Owner, Password, PluginSource,
    Policy, Tenant, WrittenAt,
};
use crate::model::TenantId;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    id: String,
    enabled: bool,
    file: PathBuf,
    credentials: Vec<KeptCredential>,
    policies: Vec<KeptPolicy>,
    #[serde(with = "KeptLimits")]
    limits: Limits,
    upstreams: Vec<String>,
    #[serde(with = "KeptOverRate")]
    over_rate: OverRate,
    reserved_labels: Vec<String>,
    legacy_names: bool,
    shown_budgets: Vec<String>,
    #[serde(with = "KeptDropExamples")]
    drop_examples: DropExamples,
}

#[derive(Serialize, Deserialize)]
enum KeptCredential {
    UriSan(String),
    DnsSan(String),
    CommonName(String),
    BearerTokenSha256([u8; 32]),
    Bcrypt { username: String, hash: String },
    PasswordSha256 { username: String, sha256: [u8; 32] },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptPolicy {
    name: String,
    plugin: String,
    plugin_sha256: [u8; 32],
    plugin_file: Option<PathBuf>,
    settings: String,
    #[serde(with = "KeptOnFailure")]
    on_failure: OnFailure,
    #[serde(with = "KeptMode")]
    mode: Mode,
    #[serde(with = "KeptOwner")]
    owner: Owner,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Limits", deny_unknown_fields)]
struct KeptLimits {
    max_body_size: u64,
    max_decoded_size: u64,
    max_in_flight_size: u64,
    max_concurrent_requests: usize,
    max_active_series: u64,
    max_series_per_request: u64,
    max_labels_per_series: usize,
    max_label_name_length: usize,
    max_label_value_length: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "OverRate")]
enum KeptOverRate {
    Retry,
    TooManyRequests,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "DropExamples")]
enum KeptDropExamples {
    Off,
    Names,
    Values,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "OnFailure")]
enum KeptOnFailure {
    RefuseSeries,
    Retry,
    Bypass,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Mode")]
enum KeptMode {
    Enforce,
    EnforcePart(u8),
    Shadow,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Owner")]
enum KeptOwner {
    Operator,
    Tenant,
}

/// JSON of everything but the plugins' bytes; `None` if a path is not UTF-8.
pub fn to_kept(tenant: &Tenant) -> Option<Vec<u8>> {
    let policy = |policy: &Policy| KeptPolicy {
        name: policy.name.clone(),
        plugin: policy.plugin.name.clone(),
        plugin_sha256: policy.plugin.sha256,
        plugin_file: policy.plugin.file.clone(),
        settings: policy.settings.clone(),
        on_failure: policy.on_failure,
        mode: policy.mode,
        owner: policy.owner,
    };
    let kept = Kept {
        id: tenant.id.to_string(),
        enabled: tenant.enabled,
        file: tenant.file.clone(),
        credentials: tenant.credentials.iter().map(KeptCredential::of).collect(),
        policies: tenant.policies.iter().map(policy).collect(),
        limits: tenant.limits.clone(),
        upstreams: tenant.upstreams.clone(),
        over_rate: tenant.over_rate,
        reserved_labels: tenant.reserved_labels.clone(),
        legacy_names: tenant.legacy_names,
        shown_budgets: tenant.shown_budgets.clone(),
        drop_examples: tenant.drop_examples,
    };
    serde_json::to_vec(&kept).ok()
}

/// The tenant that [`to_kept`] had; `plugin` gives the bytes of this digest.
pub fn from_kept(json: &[u8], mut plugin: impl FnMut(&[u8; 32]) -> Option<Arc<[u8]>>) -> Option<Tenant> {
    let kept: Kept = serde_json::from_slice(json).ok()?;
    let written_at = WrittenAt {
        file: kept.file.clone(),
        absolute: kept.file.clone(),
        ..WrittenAt::default()
    };
    let policy = |policy: KeptPolicy| {
        let plugin = PluginSource {
            bytes: plugin(&policy.plugin_sha256)?,
            name: policy.plugin,
            sha256: policy.plugin_sha256,
            file: policy.plugin_file,
        };
        Some(Policy {
            name: policy.name,
            plugin: Arc::new(plugin),
            settings: policy.settings,
            on_failure: policy.on_failure,
            mode: policy.mode,
            owner: policy.owner,
            written_at: written_at.clone(),
        })
    };
    Some(Tenant {
        id: TenantId::new(&kept.id).ok()?,
        enabled: kept.enabled,
        file: kept.file,
        credentials: kept.credentials.into_iter().map(KeptCredential::whole).collect(),
        policies: kept.policies.into_iter().map(policy).collect::<Option<_>>()?,
        limits: kept.limits,
        upstreams: kept.upstreams,
        over_rate: kept.over_rate,
        reserved_labels: kept.reserved_labels,
        legacy_names: kept.legacy_names,
        shown_budgets: kept.shown_budgets,
        drop_examples: kept.drop_examples,
    })
}

impl KeptCredential {
    fn of(credential: &Credential) -> Self {
        match credential.clone() {
            Credential::ClientCertificate(CertificateName::UriSan(name)) => Self::UriSan(name),
            Credential::ClientCertificate(CertificateName::DnsSan(name)) => Self::DnsSan(name),
            Credential::ClientCertificate(CertificateName::CommonName(name)) => Self::CommonName(name),
            Credential::BearerToken(sha256) => Self::BearerTokenSha256(sha256),
            Credential::BasicAuth { username, password } => match password {
                Password::Bcrypt(hash) => Self::Bcrypt { username, hash },
                Password::Sha256(sha256) => Self::PasswordSha256 { username, sha256 },
            },
        }
    }

    fn whole(self) -> Credential {
        let basic = |username, password| Credential::BasicAuth { username, password };
        match self {
            Self::UriSan(name) => Credential::ClientCertificate(CertificateName::UriSan(name)),
            Self::DnsSan(name) => Credential::ClientCertificate(CertificateName::DnsSan(name)),
            Self::CommonName(name) => Credential::ClientCertificate(CertificateName::CommonName(name)),
            Self::BearerTokenSha256(sha256) => Credential::BearerToken(sha256),
            Self::Bcrypt { username, hash } => basic(username, Password::Bcrypt(hash)),
            Self::PasswordSha256 { username, sha256 } => basic(username, Password::Sha256(sha256)),
        }
    }
}
