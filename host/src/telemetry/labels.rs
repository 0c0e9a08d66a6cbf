//! What tells metrics of one name apart: the labels of each, by what they are of.
//!
//! Takes words, gives label sets, and the tenant with whose account a metric goes. No word comes from the wire.

use prometheus_client::encoding::EncodeLabelSet;

pub use super::family::MetricLabels;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct RequestLabels {
    /// Empty if no tenant was proved.
    pub tenant: String,
    pub code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct TenantLabels {
    pub tenant: String,
}

/// Of what a reload knows of a tenant, and itself takes back: it may be broken, and have no account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct ConfiguredTenant {
    pub tenant: String,
}

/// Of a credential that is not configured any more: with `credential_grace` it goes, not with its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct CredentialLabels {
    pub tenant: String,
    /// Its kind and its public name, as the configuration had them.
    pub credential: String,
}

/// Of a credential that is configured.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct CredentialUse {
    pub tenant: String,
    /// Its kind and its public name.
    pub credential: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct LimitLabels {
    pub tenant: String,
    pub limit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct BudgetLabels {
    pub tenant: String,
    /// A plugin's word, of those that the operator lists.
    pub budget: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct ForwardLabels {
    pub tenant: String,
    pub upstream: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct DropLabels {
    pub tenant: String,
    pub policy: String,
    /// A plugin's word: bounded in length and number before it gets here.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct RejectLabels {
    pub tenant: String,
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct PolicyLabels {
    pub tenant: String,
    pub policy: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct PolicyCallLabels {
    pub tenant: String,
    pub policy: String,
    pub function: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct TrapLabels {
    pub tenant: String,
    pub policy: String,
    pub kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct DiscardLabels {
    pub tenant: String,
    pub kind: &'static str,
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct DifferenceLabels {
    pub tenant: String,
    pub policy: String,
    pub kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct UpstreamLabels {
    pub upstream: String,
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct UpstreamName {
    pub upstream: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct EndpointLabels {
    pub upstream: String,
    pub endpoint: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct ReasonLabels {
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct FailureLabels {
    pub reason: &'static str,
    /// Of the credential that was given.
    pub kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct RuntimeLabels {
    pub runtime: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct MemoryLabels {
    pub kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct CertificateLabels {
    pub file: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct BuildLabels {
    pub version: &'static str,
}

/// Of a tenant, with whose account they go.
macro_rules! of_a_tenant {
    ($($labels:ty),* $(,)?) => {
        $(impl MetricLabels for $labels {
            fn tenant(&self) -> Option<&str> {
                Some(&self.tenant)
            }
        })*
    };
}

/// Of no tenant, or taken back by those who set them.
macro_rules! of_others {
    ($($labels:ty),* $(,)?) => {
        $(impl MetricLabels for $labels {})*
    };
}

of_a_tenant! {
    RequestLabels, TenantLabels, CredentialUse, LimitLabels, BudgetLabels, ForwardLabels, DropLabels, RejectLabels,
    PolicyLabels, PolicyCallLabels, TrapLabels, DiscardLabels, DifferenceLabels,
}

of_others! {
    ConfiguredTenant, CredentialLabels, UpstreamLabels, UpstreamName, EndpointLabels, ReasonLabels, FailureLabels,
    RuntimeLabels, MemoryLabels, CertificateLabels, BuildLabels,
}
