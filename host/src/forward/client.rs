//! HTTP/1.1 to one endpoint: connecting, TLS, a pool of idle connections, one exchange.
//!
//! Takes a finished request, gives the answer's status and the start of its text, or what went wrong on the way. Never
//! follows a redirect, never reads more than [`MAX_ANSWER_TEXT`] of an answer's body, and has no task of its own: a
//! connection is driven by the request that uses it, so that a request that is dropped takes its connection along.
//!
//! The pool is ours rather than hyper-util's because two rules need to know what that one keeps to itself: whether a
//! connection that broke was fresh or had lain idle (only then is the write sent again at once), and which endpoint it
//! belongs to (an endpoint that goes takes its connections along).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::thread::ThreadId;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use crate::config::TlsClient;

/// Bytes of an answer's body that are read: enough for Thanos' list of reasons, too little to be used against us.
pub const MAX_ANSWER_TEXT: usize = 4096;

/// An answer's body follows its head at once or is not waited for: the status alone decides about the data.
const ANSWER_TEXT_TIME: Duration = Duration::from_millis(250);

/// Connections that lay idle longer are not used again: below the 60 s after which common load balancers forget one
/// without a word.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// Connections older than this are not used again, so that a name that is looked up on connect is looked up at times.
const MAX_AGE: Duration = Duration::from_secs(300);

/// Idle connections kept per endpoint; as many as a busy endpoint has in flight.
const MAX_IDLE: usize = 64;

/// What went wrong before an answer was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Name look-up, TCP or TLS.
    Connect,
    /// The connection broke after it stood.
    Reset,
    /// What came back is not HTTP.
    Nonsense,
}

/// An answer, as far as it decides anything.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// At most [`MAX_ANSWER_TEXT`] bytes; empty on 2xx.
    pub text: Vec<u8>,
}

/// Why a `tls_config` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    #[error("the CA file has no usable certificate: {0}")]
    Ca(String),
    #[error("the client certificate or its key cannot be used: {0}")]
    ClientCertificate(String),
    #[error("{0:?} is no name to verify a certificate against")]
    ServerName(String),
    #[error("the system has no usable CA certificate")]
    SystemStore,
}

/// How connections to an upstream's https endpoints are secured.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    /// In place of the endpoint's own host.
    server_name: Option<ServerName<'static>>,
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    pub https: bool,
    /// What certificates are verified against and the `Host` header names.
    pub host: String,
    pub port: u16,
    /// Where the look-up has found it; `None` looks `host` up on every connect.
    pub ip: Option<IpAddr>,
}

/// How to connect: the same for all endpoints of an upstream.
#[derive(Clone)]
pub struct Dialer {
    /// `None` where the upstream has no https endpoint.
    pub tls: Option<Tls>,
    pub connect_timeout: Duration,
}

/// An endpoint's idle connections. Nobody polls them, so that one the receiver has closed is noticed when it is next
/// looked at: by the next request, or by the next one to become idle.
#[derive(Default)]
pub struct Pool {
    /// The one used last is last: under little load the others grow old and go.
    idle: Mutex<Vec<Connection>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>,
    /// The driver has finished and must not be polled again.
    closed: bool,
    connected_at: Instant,
    idle_since: Instant,
    /// The I/O thread whose poller watches the socket: from another one every answer would wake two.
    home: ThreadId,
}

impl Pool {
    /// Sends what `request` makes on an idle connection, or on a new one.
    ///
    /// A receiver may close an idle connection in the moment it is used. Where that may be what happened, the request
    /// is sent once more on a fresh connection: writes are idempotent ("re-sent identical samples are harmless").
    pub async fn exchange(
        &self,
        address: &Address,
        dialer: &Dialer,
        request: impl Fn() -> Request<Full<Bytes>>,
    ) -> Result<Answer, Fault> {
        if let Some(idle) = self.take_idle().await {
            match self.exchange_on(idle, request()).await {
                Err(Fault::Reset) => {}
                other => return other,
            }
        }
        let fresh = dialer.connect(address).await?;
        self.exchange_on(fresh, request()).await
    }

    /// Closes what is idle: an endpoint that has just failed is met on fresh connections.
    pub fn clear(&self) {
        let closed = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        drop(closed);
    }

    async fn exchange_on(&self, mut connection: Connection, request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
        let response = connection.send(request).await?;
        let (head, body) = response.into_parts();
        let (text, whole) = connection.read(body).await;
        if whole && connection.is_reusable().await {
            self.put_idle(connection);
        }
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            text: if head.status.is_success() { Vec::new() } else { text },
        })
    }

    async fn take_idle(&self) -> Option<Connection> {
        loop {
            let mut connection = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.last()?.idle_since.elapsed() > IDLE_TIME {
                    // The others have lain longer still.
                    idle.clear();
                    return None;
                }
                let here = std::thread::current().id();
                match idle
                    .iter()
                    .rposition(|c| c.home == here && c.idle_since.elapsed() <= IDLE_TIME)
                {
                    Some(at) => idle.remove(at),
                    None => idle.pop()?,
                }
            };
            if connection.is_reusable().await {
                return Some(connection);
            }
        }
    }

    fn put_idle(&self, mut connection: Connection) {
        connection.idle_since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let expired = idle.iter().take_while(|c| c.idle_since.elapsed() > IDLE_TIME).count();
        idle.drain(..expired);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }
}

impl Connection {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Fault> {
        let answer = self.sender.send_request(request);
        drive(&mut self.driver, &mut self.closed, answer)
            .await
            .map_err(|error| {
                if error.is_parse() {
                    Fault::Nonsense
                } else {
                    Fault::Reset
                }
            })
    }

    /// What there is of the body within bounds of size and time, and whether that was all.
    async fn read(&mut self, mut body: Incoming) -> (Vec<u8>, bool) {
        let mut text = Vec::new();
        if body.is_end_stream() {
            return (text, true);
        }
        let bounded = async {
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                if let Some(data) = frame.data_ref() {
                    let room = MAX_ANSWER_TEXT - text.len();
                    text.extend_from_slice(&data[..data.len().min(room)]);
                    if data.len() > room {
                        return false;
                    }
                }
            }
            true
        };
        let whole = drive(&mut self.driver, &mut self.closed, timeout(ANSWER_TEXT_TIME, bounded)).await;
        (text, whole.unwrap_or(false))
    }

    /// Polls the connection once, which is when it sees that the peer has closed it.
    async fn is_reusable(&mut self) -> bool {
        if !self.closed {
            self.closed = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut self.driver).poll(cx).is_ready())).await;
        }
        !self.closed && self.sender.is_ready() && self.connected_at.elapsed() < MAX_AGE
    }
}

/// Polls `work` and the connection it waits for, in one task.
async fn drive<T>(
    driver: &mut http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>,
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

impl Dialer {
    /// A connection that is ready for a request, within the connect timeout, TLS included.
    async fn connect(&self, address: &Address) -> Result<Connection, Fault> {
        let until = Instant::now() + self.connect_timeout;
        let stream = timeout_at(until, self.open(address, until))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| {
                tracing::debug!(endpoint = %address, %error, "cannot connect");
                Fault::Connect
            })?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Fault::Connect)?;
        let now = Instant::now();
        Ok(Connection {
            sender,
            driver,
            closed: false,
            connected_at: now,
            idle_since: now,
            home: std::thread::current().id(),
        })
    }

    async fn open(&self, address: &Address, until: Instant) -> io::Result<Box<dyn Stream>> {
        let tcp = dial(address, until).await?;
        tcp.set_nodelay(true)?;
        if !address.https {
            return Ok(Box::new(tcp));
        }
        let tls = self.tls.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let name = match &tls.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(address.name().to_owned()).map_err(io::Error::other)?,
        };
        Ok(Box::new(tls.connector.connect(name, tcp).await?))
    }
}

/// Tries every address, each with its share of the time that is left, so that one that swallows packets does not keep
/// the others from being tried.
async fn dial(address: &Address, until: Instant) -> io::Result<TcpStream> {
    let found: Vec<SocketAddr> = match address.ip {
        Some(ip) => vec![(ip, address.port).into()],
        None => tokio::net::lookup_host((address.host.as_str(), address.port))
            .await?
            .collect(),
    };
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    let count = found.len();
    for (tried, socket) in found.into_iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(count - tried).unwrap_or(1);
        match timeout(share, TcpStream::connect(socket)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

impl Address {
    /// The host as certificates and `Host` headers write it: the final dot, which keeps a resolver from searching, is
    /// no part of it (RFC 6066 section 3).
    fn name(&self) -> &str {
        self.host.strip_suffix('.').unwrap_or(&self.host)
    }

    /// `Host` header: the port always written, as Go's clients do for such ports.
    pub fn authority(&self) -> String {
        let (name, port) = (self.name(), self.port);
        if name.contains(':') {
            format!("[{name}]:{port}")
        } else {
            format!("{name}:{port}")
        }
    }
}

/// What metrics, logs and the API call the endpoint: its URL, with the address where a look-up has found one.
impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        match self.ip {
            Some(ip) => write!(f, "{scheme}://{}", SocketAddr::new(ip, self.port)),
            None => write!(f, "{scheme}://{}", self.authority()),
        }
    }
}

impl Tls {
    /// From a `tls_config`, or with the system's CAs where there is none.
    ///
    /// # Errors
    /// What of it cannot be used.
    pub fn new(config: Option<&TlsClient>) -> Result<Self, TlsFault> {
        let roots = match config.and_then(|c| c.ca.as_deref()) {
            Some(pem) => roots_from(pem)?,
            None => system_roots()?,
        };
        // aws-lc-rs by name: a process-wide default could be set by somebody else.
        let builder =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|e| TlsFault::ClientCertificate(e.to_string()))?
                .with_root_certificates(roots);
        let mut client = match config.and_then(|c| c.client.as_ref()) {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let bad = |e: &dyn std::fmt::Display| TlsFault::ClientCertificate(e.to_string());
                let chain = CertificateDer::pem_slice_iter(cert)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|e| bad(&e))?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| bad(&e))?;
                builder.with_client_auth_cert(chain, key).map_err(|e| bad(&e))?
            }
        };
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let server_name = config
            .and_then(|c| c.server_name.clone())
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| TlsFault::ServerName(name)))
            .transpose()?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(client)),
            server_name,
        })
    }
}

fn roots_from(pem: &[u8]) -> Result<rustls::RootCertStore, TlsFault> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| TlsFault::Ca(e.to_string()))?;
        roots.add(certificate).map_err(|e| TlsFault::Ca(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TlsFault::Ca("no certificate in it".to_owned()));
    }
    Ok(roots)
}

/// Unreadable single certificates in the system's store are skipped: they are not the operator's doing.
fn system_roots() -> Result<rustls::RootCertStore, TlsFault> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TlsFault::SystemStore);
    }
    Ok(roots)
}
