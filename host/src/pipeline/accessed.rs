//! What the log of answers is told of a request.
//!
//! Takes what is known of it when it is answering, gives a line where one is due. Called for every request if there is such a
//! log, and for none if there is not.

use std::time::{Instant, SystemTime};

use super::logged::kind_given;
use super::{Answering, Pipeline, Trace};
use crate::config::Credential;
use crate::model::TenantId;
use crate::respond::{Answer, Failure, Stored};
use crate::telemetry::{AccessLine, AccessLog};

impl Pipeline {
    pub(super) fn log_access(
        &self,
        log: &AccessLog,
        trace: &Trace<'_>,
        result: &Result<Stored, (Answer, Failure)>,
        answering: &Answering<'_>,
    ) {
        let Some(untold) = log.due(answering.status.is_success(), Instant::now()) else {
            return;
        };
        log.tell(AccessLine {
            time: SystemTime::now(),
            tenant: trace.of.map(|of| of.tenant().to_string()).unwrap_or_default(),
            status: answering.status.as_u16(),
            reason: reason(result),
            bytes: trace.bytes,
            samples: trace.samples,
            duration: answering.duration,
            upstreams: self.upstreams_of(trace).join(","),
            request_id: answering.id.to_owned(),
            peer: answering.peer.address,
            credential: match trace.of {
                Some(of) => self.kind_proved(of.tenant(), trace.credential),
                None => kind_given(trace.claimed.as_ref(), answering.peer),
            },
            untold,
        });
    }

    /// The kind of a tenant's credential, by its place.
    fn kind_proved(&self, tenant: &TenantId, credential: usize) -> &'static str {
        let generation = self.tenants.get(tenant);
        let credentials = generation.map_or(&[][..], |generation| &generation.config().credentials);
        credentials.get(credential).map_or("", Credential::kind)
    }

    /// The upstreams that something was sent to.
    pub(super) fn upstreams_of(&self, trace: &Trace<'_>) -> Vec<String> {
        let generation = trace.of.and_then(|of| self.tenants.get(of.tenant()));
        let names = generation.map_or(&[][..], |generation| &generation.config().upstreams);
        let is_sent_to = |at: &usize| trace.parts.checked_shr(*at as u32).unwrap_or_default() & 1 == 1;
        let sent_to = (0..names.len()).filter(is_sent_to).filter_map(|at| names.get(at));
        sent_to.cloned().collect()
    }
}

/// Why it was refused, or the first of what was refused of it; empty if nothing was.
pub(super) fn reason(result: &Result<Stored, (Answer, Failure)>) -> &'static str {
    match result {
        Ok(stored) => stored.refused.first().map_or("", |refused| refused.reason),
        Err((answer, _)) => answer.reason,
    }
}
