//! Where a connection stands, and how long it may stay there.
//!
//! Takes the bytes that pass and the beginnings and ends of requests; gives the next deadline. Never ends a
//! connection itself.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// A sender that takes no byte of an answer for this long is gone: Prometheus gives up a request after 30 s.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// Closing, from the last byte of the last answer: TLS' goodbye, ours, then the sender's.
const CLOSE: Duration = Duration::from_secs(10);
/// How much longer a sender is listened to after the last answer, see [`Timed::poll_shutdown`].
const LINGER: Duration = Duration::from_secs(5);

/// What a connection is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The rest of a request's head. A new connection starts here: whoever connects has something to send.
    Head,
    /// The handler, which has deadlines of its own.
    Busy,
    /// Another request.
    Idle,
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
}

/// Shared between the stream, the requests and the task that drives both; never contended, as all three run
/// in that one task.
#[derive(Debug)]
pub(crate) struct Clock {
    head: Duration,
    idle: Duration,
    state: Mutex<State>,
}

impl Clock {
    pub(crate) fn new(head: Duration, idle: Duration) -> Self {
        Self {
            head,
            idle,
            state: Mutex::new(State {
                phase: Phase::Head,
                since: Instant::now(),
                stalled: None,
            }),
        }
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

    /// The first byte after an answer begins the next head; later ones do not prolong it.
    fn read_bytes(&self) {
        let mut state = self.state();
        if state.phase == Phase::Idle {
            state.phase = Phase::Head;
            state.since = Instant::now();
        }
    }

    fn wrote(&self, progress: bool) {
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
            Phase::Idle => Some(self.idle),
            Phase::Closing => Some(CLOSE),
            Phase::Busy | Phase::Stalled => None,
        };
        let phase = phase.and_then(|bound| Some((state.since.checked_add(bound)?, state.phase)));
        let stall = state.stalled.map(|since| (since + WRITE_STALL, Phase::Stalled));
        [phase, stall].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

/// A stream that tells the clock what passes.
#[derive(Debug)]
pub(super) struct Timed<S> {
    stream: S,
    clock: Arc<Clock>,
    ended: bool,
    /// Set once our side is closed: until when the sender is listened to.
    linger: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, clock: Arc<Clock>) -> Self {
        Self {
            stream,
            clock,
            ended: false,
            linger: None,
        }
    }

    fn noted<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.clock.wrote(outcome.is_ready());
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, into);
        if let Poll::Ready(result) = &outcome {
            if result.is_ok() && into.filled().len() > before {
                self.clock.read_bytes();
            } else if result.is_err() || into.remaining() > 0 {
                self.ended = true;
            }
        }
        outcome
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.noted(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.noted(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.noted(outcome)
    }

    /// Closes our side, then reads and discards what the sender still has under way until it closes too.
    ///
    /// A socket that is closed with unread bytes in it resets the connection, and a reset may overtake the
    /// answer: a sender whose write was refused before its end would see a broken connection, and send the same
    /// write for ever.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            self.clock.enter(Phase::Closing);
            std::task::ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.linger = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        let mut waste = [0; 16 * 1024];
        while !self.ended {
            let over = self
                .linger
                .as_mut()
                .is_none_or(|linger| linger.as_mut().poll(context).is_ready());
            if over {
                break;
            }
            // An error here means the sender is gone, which is what was waited for.
            let _ = std::task::ready!(self.as_mut().poll_read(context, &mut ReadBuf::new(&mut waste)));
        }
        Poll::Ready(Ok(()))
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
        clock.read_bytes();
        assert_eq!(clock.deadline(), first);
        clock.enter(Phase::Busy);
        assert_eq!(clock.deadline(), None);
        clock.enter(Phase::Idle);
        assert!(matches!(clock.deadline(), Some((_, Phase::Idle))));
        clock.read_bytes();
        let begun = clock.deadline();
        assert!(matches!(begun, Some((_, Phase::Head))));
        clock.read_bytes();
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
        for phase in [Phase::Busy, Phase::Idle, Phase::Head, Phase::Closing] {
            clock.enter(phase);
            assert_eq!(clock.deadline(), closing);
        }
    }
}
