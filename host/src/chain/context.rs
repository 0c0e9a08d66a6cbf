//! Where a chain is in force, as its policies are told when they are configured.
//!
//! Takes a tenant's configuration, gives its name and the upstreams it may route to. Never more: what a policy is told here
//! its verdicts may depend on, and they are remembered for as long as the chain is in use.

use crate::config;
use crate::model::TenantId;

#[derive(Debug, Clone)]
pub struct Context {
    pub tenant: TenantId,
    /// By name; the first one takes what is not routed.
    pub upstreams: Vec<String>,
}

impl Context {
    pub fn of(tenant: &config::Tenant) -> Self {
        Self {
            tenant: tenant.id.clone(),
            upstreams: tenant.upstreams.clone(),
        }
    }
}
