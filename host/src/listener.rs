//! The public door: accepts senders' connections and speaks HTTP/1.1 with them.
//!
//! Takes sockets; gives requests to a handler, with what is known of the peer. Everything about one connection,
//! the handshake included, happens in that connection's own task, so that a slow sender delays nobody. Never
//! ends because of an accept error, never answers a request itself except for what hyper finds malformed (400,
//! 431), and never forwards a byte.
//!
//! Over `max_connections` senders wait in the kernel's backlog. The choice refused is to accept and close: it
//! costs work per attempt, makes who gets in a lottery, and turns a moment's excess into retries; waiting is
//! first come, first served, and bounded by the deadlines that end idle and slow connections.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::clock::Timed;
use crate::config::RemoteWrite;
use crate::model::{Peer, PeerCertificate};
use crate::telemetry::metrics::ReasonLabels;
use crate::telemetry::{Metrics, Throttle, Throttles, network_of};
use crate::tls::{self, HandshakeError, HandshakeFault};

mod bind;
mod clock;
mod reactors;

pub use bind::bind;
pub(crate) use clock::{Clock, Phase};
pub use reactors::Reactors;

/// Largest request head, request line included. Bytes. A JWT or a chain of proxy headers fits many times.
const MAX_HEAD_SIZE: usize = 32 * 1024;
/// Most header fields in a request; Prometheus sends six.
const MAX_HEADERS: usize = 100;
/// Largest read buffer of one connection. Bytes. A usual body (15-62 KB) is read at once.
const READ_BUFFER: usize = 64 * 1024;
/// Pause after an accept error that will not go away by trying again at once, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Shortest time between two log lines about the same trouble: strangers must not fill the log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// One line about the refusals of one network for one reason in this time, and as many of them.
const TELL_REFUSALS_EVERY: Duration = Duration::from_secs(60);
const MAX_REFUSALS: usize = 256;

const HEAD_TIMEOUT: &str = "head_timeout";

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address}: {reason}")]
    Bind { address: String, reason: io::Error },
}

/// The validity of the client certificate ended after the handshake.
/// Ends a connection in place of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the request may not be answered")]
struct NoAnswer;

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
    max_connections: usize,
    deadlines: Deadlines,
    metrics: Arc<Metrics>,
}

impl Listener {
    /// Binds `listen_address`. Senders can connect from here on; they are served by [`serve`].
    ///
    /// # Errors
    /// If the address is malformed, unknown or taken.
    pub async fn bind(config: &RemoteWrite, metrics: Arc<Metrics>) -> Result<Self, ListenError> {
        let failed = |reason| ListenError::Bind {
            address: config.listen_address.clone(),
            reason,
        };
        let socket = bind(&config.listen_address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self {
            socket,
            address,
            max_connections: config.max_connections.clamp(1, Semaphore::MAX_PERMITS),
            deadlines: Deadlines {
                handshake: config.handshake_timeout,
                head: config.header_timeout,
                idle: config.idle_timeout,
            },
            metrics,
        })
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
    deadlines: Deadlines,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    /// Which refusals are told, by network and reason.
    refusals: Throttles<(IpAddr, &'static str)>,
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
) where
    H: Fn(Request<Incoming>, Arc<Peer>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    // So that their rates begin at 0.
    for reason in HandshakeFault::ALL
        .map(HandshakeFault::word)
        .into_iter()
        .chain([HEAD_TIMEOUT])
    {
        count(&listener.metrics, reason);
    }
    let slots = Arc::new(Semaphore::new(listener.max_connections));
    let (accept_errors, full) = (seldom(), seldom());
    let door = Arc::new(Door {
        tls,
        handler,
        deadlines: listener.deadlines,
        metrics: listener.metrics,
        shutdown: shutdown.clone(),
        refusals: Throttles::new(1, TELL_REFUSALS_EVERY, MAX_REFUSALS),
    });
    loop {
        if slots.available_permits() == 0
            && let Some(untold) = full.due(now())
        {
            tracing::warn!(
                untold,
                max_connections = listener.max_connections,
                "all connections are in use; further senders wait"
            );
        }
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            accepted = accept(&listener.socket, &slots) => accepted,
        };
        match accepted {
            Ok((socket, address, slot)) => {
                let door = Arc::clone(&door);
                let serve = move |socket, address| connection(door, socket, address, slot);
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

fn seldom() -> Throttle {
    Throttle::new(1, LOG_INTERVAL)
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// The slot comes first: without one, the sender stays in the backlog.
pub(crate) async fn accept(
    socket: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = socket.accept().await?;
    // A socket of both families has an IPv4 sender as `::ffff:10.0.0.1`, which nobody would search for.
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    Ok((stream, address, slot))
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
async fn connection<H, F>(door: Arc<Door<H>>, socket: TcpStream, address: SocketAddr, _slot: OwnedSemaphorePermit)
where
    H: Fn(Request<Incoming>, Arc<Peer>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let _open = Open::count(&door.metrics);
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
        let peer = Peer {
            address,
            certificate: None,
        };
        return converse(&door, socket, peer, replaced).await;
    };
    let handshake = timeout(door.deadlines.handshake, tls::accept(config, socket));
    let finished = tokio::select! {
        () = door.shutdown.cancelled() => return,
        finished = handshake => finished,
    };
    match finished {
        Ok(Ok((stream, certificate))) => converse(&door, stream, Peer { address, certificate }, replaced).await,
        Ok(Err(error)) => door.refused_handshake(address, &error),
        Err(_elapsed) => door.refused(HandshakeFault::Timeout.word(), address),
    }
}

/// Serves requests until either side ends it. `replaced` ends when the TLS configuration is not the one this
/// connection began with.
async fn converse<S, H, F>(door: &Door<H>, stream: S, peer: Peer, replaced: impl Future<Output = ()>)
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
        Some((door.handler)(request, Arc::clone(&peer)))
    };
    let clock = Clock::new(door.deadlines.head, door.deadlines.idle);
    match serve_requests(stream, address, clock, last_call, answer).await {
        Some(Phase::Head) => door.refused(HEAD_TIMEOUT, address),
        Some(Phase::Stalled) => tracing::debug!(peer = %address, "the sender does not read its answers"),
        _ => {}
    }
}

/// HTTP/1.1 on one stream, until either side ends it: no new request from `last_call` on, and the end where there is no
/// `answer`. What was late, if that is why it ended.
pub(crate) async fn serve_requests<S, F, B>(
    stream: S,
    address: SocketAddr,
    clock: Clock,
    last_call: impl Future<Output = ()>,
    answer: impl Fn(Request<Incoming>) -> Option<F>,
) -> Option<Phase>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<B>>,
    B: Body<Error: std::error::Error + Send + Sync> + 'static,
{
    let clock = Arc::new(clock);
    let service = service_fn(|request| {
        clock.enter(Phase::Busy);
        let answer = answer(request);
        let clock = Arc::clone(&clock);
        async move {
            let answer = answer.ok_or(NoAnswer)?.await;
            clock.enter(Phase::Idle);
            Ok::<_, NoAnswer>(answer)
        }
    });
    let stream = TokioIo::new(Timed::new(stream, Arc::clone(&clock)));
    let mut http = pin!(builder().serve_connection(stream, service));
    let mut timer = pin!(sleep_until(clock.deadline().map_or_else(Instant::now, |(at, _)| at)));
    let mut last_call = pin!(last_call);
    let mut called = false;

    poll_fn(|context| {
        if !called && last_call.as_mut().poll(context).is_ready() {
            called = true;
            http.as_mut().graceful_shutdown();
        }
        loop {
            if let Poll::Ready(end) = http.as_mut().poll(context) {
                if let Err(error) = end {
                    tracing::debug!(%error, peer = %address, "the connection ended early");
                }
                return Poll::Ready(None);
            }
            // Read after hyper ran, since what it did moves the deadline; this is the only task that does.
            match ready!(overdue(&clock, timer.as_mut(), context)) {
                Phase::Idle => {
                    clock.enter(Phase::Closing);
                    http.as_mut().graceful_shutdown();
                }
                phase => return Poll::Ready(Some(phase)),
            }
        }
    })
    .await
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

/// hyper's own head timeout is off: it runs while a connection idles, so it cannot tell the two apart.
fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_SIZE)
        .max_buf_size(READ_BUFFER);
    builder
}

impl<H> Door<H> {
    /// Late, so that nothing is known of it but where it came from.
    fn refused(&self, reason: &'static str, peer: SocketAddr) {
        count(&self.metrics, reason).inc();
        if let Some(untold) = self.refusals.due((network_of(peer.ip()), reason), now()) {
            tracing::info!(reason, %peer, untold, "a connection was closed");
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
        }
    }
}

fn count(metrics: &Metrics, reason: &'static str) -> Counter {
    metrics
        .refused_connections
        .get_or_create_owned(&ReasonLabels { reason })
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
