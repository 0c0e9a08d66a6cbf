//! How names become addresses.
//!
//! Takes an endpoint as it is configured, gives the addresses behind it now. Keeps nothing and asks once: how often, and
//! what an answer changes, is the caller's to decide.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_resolver::config::{LookupIpStrategy, ResolverOpts};
use hickory_resolver::proto::rr::RData;

use super::address::{Address, AddressError};
use crate::config::EndpointSpec;

pub use hickory_resolver::TokioResolver as Resolver;

/// Addresses one look-up may give. A zone with more is a mistake, and each costs a candidate per request.
const MAX_ADDRESSES: usize = 256;

/// Why a name gave no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    #[error("{name}: {text}")]
    Failed { name: String, text: String },
    #[error("{name}: no address")]
    Empty { name: String },
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// The address that a static endpoint is, `None` for those that need a look-up.
///
/// # Errors
/// If the host is no host.
pub fn static_address(spec: &EndpointSpec) -> Result<Option<Address>, AddressError> {
    match spec {
        EndpointSpec::Static { https, host, port } => Address::new(*https, host.clone(), *port, None).map(Some),
        EndpointSpec::Dns { .. } | EndpointSpec::DnsSrv { .. } => Ok(None),
    }
}

/// Whether the addresses of `spec` come from [`look_up`].
pub fn is_looked_up(spec: &EndpointSpec) -> bool {
    match spec {
        EndpointSpec::Static { .. } => false,
        EndpointSpec::Dns { .. } | EndpointSpec::DnsSrv { .. } => true,
    }
}

/// The addresses of `spec` now. Static ones need no look-up here.
///
/// # Errors
/// If the look-up fails, or finds nothing: an empty answer is more often a broken service discovery than the wish to
/// have no receiver.
pub async fn look_up(spec: &EndpointSpec, resolver: &Resolver) -> Result<Vec<Address>, LookupError> {
    let mut found = BTreeSet::new();
    let name = match spec {
        EndpointSpec::Static { https, host, port } => {
            return Ok(vec![Address::new(*https, host.clone(), *port, None)?]);
        }
        EndpointSpec::Dns { https, host, port } => {
            found.extend(addresses(resolver, *https, host, *port).await?);
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
                match addresses(resolver, *https, &srv.target.to_ascii(), srv.port).await {
                    Ok(addresses) => found.extend(addresses),
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

async fn addresses(resolver: &Resolver, https: bool, host: &str, port: u16) -> Result<Vec<Address>, LookupError> {
    let answer = resolver.lookup_ip(host).await.map_err(|e| LookupError::Failed {
        name: host.to_owned(),
        text: e.to_string(),
    })?;
    let at = |ip: IpAddr| Address::new(https, host.to_owned(), port, Some(ip)).map_err(LookupError::from);
    answer.iter().map(at).collect()
}

/// The resolver of `/etc/resolv.conf`.
///
/// # Errors
/// If that file cannot be used.
pub fn system_resolver() -> Result<Resolver, String> {
    let mut builder = Resolver::builder_tokio().map_err(|e| e.to_string())?;
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
