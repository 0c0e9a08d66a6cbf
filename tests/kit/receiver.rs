//! A fake Thanos receiver: records what arrives and answers as scripted.
//!
//! Takes requests on a port the system picks, in the test's own runtime; gives them decoded with the harness'
//! own messages. A body it cannot read, or a panic of its script, fails the test. Never stores anything.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::deadline::within;
use crate::process::free_address;
use crate::remote_write::{TimeSeries, WriteRequest, decode};
use crate::remote_write_v2::{CONTENT_TYPE, RequestV2, decode_v2};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Of either version: its series as 1.0 has them.
    pub write: WriteRequest,
    /// The request itself, where it is one of 2.0 by its Content-Type.
    pub v2: Option<RequestV2>,
}

impl Received {
    /// A header's value; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub fn tenant(&self) -> &str {
        self.header("thanos-tenant")
    }
}

/// What a receiver does with one request.
#[derive(Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    text: String,
    held: Option<Gate>,
    reset: bool,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            text: String::new(),
            held: None,
            reset: false,
        }
    }

    /// Thanos' answer to out-of-order samples.
    pub fn conflict() -> Self {
        Self::status(409).text("store locally for endpoint : conflict: add 1 samples: out of order sample\n")
    }

    /// The request is read, then the connection is reset.
    pub fn reset() -> Self {
        let mut reply = Self::status(200);
        reply.reset = true;
        reply
    }

    /// The answer of a receiver that knows remote write 2.0, with what it says that it stored.
    pub fn written(status: u16, samples: u64, histograms: u64, exemplars: u64) -> Self {
        let counts = [
            ("Samples", samples),
            ("Histograms", histograms),
            ("Exemplars", exemplars),
        ];
        counts.into_iter().fold(Self::status(status), |reply, (what, count)| {
            reply.header(&format!("X-Prometheus-Remote-Write-{what}-Written"), &count.to_string())
        })
    }

    /// The same, of all that was sent.
    pub fn all_written(received: &Received) -> Self {
        let all = &received.write.timeseries;
        let count = |part: fn(&TimeSeries) -> usize| all.iter().map(part).sum::<usize>() as u64;
        let (samples, histograms) = (count(|one| one.samples.len()), count(|one| one.histograms.len()));
        Self::written(204, samples, histograms, count(|one| one.exemplars.len()))
    }

    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Answers only once the gate is open.
    pub fn held_by(mut self, gate: &Gate) -> Self {
        self.held = Some(gate.clone());
        self
    }
}

/// Closed until opened, for good.
#[derive(Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    async fn wait(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

type Script = Box<dyn FnMut(&Received) -> Reply + Send>;

struct Shared {
    received: Mutex<Vec<Received>>,
    /// Answers for the next requests, before the script is asked.
    next: Mutex<VecDeque<Reply>>,
    script: Mutex<Script>,
    /// The first thing that went wrong inside.
    failure: Mutex<Option<String>>,
    count: watch::Sender<usize>,
}

/// The receiver; stops when dropped.
pub struct Receiver {
    address: SocketAddr,
    https: bool,
    shared: Arc<Shared>,
    connections: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// Answers 200 with no text, as Thanos does.
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), None).await
    }

    /// As [`Receiver::start`], over TLS.
    pub async fn start_tls(tls: Arc<rustls::ServerConfig>) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), Some(tls)).await
    }

    /// At a given address: for a receiver that comes back.
    pub async fn start_at(address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            next: Mutex::default(),
            script: Mutex::new(Box::new(|_| Reply::status(200))),
            failure: Mutex::default(),
            count: watch::Sender::new(0),
        });
        Self {
            address: listener.local_addr().unwrap(),
            https: tls.is_some(),
            shared: Arc::clone(&shared),
            connections: tokio::spawn(accept(listener, tls, shared)),
        }
    }

    /// Asked for every request that no [`Receiver::answer_next`] is waiting for.
    pub fn script(&self, script: impl FnMut(&Received) -> Reply + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// The same answer to everything from here on.
    pub fn answer(&self, reply: Reply) {
        self.script(move |_| reply.clone());
    }

    /// Answers for the next requests, one each.
    pub fn answer_next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.next.lock().unwrap().extend(replies);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`
    pub fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Everything that has arrived.
    pub fn received(&self) -> Vec<Received> {
        self.check();
        self.shared.received.lock().unwrap().clone()
    }

    /// Waits until at least `n` requests have arrived and gives the first `n`.
    pub async fn expect_requests(&self, n: usize) -> Vec<Received> {
        let mut count = self.shared.count.subscribe();
        let arrived = count.wait_for(|have| *have >= n);
        within(&format!("{n} requests at a receiver"), arrived).await.unwrap();
        self.received()[..n].to_vec()
    }

    /// The one request that has arrived.
    pub fn only(&self) -> Received {
        let mut received = self.received();
        assert_eq!(received.len(), 1, "requests that arrived: {received:#?}");
        received.remove(0)
    }

    /// Forgets what has arrived.
    pub fn clear(&self) {
        self.shared.received.lock().unwrap().clear();
        self.shared.count.send_replace(0);
    }

    /// Stops listening, cuts every connection, and gives the address for [`Receiver::start_at`].
    pub async fn stop(mut self) -> SocketAddr {
        self.connections.abort();
        let _ = (&mut self.connections).await;
        self.address
    }

    fn check(&self) {
        if let Some(failure) = self.shared.failure.lock().unwrap().as_ref() {
            panic!("in the receiver: {failure}");
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.connections.abort();
        if !std::thread::panicking() {
            self.check();
        }
    }
}

/// A loopback address where nobody listens.
pub async fn refused_address() -> SocketAddr {
    free_address()
}

async fn accept(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, shared: Arc<Shared>) {
    // Dropped with this task: aborting it cuts every connection.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        let tls = tls.clone();
        connections.spawn(async move {
            match tls {
                None => {
                    let stream = Arc::new(TwoHands::new(stream));
                    let io = TokioIo::new(stream.take());
                    serve(io, shared, Some(stream)).await;
                }
                Some(tls) => {
                    // A failed handshake is the peer's matter; the test sees it in the answer it gets.
                    if let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await {
                        serve(TokioIo::new(stream), shared, None).await;
                    }
                }
            }
        });
    }
}

/// A second hand on a connection's socket, so that it can be reset while hyper holds the first.
struct TwoHands {
    first: Mutex<Option<TcpStream>>,
    second: std::net::TcpStream,
}

impl TwoHands {
    fn new(stream: TcpStream) -> Self {
        let stream = stream.into_std().unwrap();
        let second = stream.try_clone().unwrap();
        Self {
            first: Mutex::new(Some(TcpStream::from_std(stream).unwrap())),
            second,
        }
    }

    fn take(&self) -> TcpStream {
        self.first.lock().unwrap().take().unwrap()
    }

    /// Makes the coming close a reset.
    fn will_reset(&self) {
        let second = TcpStream::from_std(self.second.try_clone().unwrap()).unwrap();
        second.set_zero_linger().unwrap();
    }
}

async fn serve<I>(io: I, shared: Arc<Shared>, socket: Option<Arc<TwoHands>>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(request, Arc::clone(&shared), socket.clone()));
    // An error here is a peer that went away or a scripted reset.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(io, service)
        .await;
}

async fn answer(
    request: http::Request<Incoming>,
    shared: Arc<Shared>,
    socket: Option<Arc<TwoHands>>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    // Whether anybody is there is asked so; nothing is received.
    if head.method == http::Method::GET {
        return Ok(response(Reply::status(405)).unwrap_or_else(|never: Infallible| match never {}));
    }
    // A sender that goes away in mid-body is recorded as nothing at all.
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let is_v2 = head
        .headers
        .get("content-type")
        .is_some_and(|value| value == CONTENT_TYPE);
    let (v2, write) = read(&body, is_v2).unwrap_or_else(|e| {
        fail(&shared, format!("a body that cannot be read: {e}"));
        (None, WriteRequest::default())
    });
    let received = Received {
        v2,
        method: head.method.to_string(),
        path: head.uri.to_string(),
        headers: head.headers,
        body,
        write,
    };
    let reply = reply_to(&received, &shared);
    shared.received.lock().unwrap().push(received);
    shared.count.send_modify(|n| *n += 1);
    if let Some(gate) = &reply.held {
        gate.wait().await;
    }
    if reply.reset {
        if let Some(socket) = socket {
            socket.will_reset();
        }
        return Err(std::io::Error::other("scripted reset"));
    }
    Ok(response(reply).unwrap_or_else(|never: Infallible| match never {}))
}

fn read(body: &[u8], is_v2: bool) -> Result<(Option<RequestV2>, WriteRequest), String> {
    if !is_v2 {
        return Ok((None, decode(body)?));
    }
    let request = decode_v2(body)?;
    let write = request.write();
    Ok((Some(request), write))
}

fn reply_to(received: &Received, shared: &Shared) -> Reply {
    if let Some(reply) = shared.next.lock().unwrap().pop_front() {
        return reply;
    }
    let mut script = shared.script.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    std::panic::catch_unwind(AssertUnwindSafe(|| script(received))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        fail(shared, text.unwrap_or_else(|| "a panic without words".to_owned()));
        Reply::status(500)
    })
}

fn fail(shared: &Shared, what: String) {
    shared.failure.lock().unwrap().get_or_insert(what);
}

fn response(reply: Reply) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(Bytes::from(reply.text))).unwrap())
}
