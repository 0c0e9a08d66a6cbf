//! A peer's idle connections.
//!
//! Takes what makes a request, gives its answer on a connection that waited or on a new one. Never polls what is idle:
//! that the peer has closed a connection is noticed when it is next looked at, by the next request or by the next
//! connection to become idle.
//!
//! It is ours rather than hyper-util's because two rules need to know what that one keeps to itself: whether a
//! connection that broke was fresh or had lain idle (only then is the request sent again at once), and which peer it
//! belongs to (a peer that goes takes its connections along).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::time::Instant;

use super::address::Address;
use super::connection::{Connection, ExchangeError, HttpAnswer, TextBounds};
use super::dial::Dialer;

/// Connections that lay idle longer are not used again: below the 60 s after which common load balancers forget one
/// without a word.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// Idle connections kept per peer; as many as a busy receiver has in flight.
const MAX_IDLE: usize = 64;

/// A thread that has no idle connection uses another thread's if it lay idle for so long. If it did not, the peer is busy, and
/// one of the thread's own is soon worth what opening it costs: each answer on another's wakes both threads.
const LENT_AFTER: Duration = Duration::from_millis(100);

/// With so many idle, another thread's is used all the same: more would be closed for want of a place.
const ENOUGH: usize = MAX_IDLE / 2;

#[derive(Default)]
pub struct Pool {
    /// The one used last is last: under little load the others grow old and go.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Idle {
    /// For how long it has been idle.
    fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

impl Pool {
    /// Sends what `request` makes on an idle connection, or on a new one.
    ///
    /// A peer may close an idle connection in the moment it is used. Where nothing of the request was written, or that may
    /// be what happened, the request is sent once more on a fresh connection, so it may arrive twice: whoever makes one
    /// that must not, cannot use this.
    ///
    /// # Errors
    /// Of the last connection tried.
    pub async fn exchange(
        &self,
        address: &Address,
        dialer: &Dialer,
        bounds: TextBounds,
        request: impl Fn() -> Request<Full<Bytes>>,
    ) -> Result<HttpAnswer, ExchangeError> {
        let mut again = false;
        if let Some(idle) = self.take_idle().await {
            match self.exchange_on(idle, request(), bounds).await {
                Err(ExchangeError::Reset) => again = true,
                other => return other,
            }
        }
        let fresh = Connection::open(dialer, address).await?;
        let answer = self.exchange_on(fresh, request(), bounds).await?;
        Ok(HttpAnswer { again, ..answer })
    }

    /// Closes what is idle: a peer that has just failed is met on fresh connections.
    pub fn clear(&self) {
        let closed = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        drop(closed);
    }

    async fn exchange_on(
        &self,
        mut connection: Connection,
        request: Request<Full<Bytes>>,
        bounds: TextBounds,
    ) -> Result<HttpAnswer, ExchangeError> {
        let (answer, reusable) = connection.exchange(request, bounds).await?;
        if reusable {
            self.put_idle(connection);
        }
        Ok(answer)
    }

    async fn take_idle(&self) -> Option<Connection> {
        loop {
            let mut connection = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                let last_idle_for = idle.last()?.idle_for(now);
                if last_idle_for > IDLE_TIME {
                    // The others have lain longer still.
                    idle.clear();
                    return None;
                }
                let here = std::thread::current().id();
                let at_home = |i: &Idle| i.connection.home == here && i.idle_for(now) <= IDLE_TIME;
                match idle.iter().rposition(at_home) {
                    Some(at) => idle.remove(at).connection,
                    None if idle.len() < ENOUGH && last_idle_for < LENT_AFTER => return None,
                    None => idle.pop()?.connection,
                }
            };
            if connection.is_reusable().await {
                return Some(connection);
            }
        }
    }

    fn put_idle(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let expired = idle.iter().take_while(|i| i.idle_for(now) > IDLE_TIME).count();
        idle.drain(..expired);
        if idle.len() < MAX_IDLE {
            idle.push(Idle { connection, since: now });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const BOUNDS: TextBounds = TextBounds {
        bytes: 100,
        time: Duration::from_secs(20),
    };

    /// A peer that answers whatever ends with `body`, and how many connections it was opened.
    async fn peer() -> (Address, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let opened = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&opened);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    while socket.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {
                        if seen.ends_with(b"body") {
                            seen.clear();
                            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                            socket.write_all(answer).await.unwrap();
                        }
                    }
                });
            }
        });
        let address = Address::new(false, "127.0.0.1".to_owned(), port, None).unwrap();
        (address, opened)
    }

    async fn exchange(pool: &Pool, address: &Address) {
        let dialer = Dialer {
            tls: None,
            connect_timeout: BOUNDS.time,
        };
        let request = || Request::post("/").header("host", "r").body(Full::from("body")).unwrap();
        let answer = pool.exchange(address, &dialer, BOUNDS, request).await.unwrap();
        assert_eq!(answer.status, http::StatusCode::OK);
    }

    /// As if another thread had used all that is idle, `ago`.
    fn lend(pool: &Pool, ago: Duration) {
        let other = std::thread::spawn(|| std::thread::current().id()).join().unwrap();
        for idle in &mut *pool.idle.lock().unwrap() {
            idle.connection.home = other;
            idle.since = Instant::now().checked_sub(ago).unwrap();
        }
    }

    #[tokio::test]
    async fn a_thread_opens_its_own_connection_to_a_busy_peer_and_borrows_one_of_a_quiet_peer() {
        let ((address, opened), pool) = (peer().await, Pool::default());
        let opened = || opened.load(Ordering::Relaxed);
        exchange(&pool, &address).await;
        exchange(&pool, &address).await;
        assert_eq!(opened(), 1, "its own is used again");
        lend(&pool, Duration::ZERO);
        exchange(&pool, &address).await;
        assert_eq!(opened(), 2, "the peer is busy");
        lend(&pool, LENT_AFTER);
        exchange(&pool, &address).await;
        assert_eq!(opened(), 2, "the peer is quiet");
        lend(&pool, IDLE_TIME + Duration::from_secs(1));
        exchange(&pool, &address).await;
        assert_eq!(opened(), 3, "they lay too long");
    }

    #[tokio::test]
    async fn where_there_are_enough_idle_ones_another_threads_is_used_at_once() {
        let ((address, opened), pool) = (peer().await, Pool::default());
        for count in 1..=ENOUGH {
            exchange(&pool, &address).await;
            assert_eq!(opened.load(Ordering::Relaxed), count);
            lend(&pool, Duration::ZERO);
        }
        exchange(&pool, &address).await;
        assert_eq!(opened.load(Ordering::Relaxed), ENOUGH);
    }
}
