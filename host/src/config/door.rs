//! The listener for senders: at which paths it takes writes, and which balancers it believes.
//!
//! Takes what an operator lists, gives paths that mean one thing, neither a tenant's nor what operators and balancers ask
//! for, and networks.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::section::{Field, Section, quote};

/// Where writes are taken in any case.
pub const WRITE_PATHS: [&str; 3] = ["/api/v1/receive", "/api/v1/write", "/api/v1/push"];
/// What leads a path that has a tenant in it.
pub const TENANT_PREFIX: &str = "/api/metrics/v1/";

/// What is answered by the operators' listener, and by this one to balancers.
const OTHERS: [&str; 2] = ["/metrics", "/-/"];
/// The operators' API, by the part behind `/api/v1/`.
const OPERATORS: [&str; 11] = [
    "tenants",
    "policies",
    "upstreams",
    "status",
    "explain",
    "tap",
    "reloads",
    "config",
    "flow",
    "events",
    "refusals",
];
/// Each request is compared with all.
const MAX_PATHS: usize = 16;

pub(super) fn paths(list: &Field<'_>) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for item in list.items() {
        let Some(path) = item.text() else { continue };
        match fault(path) {
            Some(fault) => item.fail(fault),
            None if paths.iter().any(|other| other == path) => item.fail(format!("`{}` is listed twice", quote(path))),
            None => paths.push(path.to_owned()),
        }
    }
    if paths.len() > MAX_PATHS {
        list.fail(format!(
            "{} paths are listed, and there may be at most {MAX_PATHS}",
            paths.len()
        ));
    }
    paths
}

/// Whether it is one as a request has it: absolute, without a query, nothing left to encode.
pub(super) fn is_path(path: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte);
    path.starts_with('/') && path.bytes().all(legal)
}

fn fault(path: &str) -> Option<String> {
    if !is_path(path) {
        return Some("expected a path such as `/prometheus/write`, without a query".to_owned());
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Some("a path with `.` or `..` in it is another one to whoever stands in front".to_owned());
    }
    if WRITE_PATHS.contains(&path) {
        return Some(format!("`{path}` takes writes in any case; leave it out"));
    }
    if path.starts_with(TENANT_PREFIX) {
        return Some(format!("`{TENANT_PREFIX}..` is where a path names a tenant"));
    }
    let operators = path.strip_prefix("/api/v1/").and_then(|rest| rest.split('/').next());
    let is_taken =
        OTHERS.iter().any(|other| path.starts_with(other)) || operators.is_some_and(|first| OPERATORS.contains(&first));
    is_taken.then(|| "this path is the operators' or for health checks; choose another".to_owned())
}

/// The networks in `trusted`.
pub(super) fn proxy_protocol(mut section: Section<'_>) -> Vec<IpNet> {
    let trusted = section.require("trusted").map(|list| list.items());
    let networks = trusted.iter().flatten().filter_map(network).collect();
    section.close();
    networks
}

fn network(field: &Field<'_>) -> Option<IpNet> {
    let text = field.text()?;
    let network = text.parse().or_else(|_| text.parse().map(|one: IpAddr| one.into()));
    if network.is_err() {
        field.fail("expected an address or a network such as `10.0.0.0/8` or `2001:db8::/32`");
    }
    network.ok().map(canonical)
}

/// As connections have their addresses: one of IPv4 that is written in IPv6, `::ffff:10.0.0.0/104`, is one of IPv4.
fn canonical(network: IpNet) -> IpNet {
    let mapped = |v6: &Ipv6Net| {
        let address = v6.addr().to_ipv4_mapped()?;
        Ipv4Net::new(address, v6.prefix_len().checked_sub(96)?).ok()
    };
    match &network {
        IpNet::V6(v6) => mapped(v6).map_or(network, IpNet::V4),
        IpNet::V4(_) => network,
    }
}
