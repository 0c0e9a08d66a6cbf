//! A gateway at one moment: its counters, its tenants, its upstreams, and what it says of itself.
//!
//! Takes whom to ask, gives all of it, or why there is nothing. Never keeps one that came before.

use std::time::Instant;

use serde::de::DeserializeOwned;

use super::counts::{AllCounts, counted};
use super::operator::Inquirer;
use super::seen::{StatusSeen, TenantSeen, UpstreamSeen};

/// Ten thousand tenants with some policies each are less. Bytes.
const MAX_ANSWER: usize = 256 << 20;

#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) at: Instant,
    pub(super) counts: AllCounts,
    pub(super) tenants: Vec<TenantSeen>,
    pub(super) upstreams: Vec<UpstreamSeen>,
    pub(super) status: StatusSeen,
}

impl Reading {
    /// # Errors
    /// A sentence for the operator.
    pub(super) async fn take(inquirer: &Inquirer) -> Result<Self, String> {
        let status = look_at(inquirer, "/api/v1/status").await?;
        let tenants = look_at(inquirer, "/api/v1/tenants").await?;
        let upstreams = look_at(inquirer, "/api/v1/upstreams").await?;
        let metrics = inquirer.read("/metrics", MAX_ANSWER).await?;
        Ok(Self {
            at: Instant::now(),
            counts: counted(&String::from_utf8_lossy(&metrics)),
            tenants,
            upstreams,
            status,
        })
    }
}

/// What is at `path`, in the words of `seen`.
///
/// # Errors
/// A sentence for the operator.
pub async fn look_at<T: DeserializeOwned>(inquirer: &Inquirer, path: &str) -> Result<T, String> {
    let data = inquirer.data(path, MAX_ANSWER).await?;
    serde_json::from_value(data).map_err(|error| inquirer.nonsense(&error))
}
