//! A connection's bytes on their way between socket and HTTP.
//!
//! Takes a stream, gives it on; tells the clock what passes and follows the requests in it. Never changes a byte, and is
//! done with a connection only when the sender is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::clock::{Clock, Phase};
use super::framing::Framing;

/// How much longer a sender is listened to after the last answer, see [`Timed::poll_shutdown`].
const LINGER: Duration = Duration::from_secs(5);

/// A stream that tells the clock what passes.
#[derive(Debug)]
pub(super) struct Timed<S> {
    stream: S,
    clock: Arc<Clock>,
    framing: Framing,
    /// Read ahead, and followed.
    unread: Bytes,
    ended: bool,
    /// Set once our side is closed: until when the sender is listened to.
    linger: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, clock: Arc<Clock>) -> Self {
        Self {
            stream,
            clock,
            framing: Framing::new(),
            unread: Bytes::new(),
            ended: false,
            linger: None,
        }
    }

    fn noted<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.clock.wrote(outcome.is_ready());
        outcome
    }
}

impl<S: AsyncRead + Unpin> Timed<S> {
    /// What HTTP had read and made nothing of.
    pub(super) fn put_back(&mut self, unread: Bytes) {
        self.unread = unread;
    }

    /// Waits for bytes without a place to put them; false at the end. What it had to read comes with the next read.
    pub(super) fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.unread.is_empty() {
            let mut first = [0; 1];
            let mut into = ReadBuf::new(&mut first);
            std::task::ready!(Pin::new(&mut *self).poll_read(context, &mut into))?;
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
        let outcome = Pin::new(&mut self.stream).poll_read(context, into);
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
