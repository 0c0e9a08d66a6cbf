//! How much of a reactor's time a tenant has had in this turn.
//!
//! A reactor serves what is ready first come, first served: a tenant with many connections would have all others wait for
//! all of its work. Takes what a tenant's work on this reactor took, gives whether more of it may be done here and now; if
//! not, it is done elsewhere, in an order that is fair. A turn ends when the reactor has nothing left to do, so that
//! nobody is sent away from one that is not busy; on one that is always busy a tenant keeps a small share. Threads that
//! are no reactors have no turns: whatever is asked for is done.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::model::TenantId;

/// What a tenant may do at once while others may be waiting: four usual writes, or one of 2000 series.
const BURST: Duration = Duration::from_micros(500);
/// The part of a busy reactor that a tenant keeps, one in so many: 400 usual writes a second.
const SHARE: u32 = 16;

thread_local! {
    /// None on a thread that is no reactor.
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// How long a tenant that came with what was too much is expected to come with more of it: whatever is found out here at
/// the cost of others is found out ten times a second.
const EXPECT_MORE: Duration = Duration::from_millis(100);

/// The tenants that had time of this reactor lately. Few: those of one burst of writes.
#[derive(Debug, Default)]
struct Turn(Vec<Had>);

/// What one tenant had.
#[derive(Debug)]
struct Had {
    tenant: TenantId,
    /// When it will have been its share.
    paid: Instant,
    /// It came with more than is done here.
    heavy: bool,
}

impl Turn {
    /// Whether the tenant has not had all it may have.
    fn is_open(&self, tenant: &TenantId, now: Instant) -> bool {
        let had = self.0.iter().find(|had| had.tenant == *tenant);
        had.is_none_or(|had| match had.heavy {
            true => had.paid <= now,
            false => had.paid <= now + BURST * SHARE,
        })
    }

    /// What a tenant had is paid for when so much time has passed that it was its share. `heavy`: and it was not enough.
    fn spend(&mut self, tenant: &TenantId, took: Duration, heavy: bool, now: Instant) {
        let cost = if heavy { EXPECT_MORE } else { took * SHARE };
        if let Some(had) = self.0.iter_mut().find(|had| had.tenant == *tenant) {
            had.paid = now.max(had.paid) + cost;
            had.heavy = heavy;
            return;
        }
        self.0.retain(|had| had.paid > now);
        self.0.push(Had {
            tenant: tenant.clone(),
            paid: now + cost,
            heavy,
        });
    }

    /// All begin anew but those that are expected to come with too much.
    fn end(&mut self) {
        self.0.retain(|had| had.heavy);
    }
}

/// This thread is a reactor from now on.
pub fn begin() {
    TURN.set(Some(Turn::default()));
}

/// All that was ready was served.
pub fn end() {
    TURN.with_borrow_mut(|turn| {
        if let Some(turn) = turn {
            turn.end();
        }
    });
}

/// Does `work` for a tenant if it is still this tenant's turn here. `work` is short, and gives nothing where there is more to
/// do than that.
pub fn take<T>(tenant: &TenantId, work: impl FnOnce() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    let is_open = TURN.with_borrow(|turn| turn.as_ref().map(|turn| turn.is_open(tenant, began)));
    match is_open {
        Some(false) => return None,
        Some(true) => {}
        None => return work(),
    }
    let done = work();
    let now = Instant::now();
    TURN.with_borrow_mut(|turn| {
        if let Some(turn) = turn {
            turn.spend(tenant, now - began, done.is_none(), now);
        }
    });
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    #[test]
    fn who_had_a_burst_waits_for_its_share_and_others_do_not() {
        let (mut turn, now) = (Turn::default(), Instant::now());
        let (hog, quiet) = (tenant("hog"), tenant("quiet"));
        turn.spend(&hog, BURST, false, now);
        assert!(turn.is_open(&hog, now));
        turn.spend(&hog, BURST / 2, false, now);
        assert!(!turn.is_open(&hog, now) && turn.is_open(&quiet, now));
        // A 16th of the time that passes is its own.
        assert!(!turn.is_open(&hog, now + BURST * SHARE / 2 - Duration::from_nanos(100)));
        assert!(turn.is_open(&hog, now + BURST * SHARE / 2));
    }

    #[test]
    fn who_came_with_too_much_is_expected_to_come_with_more_of_it() {
        let (mut turn, now) = (Turn::default(), Instant::now());
        let (heavy, light) = (tenant("heavy"), tenant("light"));
        turn.spend(&heavy, Duration::ZERO, true, now);
        turn.spend(&light, BURST * 2, false, now);
        assert!(!turn.is_open(&heavy, now) && !turn.is_open(&light, now));
        turn.end();
        assert!(!turn.is_open(&heavy, now) && turn.is_open(&light, now));
        assert!(turn.is_open(&heavy, now + EXPECT_MORE));
        turn.spend(&heavy, BURST / 2, false, now + EXPECT_MORE);
        assert!(turn.is_open(&heavy, now + EXPECT_MORE));
    }

    #[test]
    fn tenants_of_bursts_that_are_paid_for_are_forgotten() {
        let (mut turn, now) = (Turn::default(), Instant::now());
        for n in 0..1000 {
            turn.spend(&tenant(&format!("t{n}")), BURST, false, now + BURST * SHARE * n);
        }
        assert_eq!(turn.0.len(), 1);
    }

    #[test]
    fn a_thread_that_is_no_reactor_does_whatever_is_asked_for() {
        let a = tenant("a");
        let slow = || {
            std::thread::sleep(BURST * 2);
            Some(())
        };
        assert!((0..3).all(|_| take(&a, slow).is_some()));
        begin();
        assert!(take(&a, slow).is_some() && take(&a, slow).is_none());
        end();
        assert!(take(&a, slow).is_some());
    }
}
