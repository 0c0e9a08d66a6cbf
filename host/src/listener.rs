//! The public door: accepts senders' connections and speaks HTTP/1.1 with them.
//!
//! Takes sockets; gives requests to a handler, with what is known of the peer. Everything about one connection,
//! the handshake included, happens in that connection's own task, so that a slow sender delays nobody. Never
//! ends because of an accept error, and never forwards a byte.
//!
//! Over `max_connections`, or what memory there is for connections, one that works for nobody ends for each that comes:
//! `roster` says which. Where all are at work, senders wait in the kernel's backlog. The choice refused is to accept and
//! close: it costs work per attempt, makes who gets in a lottery, and turns a moment's excess into retries.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use ipnet::IpNet;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::proxied::ProxyError;
use self::roster::{Leave, MostSeats, Notice, Roster, Seat};
use crate::config::RemoteWrite;
use crate::memory::Memory;
use crate::model::{Peer, PeerCertificate};
use crate::refusals::{LastRefusals, ToldRefusal};
use crate::telemetry::metrics::ReasonLabels;
use crate::telemetry::{Metrics, Throttle, Throttles, network_of};
use crate::tls::{self, HandshakeError, HandshakeFault};
use crate::turn;

mod bind;
mod clock;
mod reactors;
mod roster;
mod timed;

// Fuzz targets ask these by themselves.
pub mod framing;
pub mod proxied;
pub mod requests;

pub use bind::bind;
pub(crate) use clock::{Clock, Phase};
pub use reactors::Reactors;
pub(crate) use requests::{last, lasting, serve_requests};

/// Pause after an accept error that will not go away by trying again at once, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Shortest time between two log lines about the same trouble: strangers must not fill the log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// One line about the refusals of one network for one reason in this time, and as many of them.
const TELL_REFUSALS_EVERY: Duration = Duration::from_secs(60);
const MAX_REFUSALS: usize = 256;

const HEAD_TIMEOUT: &str = "head_timeout";
const FRAMING: &str = "framing";
const PROXY: &str = "proxy_protocol";

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address}: {reason}")]
    Bind { address: String, reason: io::Error },
}

/// Deadlines of a connection. They hold for the life of the process; a reload does not change them.
#[derive(Debug, Clone, Copy)]
struct Deadlines {
    handshake: Duration,
    head: Duration,
    idle: Duration,
}

/// A bound socket that nobody serves yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    bounds: MostSeats,
    balancers: Vec<IpNet>,
    deadlines: Deadlines,
    metrics: Arc<Metrics>,
    refusals: Arc<Throttles<(IpAddr, &'static str)>>,
    refused: Arc<LastRefusals>,
}

impl Listener {
    /// Binds `listen_address`. Senders can connect from here on; they are served by [`serve`]. Who is turned away is told to
    /// `refused`.
    ///
    /// # Errors
    /// If the address is malformed, unknown or taken.
    pub async fn bind(
        config: &RemoteWrite,
        metrics: Arc<Metrics>,
        refused: Arc<LastRefusals>,
    ) -> Result<Self, ListenError> {
        let failed = |reason| ListenError::Bind {
            address: config.listen_address.clone(),
            reason,
        };
        let socket = bind(&config.listen_address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self {
            socket,
            address,
            bounds: MostSeats {
                connections: config.max_connections,
                strangers_per_address: config.max_strangers_per_address,
                per_tenant: config.max_connections_per_tenant,
            },
            balancers: config.proxy_protocol.clone(),
            deadlines: Deadlines {
                handshake: config.handshake_timeout,
                head: config.header_timeout,
                idle: config.idle_timeout,
            },
            metrics,
            refusals: Arc::new(Throttles::new(1, TELL_REFUSALS_EVERY, MAX_REFUSALS)),
            refused,
        })
    }

    /// Which refusals are told, for whoever tells what was not.
    pub fn refusals(&self) -> Arc<Throttles<(IpAddr, &'static str)>> {
        Arc::clone(&self.refusals)
    }

    /// The address with the port the system chose where the configuration says 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

/// What all connections share.
struct Door<H> {
    tls: Arc<tls::Source>,
    handler: H,
    balancers: Vec<IpNet>,
    deadlines: Deadlines,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    /// Which refusals are told, by network and reason.
    refusals: Arc<Throttles<(IpAddr, &'static str)>>,
    /// What is kept of those that are told.
    refused: Arc<LastRefusals>,
}

/// Accepts until `shutdown`, then returns at once; connections finish the request they are serving and end.
/// They are tracked by `tracker`, on which the caller waits as long as it likes.
pub async fn serve<H, F>(
    listener: Listener,
    tls: Arc<tls::Source>,
    handler: H,
    shutdown: CancellationToken,
    tracker: TaskTracker,
    reactors: Arc<Reactors>,
    memory: Arc<Memory>,
) where
    H: Fn(Request<Incoming>, Arc<Peer>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    // So that their rates begin at 0.
    let leaving = Leave::ALL.map(Leave::word);
    let handshakes = HandshakeFault::ALL.map(HandshakeFault::word);
    for reason in handshakes
        .into_iter()
        .chain(leaving)
        .chain([HEAD_TIMEOUT, FRAMING, PROXY])
    {
        count(&listener.metrics, reason);
    }
    let roster = Roster::new(listener.bounds, memory);
    let (accept_errors, full) = (seldom(), seldom());
    let door = Arc::new(Door {
        tls,
        handler,
        balancers: listener.balancers,
        deadlines: listener.deadlines,
        metrics: listener.metrics,
        shutdown: shutdown.clone(),
        refusals: listener.refusals,
        refused: listener.refused,
    });
    loop {
        let accepted = async {
            let (socket, address) = accept(&listener.socket).await?;
            let clock = Arc::new(Clock::new(door.deadlines.head, door.deadlines.idle));
            let (seat, notice) = seat(&roster, &clock, &full).await;
            if !door.is_balancer(address) {
                seat.comes_from(network_of(address.ip()));
            }
            Ok((socket, address, (seat, notice)))
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((socket, address, (seat, notice))) => {
                let door = Arc::clone(&door);
                let serve = move |socket, address| {
                    let tenant = Arc::clone(seat.clock().tenant());
                    let served = Box::pin(until_told(door, socket, address, seat, notice));
                    turn::by_turns(served, tenant)
                };
                if let Err(error) = reactors.spawn(&tracker, socket, address, serve) {
                    tracing::error!(%error, "a connection could not be handed over; the listener goes on");
                }
            }
            Err(error) => {
                door.metrics.accept_errors.inc();
                if let Some(untold) = accept_errors.due(now()) {
                    tracing::error!(%error, untold, "a connection could not be accepted; the listener goes on");
                }
                if let Some(pause) = pause_after(&error) {
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
    }
}

/// Who was accepted waits here until there is room, and with him all who come after.
async fn seat(roster: &Arc<Roster>, clock: &Arc<Clock>, full: &Throttle) -> (Seat, Notice) {
    let attempt = || roster.seat(Arc::clone(clock));
    let bound = match attempt() {
        Ok(seated) => return seated,
        Err(bound) => bound.word(),
    };
    if let Some(untold) = full.due(now()) {
        tracing::warn!(
            untold,
            bound,
            "all connections are in use; for each that comes one ends"
        );
    }
    roster.make_room(None, attempt).await
}

fn seldom() -> Throttle {
    Throttle::new(1, LOG_INTERVAL)
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

pub(crate) async fn accept(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = socket.accept().await?;
    // A socket of both families has an IPv4 sender as `::ffff:10.0.0.1`, which nobody would search for.
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    Ok((stream, address))
}

/// Errors that belong to the connection that failed say nothing about the next. Everything else (no file
/// descriptors, no memory) would come back at once and spin.
pub(crate) fn pause_after(error: &io::Error) -> Option<Duration> {
    match error.kind() {
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::Interrupted => None,
        _ => Some(ACCEPT_PAUSE),
    }
}

/// One connection, from accepted to closed.
async fn until_told<H, F>(door: Arc<Door<H>>, socket: TcpStream, address: SocketAddr, seat: Seat, notice: Notice)
where
    H: Fn(Request<Incoming>, Arc<Peer>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let _open = Open::count(&door.metrics);
    let source = OnceLock::new();
    let all = async {
        // Boxed, since hardly anybody needs it.
        let found = Box::pin(door.source(socket, address, &seat)).await;
        if let Some((socket, address)) = found {
            let _ = source.set(address);
            connection(&door, socket, address, &seat).await;
        }
    };
    tokio::select! {
        biased;
        () = all => {}
        why = notice.comes() => door.refused(why.word(), *source.get().unwrap_or(&address)),
    }
}

async fn connection<H, F>(door: &Door<H>, socket: TcpStream, address: SocketAddr, seat: &Seat)
where
    H: Fn(Request<Incoming>, Arc<Peer>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    // An answer is one small segment; waiting to fill it would add 40 ms. Failing to set it is no reason to end.
    let _ = socket.set_nodelay(true);

    let mut source = door.tls.subscribe();
    let config = source.borrow_and_update().clone();
    let replaced = async move {
        // An error means that the source is gone: nothing can replace what this connection began with.
        if source.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let Some(config) = config else {
        return converse(door, socket, Peer::new(address, None), replaced, seat).await;
    };
    let handshake = timeout(door.deadlines.handshake, async {
        // A message of the handshake may come in pieces, which TLS holds until it is whole.
        let _speaking = seat.speak().await;
        tls::accept(config, socket).await
    });
    let finished = tokio::select! {
        () = door.shutdown.cancelled() => return,
        finished = handshake => finished,
    };
    match finished {
        Ok(Ok((stream, certificate))) => {
            converse(door, stream, Peer::new(address, certificate), replaced, seat).await;
        }
        Ok(Err(error)) => door.refused_handshake(address, &error),
        Err(_elapsed) => door.refused(HandshakeFault::Timeout.word(), address),
    }
}

/// Serves requests until either side ends it. `replaced` ends when the TLS configuration is not the one this
/// connection began with.
async fn converse<S, H, F>(door: &Door<H>, stream: S, peer: Peer, replaced: impl Future<Output = ()>, seat: &Seat)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<Incoming>, Arc<Peer>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let (address, peer) = (peer.address, Arc::new(peer));
    let last_call = async {
        tokio::select! {
            () = door.shutdown.cancelled() => {}
            () = replaced => {}
        }
    };
    let answer = |request| {
        // Any answer would make the sender drop the write; what a new handshake is refused for makes it keep it.
        if peer.certificate.as_ref().is_some_and(PeerCertificate::has_expired) {
            door.refused(HandshakeFault::ExpiredCertificate.word(), address);
            return None;
        }
        let answered = (door.handler)(request, Arc::clone(&peer));
        Some(noting_proof(answered, &peer, seat))
    };
    let clock = seat.clock();
    clock.begin();
    match serve_requests(stream, clock, last_call, || seat.speak(), answer).await {
        Some(Phase::Head) => door.refused(HEAD_TIMEOUT, address),
        Some(Phase::Stalled) => tracing::debug!(peer = %address, "the sender does not read its answers"),
        _ if clock.is_faulty() => door.refused(FRAMING, address),
        _ => {}
    }
}

/// Who proves a tenant is no stranger from then on, if that may have one more connection. No `async`, see
/// `requests::respond`.
fn noting_proof(
    answered: impl Future<Output = Response<Full<Bytes>>>,
    peer: &Peer,
    seat: &Seat,
) -> impl Future<Output = Response<Full<Bytes>>> {
    let was_proved = peer.proved.get().is_some();
    answered.map(move |response| {
        let Some(tenant) = peer.proved.get().filter(|_| !was_proved) else {
            return response;
        };
        seat.clock().prove(tenant);
        match seat.proved(tenant) {
            true => response,
            false => last(response),
        }
    })
}

impl<H> Door<H> {
    fn is_balancer(&self, address: SocketAddr) -> bool {
        self.balancers.iter().any(|network| network.contains(&address.ip()))
    }

    /// The sender's address, where a balancer stands between; none if that does not say it.
    async fn source(&self, mut socket: TcpStream, address: SocketAddr, seat: &Seat) -> Option<(TcpStream, SocketAddr)> {
        if !self.is_balancer(address) {
            return Some((socket, address));
        }
        let read = timeout(self.deadlines.handshake, proxied::source(&mut socket));
        let read = tokio::select! {
            () = self.shutdown.cancelled() => return None,
            read = read => read.unwrap_or(Err(ProxyError::Late)),
        };
        match read {
            Ok(source) => {
                let address = source.unwrap_or(address);
                seat.comes_from(network_of(address.ip()));
                Some((socket, address))
            }
            // A balancer that asks whether the port is open says nothing and goes.
            Err(error @ ProxyError::Ended(_)) => {
                tracing::debug!(peer = %address, %error, "a balancer's connection ended");
                None
            }
            Err(error) => {
                self.refused_for(PROXY, address, &error);
                None
            }
        }
    }

    fn refused_for(&self, reason: &'static str, peer: SocketAddr, error: &ProxyError) {
        count(&self.metrics, reason).inc();
        if let Some(untold) = self.refusals.due((network_of(peer.ip()), reason), now()) {
            tracing::info!(reason, %peer, %error, untold, "a connection was refused");
            let told = ToldRefusal::of_connection(reason, error.to_string(), peer, None);
            self.refused.stranger(told);
        }
    }

    /// Nothing is known of it but where it came from.
    fn refused(&self, reason: &'static str, peer: SocketAddr) {
        count(&self.metrics, reason).inc();
        if let Some(untold) = self.refusals.due((network_of(peer.ip()), reason), now()) {
            tracing::info!(reason, %peer, untold, "a connection was closed");
            let told = ToldRefusal::of_connection(reason, "the connection was closed".to_owned(), peer, None);
            self.refused.stranger(told);
        }
    }

    fn refused_handshake(&self, peer: SocketAddr, error: &HandshakeError) {
        let reason = error.kind.word();
        count(&self.metrics, reason).inc();
        // A load balancer that asks whether the port is open says nothing and goes.
        if error.kind == HandshakeFault::Closed {
            tracing::debug!(reason, %peer, %error, "a handshake failed");
        } else if let Some(untold) = self.refusals.due((network_of(peer.ip()), reason), now()) {
            let certificate = error.certificate.as_ref().map(tracing::field::display);
            tracing::info!(reason, %peer, certificate, %error, untold, "a handshake failed");
            let told = ToldRefusal::of_connection(reason, error.to_string(), peer, error.certificate.as_ref());
            self.refused.stranger(told);
        }
    }
}

fn count(metrics: &Metrics, reason: &'static str) -> Counter {
    metrics.refused_connections.get_or_create(&ReasonLabels { reason })
}

/// Counts an open connection for as long as it lives.
struct Open(Arc<Metrics>);

impl Open {
    fn count(metrics: &Arc<Metrics>) -> Self {
        metrics.connections.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

#[cfg(test)]
mod tests;
