//! How names become addresses.
//!
//! Takes an endpoint as it is configured, gives the addresses behind it now. Keeps nothing and asks once: how often, and
//! what an answer changes, is the caller's to decide.

use std::collections::BTreeSet;

use futures_util::stream::{FuturesUnordered, StreamExt};
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::address::{Address, AddressError};
use crate::config::EndpointSpec;

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

/// The addresses of `spec` now. `known` is what was found before: where one family of one target does not answer, its
/// addresses stay. `so_far` is told what is known as soon as there is more of it, for a name server that leaves one
/// question unanswered for seconds answers the others at once. Static ones need no look-up here.
///
/// # Errors
/// If the look-up fails, or finds nothing: an empty answer is more often a broken service discovery than the wish to
/// have no receiver.
pub async fn look_up(
    spec: &EndpointSpec,
    resolver: &TokioResolver,
    known: &[Address],
    so_far: impl Fn(Vec<Address>),
) -> Result<Vec<Address>, LookupError> {
    let (https, targets) = match spec {
        EndpointSpec::Static { https, host, port } => {
            return Ok(vec![Address::new(*https, host.clone(), *port, None)?]);
        }
        EndpointSpec::Dns { https, host, port } => (*https, vec![(host.clone(), *port)]),
        EndpointSpec::DnsSrv { https, name } => (*https, targets(resolver, name).await?),
    };
    let mut answers = FuturesUnordered::new();
    for (host, port) in &targets {
        for family in [RecordType::A, RecordType::AAAA] {
            answers.push(async move {
                let found = addresses(resolver, https, host, *port, family).await;
                (host, *port, family, found)
            });
        }
    }
    let (mut found, mut unanswered, mut last) = (BTreeSet::new(), BTreeSet::new(), None);
    while let Some((host, port, family, answer)) = answers.next().await {
        match answer {
            Ok(addresses) => {
                let more = addresses.iter().any(|a| !known.contains(a));
                found.extend(addresses);
                if more {
                    so_far(bounded(found.iter().chain(known)));
                }
            }
            Err(error) => {
                let stays = |a: &&Address| a.is_at(host, port) && a.is_ipv4() == (family == RecordType::A);
                unanswered.extend(known.iter().filter(stays).cloned());
                last = Some(error);
            }
        }
    }
    if found.is_empty() {
        let (EndpointSpec::Static { host: name, .. }
        | EndpointSpec::Dns { host: name, .. }
        | EndpointSpec::DnsSrv { name, .. }) = spec;
        return Err(last.unwrap_or(LookupError::Empty { name: name.clone() }));
    }
    Ok(bounded(found.union(&unanswered)))
}

/// The first of `addresses`, each once.
fn bounded<'a>(addresses: impl Iterator<Item = &'a Address>) -> Vec<Address> {
    let distinct: BTreeSet<&Address> = addresses.collect();
    distinct.into_iter().take(MAX_ADDRESSES).cloned().collect()
}

/// Host and port of every SRV record.
async fn targets(resolver: &TokioResolver, name: &str) -> Result<Vec<(String, u16)>, LookupError> {
    let records = records(resolver, name, RecordType::SRV).await?;
    let target = |data: RData| match data {
        // RFC 2782: a target of "." says that the service is decidedly not there.
        RData::SRV(srv) if !srv.target.is_root() => Some((srv.target.to_ascii(), srv.port)),
        _ => None,
    };
    Ok(records.into_iter().filter_map(target).take(MAX_ADDRESSES).collect())
}

/// The addresses of one family, none if the name has no such address.
async fn addresses(
    resolver: &TokioResolver,
    https: bool,
    host: &str,
    port: u16,
    family: RecordType,
) -> Result<Vec<Address>, LookupError> {
    let records = records(resolver, host, family).await?;
    let ips = records.into_iter().filter_map(|data| data.ip_addr());
    ips.map(|ip| Ok(Address::new(https, host.to_owned(), port, Some(ip))?))
        .collect()
}

/// What the name servers answer, nothing if they say that there is nothing.
async fn records(resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Vec<RData>, LookupError> {
    let failed = |text: String| LookupError::Failed {
        name: name.to_owned(),
        text,
    };
    // As it is written: read as a name for people, one with an underscore would be refused.
    let asked = Name::from_ascii(name).map_err(|e| failed(e.to_string()))?;
    match resolver.lookup(asked, kind).await {
        Ok(answer) => Ok(answer.answers().iter().map(|record| record.data.clone()).collect()),
        Err(error) if error.is_no_records_found() => Ok(Vec::new()),
        Err(error) => Err(failed(error.to_string())),
    }
}
