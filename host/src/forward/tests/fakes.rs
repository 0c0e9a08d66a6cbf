//! Receivers that do as they are told, and upstreams made of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::*;
use crate::config::EndpointSpec;
use crate::model::{Protocol, Totals};
use crate::tenant::Attribution;

/// Everything in these tests is over long before; a test that waits this long has failed.
pub const LONG: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Clone, PartialEq)]
pub enum Reply {
    Status(u16, &'static str),
    Header(u16, &'static str, String),
    Never,
    /// `OK`, so much later.
    Late(Duration),
    /// The text, and then bytes without end.
    Endless(u16, &'static str),
}

/// A hyper server on a port of its own.
pub struct Receiver {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    seen: mpsc::UnboundedReceiver<Seen>,
    reply: Arc<Mutex<Reply>>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    pub async fn new(reply: Reply) -> Self {
        Self::on("127.0.0.1:0", reply).await
    }

    pub async fn on(address: &str, reply: Reply) -> Self {
        Self::serve(TcpListener::bind(address).await.unwrap(), reply, |tcp| async {
            Some(tcp)
        })
        .await
    }

    /// `wrap` makes the stream that HTTP is spoken on, TLS for instance.
    pub async fn serve<S, F>(listener: TcpListener, reply: Reply, wrap: fn(TcpStream) -> F) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        F: Future<Output = Option<S>> + Send + 'static,
    {
        Self::serve_with(listener, reply, wrap).await
    }

    pub async fn serve_with<S, F>(
        listener: TcpListener,
        reply: Reply,
        wrap: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        F: Future<Output = Option<S>> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let (tell, seen) = mpsc::unbounded_channel();
        let reply = Arc::new(Mutex::new(reply));
        let connections = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let (replies, count) = (Arc::clone(&reply), Arc::clone(&connections));
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let (wrapped, tell, replies) = (wrap(tcp), tell.clone(), Arc::clone(&replies));
                served.spawn(async move {
                    let Some(stream) = wrapped.await else { return };
                    let service = service_fn(move |request| answer(request, tell.clone(), Arc::clone(&replies)));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            connections,
            seen,
            reply,
            _tasks: tasks,
        }
    }

    pub fn reply_from_now(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits for the next request.
    pub async fn next(&mut self) -> Seen {
        tokio::time::timeout(LONG, self.seen.recv()).await.unwrap().unwrap()
    }

    /// Writes that came since the last look.
    pub fn count(&mut self) -> usize {
        std::iter::from_fn(|| self.seen.try_recv().ok()).count()
    }
}

async fn answer(
    request: Request<Incoming>,
    tell: mpsc::UnboundedSender<Seen>,
    reply: Arc<Mutex<Reply>>,
) -> Result<Response<BoxBody<Bytes, std::convert::Infallible>>, hyper::Error> {
    let reply = reply.lock().unwrap().clone();
    let text = |t: &'static str| Full::new(Bytes::from_static(t.as_bytes())).boxed();
    let (head, body) = request.into_parts();
    // The gateway asks whether anybody is there.
    if (&head.method, &reply) == (&Method::GET, &Reply::Never) {
        return std::future::pending().await;
    } else if head.method == Method::GET {
        return Ok(Response::builder().status(405).body(text("")).unwrap());
    }
    let body = body.collect().await?.to_bytes();
    // The test may have ended.
    let _ = tell.send(Seen {
        method: head.method,
        path: head.uri.to_string(),
        headers: head.headers,
        body,
    });
    Ok(match reply {
        Reply::Status(status, body) => Response::builder().status(status).body(text(body)).unwrap(),
        Reply::Header(status, name, value) => Response::builder()
            .status(status)
            .header(name, value)
            .body(text(""))
            .unwrap(),
        Reply::Never => std::future::pending().await,
        Reply::Late(time) => {
            tokio::time::sleep(time).await;
            Response::new(text(""))
        }
        Reply::Endless(status, start) => {
            let body = Endless(Some(Bytes::from_static(start.as_bytes()))).boxed();
            Response::builder().status(status).body(body).unwrap()
        }
    })
}

/// A text, then `x` without end.
struct Endless(Option<Bytes>);

impl Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let data = self.0.take().unwrap_or(Bytes::from_static(&[b'x'; 65536]));
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

/// A server that speaks bytes: `speak` has every connection and its number, from 0.
pub struct RawReceiver {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl RawReceiver {
    pub async fn new<F>(speak: impl Fn(TcpStream, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let count = Arc::clone(&connections);
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                served.spawn(speak(tcp, number));
            }
        });
        Self {
            address,
            connections,
            _tasks: tasks,
        }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads one request, head and body, as far as this client writes them.
pub async fn read_request(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let n = stream.read(&mut chunk).await.unwrap();
        assert_ne!(n, 0, "the client closed before its request was whole");
        seen.extend_from_slice(&chunk[..n]);
        if seen.ends_with(BODY) {
            return;
        }
    }
}

pub const BODY: &[u8] = b"snappy bytes";

/// What is said to be in it.
pub const TOTALS: Totals = Totals {
    series: 2,
    samples: 3,
    histograms: 1,
    exemplars: 1,
};

pub fn outgoing() -> Outgoing {
    Outgoing {
        attribution: Attribution::of("kazusa"),
        body: Bytes::from_static(BODY),
        totals: TOTALS,
        trace: ForwardedHeaders::default(),
    }
}

/// A port that nobody listens on.
pub async fn dead_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

pub fn at(address: SocketAddr) -> EndpointSpec {
    EndpointSpec::Static {
        https: false,
        host: address.ip().to_string(),
        port: address.port(),
    }
}

pub fn config(endpoints: Vec<EndpointSpec>) -> config::Upstream {
    config::Upstream {
        name: "soft".to_owned(),
        endpoints,
        path: "/api/v1/receive".to_owned(),
        timeout: LONG,
        connect_timeout: LONG,
        remote_write_version: Protocol::V1,
        metadata: false,
        dns_refresh_interval: Duration::from_millis(20),
        tls: None,
        max_in_flight: 100,
    }
}

/// Upstreams with one named `soft`.
pub struct Stage {
    pub metrics: Arc<Metrics>,
    pub upstreams: Arc<Upstreams>,
    pub soft: Arc<Upstream>,
}

impl Stage {
    pub fn new(config: config::Upstream) -> Self {
        let metrics = Arc::new(Metrics::new());
        let upstreams = Upstreams::new(Arc::clone(&metrics), 1024);
        let soft = apply(&upstreams, config);
        Self {
            metrics,
            upstreams,
            soft,
        }
    }

    pub fn of(addresses: &[SocketAddr]) -> Self {
        Self::new(config(addresses.iter().copied().map(at).collect()))
    }

    pub async fn send(&self) -> Result<(), ForwardError> {
        self.soft.send(&outgoing(), Instant::now() + LONG).await.map(drop)
    }

    pub fn endpoint(&self, address: SocketAddr) -> EndpointStatus {
        let name = format!("http://{address}");
        let status = self.upstreams.status().remove(0);
        status.endpoints.into_iter().find(|e| e.address == name).unwrap()
    }

    /// As if the endpoint's back-off had passed.
    pub fn end_backoff(&self, address: SocketAddr) {
        self.found(address).end_backoff();
    }

    /// Waits until the endpoint has answered the question whether it is there, so that the next write is a trial.
    pub async fn is_due_for_trial(&self, address: SocketAddr) {
        let endpoint = self.found(address);
        let due = async {
            while endpoint.candidate(std::time::Instant::now()).standing != balance::Standing::DueForTrial {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, due).await.unwrap();
    }

    fn found(&self, address: SocketAddr) -> Arc<endpoint::Endpoint> {
        let endpoints = self.soft.endpoints.load();
        let name = format!("http://{address}");
        endpoints.iter().find(|e| e.status().address == name).cloned().unwrap()
    }

    /// The value of a line of the metrics' text that starts with `series`.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.metrics.text();
        let line = text.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next().unwrap().parse().ok()
    }

    pub fn healthy_metric(&self, address: SocketAddr) -> Option<f64> {
        self.metric(&format!(
            "gauntlet_upstream_healthy{{upstream=\"soft\",endpoint=\"http://{address}\"}}"
        ))
    }

    pub fn outcome(&self, outcome: &str) -> f64 {
        let series = format!("gauntlet_upstream_requests_total{{upstream=\"soft\",outcome=\"{outcome}\"}}");
        self.metric(&series).unwrap()
    }
}

pub fn apply(upstreams: &Upstreams, config: config::Upstream) -> Arc<Upstream> {
    let name = config.name.clone();
    let set = upstreams
        .apply(&BTreeMap::from([(name.clone(), Arc::new(config))]))
        .unwrap();
    Arc::clone(set.find(&name).unwrap())
}
