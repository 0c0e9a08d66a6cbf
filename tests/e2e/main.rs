//! The end-to-end tests: the real binary between a sender and a fake receiver.
//!
//! One file per promise of the gateway; docs/invariants.md says which tests try which invariant. Each test
//! starts a gateway of its own.

// A test that panics has failed; small functions beside the tests may panic for them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access_log;
mod accounting;
mod answers;
mod auth;
mod budgets;
mod checking;
mod doors;
mod example;
mod flowing;
mod forwarding;
mod grace;
mod headers;
mod hostile;
mod keeping;
mod labels;
mod languages;
mod lifecycle;
mod limits;
mod measured;
mod observed;
mod operators;
mod ordering;
mod pages;
mod places;
mod plugin_tools;
mod policy_changes;
mod policy_tools;
mod recipes;
mod refusals;
mod reload;
mod rollout;
mod scope;
mod sent_as_2;
mod snippets;
mod tenants;
mod terminal;
mod tools;
mod traced;
mod turned_away;
mod turns;
mod upstreams;
mod versions;
mod watching;

use gauntlet_tests::{Gateway, Receiver, Setup, Tenant, TimeSeries, WriteRequest, series, write};
use serde_json::json;

/// A gateway with one receiver behind `soft`, and the tenant `a` whose bearer token is `a-token`.
async fn one_tenant(receiver: &Receiver) -> Gateway {
    Gateway::start(Setup::with_receiver(receiver).tenant(tenant("a"))).await
}

/// A gateway with two upstreams, and the tenant `a`, whose series `other` go to the other one.
async fn parted(one: &Receiver, other: &Receiver) -> Gateway {
    let routes = json!({"routes": [{"match": {"__name__": "other"}, "stream": "other", "upstream": "other"}]});
    let setup = Setup::new()
        .upstream("one", &[one])
        .upstream("other", &[other])
        .tenant(tenant("a").upstreams(&["one", "other"]).policy("route", routes));
    Gateway::start(setup).await
}

/// A tenant on `soft` whose bearer token is `<id>-token`.
fn tenant(id: &str) -> Tenant {
    Tenant::new(id).bearer(&format!("{id}-token")).upstreams(&["soft"])
}

/// One series, one sample: for tests that do not care what is written.
fn small_write() -> WriteRequest {
    write([series("up").label("job", "test").sample(1.0, 0)])
}

/// `n` series `name{i="0"}`, `name{i="1"}`, ... of one sample each.
fn many(name: &str, n: usize) -> Vec<TimeSeries> {
    let one = |i: usize| series(name).label("i", &i.to_string()).sample(i as f64, 0);
    (0..n).map(one).collect()
}
