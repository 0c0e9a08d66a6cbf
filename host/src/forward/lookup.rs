//! The task that looks an upstream's names up again.
//!
//! Takes an upstream, gives it addresses. A look-up that fails or finds nothing changes nothing: a receiver whose name
//! server is down is still a receiver. The task belongs to its upstream and ends with it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::AbortHandle;

use super::upstream::Upstream;
use crate::config::EndpointSpec;
use crate::net::SystemResolver;
use crate::net::names::{is_looked_up, look_up};

/// After a failed look-up the next one is made this soon, or at the interval where that is shorter.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Looks the names of `upstream` up now and at its interval, until the handle is aborted or the upstream is gone.
pub fn keep_current(upstream: &Arc<Upstream>, resolver: Arc<SystemResolver>) -> AbortHandle {
    let config = Arc::clone(&upstream.config);
    // Weak: the task must not keep alive what owns it.
    let upstream = Arc::downgrade(upstream);
    tokio::spawn(async move {
        loop {
            let mut round = Vec::new();
            for (index, spec) in config
                .endpoints
                .iter()
                .enumerate()
                .filter(|(_, spec)| is_looked_up(spec))
            {
                round.push(one(&upstream, index, spec, &resolver));
            }
            // One that failed is as good as another to be told.
            let failed = join_all(round).await.into_iter().flatten().last();
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

/// Looks one endpoint's name up; gives why that failed.
async fn one(of: &Weak<Upstream>, index: usize, spec: &EndpointSpec, resolver: &SystemResolver) -> Option<String> {
    let known = of.upgrade()?.addresses(index);
    let publish = |addresses| {
        if let Some(upstream) = of.upgrade() {
            upstream.set_addresses(index, addresses);
        }
    };
    let found = match resolver.current() {
        Ok(resolver) => look_up(spec, &resolver, &known, publish)
            .await
            .map_err(|e| e.to_string()),
        Err(error) => Err(error),
    };
    match found {
        Ok(addresses) => publish(addresses),
        Err(error) => {
            let upstream = of.upgrade()?;
            tracing::warn!(
                upstream = upstream.name(),
                error,
                "name look-up failed, keeping what was there"
            );
            return Some(error);
        }
    }
    None
}
