//! When a sender is told to come again.
//!
//! Takes what is known (how full the process is, when a bucket can pay, a receiver's word), gives whole seconds. Never grows
//! with the attempts of one sender: a Prometheus from 3.0 on waits as long as it is told in place of its own back-off, so
//! that a long advice is as long without data after the fault is gone.

use std::time::Duration;

/// Longest for a fault that heals by itself. Prometheus' own back-off ends there by default, so that nobody who is told
/// waits longer than who is not.
const LONGEST: u64 = 5;
/// Longest for a bucket. One that fills slowly or never is asked again as often: its policy may have changed.
const LONGEST_FOR_A_BUCKET: u64 = 60;

/// How full the process is: the share that is taken of what all tenants together may have in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fullness(u64);

impl Fullness {
    pub const NONE: Self = Self(0);
    pub const FULL: Self = Self(100);

    pub fn of_percent(percent: u64) -> Self {
        Self(percent.min(100))
    }
}

/// One or two seconds for a process that has nothing to do, three to five for one that is full.
pub fn soon(load: Fullness, spread: u64) -> u64 {
    let Fullness(percent) = load;
    let least = 1 + 2 * percent / 100;
    let kinds = 2 + percent / 100;
    (least + spread % kinds).min(LONGEST)
}

/// When who rests is tried again, if that is soon.
pub fn once_rested(rest: Duration, load: Fullness, spread: u64) -> u64 {
    soon(load, spread).max(whole_seconds(rest).min(LONGEST))
}

/// As soon as a bucket can pay. It has told those who wait for it different times already, so nothing is added.
pub fn once_paid(wait: Duration) -> u64 {
    // An answer and the next request are under way for longer than that.
    whole_seconds(wait.saturating_sub(Duration::from_millis(1))).clamp(1, LONGEST_FOR_A_BUCKET)
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// What a receiver said is not cut short: it knows best. Only what spreads senders comes on top, up to a quarter.
pub fn as_receivers_say(seconds: u64, spread: u64) -> u64 {
    seconds.max(1) + spread % (seconds / 4 + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_of(load: Fullness) -> (u64, u64) {
        let told: Vec<u64> = (0..100).map(|spread| soon(load, spread)).collect();
        (*told.iter().min().unwrap(), *told.iter().max().unwrap())
    }

    #[test]
    fn it_is_short_and_grows_with_nothing_but_the_load() {
        assert_eq!(all_of(Fullness::NONE), (1, 2));
        assert_eq!(all_of(Fullness::of_percent(49)), (1, 2));
        assert_eq!(all_of(Fullness::of_percent(50)), (2, 3));
        assert_eq!(all_of(Fullness::of_percent(99)), (2, 3));
        assert_eq!(all_of(Fullness::FULL), (3, LONGEST));
        assert_eq!(all_of(Fullness::of_percent(1000)), (3, LONGEST));
    }

    #[test]
    fn a_rest_is_waited_for_as_long_as_it_is_short() {
        for (rest, seconds) in [(0, 1), (1500, 2), (4000, 4), (60_000, LONGEST)] {
            assert_eq!(
                once_rested(Duration::from_millis(rest), Fullness::NONE, 0),
                seconds,
                "{rest}"
            );
        }
        assert_eq!(once_rested(Duration::ZERO, Fullness::FULL, 0), 3);
    }

    #[test]
    fn a_buckets_time_is_rounded_up_and_bounded() {
        for (millis, seconds) in [
            (0, 1),
            (900, 1),
            (1000, 1),
            (1001, 1),
            (1002, 2),
            (20_000, 20),
            (300_000, 60),
        ] {
            assert_eq!(once_paid(Duration::from_millis(millis)), seconds, "{millis}");
        }
        assert_eq!(once_paid(Duration::from_secs(2) + Duration::from_nanos(1)), 2);
    }

    #[test]
    fn a_receivers_word_is_told_as_it_is_or_a_little_later() {
        for (said, least, most) in [(0, 1, 2), (1, 1, 2), (120, 120, 151), (3600, 3600, 4501)] {
            let told: Vec<u64> = (0..2000).map(|spread| as_receivers_say(said, spread)).collect();
            assert_eq!(told.iter().min().zip(told.iter().max()), Some((&least, &most)));
        }
    }
}
