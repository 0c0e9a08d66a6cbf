//! What the log did not tell of floods that have ended.
//!
//! Takes the time, again and again; writes a line for each kind of failure of which something was not told and that has not
//! come since: as many at most as there were lines about it before. Never counts anything: metrics do.

use std::net::IpAddr;
use std::time::Instant;

use super::Pipeline;
use super::logged::tell;
use crate::telemetry::Throttles;
use crate::tenant::Account;

impl Pipeline {
    /// `refusals` are the listener's.
    pub fn tell_untold(&self, refusals: &Throttles<(IpAddr, &'static str)>, now: Instant) {
        self.tenants.accounts().for_each(|account| tell_of_tenant(account, now));
        for (network, reason, untold) in of_networks(&self.shared.strangers, now) {
            tracing::warn!(network, reason, untold, "more requests were refused than had a line");
        }
        for (network, reason, untold) in of_networks(refusals, now) {
            tracing::info!(network, reason, untold, "more connections were refused than had a line");
        }
        self.shared.upstreams.tell_untold(now);
    }
}

fn tell_of_tenant(account: &Account, now: Instant) {
    for untold in account.failures().untold(now) {
        tell!(
            untold.is_dropped, "more writes failed than had a line",
            tenant = %account.tenant(), reason = untold.reason, untold = untold.failures
        );
    }
}

/// By network and reason.
fn of_networks(kinds: &Throttles<(IpAddr, &'static str)>, now: Instant) -> Vec<(String, &'static str, u64)> {
    let (of_each, of_others) = kinds.ended(now);
    let of_each = of_each
        .into_iter()
        .map(|((network, reason), n)| (network.to_string(), reason, n));
    let of_others = of_others.map(|untold| ("many".to_owned(), "many", untold));
    of_each.chain(of_others).collect()
}
