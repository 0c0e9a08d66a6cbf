//! HTTP/1.1 on one connection: one exchange after the other.
//!
//! Takes a finished request, gives the answer's status, head and the start of its text. Never reads more of an answer's
//! body than it was told to, and has no task of its own: a connection is driven by the request that uses it, so that a
//! request that is dropped takes its connection along.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::thread::ThreadId;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{DATE, HeaderName, RETRY_AFTER};
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

type Driver = http1::Connection<TokioIo<Box<dyn Duplex>>, Full<Bytes>>;

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
    /// The request had been sent before, on a connection that broke.
    pub again: bool,
}

impl HttpAnswer {
    /// When it wants to be asked again: seconds, or a date (RFC 9110 section 10.2.3), which is the server's clock's: its own
    /// `Date` says what time it was there. `now` is for one that does not tell. In whole seconds, and not too early.
    pub fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        let text = |name: HeaderName| self.headers.get(name)?.to_str().ok().map(str::trim);
        let written = text(RETRY_AFTER)?;
        if let Ok(seconds) = written.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let until = httpdate::parse_http_date(written).ok()?;
        let there = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let left = until.duration_since(there.unwrap_or(now)).unwrap_or_default();
        Some(Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0)))
    }
}

pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once it has finished: hyper gives a request that it has not begun to write back only when the driver, in
    /// whose queue the request lies, is gone.
    driver: Option<Driver>,
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
            driver: Some(driver),
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
            again: false,
        };
        Ok((answer, reusable))
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ExchangeError> {
        let answer = self.sender.send_request(request);
        drive(&mut self.driver, answer)
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
        let whole = drive(&mut self.driver, timeout(bounds.time, bounded)).await;
        (text, whole.unwrap_or(false))
    }

    /// Polls the connection once, which is when it sees that the peer has closed it.
    pub(super) async fn is_reusable(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            poll_driver(&mut self.driver, cx);
            Poll::Ready(())
        })
        .await;
        self.driver.is_some() && self.sender.is_ready() && self.connected_at.elapsed() < MAX_AGE
    }
}

/// Polls `work` and the connection it waits for, in one task.
async fn drive<T>(driver: &mut Option<Driver>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        poll_driver(driver, cx);
        work.as_mut().poll(cx)
    })
    .await
}

/// Lets a driver that has finished go, and with it what it has not begun. Its error, if any, reaches the work as well.
fn poll_driver(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
    if let Some(running) = driver
        && Pin::new(running).poll(cx).is_ready()
    {
        *driver = None;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const BOUNDS: TextBounds = TextBounds {
        bytes: 100,
        time: Duration::from_secs(20),
    };

    fn request() -> Request<Full<Bytes>> {
        Request::post("/").header("host", "r").body(Full::from("body")).unwrap()
    }

    #[test]
    fn a_date_to_come_again_is_told_by_our_clock_where_the_server_does_not_show_its_own() {
        let mut answer = HttpAnswer {
            status: StatusCode::SERVICE_UNAVAILABLE,
            headers: HeaderMap::new(),
            text: Vec::new(),
            again: false,
        };
        let date = "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap();
        answer.headers.insert(RETRY_AFTER, date);
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_000 - 119_500);
        assert_eq!(answer.retry_after(now), Some(Duration::from_secs(120)));
        answer.headers.insert(DATE, "yesterday".parse().unwrap());
        assert_eq!(answer.retry_after(now), Some(Duration::from_secs(120)));
    }

    #[tokio::test]
    async fn a_request_on_a_connection_that_has_ended_is_given_back_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dialer = Dialer {
            tls: None,
            connect_timeout: BOUNDS.time,
        };
        let address = Address::new(false, "127.0.0.1".to_owned(), port, None).unwrap();
        let mut connection = Connection::open(&dialer, &address).await.unwrap();
        let (mut receiver, _) = listener.accept().await.unwrap();
        let answer = async {
            let mut seen = Vec::new();
            while !seen.ends_with(b"body") {
                assert_ne!(receiver.read_buf(&mut seen).await.unwrap(), 0);
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            receiver.write_all(answer).await.unwrap();
        };
        let (first, ()) = tokio::join!(connection.exchange(request(), BOUNDS), answer);
        assert!(first.unwrap().1, "the connection waits for the next request");

        // Nobody looks at the connection before the next request lies in its queue. The runtime has seen its end by
        // then: it looks at sockets whenever it has nothing else to do.
        drop(receiver);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let second = timeout(BOUNDS.time, connection.exchange(request(), BOUNDS)).await;
        assert_eq!(
            second.expect("no answer is waited for").err(),
            Some(ExchangeError::Reset)
        );
    }
}
