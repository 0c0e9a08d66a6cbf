//! What an endpoint that is passed over is asked before a write is tried there again.
//!
//! Takes an endpoint whose back-off is over, tells its health whether it answers. A `GET` on the path that takes writes:
//! whatever the status, who answers it is there, and nothing is stored. Never asks an endpoint twice at a time, and nobody
//! waits for it: an address that swallows packets costs no write its connect timeout.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use super::answer::{self, ForwardError};
use super::endpoint::{Endpoint, Probe};
use super::health::Illness;
use crate::net::Dialer;

/// Asks `endpoint` in the background, unless somebody does already. `time` bounds all of it.
pub fn start(endpoint: &Arc<Endpoint>, dialer: &Dialer, request: Request<Full<Bytes>>, time: Duration) {
    let Some(probe) = Probe::begin(endpoint, Instant::now()) else {
        return;
    };
    let dialer = dialer.clone();
    let task = tokio::spawn(async move { ask(probe, &dialer, &request, time).await });
    endpoint.is_probed_by(task.abort_handle());
}

async fn ask(probe: Probe, dialer: &Dialer, request: &Request<Full<Bytes>>, time: Duration) {
    let endpoint = probe.endpoint();
    let exchange = endpoint
        .pool
        .exchange(&endpoint.address, dialer, answer::TEXT, || request.clone());
    let fault = match tokio::time::timeout(time, exchange).await {
        Ok(Ok(_)) => None,
        Ok(Err(fault)) => ForwardError::from(fault).illness(),
        Err(_) => Some(Illness::Timeout),
    };
    probe.ended(fault);
}
