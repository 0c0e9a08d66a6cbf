//! What became of a tenant's samples lately.
//!
//! Takes its counters again and again, gives what was counted since the last time, and the last hour by the minute. A write
//! pays nothing for it: whoever looks reads what is counted anyway. Bounded: sixty minutes of four numbers, five of the
//! histogram of durations, two times, 1.8 KB in all. Never reads a clock.

use std::collections::VecDeque;
use std::ops::{AddAssign, Sub};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::counters::{Counters, Flowed};
use crate::telemetry::Recent;

/// Minutes that are remembered.
pub const MINUTES: usize = 60;

/// Samples that came to one end or another in some time. Signed, because counters are read one after the other: what is read
/// too high is less the next time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    pub received: i64,
    pub kept: i64,
    pub edited: i64,
    pub dropped: i64,
    pub rejected: i64,
    pub waiting: i64,
}

/// Samples of one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Minute {
    pub received: u32,
    pub dropped: u32,
    pub rejected: u32,
    pub waiting: u32,
}

/// When the last look saw something, as exact as looks are frequent: every ten seconds at least.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LastSeen {
    /// More samples came, whatever became of them.
    pub received: Option<Instant>,
    /// More samples were stored, or dropped on purpose.
    pub taken: Option<Instant>,
}

/// One tenant's. Goes with its account.
pub struct TenantFlow(Mutex<State>);

struct State {
    seen: Flowed,
    /// Of each upstream what was seen.
    forwarded: Vec<(String, u64)>,
    /// Since the last whole minute.
    open: Moved,
    /// Oldest first.
    minutes: VecDeque<Minute>,
    /// Since somebody last asked for it.
    lately: Moved,
    last: LastSeen,
    durations: Recent,
}

impl TenantFlow {
    /// Of counters that nothing was counted with yet.
    pub(super) fn new(counters: &Counters) -> Self {
        Self(Mutex::new(State {
            seen: Flowed::default(),
            forwarded: Vec::new(),
            open: Moved::default(),
            minutes: VecDeque::new(),
            lately: Moved::default(),
            last: LastSeen::default(),
            durations: Recent::of(counters.durations()),
        }))
    }

    /// What was counted since the last time; `upstream` is told of each that acknowledged some of it.
    pub fn gather(&self, counters: &Counters, now: Instant, mut upstream: impl FnMut(&str, u64)) -> Moved {
        let mut state = self.locked();
        let flowed = counters.flowed();
        let moved = flowed - std::mem::replace(&mut state.seen, flowed);
        state.open += moved;
        state.lately += moved;
        state.last.note(moved, now);
        counters.each_forwarded(|name, samples| {
            let more = samples.saturating_sub(state.replace_forwarded(name, samples));
            if more > 0 {
                upstream(name, more);
            }
        });
        moved
    }

    /// What was gathered belongs to a minute that is over.
    pub fn end_minute(&self, counters: &Counters) {
        let mut state = self.locked();
        if state.minutes.len() >= MINUTES {
            state.minutes.pop_front();
        }
        let minute = Minute::of(state.open.take());
        state.minutes.push_back(minute);
        state.durations.end_minute(counters.durations());
    }

    /// The whole minutes of the last hour, oldest first.
    pub fn minutes(&self) -> Vec<Minute> {
        self.locked().minutes.iter().copied().collect()
    }

    /// The last whole minute; an empty one if there was none yet.
    pub fn last_minute(&self) -> Minute {
        self.locked().minutes.back().copied().unwrap_or_default()
    }

    pub fn last_seen(&self) -> LastSeen {
        self.locked().last
    }

    /// What was gathered since this was last asked.
    pub fn take_lately(&self) -> Moved {
        self.locked().lately.take()
    }

    /// The seconds within which 99 of 100 requests of the last five minutes were answered.
    pub fn p99(&self, counters: &Counters) -> Option<f64> {
        self.locked().durations.quantile(counters.durations(), 0.99)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn replace_forwarded(&mut self, upstream: &str, samples: u64) -> u64 {
        match self.forwarded.iter_mut().find(|(name, _)| name == upstream) {
            Some((_, seen)) => std::mem::replace(seen, samples),
            None => {
                self.forwarded.push((upstream.to_owned(), samples));
                0
            }
        }
    }
}

impl LastSeen {
    fn note(&mut self, moved: Moved, now: Instant) {
        if moved.received > 0 {
            self.received = Some(now);
        }
        if moved.kept + moved.edited + moved.dropped > 0 {
            self.taken = Some(now);
        }
    }
}

impl Moved {
    /// No number that is taken is below zero: what is missing of one stays to be missing the next time.
    pub fn take(&mut self) -> Self {
        let take = |number: &mut i64| std::mem::replace(number, (*number).min(0)).max(0);
        Self {
            received: take(&mut self.received),
            kept: take(&mut self.kept),
            edited: take(&mut self.edited),
            dropped: take(&mut self.dropped),
            rejected: take(&mut self.rejected),
            waiting: take(&mut self.waiting),
        }
    }
}

impl Minute {
    fn of(moved: Moved) -> Self {
        let number = |samples: i64| u32::try_from(samples).unwrap_or(u32::MAX);
        Self {
            received: number(moved.received),
            dropped: number(moved.dropped),
            rejected: number(moved.rejected),
            waiting: number(moved.waiting),
        }
    }
}

impl Sub for Flowed {
    type Output = Moved;

    fn sub(self, before: Self) -> Moved {
        let difference = |now: u64, before: u64| now.wrapping_sub(before).cast_signed();
        Moved {
            received: difference(self.received, before.received),
            kept: difference(self.kept, before.kept),
            edited: difference(self.edited, before.edited),
            dropped: difference(self.dropped, before.dropped),
            rejected: difference(self.rejected, before.rejected),
            waiting: difference(self.waiting, before.waiting),
        }
    }
}

impl AddAssign for Moved {
    fn add_assign(&mut self, more: Self) {
        self.received += more.received;
        self.kept += more.kept;
        self.edited += more.edited;
        self.dropped += more.dropped;
        self.rejected += more.rejected;
        self.waiting += more.waiting;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::model::TenantId;
    use crate::telemetry::Metrics;

    fn counters(metrics: &Arc<Metrics>) -> Counters {
        Counters::new(&TenantId::new("a").unwrap(), metrics)
    }

    #[test]
    fn each_sample_is_in_one_minute_and_an_hour_of_them_is_remembered() {
        let counters = counters(&Arc::new(Metrics::new()));
        let (flow, now) = (TenantFlow::new(&counters), Instant::now());
        assert_eq!(flow.last_minute(), Minute::default());
        for minute in 0..70 {
            counters.received(minute, 1);
            flow.gather(&counters, now, |_, _| {});
            counters.rejected("snappy", 1, minute % 2 == 0);
            flow.gather(&counters, now, |_, _| {});
            flow.end_minute(&counters);
        }
        let minutes = flow.minutes();
        assert_eq!(minutes.len(), MINUTES);
        let (first, last) = (minutes[0], minutes[59]);
        assert_eq!((first.received, first.rejected, first.waiting), (10, 0, 1));
        assert_eq!((last.received, last.rejected, last.waiting), (69, 1, 0));
        assert_eq!(flow.last_minute(), last);
        let lately = flow.take_lately();
        assert_eq!(
            (lately.received, lately.waiting, lately.rejected),
            (69 * 70 / 2, 35, 35)
        );
        assert_eq!(flow.take_lately(), Moved::default());
    }

    #[test]
    fn what_was_counted_before_the_account_is_not_counted_again() {
        let metrics = Arc::new(Metrics::new());
        let before = counters(&metrics);
        before.received(100, 1);
        before.forwarded("soft", 90);
        before.rejected("snappy", 10, true);
        before.edited(20);
        let after = counters(&metrics);
        let (flow, now) = (TenantFlow::new(&after), Instant::now());
        after.expect_upstreams(&["soft".to_owned()]);
        after.rejected("snappy", 0, true);
        after.received(7, 1);
        after.forwarded("soft", 3);
        after.forwarded("other", 4);
        after.edited(2);
        let mut told = Vec::new();
        let moved = flow.gather(&after, now, |upstream, samples| {
            told.push((upstream.to_owned(), samples))
        });
        let expected = Moved {
            received: 7,
            kept: 5,
            edited: 2,
            ..Moved::default()
        };
        assert_eq!(moved, expected);
        assert_eq!(told, [("other".to_owned(), 4), ("soft".to_owned(), 3)]);
        assert_eq!(
            flow.gather(&after, now, |_, _| panic!("nothing came")),
            Moved::default()
        );
    }

    #[test]
    fn it_is_known_when_samples_came_last_and_when_they_were_last_taken() {
        let counters = counters(&Arc::new(Metrics::new()));
        let (flow, start) = (TenantFlow::new(&counters), Instant::now());
        let look = |after| {
            let now = start + Duration::from_secs(after);
            flow.gather(&counters, now, |_, _| {});
            let seconds = |at: Option<Instant>| at.map(|at| (at - start).as_secs());
            let LastSeen { received, taken } = flow.last_seen();
            (seconds(received), seconds(taken))
        };
        assert_eq!(look(0), (None, None));
        counters.received(2, 1);
        counters.rejected("snappy", 2, true);
        assert_eq!(look(10), (Some(10), None));
        counters.received(1, 1);
        counters.forwarded("soft", 1);
        assert_eq!(look(20), (Some(20), Some(20)));
        assert_eq!(look(30), (Some(20), Some(20)));
    }

    #[test]
    fn what_was_read_too_high_is_less_in_the_next_minute() {
        let mut open = Moved {
            received: 5,
            rejected: -2,
            ..Moved::default()
        };
        assert_eq!(open.take().rejected, 0);
        open.rejected += 3;
        let next = open.take();
        assert_eq!((next.received, next.rejected), (0, 1));
    }
}
