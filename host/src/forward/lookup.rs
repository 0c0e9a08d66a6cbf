//! The task that looks an upstream's names up again.
//!
//! Takes an upstream, gives it addresses. A look-up that fails or finds nothing changes nothing: a receiver whose name
//! server is down is still a receiver. The task belongs to its upstream and ends with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::upstream::Upstream;
use crate::net::names::{Resolver, is_looked_up, look_up};

/// After a failed look-up the next one is made this soon, or at the interval where that is shorter.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Looks the names of `upstream` up now and at its interval, until the handle is aborted or the upstream is gone.
pub fn keep_current(upstream: &Arc<Upstream>, resolver: Resolver) -> AbortHandle {
    let config = Arc::clone(&upstream.config);
    // Weak: the task must not keep alive what owns it.
    let upstream = Arc::downgrade(upstream);
    tokio::spawn(async move {
        loop {
            let mut failed = None;
            for (index, spec) in config.endpoints.iter().enumerate() {
                if !is_looked_up(spec) {
                    continue;
                }
                let found = look_up(spec, &resolver).await;
                let Some(upstream) = upstream.upgrade() else { return };
                match found {
                    Ok(addresses) => upstream.set_addresses(index, addresses),
                    Err(error) => {
                        tracing::warn!(upstream = config.name, %error, "name look-up failed, keeping what was there");
                        failed = Some(error.to_string());
                    }
                }
            }
            let pause = match &failed {
                Some(_) => config.dns_refresh_interval.min(RETRY_INTERVAL),
                None => config.dns_refresh_interval,
            };
            let Some(upstream) = upstream.upgrade() else { return };
            upstream.looked_up(failed);
            drop(upstream);
            tokio::time::sleep(pause).await;
        }
    })
    .abort_handle()
}
