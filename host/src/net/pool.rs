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

#[derive(Default)]
pub struct Pool {
    /// The one used last is last: under little load the others grow old and go.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
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
                if idle.last()?.since.elapsed() > IDLE_TIME {
                    // The others have lain longer still.
                    idle.clear();
                    return None;
                }
                let here = std::thread::current().id();
                let at_home = |i: &Idle| i.connection.home == here && i.since.elapsed() <= IDLE_TIME;
                match idle.iter().rposition(at_home) {
                    Some(at) => idle.remove(at).connection,
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
        let expired = idle.iter().take_while(|i| i.since.elapsed() > IDLE_TIME).count();
        idle.drain(..expired);
        if idle.len() < MAX_IDLE {
            idle.push(Idle {
                connection,
                since: Instant::now(),
            });
        }
    }
}
