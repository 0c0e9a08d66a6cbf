//! What the log is told of writes that failed, and of series that were refused.
//!
//! Takes a failure and how it is answered, gives a line where one is due: of each kind few, whatever a sender does, and
//! the metrics count all. What senders drop is a warning, what they keep passes.

use std::time::Instant;

use http::StatusCode;

use super::settling::is_dropped;
use super::{Pipeline, Trace, ledger};
use crate::auth::{AuthError, Claimed};
use crate::model::Peer;
use crate::respond::{self, Failure, RefusedSeries};
use crate::telemetry::network_of;

/// Tells what senders drop as a warning, and what they keep as what passes.
macro_rules! tell {
    ($is_dropped:expr, $what:literal, $($field:tt)*) => {
        match $is_dropped {
            true => tracing::warn!($($field)*, concat!($what, ": dropped by the sender")),
            false => tracing::info!($($field)*, concat!($what, ": kept by the sender")),
        }
    };
}
pub(super) use tell;

impl Pipeline {
    pub(super) fn log_failure(
        &self,
        failure: &Failure,
        answer: &respond::Answer,
        trace: &Trace<'_>,
        id: &str,
        peer: &Peer,
    ) {
        let (status, reason) = (answer.status.as_u16(), answer.reason);
        if answer.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(status, reason, request_id = id, error = %failure, "a bug of the gateway failed a write; please report it");
        }
        let Some(account) = trace.of else {
            ledger::count_unauthenticated(&self.shared.metrics, reason);
            if let Failure::Auth(AuthError::Removed { tenant, credential }) = failure {
                ledger::count_removed(&self.shared.metrics, tenant, credential);
            }
            self.log_stranger(failure, answer, trace.claimed.as_ref(), id, peer);
            return;
        };
        let (tenant, now) = (account.tenant(), Instant::now());
        let is_dropped = is_dropped(answer.status);
        let due = account.failures().due(reason, is_dropped, now, || failure.to_string());
        if let Some(untold) = due {
            tell!(is_dropped, "write failed", %tenant, status, reason, request_id = id, peer = %peer.address, error = %failure, untold);
        }
    }

    /// Anyone on the internet can cause these lines, so they are few; the metric counts all.
    fn log_stranger(
        &self,
        failure: &Failure,
        answer: &respond::Answer,
        claimed: Option<&Claimed>,
        id: &str,
        peer: &Peer,
    ) {
        let kind = (network_of(peer.address.ip()), answer.reason);
        let Some(untold) = self.shared.strangers.due(kind, Instant::now()) else {
            return;
        };
        if let Failure::Auth(AuthError::Removed { tenant, credential }) = failure {
            let (request_id, peer) = (id, peer.address);
            tracing::warn!(%tenant, credential, request_id, %peer, untold, "a credential that is not configured any more is in use: its writes wait in the sender, and are lost when credential_grace is over");
            return;
        }
        let (status, reason) = (answer.status, answer.reason);
        let credential = claimed.map(tracing::field::display);
        let certificate = peer.certificate.as_ref().map(tracing::field::display);
        let (peer, status_code) = (peer.address, status.as_u16());
        match status {
            // Who knocks at every door sends no data.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                tracing::info!(status = status_code, reason, request_id = id, %peer, error = %failure, untold, "request refused");
            }
            _ => tell!(
                is_dropped(status), "request refused",
                status = status_code, reason, request_id = id, %peer, credential, certificate, error = %failure, untold
            ),
        }
    }
}

impl Trace<'_> {
    /// The first series that was refused for each reason, without the value of its label. A tenant that sends such ones all
    /// day fills no disk.
    pub(super) fn log_refused(&self, is_dropped: bool, id: &str) {
        let Some(account) = self.of else { return };
        let (tenant, now) = (account.tenant(), Instant::now());
        for refused in &self.refused {
            let RefusedSeries {
                reason,
                series,
                why,
                first,
            } = refused;
            let text = || format!("{why}, as in {}", first.without_value());
            if let Some(untold) = account.failures().due(reason, is_dropped, now, text) {
                tell!(is_dropped, "series refused", %tenant, reason, series, request_id = id, error = text(), untold);
            }
        }
    }
}
