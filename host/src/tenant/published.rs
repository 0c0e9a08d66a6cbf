//! What is not counted as it happens, and told of each tenant when metrics are read: its limits and what it has of them, and
//! when its credentials were used, and end.
//!
//! Takes the tenants of a generation and the time, gives gauges, each family in one step, so that nothing stays of what is gone.
//! Never called for a write.

use std::collections::HashMap;
use std::time::Instant;

use prometheus_client::metrics::gauge::Gauge;

use super::Tenants;
use super::account::Account;
use super::generation::Generation;
use crate::model::seconds_since_1970;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{CredentialUse, LimitLabels, signed};

/// Credentials of one tenant that are told one by one.
const TOLD: usize = 16;

type All<L> = HashMap<L, Gauge>;

impl Tenants {
    /// Brings the gauges of all tenants in line with what they are now.
    pub fn publish(&self, metrics: &Metrics, now: Instant) {
        let (mut limits, mut uses) = (All::new(), All::new());
        for generation in self.serving() {
            generation.publish();
            add_limits(generation, &mut limits, &mut uses);
        }
        metrics.limits.replace(limits);
        metrics.limit_use.replace(uses);
        let (mut last_used, mut expires) = (All::new(), All::new());
        for account in self.accounts() {
            add_last_uses(account, now, &mut last_used, &mut expires);
        }
        metrics.credential_last_used.replace(last_used);
        metrics.credential_expires.replace(expires);
    }
}

fn add_limits(generation: &Generation, limits: &mut All<LimitLabels>, uses: &mut All<LimitLabels>) {
    let (config, account) = (generation.config(), generation.account());
    let in_flight = &account.in_flight;
    let bounded = [
        (
            "max_active_series",
            config.limits.max_active_series,
            generation.judge.active_series(),
        ),
        (
            "max_concurrent_requests",
            config.limits.max_concurrent_requests as u64,
            in_flight.requests() as u64,
        ),
        (
            "max_in_flight_size",
            config.limits.max_in_flight_size,
            in_flight.bytes(),
        ),
    ];
    for (limit, most, in_use) in bounded {
        let labels = LimitLabels {
            tenant: config.id.to_string(),
            limit,
        };
        limits.insert(labels.clone(), gauge(signed(most)));
        uses.insert(labels, gauge(signed(in_use)));
    }
}

fn add_last_uses(
    account: &Account,
    now: Instant,
    last_used: &mut All<CredentialUse>,
    expires: &mut All<CredentialUse>,
) {
    let today = seconds_since_1970();
    for (credential, used) in account.uses.latest(TOLD, now) {
        let labels = CredentialUse {
            tenant: account.tenant().to_string(),
            credential,
        };
        if let Some(end) = used.expires {
            expires.insert(labels.clone(), gauge(end));
        }
        last_used.insert(labels, gauge(today - signed(used.ago.as_secs())));
    }
}

fn gauge(value: i64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}
