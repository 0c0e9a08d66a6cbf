//! A connection's bytes on their way between socket and HTTP.
//!
//! Takes a stream, gives it on; tells the clock what passes and follows the requests in it. Never changes a byte, and is
//! done with a connection only when the sender is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::clock::{Clock, Phase};
use super::framing::Framing;

/// How much longer a sender is listened to after the last answer, see [`Timed::poll_shutdown`].
const LINGER: Duration = Duration::from_secs(5);
/// How many bytes are read at once before other connections of the reactor have their turn; a usual write is less.
const BURST: usize = 128 * 1024;

/// A stream that tells the clock what passes.
#[derive(Debug)]
pub(super) struct Timed<S> {
    stream: S,
    clock: Arc<Clock>,
    framing: Framing,
    /// Read ahead, and followed.
    unread: Bytes,
    ended: bool,
    /// Bytes read since there was nothing to read.
    run: usize,
    /// Set once our side is closed.
    linger: Option<Linger>,
}

/// Until when the sender is listened to, and for how many bytes.
#[derive(Debug)]
struct Linger {
    over: Pin<Box<tokio::time::Sleep>>,
    left: usize,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, clock: Arc<Clock>) -> Self {
        Self {
            stream,
            clock,
            framing: Framing::default(),
            unread: Bytes::new(),
            ended: false,
            run: 0,
            linger: None,
        }
    }

    fn noted<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.clock.wrote(outcome.is_ready());
        outcome
    }
}

impl<S: AsyncRead + Unpin> Timed<S> {
    /// Our side, and whatever waited for the sender's.
    pub(super) fn is_closed(&self) -> bool {
        self.linger.is_some()
    }

    /// What HTTP had read and made nothing of.
    pub(super) fn put_back(&mut self, unread: Bytes) {
        self.unread = unread;
    }

    /// Reads a burst at most: a sender that is faster than the gateway would keep its reactor from all others.
    fn poll_some(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.run >= BURST {
            self.run = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = into.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, into);
        match outcome.is_ready() {
            true => self.run += into.filled().len() - before,
            false => self.run = 0,
        }
        outcome
    }

    /// Waits for bytes without a place to put them; false at the end. What it had to read comes with the next read.
    pub(super) fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.unread.is_empty() {
            let mut first = [0; 1];
            let mut into = ReadBuf::new(&mut first);
            ready!(Pin::new(&mut *self).poll_read(context, &mut into))?;
            self.unread = Bytes::copy_from_slice(into.filled());
        }
        Poll::Ready(Ok(!self.unread.is_empty()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let taken = self.unread.len().min(into.remaining());
            into.put_slice(&self.unread.split_to(taken));
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let outcome = self.poll_some(context, into);
        if let Poll::Ready(result) = &outcome {
            if result.is_ok() && into.filled().len() > before {
                let seen = self.framing.follow(&into.filled()[before..]);
                self.clock.read(&seen);
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
    /// write for ever. Of one that sends more than anybody needs to, nothing more is read, and it has the rest of the time to
    /// find the answer.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            this.clock.enter(Phase::Closing);
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        let linger = this.linger.get_or_insert_with(|| Linger::new(&this.clock));
        if linger.over.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut left = linger.left;
        let mut waste = [0; 16 * 1024];
        while !this.ended {
            if left == 0 {
                return Poll::Pending;
            }
            let mut into = ReadBuf::new(&mut waste);
            // An error here means the sender is gone, which is what was waited for.
            let _ = ready!(this.poll_some(context, &mut into));
            this.ended = into.filled().is_empty();
            left = left.saturating_sub(into.filled().len());
            if let Some(linger) = &mut this.linger {
                linger.left = left;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Linger {
    fn new(clock: &Clock) -> Self {
        Self {
            over: Box::pin(tokio::time::sleep(LINGER)),
            left: clock.still_heard(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;
    use http::StatusCode;
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::model::TenantId;

    const PIPE: usize = 64 * 1024;
    const BLOCK: usize = 16 * 1024;
    const BLOCKS: usize = 256;

    /// How much of all blocks is taken once our side is closed.
    async fn taken(clock: Clock) -> usize {
        let (mut client, server) = tokio::io::duplex(PIPE);
        let mut stream = Timed::new(server, Arc::new(clock));
        let mut taken = 0;
        for _ in 0..BLOCKS {
            let closed = poll_fn(|context| Pin::new(&mut stream).poll_shutdown(context));
            assert!(closed.now_or_never().is_none(), "the answer can still be read");
            taken += client.write(&[0; BLOCK]).now_or_never().map_or(0, Result::unwrap);
            tokio::task::yield_now().await;
        }
        taken
    }

    #[tokio::test]
    async fn who_sends_on_is_heard_for_as_long_as_the_last_answer_is_worth() {
        let clock = |status| {
            let clock = Clock::new(LINGER, LINGER);
            clock.answered(status);
            clock
        };
        let about = |bytes: usize| bytes..=bytes + PIPE + BLOCK;
        let of_stranger = taken(clock(StatusCode::UNAUTHORIZED)).await;
        assert!(about(128 << 10).contains(&of_stranger), "{of_stranger}");
        let tenant = TenantId::new("t").unwrap();
        let refused = clock(StatusCode::BAD_REQUEST);
        refused.prove(&tenant);
        assert_eq!(taken(refused).await, BLOCKS * BLOCK);
        let to_try_again = clock(StatusCode::SERVICE_UNAVAILABLE);
        to_try_again.prove(&tenant);
        let of_that = taken(to_try_again).await;
        assert!(about(256 << 10).contains(&of_that), "{of_that}");
    }

    #[tokio::test]
    async fn a_sender_that_never_pauses_lets_others_have_the_reactor() {
        let endless = tokio::io::repeat(0);
        let clock = Clock::new(LINGER, LINGER);
        let mut stream = Timed::new(endless, Arc::new(clock));
        let mut block = [0; BLOCK];
        let mut read = 0;
        poll_fn(|context| {
            let mut into = ReadBuf::new(&mut block);
            while Pin::new(&mut stream).poll_read(context, &mut into).is_ready() {
                read += into.filled().len();
                into.clear();
            }
            Poll::Ready(())
        })
        .await;
        assert_eq!(read, BURST);
        let next = poll_fn(|context| Pin::new(&mut stream).poll_read(context, &mut ReadBuf::new(&mut block)));
        assert!(next.now_or_never().is_some(), "it goes on when it is asked again");
    }
}
