//! Questions that come as JSON, or in the address.
//!
//! Takes a request, gives what it asks, or the status and the sentence that say why that is not to be known. Never reads
//! more than a small body, nor for long: a question comes from nearby.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, Uri};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::model::{TenantId, plain};
use crate::tenant::{Generation, Tenants};

/// Largest question, in bytes.
const MAX_QUESTION: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest text of what is wrong with one, in bytes.
const MAX_SHOWN: usize = 256;

/// Whose series are wanted, for how long, and whether with their values.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TapInquiry {
    pub(super) tenant: String,
    pub(super) seconds: u64,
    #[serde(default)]
    pub(super) values: bool,
}

/// Why there is no answer.
pub(super) type NoAnswer = (StatusCode, String);

pub(super) fn bad(error: impl std::fmt::Display) -> NoAnswer {
    (StatusCode::BAD_REQUEST, plain(&error.to_string(), MAX_SHOWN))
}

/// `example`: of what is expected.
pub(super) async fn read<T: DeserializeOwned>(request: Request<Body>, example: &str) -> Result<T, NoAnswer> {
    let body = timeout(PATIENCE, to_bytes(request.into_body(), MAX_QUESTION)).await;
    let body = body.map_err(|_| {
        (
            StatusCode::REQUEST_TIMEOUT,
            "the question did not come in time".to_owned(),
        )
    })?;
    let body = body.map_err(|_| bad(format!("the question has more than {MAX_QUESTION} bytes, or broke off")))?;
    serde_json::from_slice(&body).map_err(|error| bad(format!("expected JSON such as {example}: {error}")))
}

/// What is asked for by `key` in an address. As it is written: tenants and fields have no characters that are written otherwise.
pub(super) fn asked<'u>(uri: &'u Uri, key: &str) -> Option<&'u str> {
    let pairs = uri.query().unwrap_or_default().split('&');
    let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
}

pub(super) fn tenant_id(text: &str) -> Result<TenantId, NoAnswer> {
    TenantId::new(text).map_err(bad)
}

/// What serves a tenant, if anything does.
pub(super) fn serving<'g>(tenants: &'g Tenants, tenant: &TenantId) -> Result<&'g Generation, NoAnswer> {
    let serving = tenants.get(tenant).map(|generation| &**generation);
    serving.ok_or_else(|| (StatusCode::NOT_FOUND, format!("nothing serves a tenant {tenant}")))
}
