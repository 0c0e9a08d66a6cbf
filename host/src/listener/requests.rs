//! HTTP/1.1 on one connection, from its first byte to its last.
//!
//! Takes a stream and who answers; gives him each request whose head can mean one thing only, and says what was late if
//! that is why it ended. Holds nothing of HTTP for a connection that says nothing. Never answers a request itself, except
//! for one whose head is malformed (400, 431).

use std::future::{Future, pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use futures_util::future::Either;
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use super::clock::{Clock, HeadSeen, Phase};
use super::framing::Ambiguity;
use super::timed::Timed;

/// Largest request head, request line included, and largest read buffer of one connection. Bytes. A JWT or a chain of proxy
/// headers fits; a record of TLS has as many, so that one read would hardly fill a larger buffer.
pub(super) const MAX_HEAD_SIZE: usize = 16 * 1024;
/// Most header fields in a request; Prometheus sends six.
pub(super) const MAX_HEADERS: usize = 100;

/// Ends a connection in place of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the request may not be answered")]
struct NoAnswer;

/// What came first.
enum Until<T> {
    Done(T),
    LastCall,
    Late(Phase),
}

/// How HTTP left a connection.
enum Left<S> {
    Ended,
    /// At its end, and nobody closed it.
    Open(Timed<S>),
    Late(Phase),
    AtRest(Timed<S>),
}

/// Serves until either side ends it: no new request from `last_call` on, and the end where there is no `answer`. What was
/// late, if that is why it ended. From the first byte of a request until it is at rest again, what `speak` gives is held.
pub(crate) async fn serve_requests<S, F, B, W>(
    stream: S,
    clock: &Arc<Clock>,
    last_call: impl Future<Output = ()>,
    speak: impl Fn() -> W,
    answer: impl Fn(Request<Incoming>) -> Option<F>,
) -> Option<Phase>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<B>>,
    B: Body<Error: std::error::Error + Send + Sync> + From<&'static str> + 'static,
    W: Future,
{
    let mut stream = Timed::new(stream, Arc::clone(clock));
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut last_call = pin!(last_call.fuse());
    loop {
        let speaking = async {
            let first = poll_fn(|context| stream.poll_first(context)).await;
            match first.unwrap_or(false) {
                true => Some(speak().await),
                false => None,
            }
        };
        let _speaking = match until(clock, timer.as_mut(), last_call.as_mut(), speaking).await {
            Until::Done(Some(speaking)) => speaking,
            Until::Done(None) | Until::LastCall | Until::Late(Phase::AtRest) => break,
            Until::Late(phase) => return Some(phase),
        };
        let service = service_fn(|request| respond(request, clock, &answer));
        match http(stream, clock, timer.as_mut(), last_call.as_mut(), service).await {
            Left::Ended => return None,
            Left::Late(phase) => return Some(phase),
            Left::AtRest(rested) => stream = rested,
            Left::Open(open) => {
                stream = open;
                break;
            }
        }
    }
    let closed = poll_fn(|context| Pin::new(&mut stream).poll_shutdown(context));
    match until(clock, timer, pin!(pending()), closed).await {
        Until::Late(phase) => Some(phase),
        Until::Done(_) | Until::LastCall => None,
    }
}

async fn until<T>(
    clock: &Clock,
    mut timer: Pin<&mut Sleep>,
    mut last_call: Pin<&mut impl Future<Output = ()>>,
    what: impl Future<Output = T>,
) -> Until<T> {
    let mut what = pin!(what);
    poll_fn(|context| {
        if last_call.as_mut().poll(context).is_ready() {
            return Poll::Ready(Until::LastCall);
        }
        match what.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Until::Done(done)),
            Poll::Pending => overdue(clock, timer.as_mut(), context).map(Until::Late),
        }
    })
    .await
}

/// As long as there are requests.
async fn http<S, V, B>(
    stream: Timed<S>,
    clock: &Clock,
    mut timer: Pin<&mut Sleep>,
    mut last_call: Pin<&mut impl Future<Output = ()>>,
    service: V,
) -> Left<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
    V: HttpService<Incoming, ResBody = B, Error = NoAnswer>,
    B: Body<Error: std::error::Error + Send + Sync> + 'static,
{
    let mut http = builder().serve_connection(TokioIo::new(stream), service);
    let late = poll_fn(|context| {
        if last_call.as_mut().poll(context).is_ready() {
            Pin::new(&mut http).graceful_shutdown();
        }
        loop {
            if let Poll::Ready(end) = Pin::new(&mut http).poll(context) {
                let end = end.inspect_err(|error| tracing::debug!(%error, "a connection ended early"));
                return Poll::Ready(Until::Done(end.is_ok()));
            }
            // Read after hyper ran, since what it did moves the deadline; this is the only task that does.
            match ready!(overdue(clock, timer.as_mut(), context)) {
                // It has the beginning of a head that came before the last answer.
                Phase::AtRest => clock.enter(Phase::Head),
                phase => return Poll::Ready(Until::Late(phase)),
            }
        }
    });
    match late.await {
        Until::Late(Phase::Idle) => {
            clock.rest();
            let parts = http.into_parts();
            let mut stream = parts.io.into_inner();
            stream.put_back(parts.read_buf);
            Left::AtRest(stream)
        }
        Until::Late(phase) => Left::Late(phase),
        // The library leaves it to others where a request asked for another protocol, which nobody here speaks.
        Until::Done(true) => match http.into_parts().io.into_inner() {
            stream if stream.is_closed() => Left::Ended,
            stream => Left::Open(stream),
        },
        Until::Done(false) | Until::LastCall => Left::Ended,
    }
}

/// Waits for the phase's deadline. A timer that is set too early is left to fire and set again: most requests
/// then never touch it.
fn overdue(clock: &Clock, mut timer: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<Phase> {
    loop {
        let Some((at, phase)) = clock.deadline() else {
            return Poll::Pending;
        };
        if at < timer.deadline() || (timer.is_elapsed() && at > Instant::now()) {
            timer.as_mut().reset(at);
        }
        ready!(timer.as_mut().poll(context));
        if at <= Instant::now() {
            return Poll::Ready(phase);
        }
    }
}

/// One request, unless somebody else could take its head for another. Put together without `async`: a block that awaits
/// what it was given holds it twice, and the library moves the whole of it several times for each request.
fn respond<F, B>(
    request: Request<Incoming>,
    clock: &Arc<Clock>,
    answer: impl Fn(Request<Incoming>) -> Option<F>,
) -> impl Future<Output = Result<Response<B>, NoAnswer>>
where
    F: Future<Output = Response<B>>,
    B: From<&'static str>,
{
    let found = match clock.begin_request() {
        HeadSeen::Request if !names_its_host(&request) => HeadSeen::Faulty(clock.find(Ambiguity::Host)),
        found => found,
    };
    let answered = match found {
        HeadSeen::Request => answer(request).map(Either::Left).ok_or(NoAnswer),
        HeadSeen::Faulty(fault) => Ok(Either::Right(ready(malformed(fault)))),
        HeadSeen::Unseen => Err(NoAnswer),
    };
    let clock = Arc::clone(clock);
    let answered = match answered {
        Ok(answered) => Either::Left(answered.map(Ok)),
        Err(no_answer) => Either::Right(ready(Err(no_answer))),
    };
    answered.map(move |result| {
        result.inspect(|response| match response.extensions().get::<Lasting>() {
            Some(Lasting) => {}
            None => clock.answered(response.status()),
        })
    })
}

/// RFC 9112 section 3.2: one Host, which HTTP/1.0 did not know yet.
fn names_its_host(request: &Request<Incoming>) -> bool {
    match request.headers().get_all(HOST).iter().count() {
        0 => request.version() < Version::HTTP_11,
        hosts => hosts == 1,
    }
}

fn malformed<B: From<&'static str>>(fault: Ambiguity) -> Response<B> {
    let mut response = Response::new(fault.text().into());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    last(response)
}

/// The connection ends with this answer, which says so (RFC 9112 section 9.6).
pub(crate) fn last<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Says of an answer that it goes on for as long as it likes: the connection is busy to its end, and ends with it.
#[derive(Debug, Clone, Copy)]
struct Lasting;

/// An answer that goes on, see [`Lasting`].
pub(crate) fn lasting<B>(mut response: Response<B>) -> Response<B> {
    response.extensions_mut().insert(Lasting);
    last(response)
}

/// hyper's own head timeout is off: it runs while a connection idles, so it cannot tell the two apart.
pub fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_SIZE)
        .max_buf_size(MAX_HEAD_SIZE);
    builder
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    struct Speaking<'a>(&'a AtomicUsize);

    impl Drop for Speaking<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    async fn rested(speaking: &AtomicUsize) {
        while speaking.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Reads as much as is expected.
    async fn expect(client: &mut tokio::io::DuplexStream, end: &str) {
        let mut read = String::new();
        while !read.ends_with(end) {
            read.push(char::from(client.read_u8().await.unwrap()));
        }
    }

    #[tokio::test]
    async fn nothing_is_held_for_who_says_nothing_and_what_follows_is_served() {
        let (mut client, server) = tokio::io::duplex(1024);
        let clock = Arc::new(Clock::new(LONG, LONG).resting_after(Duration::from_millis(10)));
        let speaking = AtomicUsize::new(0);
        let speak = || {
            speaking.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Speaking(&speaking))
        };
        let answer = |_| Some(std::future::ready(Response::new(Full::<Bytes>::from("ok"))));
        let served = serve_requests(server, &clock, pending(), speak, answer);
        let client = async {
            let get = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
            for _ in 0..3 {
                client.write_all(get).await.unwrap();
                expect(&mut client, "ok").await;
                assert_eq!(speaking.load(Ordering::Relaxed), 1);
                rested(&speaking).await;
            }
            // A whole request and the beginning of the next, which is still there after a rest.
            client.write_all(&[get.as_slice(), b"GET / HT"].concat()).await.unwrap();
            expect(&mut client, "ok").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            client.write_all(&get[b"GET / HT".len()..]).await.unwrap();
            expect(&mut client, "ok").await;
            drop(client);
        };
        let (late, ()) = tokio::time::timeout(LONG, futures_util::future::join(served, client))
            .await
            .unwrap();
        assert_eq!(late, None);
        assert_eq!(speaking.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_head_that_begins_before_the_end_of_idling_is_a_request_like_any() {
        let (mut client, server) = tokio::io::duplex(1024);
        let clock = Clock::new(LONG, Duration::from_millis(20)).resting_after(Duration::from_millis(10));
        let clock = Arc::new(clock);
        let answer = |_| {
            let text = if clock.is_busy() { "busy" } else { "idle" };
            Some(std::future::ready(Response::new(Full::<Bytes>::from(text))))
        };
        let served = serve_requests(server, &clock, pending(), || std::future::ready(()), answer);
        let client = async {
            let get = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
            client.write_all(&[get.as_slice(), b"GET / HT"].concat()).await.unwrap();
            expect(&mut client, "busy").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            client.write_all(&get[b"GET / HT".len()..]).await.unwrap();
            expect(&mut client, "busy").await;
            drop(client);
        };
        let both = futures_util::future::join(served, client);
        tokio::time::timeout(LONG, both).await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_goes_on_is_not_idle_and_is_the_last() {
        let (mut client, server) = tokio::io::duplex(1024);
        let clock = Clock::new(LONG, Duration::from_millis(20)).resting_after(Duration::from_millis(10));
        let clock = Arc::new(clock);
        let pieces = || {
            let piece = |text: Option<&'static str>| async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let frame = hyper::body::Frame::data(Bytes::from_static(text?.as_bytes()));
                Some((Ok::<_, std::convert::Infallible>(frame), (text? == "a").then_some("b")))
            };
            axum::body::Body::new(http_body_util::StreamBody::new(Box::pin(futures_util::stream::unfold(
                Some("a"),
                piece,
            ))))
        };
        let answer = |_| Some(std::future::ready(lasting(Response::new(pieces()))));
        let served = serve_requests(server, &clock, pending(), || std::future::ready(()), answer);
        let client = async {
            client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.unwrap();
            String::from_utf8(read).unwrap()
        };
        let both = futures_util::future::join(served, client);
        let (late, read) = tokio::time::timeout(LONG, both).await.unwrap();
        assert_eq!(late, None);
        assert!(
            read.contains("connection: close") && read.ends_with("1\r\na\r\n1\r\nb\r\n0\r\n\r\n"),
            "{read}"
        );
    }

    #[tokio::test]
    async fn who_asks_for_another_protocol_is_listened_to_after_the_last_answer_too() {
        let (mut client, server) = tokio::io::duplex(1024);
        let clock = Arc::new(Clock::new(LONG, LONG));
        let answer = |_| Some(std::future::ready(last(Response::new(Full::<Bytes>::from("no")))));
        let served = serve_requests(server, &clock, pending(), || std::future::ready(()), answer);
        let client = async {
            let upgrade = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n";
            let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n{upgrade}\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            client.write_all(&[0; 100_000]).await.expect("all of it is taken");
            expect(&mut client, "no").await;
            drop(client);
        };
        let both = futures_util::future::join(served, client);
        tokio::time::timeout(LONG, both).await.unwrap();
    }

    #[tokio::test]
    async fn who_does_not_get_to_speak_is_late_at_the_end_of_the_heads_time() {
        let (mut client, server) = tokio::io::duplex(1024);
        let clock = Arc::new(Clock::new(Duration::from_millis(20), LONG));
        client.write_all(b"GET").await.unwrap();
        let answer = |_| None::<std::future::Ready<Response<Full<Bytes>>>>;
        let served = serve_requests(server, &clock, pending(), pending::<()>, answer);
        assert_eq!(tokio::time::timeout(LONG, served).await.unwrap(), Some(Phase::Head));
    }
}
