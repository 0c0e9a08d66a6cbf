//! Which endpoint takes a request: a pure choice.
//!
//! Takes what is known of each endpoint and a random number; gives an index. Never keeps state, so that every case can
//! be written as a table.

/// What the choice is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub standing: Standing,
    /// Requests this process has in flight there.
    pub in_flight: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Healthy,
    /// Passed over until its back-off is over.
    Ejected,
    /// Its back-off is over: the next request may find out whether it is well again.
    DueForTrial,
    /// Not to be chosen: it has just failed this very write.
    Excluded,
}

/// Chooses one of `candidates`, or `None` if there is nothing to choose from.
///
/// 1. An endpoint that is due for a trial. Without this rule it would never be tried while others are healthy. The one
///    request it costs has its failover left, and the trial flag lets no second one follow.
/// 2. Of the healthy, two at random and of these the one with fewer requests in flight. The least loaded of all would
///    herd every replica of the gateway onto a receiver that has just started and looks idle.
/// 3. None is healthy: two at random of the ejected, as if there were no health at all. A soft receiver answers 503
///    where a *hard* one behind it is gone, so one tenant's dead ring can eject every soft endpoint although each of
///    them works for the other tenants; refusing would turn that into an outage for all. They are not taken in order
///    of their back-off either: that would lay the whole load on the one that happens to be first.
pub fn pick(candidates: &[Candidate], random: u64) -> Option<usize> {
    candidates
        .iter()
        .position(|c| c.standing == Standing::DueForTrial)
        .or_else(|| less_loaded(candidates, Standing::Healthy, random))
        .or_else(|| less_loaded(candidates, Standing::Ejected, random))
}

/// Power of two choices among the candidates of one standing.
fn less_loaded(candidates: &[Candidate], standing: Standing, random: u64) -> Option<usize> {
    let with_standing = || candidates.iter().enumerate().filter(|(_, c)| c.standing == standing);
    let count = with_standing().count() as u64;
    if count == 0 {
        return None;
    }
    // The halves of one number are two independent draws; the bias of `%` is 2^-32 of a handful of endpoints.
    let (low, high) = (random & u64::from(u32::MAX), random >> 32);
    let first = low % count;
    if count == 1 {
        return with_standing().next().map(|(i, _)| i);
    }
    // One of the others, each as likely.
    let second = (first + 1 + high % (count - 1)) % count;
    let at = |n: u64| with_standing().nth(usize::try_from(n).unwrap_or(0));
    match (at(first), at(second)) {
        (Some((a, one)), Some((b, other))) => Some(if other.in_flight < one.in_flight { b } else { a }),
        (one, other) => one.or(other).map(|(i, _)| i),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(standing: Standing, in_flight: usize) -> Candidate {
        Candidate { standing, in_flight }
    }

    /// Random numbers that reach every pair of up to eight endpoints.
    fn draws() -> impl Iterator<Item = u64> {
        (0..64u64).flat_map(|low| (0..64u64).map(move |high| (high << 32) | low))
    }

    #[test]
    fn nothing_is_picked_from_nothing() {
        assert_eq!(pick(&[], 7), None);
        assert_eq!(pick(&[candidate(Standing::Excluded, 0)], 7), None);
    }

    #[test]
    fn an_endpoint_due_for_trial_comes_first() {
        let all = [
            candidate(Standing::Healthy, 0),
            candidate(Standing::DueForTrial, 9),
            candidate(Standing::Healthy, 0),
        ];
        assert!(draws().all(|r| pick(&all, r) == Some(1)));
    }

    #[test]
    fn the_ejected_and_the_excluded_are_passed_over_while_one_is_healthy() {
        let all = [
            candidate(Standing::Ejected, 0),
            candidate(Standing::Excluded, 0),
            candidate(Standing::Healthy, 50),
        ];
        assert!(draws().all(|r| pick(&all, r) == Some(2)));
    }

    #[test]
    fn the_busiest_of_the_healthy_is_never_picked_and_the_others_are() {
        let all = [
            candidate(Standing::Healthy, 1),
            candidate(Standing::Healthy, 9),
            candidate(Standing::Healthy, 2),
        ];
        let picked: std::collections::BTreeSet<_> = draws().filter_map(|r| pick(&all, r)).collect();
        assert_eq!(picked, [0, 2].into());
    }

    #[test]
    fn equals_share_the_load_evenly() {
        let all = [candidate(Standing::Healthy, 3); 4];
        let mut counts = [0usize; 4];
        for r in draws() {
            counts[pick(&all, r).unwrap()] += 1;
        }
        assert_eq!(counts, [1024; 4]);
    }

    #[test]
    fn with_none_healthy_the_ejected_share_the_load_and_the_excluded_gets_none() {
        let all = [
            candidate(Standing::Ejected, 0),
            candidate(Standing::Excluded, 0),
            candidate(Standing::Ejected, 0),
        ];
        let picked: std::collections::BTreeSet<_> = draws().filter_map(|r| pick(&all, r)).collect();
        assert_eq!(picked, [0, 2].into());
    }
}
