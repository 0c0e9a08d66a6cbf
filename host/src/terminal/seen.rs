//! What a gateway answers on its admin listener, as far as a terminal shows it.
//!
//! Takes JSON, gives plain values. Keys that a gateway does not have (an older or a newer one) are empty, never an error;
//! texts keep their control characters, so that whoever shows one makes it `plain` first.

use serde::Deserialize;
use serde_json::Value;

/// `GET /api/v1/status`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StatusSeen {
    pub version: String,
    pub ready: bool,
    pub tenants: usize,
    pub last_reload: ReloadSeen,
    pub broken_tenants: Vec<BrokenSeen>,
    pub went_back: Vec<WentBackSeen>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ReloadSeen {
    pub successful: bool,
    pub timestamp_seconds: u64,
    pub cause: String,
    pub errors: Vec<String>,
    pub plugin_errors: Vec<String>,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct BrokenSeen {
    pub tenant: Option<String>,
    pub file: String,
    pub error: String,
    pub serving_generation: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct WentBackSeen {
    pub tenant: String,
    pub generation: u64,
    pub why: String,
    pub to_generation: Option<u64>,
}

/// A row of `GET /api/v1/tenants`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TenantSeen {
    pub tenant: String,
    pub enabled: bool,
    pub file: String,
    pub generation: u64,
    pub credentials: Vec<CredentialSeen>,
    pub policies: Vec<String>,
    pub upstreams: Vec<String>,
    pub active_series: u64,
    pub max_active_series: u64,
    pub p99_seconds: Option<f64>,
    /// With the status that the sender saw; not every gateway says it.
    pub last_refusal: Option<RefusalSeen>,
    pub last_failures: Vec<RefusalSeen>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CredentialSeen {
    pub kind: String,
    pub uri_san: Option<String>,
    pub dns_san: Option<String>,
    pub common_name: Option<String>,
    pub username: Option<String>,
    pub last_used_seconds_ago: Option<u64>,
    pub expires_timestamp_seconds: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RefusalSeen {
    pub seconds_ago: f64,
    pub status: Option<u16>,
    pub reason: String,
    pub text: String,
}

/// A row of `GET /api/v1/policies`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PolicySeen {
    pub tenant: String,
    pub policy: String,
    pub last_failure: Option<String>,
    pub quarantined_seconds: Option<f64>,
    pub impure: Option<Value>,
}

/// A row of `GET /api/v1/upstreams`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct UpstreamSeen {
    pub upstream: String,
    pub lookup_error: Option<String>,
    pub endpoints: Vec<EndpointSeen>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct EndpointSeen {
    pub address: String,
    pub healthy: bool,
    pub last_failure: Option<String>,
    pub last_cause: Option<CauseSeen>,
    pub retry_in_seconds: Option<f64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CauseSeen {
    pub text: String,
    pub look_at: Option<String>,
}

impl TenantSeen {
    /// What its sender was refused for last, newest first.
    pub fn last(&self) -> Option<&RefusalSeen> {
        self.last_refusal.as_ref().or(self.last_failures.first())
    }
}

impl CredentialSeen {
    /// The kind and the public name.
    pub fn shown(&self) -> String {
        let names = [&self.uri_san, &self.dns_san, &self.common_name, &self.username];
        let name = names.into_iter().flatten().next();
        let kind = self.kind.replace('_', " ");
        name.map_or_else(|| kind.clone(), |name| format!("{kind} {name}"))
    }
}
