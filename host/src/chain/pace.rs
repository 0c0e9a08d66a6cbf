//! How many series one call of a policy is asked about.
//!
//! Takes what each call took of the processor, gives a number of series that take about a fifth of what a call may: a policy
//! in a slow language is asked in smaller pieces, and never stopped because others were asked about with a series. Begins
//! with few, and takes more as soon as it is seen that they fit. Never says anything of a series: one that takes all of a
//! call's time alone is found by `search`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Series of one call at most: from here on more of them make a call no cheaper by the series.
pub const MOST_SERIES: usize = 512;
/// Before anything is known: at 140 us a series, the slowest toolchain, a twentieth of the default `call_timeout`.
pub const FIRST: usize = 16;
/// A batch of so many times as many may take that much longer than the last one and is still judged in time.
const GROWS_BY: usize = 4;
/// The part of what a call may take that it should.
const PART: u32 = 5;

/// One policy's.
#[derive(Debug)]
pub struct Pace(AtomicUsize);

impl Default for Pace {
    fn default() -> Self {
        Self(AtomicUsize::new(FIRST))
    }
}

impl Pace {
    /// Series of the next call at most; at least one.
    pub fn most(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Nothing is known any more: the policy rests, and others of its chain are not asked about less for it.
    pub fn forget(&self) {
        self.0.store(FIRST, Ordering::Relaxed);
    }

    /// A call about `asked` series, those of a piece of `of` that no policy before had dropped, took so much of the
    /// processor, of what a call may take. Other calls may be judged at the same time: whichever is the last counts.
    pub fn judged(&self, asked: usize, of: usize, took: Duration, allowance: Duration) {
        let part = allowance / PART;
        let fit = asked as u128 * part.as_nanos() / took.as_nanos().max(1);
        let fit = usize::try_from(fit).unwrap_or(usize::MAX);
        let most = self.most();
        let next = if took > part {
            // Also if it was fewer than there may be: they were slower.
            fit.min(most)
        } else if of >= most {
            // A call has a price of its own, so that few in one say too little for fewer.
            fit.clamp(most, most.saturating_mul(GROWS_BY))
        } else {
            most
        };
        self.0.store(next.clamp(1, MOST_SERIES), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Duration = Duration::from_millis(50);

    /// Sizes of the calls that so many series are judged in, each of which takes as long; some are judged already.
    fn calls(pace: &Pace, series: usize, each: Duration) -> Vec<usize> {
        let (mut left, mut calls) = (series, vec![]);
        while left > 0 {
            let asked = pace.most().min(left);
            let took = each * asked as u32;
            pace.judged(asked, asked, took, ALLOWANCE);
            calls.push(asked);
            left -= if took < ALLOWANCE { asked } else { 0 };
        }
        calls
    }

    #[test]
    fn it_begins_small_and_grows_to_what_takes_a_fifth_of_a_call() {
        let microsecond = Duration::from_micros(1);
        assert_eq!(calls(&Pace::default(), 1300, microsecond), [16, 64, 256, 512, 452]);
        let slow = calls(&Pace::default(), 500, 140 * microsecond);
        assert_eq!(slow, [16, 64, 71, 71, 71, 71, 71, 65]);
        let slowest = calls(&Pace::default(), 40, 3000 * microsecond);
        assert_eq!(slowest[..4], [16, 3, 3, 3]);
    }

    #[test]
    fn what_became_slow_is_asked_about_less_at_once_and_what_became_fast_about_more() {
        let pace = Pace::default();
        calls(&pace, 2000, Duration::from_micros(1));
        assert_eq!(pace.most(), MOST_SERIES);
        assert_eq!(calls(&pace, 100, Duration::from_millis(1))[..4], [100, 10, 10, 10]);
        assert_eq!(calls(&pace, 1000, Duration::from_micros(1)), [10, 40, 160, 512, 278]);
    }

    #[test]
    fn one_series_is_asked_about_whatever_it_takes() {
        let pace = Pace::default();
        for _ in 0..10 {
            pace.judged(pace.most(), pace.most(), ALLOWANCE, ALLOWANCE);
        }
        assert_eq!(pace.most(), 1);
        pace.judged(1, 1, Duration::ZERO, ALLOWANCE);
        assert_eq!(pace.most(), 4);
        pace.forget();
        assert_eq!(pace.most(), FIRST);
    }

    #[test]
    fn small_writes_say_nothing_of_large_ones() {
        let pace = Pace::default();
        let millisecond = Duration::from_millis(1);
        pace.judged(1, 1, millisecond, ALLOWANCE);
        pace.judged(3, 3, millisecond, ALLOWANCE);
        assert_eq!(pace.most(), FIRST);
        // Of a whole piece one is left that others did not drop.
        pace.judged(1, FIRST, millisecond, ALLOWANCE);
        assert_eq!(pace.most(), FIRST);
        pace.judged(1, FIRST, millisecond / 100, ALLOWANCE);
        assert_eq!(pace.most(), 4 * FIRST);
        // But one that took longer than all of them should is slow.
        pace.judged(1, 1, 20 * millisecond, ALLOWANCE);
        assert_eq!(pace.most(), 1);
    }
}
