//! Which failed writes are told in the log.
//!
//! Takes a tenant, a reason and the time; gives whether there is a line for it. The first ones of each kind are told
//! and the others counted: a tenant that fails ten thousand times a second must not fill the disk, nor make the
//! others wait for standard error. Metrics count every write all the same. Never reads a clock.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::TenantId;
use crate::telemetry::Throttle;

/// Lines about one tenant and reason in one [`WINDOW`].
const LINES: u64 = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// Shortest time between two lines that tell an operator what to change about one tenant's sender.
const ADVICE_WINDOW: Duration = Duration::from_secs(3600);
/// Beside the reasons of failures.
const ADVICE: &str = "advice";

/// What was told lately. One per process; as many entries as there are tenants times reasons, at most.
#[derive(Debug, Default)]
pub struct FailureLog {
    told: Mutex<HashMap<(TenantId, &'static str), Throttle>>,
}

impl FailureLog {
    /// Whether to tell this one: with how many of its kind were not told before it.
    pub(super) fn due(&self, tenant: &TenantId, reason: &'static str, now: Instant) -> Option<u64> {
        self.count(tenant, reason, now, || Throttle::new(LINES, WINDOW))
    }

    /// The same for what the tenant's sender should be told to change.
    pub(super) fn advice_due(&self, tenant: &TenantId, now: Instant) -> Option<u64> {
        self.count(tenant, ADVICE, now, || Throttle::new(1, ADVICE_WINDOW))
    }

    fn count(&self, tenant: &TenantId, kind: &'static str, now: Instant, rule: fn() -> Throttle) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.entry((tenant.clone(), kind)).or_insert_with(rule).due(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_by_its_first_lines_and_then_by_number() {
        let log = FailureLog::default();
        let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("b").unwrap());
        let start = Instant::now();
        let told = |tenant, reason, at| {
            (0..1000)
                .filter_map(|_| log.due(tenant, reason, at))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&a, "over_rate", start), vec![0; 10]);
        assert!(told(&a, "over_rate", start + WINDOW - Duration::from_nanos(1)).is_empty());
        // Another tenant and another reason have lines of their own.
        assert_eq!(told(&b, "over_rate", start).len(), 10);
        assert_eq!(told(&a, "snappy", start).len(), 10);
        let next = told(&a, "over_rate", start + WINDOW);
        assert_eq!((next.len(), next[0], next[1]), (10, 1990, 0));
        // Where all were told, none is missing.
        assert_eq!(log.due(&b, "slow", start), Some(0));
        assert_eq!(log.due(&b, "slow", start + WINDOW), Some(0));
    }

    #[test]
    fn advice_is_told_once_per_tenant_and_hour() {
        let log = FailureLog::default();
        let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("b").unwrap());
        let start = Instant::now();
        assert_eq!(log.advice_due(&a, start), Some(0));
        assert_eq!(
            log.advice_due(&a, start + ADVICE_WINDOW - Duration::from_nanos(1)),
            None
        );
        assert_eq!(log.advice_due(&b, start), Some(0));
        assert_eq!(log.advice_due(&a, start + ADVICE_WINDOW), Some(1));
    }
}
