//! What a histogram counted in the last minutes.
//!
//! Takes the histogram at the end of every minute, gives quantiles of what came since about five of them ago. Bounded: it
//! keeps 32 bits of each bucket for each of these minutes, which is enough for their difference. Never reads a clock.

use std::collections::VecDeque;

use super::durations::{BUCKETS, Durations, quantile};

/// How many minutes are looked back.
const MINUTES: usize = 5;

/// What one histogram had counted when each of the last minutes ended, oldest first; never empty.
#[derive(Debug)]
pub struct Recent(VecDeque<[u32; BUCKETS]>);

impl Recent {
    /// What was counted until now is not recent.
    pub fn of(durations: &Durations) -> Self {
        Self(VecDeque::from([lowest_bits(durations)]))
    }

    /// A minute has ended.
    pub fn end_minute(&mut self, durations: &Durations) {
        if self.0.len() >= MINUTES {
            self.0.pop_front();
        }
        self.0.push_back(lowest_bits(durations));
    }

    /// The seconds under which a `share` of what came in these minutes stayed. None if nothing came.
    pub fn quantile(&self, durations: &Durations, share: f64) -> Option<f64> {
        let (then, now) = (self.0.front()?, lowest_bits(durations));
        let came: [u64; BUCKETS] = std::array::from_fn(|at| u64::from(now[at].wrapping_sub(then[at])));
        quantile(&came, share)
    }
}

fn lowest_bits(durations: &Durations) -> [u32; BUCKETS] {
    durations.counts().map(|count| count as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_of_the_last_minutes_alone() {
        let durations = Durations::default();
        durations.observe(20.0);
        let mut recent = Recent::of(&durations);
        assert_eq!(recent.quantile(&durations, 0.99), None);
        (0..100).for_each(|_| durations.observe(0.003));
        // Within the bucket of 2 to 4 ms as if they were spread evenly.
        let p50 = recent.quantile(&durations, 0.5).unwrap();
        assert!((p50 - 0.003).abs() < 1e-9, "{p50}");
        for _ in 1..MINUTES {
            recent.end_minute(&durations);
        }
        assert!(recent.quantile(&durations, 0.99).is_some());
        recent.end_minute(&durations);
        assert_eq!(recent.quantile(&durations, 0.99), None);
        // What took longer than any bound took at least as long as the last one.
        durations.observe(100.0);
        assert_eq!(recent.quantile(&durations, 0.99), Some(32.768));
        assert_eq!(recent.0.len(), MINUTES);
    }
}
