//! Where a connection stands, and how long it may stay there.
//!
//! Takes the bytes that pass and the beginnings and ends of requests; gives the next deadline. Never ends a
//! connection itself.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::framing::{Ambiguity, Seen};
use crate::model::TenantId;

/// A sender that takes no byte of an answer for this long is gone: Prometheus gives up a request after 30 s.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// Closing, from the last byte of the last answer: TLS' goodbye, ours, then the sender's.
const CLOSE: Duration = Duration::from_secs(10);
/// From the last answer: what HTTP holds for a connection is let go then. Prometheus sends more often while it has data.
const REST: Duration = Duration::from_secs(2);

/// See [`Clock::still_heard`]. Largest bodies by default are half as long.
const HEARD_IF_REFUSED: usize = 64 << 20;
const HEARD_IF_TO_TRY_AGAIN: usize = 256 << 10;
const HEARD_OF_STRANGERS: usize = 128 << 10;

/// What a connection is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The rest of a request's head. A new connection starts here: whoever connects has something to send.
    Head,
    /// The handler, which has deadlines of its own.
    Busy,
    /// Another request.
    Idle,
    /// Another request, and nothing is held for it.
    AtRest,
    /// The end.
    Closing,
    /// The sender to take an answer. Only ever reported, since it comes on top of another phase.
    Stalled,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Since when nothing could be written.
    stalled: Option<Instant>,
    /// Heads that came whole and that no request was made of yet.
    heads: u64,
    fault: Option<Ambiguity>,
    /// By the last answer, for good.
    is_refused: bool,
}

/// What a request is that HTTP found in the bytes of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadSeen {
    Request,
    /// Its head could mean something else to somebody else.
    Faulty(Ambiguity),
    /// There was no such head.
    Unseen,
}

/// Shared between the stream, the requests and the task that drives both; hardly contended, as all three run in that one
/// task, and else only who looks for somebody to tell to go asks it.
#[derive(Debug)]
pub(crate) struct Clock {
    head: Duration,
    idle: Duration,
    rest: Duration,
    /// Which the sender proved first.
    tenant: Arc<OnceLock<TenantId>>,
    state: Mutex<State>,
}

impl Clock {
    pub(crate) fn new(head: Duration, idle: Duration) -> Self {
        Self {
            head,
            idle,
            rest: REST,
            tenant: Arc::default(),
            state: Mutex::new(State {
                phase: Phase::Head,
                since: Instant::now(),
                stalled: None,
                heads: 0,
                fault: None,
                is_refused: false,
            }),
        }
    }

    #[cfg(test)]
    pub(super) fn resting_after(mut self, rest: Duration) -> Self {
        self.rest = rest;
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing leaves [`Phase::Closing`].
    pub(super) fn enter(&self, phase: Phase) {
        let mut state = self.state();
        if state.phase != Phase::Closing {
            state.phase = phase;
            state.since = Instant::now();
        }
    }

    /// The handshake is done, so that the time of the first head begins.
    pub(super) fn begin(&self) {
        self.enter(Phase::Head);
    }

    /// HTTP has found a request.
    pub(super) fn begin_request(&self) -> HeadSeen {
        self.enter(Phase::Busy);
        let mut state = self.state();
        match (state.heads.checked_sub(1), state.fault) {
            (Some(left), _) => {
                state.heads = left;
                HeadSeen::Request
            }
            (None, Some(fault)) => HeadSeen::Faulty(fault),
            (None, None) => HeadSeen::Unseen,
        }
    }

    /// What HTTP found itself.
    pub(super) fn find(&self, fault: Ambiguity) -> Ambiguity {
        *self.state().fault.get_or_insert(fault)
    }

    /// Idle for long enough; for how long goes on being counted.
    pub(super) fn rest(&self) {
        let mut state = self.state();
        if state.phase == Phase::Idle {
            state.phase = Phase::AtRest;
        }
    }

    /// The next request is waited for.
    pub(super) fn answered(&self, status: StatusCode) {
        self.enter(Phase::Idle);
        self.state().is_refused = status.is_client_error();
    }

    /// How many bytes of a body are read after the last answer, so that it is not overtaken by a reset. It must be seen where
    /// it says that the write is refused for good: a sender that writes all before it reads would send the same one for ever.
    /// Whoever is to try again will, and who proved nothing has sent a usual write by then.
    pub(super) fn still_heard(&self) -> usize {
        let state = self.state();
        match (self.tenant.get().is_some(), state.is_refused) {
            (true, true) => HEARD_IF_REFUSED,
            (true, false) => HEARD_IF_TO_TRY_AGAIN,
            (false, _) => HEARD_OF_STRANGERS,
        }
    }

    /// Whoever is connected proved a tenant; the first one counts.
    pub(super) fn prove(&self, tenant: &TenantId) {
        self.tenant.get_or_init(|| tenant.clone());
    }

    /// Which tenant that was, as soon as there is one.
    pub(super) fn tenant(&self) -> &Arc<OnceLock<TenantId>> {
        &self.tenant
    }

    pub(super) fn is_busy(&self) -> bool {
        self.state().phase == Phase::Busy
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        matches!(state.phase, Phase::Idle | Phase::AtRest | Phase::Closing).then_some(state.since)
    }

    pub(super) fn is_faulty(&self) -> bool {
        self.state().fault.is_some()
    }

    /// The first byte after an answer begins the next head; later ones do not prolong it.
    pub(super) fn read(&self, seen: &Seen) {
        let mut state = self.state();
        state.heads += seen.heads;
        state.fault = state.fault.or(seen.fault);
        if matches!(state.phase, Phase::Idle | Phase::AtRest) {
            state.phase = Phase::Head;
            state.since = Instant::now();
        }
    }

    pub(super) fn wrote(&self, progress: bool) {
        let mut state = self.state();
        if progress {
            state.stalled = None;
        } else if state.stalled.is_none() {
            state.stalled = Some(Instant::now());
        }
    }

    /// The next deadline and what is late once it has passed.
    pub(super) fn deadline(&self) -> Option<(Instant, Phase)> {
        let state = self.state();
        let phase = match state.phase {
            Phase::Head => Some(self.head),
            // What is still to be written is not let go.
            Phase::Idle if state.stalled.is_some() => None,
            Phase::Idle => Some(self.idle.min(self.rest)),
            Phase::AtRest => Some(self.idle),
            Phase::Closing => Some(CLOSE),
            Phase::Busy | Phase::Stalled => None,
        };
        let phase = phase.and_then(|bound| Some((state.since.checked_add(bound)?, state.phase)));
        let stall = state.stalled.map(|since| (since + WRITE_STALL, Phase::Stalled));
        [phase, stall].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn later_bytes_do_not_prolong_a_head() {
        let clock = Clock::new(HEAD, IDLE);
        let first = clock.deadline();
        assert!(matches!(first, Some((_, Phase::Head))));
        clock.read(&Seen::default());
        assert_eq!(clock.deadline(), first);
        clock.enter(Phase::Busy);
        assert_eq!(clock.deadline(), None);
        clock.enter(Phase::Idle);
        assert!(matches!(clock.deadline(), Some((_, Phase::Idle))));
        clock.rest();
        let rested = clock.deadline();
        assert!(matches!(rested, Some((_, Phase::AtRest))));
        clock.rest();
        assert_eq!(clock.deadline(), rested);
        clock.read(&Seen::default());
        let begun = clock.deadline();
        assert!(matches!(begun, Some((_, Phase::Head))));
        clock.read(&Seen::default());
        assert_eq!(clock.deadline(), begun);
    }

    #[tokio::test]
    async fn a_sender_that_takes_no_answer_is_late_however_busy_we_are() {
        let clock = Clock::new(HEAD, IDLE);
        clock.enter(Phase::Busy);
        clock.wrote(false);
        let stalled = clock.deadline();
        assert!(matches!(stalled, Some((_, Phase::Stalled))));
        clock.wrote(false);
        assert_eq!(clock.deadline(), stalled, "not prolonged by trying again");
        clock.wrote(true);
        assert_eq!(clock.deadline(), None);
    }

    #[tokio::test]
    async fn closing_is_for_good() {
        let clock = Clock::new(HEAD, IDLE);
        clock.enter(Phase::Closing);
        let closing = clock.deadline();
        for phase in [Phase::Busy, Phase::Idle, Phase::AtRest, Phase::Head, Phase::Closing] {
            clock.enter(phase);
            assert_eq!(clock.deadline(), closing);
        }
    }
}
