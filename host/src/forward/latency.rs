//! How long one endpoint takes: what a choice among endpoints is made from besides its health.
//!
//! Takes when requests begin and end, gives what the next one may expect. A pure structure, so that tests need no clock.
//! Never says that an endpoint is slow: slow is only what others are not.

use std::time::{Duration, Instant};

/// What is slower than the average counts with the weight of a second: a receiver that becomes slow is avoided within
/// moments, and one slow answer among many quick ones is none.
const RISE: Duration = Duration::from_secs(1);

/// What is quicker, and the time in which nothing is learnt, count with the weight of ten: an endpoint that nobody asks
/// because it was slow is asked again after some tens of seconds, and not in every lull.
const FALL: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Latency {
    in_flight: usize,
    /// In seconds, with when it was learnt.
    average: Option<(f64, Instant)>,
    /// Requests are in flight, and none has been answered since.
    silent_since: Option<Instant>,
}

impl Latency {
    /// A request begins; [`Latency::ended`] has to follow.
    pub fn began(&mut self, now: Instant) {
        self.in_flight += 1;
        self.silent_since.get_or_insert(now);
    }

    /// The endpoint answered something.
    pub fn answered(&mut self, now: Instant) {
        self.silent_since = Some(now);
    }

    /// A write took this long to be stored, or was waited for in vain.
    pub fn learnt(&mut self, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        let average = self.average.map_or(took, |(average, at)| {
            let memory = if took > average { RISE } else { FALL };
            took + (average - took) * kept(now.saturating_duration_since(at), memory)
        });
        self.average = Some((average, now));
    }

    pub fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.in_flight == 0 {
            self.silent_since = None;
        }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The average as it was last, however long ago; `None` if nothing was ever learnt.
    pub fn usual(&self) -> Option<Duration> {
        self.average.map(|(average, _)| Duration::from_secs_f64(average))
    }

    /// The average, which loses weight while nothing is learnt.
    pub fn faded(&self, now: Instant) -> Option<Duration> {
        let (average, at) = self.average?;
        let faded = average * kept(now.saturating_duration_since(at), FALL);
        Some(Duration::from_secs_f64(faded))
    }

    /// For how long what is in flight has had no answer: the one sign of an endpoint that hangs before a timeout is over.
    pub fn silence(&self, now: Instant) -> Duration {
        let since = self.silent_since;
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// What is left of a value's weight.
fn kept(after: Duration, memory: Duration) -> f64 {
    (-after.as_secs_f64() / memory.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// After `seconds` of ten answers a second that took `took` each.
    fn after(latency: &mut Latency, now: &mut Instant, seconds: u32, took: Duration) -> Duration {
        for _ in 0..seconds * 10 {
            *now += 100 * MS;
            latency.learnt(took, *now);
        }
        latency.usual().unwrap()
    }

    #[test]
    fn it_rises_in_a_second_and_falls_in_ten() {
        let (mut latency, mut now) = (Latency::default(), Instant::now());
        assert_eq!((latency.usual(), latency.faded(now)), (None, None));
        latency.learnt(MS, now);
        assert_eq!(latency.usual(), Some(MS));
        assert!(after(&mut latency, &mut now, 1, 100 * MS) > 60 * MS);
        assert!(after(&mut latency, &mut now, 4, 100 * MS) > 98 * MS);
        assert!(after(&mut latency, &mut now, 5, MS) > 50 * MS);
        assert!(after(&mut latency, &mut now, 45, MS) < 2 * MS);
    }

    #[test]
    fn one_slow_answer_among_many_is_forgiven_and_the_only_one_is_not() {
        let (mut latency, mut now) = (Latency::default(), Instant::now());
        after(&mut latency, &mut now, 1, MS);
        latency.learnt(100 * MS, now + MS);
        assert!(latency.usual().unwrap() < 2 * MS);
        latency.learnt(3000 * MS, now + 3000 * MS);
        assert!(latency.usual().unwrap() > 2500 * MS);
    }

    #[test]
    fn what_is_not_asked_fades_and_is_remembered() {
        let (mut latency, now) = (Latency::default(), Instant::now());
        latency.learnt(3000 * MS, now);
        let later = now + Duration::from_secs(20);
        assert!(latency.faded(later).unwrap() < 500 * MS);
        assert_eq!(latency.usual(), Some(3000 * MS));
    }

    #[test]
    fn it_is_silent_while_what_is_in_flight_has_no_answer() {
        let (mut latency, now) = (Latency::default(), Instant::now());
        assert_eq!(latency.silence(now), Duration::ZERO);
        latency.began(now);
        latency.began(now + MS);
        assert_eq!((latency.silence(now + 5 * MS), latency.in_flight()), (5 * MS, 2));
        latency.answered(now + 5 * MS);
        latency.ended();
        assert_eq!(latency.silence(now + 7 * MS), 2 * MS);
        latency.ended();
        assert_eq!(
            (latency.silence(now + 9 * MS), latency.in_flight()),
            (Duration::ZERO, 0)
        );
    }
}
