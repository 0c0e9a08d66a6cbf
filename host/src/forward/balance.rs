//! Which endpoint takes a request: a pure choice.
//!
//! Takes what is known of each endpoint and a random number; gives an index. Never keeps state, so that every case can
//! be written as a table.

use std::time::Duration;

/// An endpoint is not called slow below this: receivers that pause to tidy up take as long, and no sender minds.
pub const SLOW: Duration = Duration::from_millis(500);

/// An endpoint is slow that takes so many times what the quickest takes. Less may be its distance, its load or its
/// tenants; the choice between two leans to the quicker one anyway.
const TIMES_SLOWER: u32 = 8;

/// What two endpoints differ by below this is chance.
const SAME: Duration = Duration::from_millis(1);

/// What the choice is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub standing: Standing,
    /// Requests this process has in flight there.
    pub in_flight: usize,
    /// What a write takes there, as it was learnt last.
    pub usual: Option<Duration>,
    /// The same, less the longer ago that was.
    pub faded: Option<Duration>,
    /// For how long what is in flight has had no answer.
    pub silence: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Healthy,
    /// Passed over until its back-off is over.
    Ejected,
    /// Its back-off is over: it shall be asked whether it is there.
    DueForProbe,
    /// It is there: the next request may find out whether it is well again.
    DueForTrial,
    /// Not to be chosen: it has just failed this very write.
    Excluded,
}

/// Chooses one of `candidates`, or `None` if there is nothing to choose from.
///
/// 1. An endpoint that is due for a trial. Without this rule it would never be tried while others are healthy. The one
///    request it costs has its failover left, and the trial flag lets no second one follow.
/// 2. Of the healthy that are not slow, two at random and of these the one that promises the sooner answer: what it takes,
///    for each request in flight there and this one. The best of all would herd every replica of the gateway onto a
///    receiver that has just started and looks idle.
/// 3. None is healthy: two at random of the others, as if there were no health at all. A soft receiver answers 503
///    where a *hard* one behind it is gone, so one tenant's dead ring can eject every soft endpoint although each of
///    them works for the other tenants; refusing would turn that into an outage for all. They are not taken in order
///    of their back-off either: that would lay the whole load on the one that happens to be first.
pub fn pick(candidates: &[Candidate], random: u64) -> Option<usize> {
    let quickest = quickest(candidates);
    let bound = slow_bound(candidates).unwrap_or(Duration::MAX);
    let is_quick = |c: &Candidate| c.standing == Standing::Healthy && c.expected() <= bound;
    let is_there = |c: &Candidate| !matches!(c.standing, Standing::Excluded | Standing::DueForTrial);
    candidates
        .iter()
        .position(|c| c.standing == Standing::DueForTrial)
        .or_else(|| sooner(candidates, is_quick, quickest, random))
        .or_else(|| sooner(candidates, is_there, quickest, random))
}

/// What a write takes at a slow endpoint, at least; `None` if nobody knows what it takes elsewhere.
pub fn slow_bound(candidates: &[Candidate]) -> Option<Duration> {
    quickest(candidates).map(|quickest| SLOW.max(quickest.saturating_mul(TIMES_SLOWER)))
}

/// Whether an endpoint may be ejected for being slow: never more than half of them, for the others get its load.
pub fn may_go<'a>(others: impl Iterator<Item = &'a Candidate> + Clone) -> bool {
    let gone = others.clone().filter(|c| c.standing != Standing::Healthy).count();
    (gone + 1) * 2 <= others.count() + 1
}

/// What a write takes at the quickest of the healthy. One that is silent is not as quick as it was.
fn quickest(candidates: &[Candidate]) -> Option<Duration> {
    let healthy = candidates.iter().filter(|c| c.standing == Standing::Healthy);
    healthy.filter_map(|c| c.usual.map(|usual| usual.max(c.silence))).min()
}

impl Candidate {
    fn expected(&self) -> Duration {
        self.faded.unwrap_or_default().max(self.silence)
    }

    /// An endpoint of which nothing is known is taken for as quick as the quickest, so that it gets its share and no more.
    fn cost(&self, quickest: Option<Duration>) -> f64 {
        let takes = self.faded.or(quickest).unwrap_or_default().max(self.silence).max(SAME);
        takes.as_secs_f64() * (self.in_flight + 1) as f64
    }
}

/// Power of two choices among the candidates that `may` be chosen.
fn sooner(
    candidates: &[Candidate],
    may: impl Fn(&Candidate) -> bool,
    quickest: Option<Duration>,
    random: u64,
) -> Option<usize> {
    let eligible = || candidates.iter().enumerate().filter(|(_, c)| may(c));
    let count = eligible().count() as u64;
    if count == 0 {
        return None;
    }
    // The halves of one number are two independent draws; the bias of `%` is 2^-32 of a handful of endpoints.
    let (low, high) = (random & u64::from(u32::MAX), random >> 32);
    let first = low % count;
    if count == 1 {
        return eligible().next().map(|(i, _)| i);
    }
    // One of the others, each as likely.
    let second = (first + 1 + high % (count - 1)) % count;
    let at = |n: u64| eligible().nth(usize::try_from(n).unwrap_or(0));
    match (at(first), at(second)) {
        (Some((a, one)), Some((b, other))) => Some(if other.cost(quickest) < one.cost(quickest) {
            b
        } else {
            a
        }),
        (one, other) => one.or(other).map(|(i, _)| i),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn candidate(standing: Standing, in_flight: usize) -> Candidate {
        Candidate {
            standing,
            in_flight,
            usual: None,
            faded: None,
            silence: Duration::ZERO,
        }
    }

    /// A healthy one with nothing in flight that takes so many milliseconds.
    fn takes(ms: u32) -> Candidate {
        Candidate {
            usual: Some(ms * MS),
            faded: Some(ms * MS),
            ..candidate(Standing::Healthy, 0)
        }
    }

    fn silent(ms: u32, of: Candidate) -> Candidate {
        Candidate {
            in_flight: 1,
            silence: ms * MS,
            ..of
        }
    }

    /// In percent, of all pairs.
    fn shares<const N: usize>(all: [Candidate; N]) -> [usize; N] {
        let mut counts = [0; N];
        draws().for_each(|r| counts[pick(&all, r).unwrap()] += 1);
        counts.map(|n| n * 100 / draws().count())
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
    fn of_two_the_one_that_promises_the_sooner_answer_is_taken() {
        // Two that are slower only meet each other in one pair of six.
        assert!(
            shares([takes(2), takes(2), takes(32), takes(32)])[2..]
                .iter()
                .sum::<usize>()
                <= 17
        );
        let busy = Candidate {
            in_flight: 20,
            ..takes(2)
        };
        assert_eq!(shares([busy, takes(32)]), [0, 100]);
        // What is not known is no promise and no threat, and what is below a millisecond is chance.
        let unknown = candidate(Standing::Healthy, 0);
        assert_eq!(shares([takes(200), unknown]), [50, 50]);
        let instant = Candidate {
            usual: Some(MS / 100),
            faded: Some(MS / 100),
            ..unknown
        };
        assert_eq!(shares([instant, takes(1)]), [50, 50]);
    }

    #[test]
    fn the_slow_are_passed_over_while_one_is_not() {
        assert_eq!(shares([takes(2), takes(501), takes(3000)]), [100, 0, 0]);
        // Below the bound, below the ratio, and where it is not known what others take, they only are the second choice.
        for all in [
            [takes(2), takes(500), takes(500)],
            [takes(400), takes(3000), takes(3000)],
        ] {
            assert!(
                shares(all)[1..].iter().all(|share| (10..=20).contains(share)),
                "{all:?}"
            );
        }
        let unknown = candidate(Standing::Healthy, 0);
        assert_eq!(shares([silent(9000, unknown), silent(9000, unknown)]), [50, 50]);
        assert!(slow_bound(&[silent(9000, unknown), unknown]).is_none());
        // Of those that are left when the quick one has failed, the slow ones are as good as ever.
        let mut failed = [takes(2), takes(3000), takes(3000)];
        failed[0].standing = Standing::Excluded;
        assert_eq!(shares(failed), [0, 50, 50]);
    }

    #[test]
    fn silence_counts_before_anything_is_learnt_and_makes_nobody_else_slow() {
        let unknown = candidate(Standing::Healthy, 0);
        assert_eq!(
            shares([takes(2), silent(501, unknown), silent(501, takes(2))]),
            [100, 0, 0]
        );
        // The quick one hangs: what the others take is no longer too much.
        assert!(shares([silent(5000, takes(2)), takes(600), takes(600)])[0] == 0);
        let hangs = [silent(5000, takes(2)), takes(600)];
        assert_eq!(slow_bound(&hangs), Some(600 * MS * TIMES_SLOWER));
    }

    #[test]
    fn no_more_than_half_go_for_being_slow() {
        for (healthy, gone, may) in [
            (0, 0, false),
            (1, 0, true),
            (1, 1, false),
            (2, 0, true),
            (2, 1, true),
            (1, 2, false),
        ] {
            let others: Vec<_> = std::iter::repeat_n(Standing::Healthy, healthy)
                .chain(std::iter::repeat_n(Standing::Ejected, gone))
                .map(|standing| candidate(standing, 0))
                .collect();
            assert_eq!(may_go(others.iter()), may, "{healthy} {gone}");
        }
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
