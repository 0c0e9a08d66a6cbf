//! A remote-write sender over HTTP/1.1, TLS or not, honest or forged.
//!
//! Takes writes or raw bodies with any header and path, gives the answer as it came. Keeps its connection
//! alive as Prometheus does; a clone opens its own. Never retries.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::client::TlsStream;

use crate::deadline::within;
use crate::remote_write::WriteRequest;
use crate::remote_write_v2::{CONTENT_TYPE, RequestV2};

/// Either kind of byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

type Body = BoxBody<Bytes, Infallible>;

pub struct Sender {
    to: SocketAddr,
    /// None: as the system picks.
    from: Option<IpAddr>,
    tls: Option<Arc<rustls::ClientConfig>>,
    path: String,
    headers: Vec<(String, String)>,
    connection: Mutex<Option<SendRequest<Body>>>,
}

impl Clone for Sender {
    /// The same sender on a connection of its own.
    fn clone(&self) -> Self {
        Self {
            to: self.to,
            from: self.from,
            tls: self.tls.clone(),
            path: self.path.clone(),
            headers: self.headers.clone(),
            connection: Mutex::new(None),
        }
    }
}

/// The answer as it came.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }

    /// Whole seconds of `Retry-After`.
    ///
    /// # Panics
    /// If there is none, or it is no integer.
    pub fn retry_after(&self) -> u64 {
        let value = self.header("retry-after");
        let value = value.unwrap_or_else(|| panic!("no Retry-After in {self:?}"));
        value.parse().unwrap_or_else(|_| panic!("Retry-After: {value}"))
    }
}

impl Sender {
    /// `tls` where the listener speaks it.
    pub fn new(to: SocketAddr, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self {
            to,
            from: None,
            tls,
            path: "/api/v1/receive".to_owned(),
            headers: Vec::new(),
            connection: Mutex::new(None),
        }
    }

    pub fn bearer(self, token: &str) -> Self {
        self.with_header("Authorization", &format!("Bearer {token}"))
    }

    pub fn basic(self, username: &str, password: &str) -> Self {
        let value = format!("Basic {}", base64(format!("{username}:{password}").as_bytes()));
        self.with_header("Authorization", &value)
    }

    /// Connects from this address: all of 127.0.0.0/8 is this machine.
    pub fn from(mut self, address: impl Into<IpAddr>) -> Self {
        self.from = Some(address.into());
        self
    }

    pub fn to_path(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    /// On every request of this sender, in place of the usual one of this name.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends one write as Prometheus does.
    pub async fn write(&self, write: &WriteRequest) -> Response {
        self.request(write.body()).send().await
    }

    /// Sends one write of 2.0 as Prometheus does.
    pub async fn write_v2(&self, request: &RequestV2) -> Response {
        let request = self.request(request.body()).header("Content-Type", CONTENT_TYPE);
        request
            .header("X-Prometheus-Remote-Write-Version", "2.0.0")
            .send()
            .await
    }

    /// A request with Prometheus' headers round `body`, to be bent before it is sent.
    pub fn request(&self, body: impl Into<Bytes>) -> Request<'_> {
        let usual = [
            ("Content-Type", "application/x-protobuf"),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
            ("User-Agent", "Prometheus/2.42.0"),
        ];
        let is_own = |name: &str| self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let usual = usual.into_iter().filter(|(name, _)| !is_own(name));
        let usual = usual.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Request {
            sender: self,
            method: "POST".to_owned(),
            path: self.path.clone(),
            headers: usual.chain(self.headers.clone()).collect(),
            body: body.into(),
            chunked: false,
        }
    }

    /// A bare connection, TLS done: for bytes that are not HTTP, or not yet.
    ///
    /// # Errors
    /// If the handshake or the connection fails.
    pub async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        match &self.tls {
            None => Ok(Box::new(self.connect_tcp().await?)),
            Some(tls) => Ok(Box::new(self.connect_tls(tls).await?)),
        }
    }

    /// A bare connection on which nothing was said yet, not even TLS' hello.
    ///
    /// # Errors
    /// If nobody listens.
    pub async fn connect_tcp(&self) -> std::io::Result<TcpStream> {
        let socket = if self.to.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(self.to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn connect_tls(&self, tls: &Arc<rustls::ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let name = "localhost".try_into().unwrap();
        let stream = self.connect_tcp().await?;
        tokio_rustls::TlsConnector::from(Arc::clone(tls))
            .connect(name, stream)
            .await
    }

    /// The certificate that the listener presents to a new connection.
    pub async fn peer_certificate(&self) -> Vec<u8> {
        let stream = self.connect_tls(self.tls.as_ref().unwrap()).await.unwrap();
        let (_, session) = stream.get_ref();
        session.peer_certificates().unwrap()[0].to_vec()
    }

    /// The kept connection, or a new one where it is gone.
    async fn open(&self, kept: &mut Option<SendRequest<Body>>) -> std::io::Result<()> {
        if let Some(connection) = kept
            && connection.ready().await.is_ok()
        {
            return Ok(());
        }
        let io = TokioIo::new(self.connect().await?);
        let (connection, task) = hyper::client::conn::http1::handshake(io)
            .await
            .map_err(std::io::Error::other)?;
        // Ends with the connection; its error reaches the request.
        tokio::spawn(task);
        *kept = Some(connection);
        Ok(())
    }
}

/// One request, not sent yet.
pub struct Request<'a> {
    sender: &'a Sender,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    chunked: bool,
}

impl Request<'_> {
    pub fn method(mut self, method: &str) -> Self {
        self.method = method.to_owned();
        self
    }

    pub fn path(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    /// Takes the place of a header of that name.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.without(name).also(name, value)
    }

    /// Stands beside a header of that name.
    pub fn also(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self
    }

    /// In several chunks, without a Content-Length.
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    pub async fn send(self) -> Response {
        let what = format!("{} {}", self.method, self.path);
        self.try_send().await.unwrap_or_else(|e| panic!("{what}: {e}"))
    }

    /// # Errors
    /// If no whole answer came: no connection, a failed handshake, a cut.
    pub async fn try_send(self) -> std::io::Result<Response> {
        within("an answer", self.exchange()).await
    }

    async fn exchange(self) -> std::io::Result<Response> {
        let mut kept = self.sender.connection.lock().await;
        self.sender.open(&mut kept).await?;
        let connection = kept.as_mut().unwrap();
        let mut request = http::Request::builder().method(self.method.as_str()).uri(&self.path);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header("Host", self.sender.to.to_string());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = match self.chunked {
            true => in_chunks(&self.body),
            false => Full::new(self.body.clone()).boxed(),
        };
        let answer = connection.send_request(request.body(body).unwrap()).await;
        let answer = answer.map_err(std::io::Error::other)?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        Ok(Response {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

fn in_chunks(body: &Bytes) -> Body {
    let size = body.len().div_ceil(3).max(1);
    let chunks = body.chunks(size).map(Bytes::copy_from_slice);
    Chunks(chunks.collect()).boxed()
}

/// A body of several frames whose length is not known beforehand.
struct Chunks(VecDeque<Bytes>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// Standard base64 with padding, for basic authentication.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) & 63;
            text.push(if place > group.len() {
                '='
            } else {
                char::from(ALPHABET[index as usize])
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_as_rfc_4648_says() {
        let pairs = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ];
        for (plain, encoded) in pairs {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
