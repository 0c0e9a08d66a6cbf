//! From an address to a stream: TCP, and TLS where the address asks for it.
//!
//! Takes an address, gives a stream within the connect timeout or the error of the last attempt. Never falls back to
//! plain text: an https address without TLS set up is an error.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::address::Address;
use super::fault::ConnectFault;
use super::tls::Tls;

/// How to connect: the same for all peers that are configured together.
#[derive(Clone)]
pub struct Dialer {
    /// `None` if none of them is reached by https.
    pub tls: Option<Tls>,
    /// For name look-up, TCP and TLS together.
    pub connect_timeout: Duration,
}

/// A connected stream, secured or not.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Dialer {
    pub(super) async fn dial(&self, address: &Address) -> io::Result<Box<dyn Duplex>> {
        let until = Instant::now() + self.connect_timeout;
        timeout_at(until, self.open(address, until))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Why the peer ends a connection that says nothing, if it does within `patience`. In TLS 1.3 a client's handshake is over
    /// before the peer has looked at its certificate, and what it says of that may be lost if a request crosses it.
    pub async fn late_refusal(&self, address: &Address, patience: Duration) -> Option<ConnectFault> {
        let mut stream = self.dial(address).await.ok()?;
        let said = timeout(patience, stream.read_u8()).await.ok()?;
        said.err().map(|error| ConnectFault::of(&error))
    }

    async fn open(&self, address: &Address, until: Instant) -> io::Result<Box<dyn Duplex>> {
        let tcp = connect(address, until).await?;
        tcp.set_nodelay(true)?;
        if !address.is_https() {
            return Ok(Box::new(tcp));
        }
        let tls = self.tls.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        Ok(Box::new(tls.secure(tcp, address).await?))
    }
}

/// Tries every address, each with its share of the time that is left, so that one that swallows packets does not keep
/// the others from being tried.
async fn connect(address: &Address, until: Instant) -> io::Result<TcpStream> {
    let unknown = |error| io::Error::new(io::ErrorKind::NotFound, error);
    let found = address.sockets().await.map_err(unknown)?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    let count = found.len();
    for (tried, socket) in found.into_iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(count - tried).unwrap_or(u32::MAX);
        match timeout(share, TcpStream::connect(socket)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}
