//! What the log is told of writes that failed, and of series that were refused.
//!
//! Takes a failure and how it is answered, gives a line where one is due: of each kind few, whatever a sender does, and
//! the metrics count all. What senders drop is a warning, what they keep passes. What is told is kept for a while as well, for
//! operators who look.

use std::time::Instant;

use http::StatusCode;

use super::ledger::is_dropped;
use super::{Pipeline, Trace, ledger};
use crate::auth::{AuthError, Claimed};
use crate::config::DropExamples;
use crate::model::Peer;
use crate::refusals::{ToldRefusal, claims_of};
use crate::respond::{self, Failure, RefusedSeries, Stored};
use crate::telemetry::network_of;
use crate::tenant::Account;
use crate::wire::Shown;

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

/// The kind of credential that a request came with which proved nobody.
pub(super) fn kind_given(claimed: Option<&Claimed>, peer: &Peer) -> &'static str {
    match claimed {
        // It was refused before anybody looked.
        None => "unread",
        Some(Claimed::Nothing) if peer.certificate.is_some() => "client_certificate",
        Some(claimed) => claimed.kind(),
    }
}

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
            let kind = kind_given(trace.claimed.as_ref(), peer);
            ledger::count_unauthenticated(&self.shared.metrics, reason, kind);
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
            let told = self.told(trace, account, answer.status, reason, peer);
            let text = answer.text.clone();
            self.shared
                .refused
                .keep(account.refusals(), ToldRefusal { text, ..told });
        }
    }

    /// What is kept of a refusal of a tenant, less its text.
    fn told(
        &self,
        trace: &Trace<'_>,
        account: &Account,
        status: StatusCode,
        reason: &'static str,
        peer: &Peer,
    ) -> ToldRefusal {
        ToldRefusal {
            tenant: Some(account.tenant().clone()),
            at: Instant::now(),
            status: Some(status.as_u16()),
            reason,
            text: String::new(),
            address: peer.address,
            identity: self.tenants.credential(account.tenant(), trace.credential),
            claims: Vec::new(),
            series: None,
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
        // Who knocks at every door sends no data.
        let is_lost = matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
        if !is_lost {
            self.shared.refused.stranger(stranger(failure, answer, claimed, peer));
        }
        if let Failure::Auth(AuthError::Removed { tenant, credential }) = failure {
            let (request_id, peer) = (id, peer.address);
            tracing::warn!(%tenant, credential, request_id, %peer, untold, "a credential that is not configured any more is in use: its writes wait in the sender, and are lost when credential_grace is over");
            return;
        }
        let (status, reason) = (answer.status, answer.reason);
        let credential = claimed.map(tracing::field::display);
        let certificate = peer.certificate.as_ref().map(tracing::field::display);
        let (peer, status_code) = (peer.address, status.as_u16());
        match is_lost {
            true => {
                tracing::info!(status = status_code, reason, request_id = id, %peer, error = %failure, untold, "request refused");
            }
            false => tell!(
                is_dropped(status), "request refused",
                status = status_code, reason, request_id = id, %peer, credential, certificate, error = %failure, untold
            ),
        }
    }

    /// The first series that was refused for each reason, without the value of its label: the log has none, and operators are
    /// shown what the tenant's `drop_examples` permit. A tenant that sends such ones all day fills no disk. `stored` is what
    /// became of the others, if the write was not refused as a whole.
    pub(super) fn log_refused(
        &self,
        trace: &Trace<'_>,
        stored: Option<&Stored>,
        is_dropped: bool,
        id: &str,
        peer: &Peer,
    ) {
        let Some(account) = trace.of else { return };
        let (tenant, now) = (account.tenant(), Instant::now());
        for refused in &trace.refused {
            let RefusedSeries {
                reason,
                series,
                why,
                first,
            } = refused;
            let text = || format!("{why}, as in {}", first.without_value());
            let Some(untold) = account.failures().due(reason, is_dropped, now, text) else {
                continue;
            };
            tell!(is_dropped, "series refused", %tenant, reason, series, request_id = id, error = text(), untold);
            if let Some(stored) = stored {
                let told = self.told(trace, account, StatusCode::BAD_REQUEST, reason, peer);
                account.examples().of_refused(reason, |what, newest| {
                    let shown = match what {
                        DropExamples::Values => Shown::clone,
                        DropExamples::Off | DropExamples::Names => Shown::without_value,
                    };
                    let refusal = ToldRefusal {
                        text: respond::refused_text(stored, shown),
                        series: Some(newest.map_or_else(|| shown(first).to_string(), str::to_owned)),
                        ..told
                    };
                    self.shared.refused.keep(account.refusals(), refusal);
                });
            }
        }
    }
}

/// What is kept of a refusal of somebody who proved no tenant.
fn stranger(failure: &Failure, answer: &respond::Answer, claimed: Option<&Claimed>, peer: &Peer) -> ToldRefusal {
    let (tenant, credential) = match failure {
        Failure::Auth(AuthError::Removed { tenant, credential }) => (Some(tenant), Some(credential.clone())),
        Failure::Auth(AuthError::Disabled { tenant }) => (Some(tenant), None),
        _ => (None, None),
    };
    let certificate = peer.certificate.as_ref();
    let user = claimed.and_then(Claimed::user).map(str::to_owned);
    let shown = [
        claimed
            .filter(|claimed| **claimed != Claimed::Nothing)
            .map(ToString::to_string),
        certificate.map(ToString::to_string),
    ];
    let shown: Vec<String> = shown.into_iter().flatten().collect();
    ToldRefusal {
        tenant: tenant.cloned(),
        at: Instant::now(),
        status: Some(answer.status.as_u16()),
        reason: answer.reason,
        text: answer.text.clone(),
        address: peer.address,
        identity: credential.or_else(|| (!shown.is_empty()).then(|| shown.join(", "))),
        claims: user.into_iter().chain(claims_of(certificate)).collect(),
        series: None,
    }
}
