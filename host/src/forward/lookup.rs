//! How names become receivers, and the task that asks again.
//!
//! Takes endpoint specs, gives addresses. A look-up that fails or finds nothing changes nothing: a receiver whose name
//! server is down is still a receiver. The task belongs to its upstream and ends with it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverOpts};
use hickory_resolver::proto::rr::RData;
use tokio::task::AbortHandle;

use super::Upstream;
use super::client::Address;
use crate::config::EndpointSpec;

/// Receivers one look-up may give. A zone with more is a mistake, and each costs a candidate per request.
const MAX_ADDRESSES: usize = 256;

/// After a failed look-up the next one is made this soon, or at the interval where that is shorter.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Looks the names of `upstream` up now and at its interval, until the handle is aborted or the upstream is gone.
pub fn keep_current(upstream: &Arc<Upstream>, resolver: TokioResolver) -> AbortHandle {
    let config = Arc::clone(&upstream.config);
    // Weak: the task must not keep alive what owns it.
    let upstream = Arc::downgrade(upstream);
    tokio::spawn(async move {
        loop {
            let mut failed = None;
            for (index, spec) in config.endpoints.iter().enumerate() {
                if static_address(spec).is_some() {
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

/// Why a name gave no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    #[error("{name}: {text}")]
    Failed { name: String, text: String },
    #[error("{name}: no address")]
    Empty { name: String },
}

/// The addresses of `spec` now. Static ones need no look-up here.
///
/// # Errors
/// Where the look-up fails, or finds nothing: an empty answer is more often a broken service discovery than the wish to
/// have no receiver.
pub async fn look_up(spec: &EndpointSpec, resolver: &TokioResolver) -> Result<Vec<Address>, LookupError> {
    let mut found = BTreeSet::new();
    let name = match spec {
        EndpointSpec::Static { .. } => return Ok(static_address(spec).into_iter().collect()),
        EndpointSpec::Dns { https, host, port } => {
            for ip in addresses(resolver, host).await? {
                found.insert(Address {
                    https: *https,
                    host: host.clone(),
                    port: *port,
                    ip: Some(ip),
                });
            }
            host
        }
        EndpointSpec::DnsSrv { https, name } => {
            let answer = resolver
                .srv_lookup(name.as_str())
                .await
                .map_err(|e| LookupError::Failed {
                    name: name.clone(),
                    text: e.to_string(),
                })?;
            let mut last = None;
            for record in answer.answers() {
                let RData::SRV(srv) = &record.data else { continue };
                // RFC 2782: a target of "." says that the service is decidedly not there.
                if srv.target.is_root() {
                    continue;
                }
                // One target that does not resolve, a pod just started for instance, does not hide the others.
                match addresses(resolver, &srv.target.to_ascii()).await {
                    Ok(ips) => found.extend(ips.into_iter().map(|ip| Address {
                        https: *https,
                        host: srv.target.to_ascii(),
                        port: srv.port,
                        ip: Some(ip),
                    })),
                    Err(error) => last = Some(error),
                }
            }
            if let (true, Some(error)) = (found.is_empty(), last) {
                return Err(error);
            }
            name
        }
    };
    if found.is_empty() {
        return Err(LookupError::Empty { name: name.clone() });
    }
    Ok(found.into_iter().take(MAX_ADDRESSES).collect())
}

/// The address that a static spec is, `None` for those that need a look-up.
pub fn static_address(spec: &EndpointSpec) -> Option<Address> {
    let EndpointSpec::Static { https, host, port } = spec else {
        return None;
    };
    Some(Address {
        https: *https,
        // An IPv6 literal may come as it stands in a URL.
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: *port,
        ip: None,
    })
}

async fn addresses(resolver: &TokioResolver, host: &str) -> Result<Vec<IpAddr>, LookupError> {
    let found = resolver.lookup_ip(host).await.map_err(|e| LookupError::Failed {
        name: host.to_owned(),
        text: e.to_string(),
    })?;
    Ok(found.iter().collect())
}

/// The resolver of `/etc/resolv.conf`.
///
/// # Errors
/// Where that file cannot be used.
pub fn system_resolver() -> Result<TokioResolver, String> {
    let mut builder = TokioResolver::builder_tokio().map_err(|e| e.to_string())?;
    let options = builder.options_mut();
    *options = self::options(options.clone());
    builder.build().map_err(|e| e.to_string())
}

/// What differs from the system's way of looking names up.
pub fn options(mut options: ResolverOpts) -> ResolverOpts {
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // The refresh interval is the operator's; an answer from a cache would make it longer.
    options.cache_size = 0;
    options
}
