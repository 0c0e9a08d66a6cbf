//! How many files the process may have open, and so how many connections.
//!
//! Takes the configuration, raises the process's own limit as far as the system lets it, and gives how many senders may
//! be connected at once. Keeps a reserve, because who runs out of files cannot connect to receivers, and would blame
//! them. Never fails: fewer connections are better than none.

use std::collections::BTreeSet;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::Config;

/// Standard streams, sockets to listen on, operators' connections, name servers, files that are read on a reload.
const FOR_ALL_ELSE: u64 = 256;

/// Gives `max_connections`, or what is left of it where the system does not let the process have as many files.
pub(super) fn prepare(config: &Config) -> usize {
    let wanted = config.remote_write.max_connections;
    let reserve = reserve(config);
    let limit = raise_limit(files(wanted, reserve));
    let connections = affordable(wanted, reserve, limit);
    if connections < wanted {
        tracing::warn!(
            limit,
            needed = files(wanted, reserve),
            max_connections = wanted,
            served = connections,
            "the system allows too few open files for `max_connections`; fewer senders are served at once. Raise the \
             limit of open files (`ulimit -n`, `LimitNOFILE=`)"
        );
    }
    connections
}

/// What a start on this system would warn of.
pub(super) fn lack(config: &Config) -> Option<String> {
    let (wanted, reserve) = (config.remote_write.max_connections, reserve(config));
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let served = affordable(wanted, reserve, limit);
    let needed = files(wanted, reserve);
    (served < wanted).then(|| {
        format!(
            "remote_write.max_connections: {wanted} senders, receivers and files take {needed} open files, and this system \
             allows {limit}: it would serve {served} senders at once. Raise the hard limit of open files (`ulimit -n`, \
             `LimitNOFILE=`)"
        )
    })
}

/// Connections to receivers, at most one for each request in flight, files of compiled plugins in use, and all else.
fn reserve(config: &Config) -> u64 {
    let policies = config.tenants.values().flat_map(|tenant| &tenant.policies);
    let plugins: BTreeSet<_> = policies.map(|policy| policy.plugin.sha256).collect();
    let in_flight = config.upstreams.values().map(|upstream| upstream.max_in_flight as u64);
    let in_flight = in_flight.fold(0, u64::saturating_add);
    let parts = config.upstreams.len().max(1) as u64;
    let requests = (config.remote_write.max_concurrent_requests as u64).saturating_mul(parts);
    let files = plugins.len() as u64 + FOR_ALL_ELSE;
    in_flight.min(requests).saturating_add(files)
}

fn files(connections: usize, reserve: u64) -> u64 {
    (connections as u64).saturating_add(reserve)
}

/// Raises the soft limit to the hard one where it is below `needed`; gives the limit that holds.
fn raise_limit(needed: u64) -> u64 {
    let before = getrlimit(Resource::Nofile);
    // None is no limit.
    let holds = before.current.unwrap_or(u64::MAX);
    if holds >= needed {
        return holds;
    }
    let mut raised = before;
    raised.current = before.maximum;
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current.unwrap_or(u64::MAX),
        Err(_) => holds,
    }
}

/// At least half of the files are for senders, however few there are.
fn affordable(wanted: usize, reserve: u64, limit: u64) -> usize {
    let left = limit.saturating_sub(reserve).max(limit / 2).max(1);
    wanted.min(usize::try_from(left).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_have_what_the_reserve_leaves_and_at_least_half() {
        assert_eq!(files(10_000, 1_280), 11_280);
        for (limit, connections) in [
            (u64::MAX, 10_000),
            (11_280, 10_000),
            (11_279, 9_999),
            (4_096, 2_816),
            (1_024, 512),
            (1, 1),
        ] {
            assert_eq!(affordable(10_000, 1_280, limit), connections, "{limit}");
        }
        assert_eq!(affordable(5, 1_280, 1_024), 5);
    }
}
