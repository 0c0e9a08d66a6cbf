//! One reactor per processor, each with the connections it was given.
//!
//! Takes connections as they are accepted, gives each to the reactor that has the fewest. A task that moves between
//! threads wakes them up, which at the ingress' usual load was a sixth of all it cost. Each reactor is a runtime of one
//! I/O thread, on which every tenant has its turn (`turn`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::TaskTracker;

use crate::telemetry::Metrics;
use crate::turn;

/// How many tasks a busy reactor polls before it looks for what became ready since. With the usual 61, of 30 us each, a
/// sender with one connection waited for 2 ms at each turn of its write beside one with many; a look costs 1 us.
const POLLS_PER_LOOK: u32 = 8;

/// Their threads end when this is dropped, and what they serve with them.
pub struct Reactors(Vec<Reactor>);

struct Reactor {
    /// None only while it is dropped.
    runtime: Option<Runtime>,
    connections: Arc<AtomicUsize>,
}

impl Reactors {
    /// As many as there are processors.
    ///
    /// # Errors
    /// If the system has no thread or no poller to give.
    pub fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        (0..count)
            .map(|_| Reactor::start())
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// Shows what their runtimes say of themselves, all together.
    pub fn watch_with(&self, metrics: &Metrics) {
        for runtime in self.0.iter().filter_map(|reactor| reactor.runtime.as_ref()) {
            metrics.watch_runtime("io", runtime.metrics());
        }
    }

    /// Hands a connection over, and has `serve` run where it lies.
    pub(super) fn spawn<F>(
        &self,
        tracker: &TaskTracker,
        socket: TcpStream,
        address: SocketAddr,
        serve: impl FnOnce(TcpStream, SocketAddr) -> F + Send + 'static,
    ) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let least = self.0.iter().min_by_key(|r| r.connections.load(Ordering::Relaxed));
        let Some((reactor, runtime)) = least.and_then(|reactor| Some((reactor, reactor.runtime.as_ref()?))) else {
            tracker.spawn(serve(socket, address));
            return Ok(());
        };
        let counted = Counted::one(&reactor.connections);
        // From the poller that accepted it to that of the reactor.
        let socket = socket.into_std()?;
        let served = async move {
            let _counted = counted;
            match TcpStream::from_std(socket) {
                Ok(socket) => serve(socket, address).await,
                Err(error) => tracing::error!(%error, "a connection could not be served"),
            }
        };
        tracker.spawn_on(served, runtime.handle());
        Ok(())
    }
}

impl Reactor {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("io")
            .event_interval(POLLS_PER_LOOK)
            .on_thread_start(turn::begin)
            .on_thread_park(turn::end)
            .enable_all()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
            connections: Arc::default(),
        })
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // Waiting for its tasks is not allowed inside another runtime; who drains has waited already.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
