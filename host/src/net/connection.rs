//! HTTP/1.1 on one connection: one exchange after the other.
//!
//! Takes a finished request, gives the answer's status, head and the start of its text. Never reads more of an answer's
//! body than it was told to, and has no task of its own: a connection is driven by the request that uses it, so that a
//! request that is dropped takes its connection along.

use std::pin::{Pin, pin};
use std::task::Poll;
use std::thread::ThreadId;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};

use super::address::Address;
use super::dial::{Dialer, Duplex};
use super::fault::ConnectFault;

/// Connections older than this are not used again, so that a name that is looked up on connect is looked up at times.
const MAX_AGE: Duration = Duration::from_secs(300);

/// What went wrong before an answer was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    #[error("name look-up, TCP or TLS failed: {0}")]
    Connect(ConnectFault),
    #[error("the connection broke after it stood")]
    Reset,
    #[error("what came back is not HTTP")]
    Nonsense,
}

/// How much of an answer's body is read, and how long it is waited for once the head is there.
#[derive(Debug, Clone, Copy)]
pub struct TextBounds {
    pub bytes: usize,
    pub time: Duration,
}

/// An answer, as far as it was read.
#[derive(Debug)]
pub struct HttpAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The start of the body, within the bounds. It may have broken off: a status that was sent is one all the same.
    pub text: Vec<u8>,
}

pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: http1::Connection<TokioIo<Box<dyn Duplex>>, Full<Bytes>>,
    /// The driver has finished and must not be polled again.
    closed: bool,
    connected_at: Instant,
    /// The I/O thread whose poller watches the socket: from another one every answer would wake two.
    pub(super) home: ThreadId,
}

impl Connection {
    /// A connection that is ready for a request.
    pub(super) async fn open(dialer: &Dialer, address: &Address) -> Result<Self, ExchangeError> {
        let stream = dialer.dial(address).await.map_err(|error| {
            tracing::debug!(endpoint = %address, %error, "cannot connect");
            ExchangeError::Connect(ConnectFault::of(&error))
        })?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|_| ExchangeError::Connect(ConnectFault::Broken))?;
        Ok(Self {
            sender,
            driver,
            closed: false,
            connected_at: Instant::now(),
            home: std::thread::current().id(),
        })
    }

    /// Sends `request` and reads the answer; with it, whether the connection may be used again.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        bounds: TextBounds,
    ) -> Result<(HttpAnswer, bool), ExchangeError> {
        let (head, body) = self.send(request).await?.into_parts();
        let (text, whole) = self.read(body, bounds).await;
        let reusable = whole && self.is_reusable().await;
        let answer = HttpAnswer {
            status: head.status,
            headers: head.headers,
            text,
        };
        Ok((answer, reusable))
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ExchangeError> {
        let answer = self.sender.send_request(request);
        drive(&mut self.driver, &mut self.closed, answer)
            .await
            .map_err(|error| match ConnectFault::of_late_refusal(&error) {
                Some(fault) => ExchangeError::Connect(fault),
                None if error.is_parse() => ExchangeError::Nonsense,
                None => ExchangeError::Reset,
            })
    }

    /// What there is of the body within the bounds, and whether that was all.
    async fn read(&mut self, mut body: Incoming, bounds: TextBounds) -> (Vec<u8>, bool) {
        let mut text = Vec::new();
        if body.is_end_stream() {
            return (text, true);
        }
        let bounded = async {
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                if let Some(data) = frame.data_ref() {
                    let room = bounds.bytes - text.len();
                    text.extend_from_slice(&data[..data.len().min(room)]);
                    if data.len() > room {
                        return false;
                    }
                }
            }
            true
        };
        let whole = drive(&mut self.driver, &mut self.closed, timeout(bounds.time, bounded)).await;
        (text, whole.unwrap_or(false))
    }

    /// Polls the connection once, which is when it sees that the peer has closed it.
    pub(super) async fn is_reusable(&mut self) -> bool {
        if !self.closed {
            self.closed = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut self.driver).poll(cx).is_ready())).await;
        }
        !self.closed && self.sender.is_ready() && self.connected_at.elapsed() < MAX_AGE
    }
}

/// Polls `work` and the connection it waits for, in one task.
async fn drive<T>(
    driver: &mut http1::Connection<TokioIo<Box<dyn Duplex>>, Full<Bytes>>,
    closed: &mut bool,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        // Its error, if any, reaches `work` as well.
        if !*closed {
            *closed = Pin::new(&mut *driver).poll(cx).is_ready();
        }
        work.as_mut().poll(cx)
    })
    .await
}
