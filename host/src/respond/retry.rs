//! When a sender is told to come again.
//!
//! Takes what is known, seconds of our own or a receiver's word, gives whole seconds. Never lets those who were refused
//! together come back together.

/// Longest Retry-After, in seconds; Prometheus' own back-off ends at 5 s by default, agents' at minutes.
const MAX_RETRY_AFTER: u64 = 60;

/// At least `seconds`, doubled for every attempt the sender counted, spread by up to as much again so that senders
/// which were refused together do not come back together.
pub fn after(seconds: u64, attempt: u32, jitter: u64) -> u64 {
    let least = seconds.clamp(1, MAX_RETRY_AFTER);
    let grown = least.saturating_mul(1 << attempt.min(5)).min(MAX_RETRY_AFTER / 2);
    // What a bucket needs is not cut short by the cap on growing.
    let grown = grown.max(least);
    (grown + jitter % (grown + 1)).min(MAX_RETRY_AFTER)
}

/// What a receiver said is neither doubled nor cut short: it knows best. Only what spreads senders comes on top, up to a
/// quarter.
pub fn as_receivers_say(seconds: u64, jitter: u64) -> u64 {
    seconds.max(1) + jitter % (seconds / 4 + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_the_attempt_and_stays_within_a_minute() {
        assert_eq!(after(1, 0, 0), 1);
        assert_eq!(after(1, 3, 0), 8);
        assert_eq!(after(1, 30, 30), 60);
        assert_eq!(after(1, 30, 0), 30);
        assert_eq!(after(500, 0, 7), 60);
        for jitter in 0..100 {
            assert!((4..=8).contains(&after(1, 2, jitter)));
        }
    }

    #[test]
    fn a_receivers_word_is_told_as_it_is_or_a_little_later() {
        for (said, least, most) in [(0, 1, 2), (1, 1, 2), (120, 120, 151), (3600, 3600, 4501)] {
            let told: Vec<u64> = (0..2000).map(|jitter| as_receivers_say(said, jitter)).collect();
            assert_eq!(told.iter().min().zip(told.iter().max()), Some((&least, &most)));
        }
    }
}
