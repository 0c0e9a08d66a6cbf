//! How often the same thing is told.
//!
//! Takes the time of each event, gives whether there is a line for it and how many events had none before it. The
//! first ones of every window are told and the others counted: what happens ten thousand times a second must not fill
//! the disk, nor make the others wait for standard error. What was not told of a flood is told with the next event, or to
//! whoever asks when it has ended. Metrics count every event all the same. Never reads a clock.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets `lines` events per `window` be told. One per kind of event.
#[derive(Debug)]
pub struct Throttle {
    lines: u64,
    window: Duration,
    /// `None` before the first event.
    current: Mutex<Option<Window>>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    events: u64,
    told: u64,
}

/// A [`Throttle`] for each of many kinds of events. Strangers may make kinds, by their addresses for one, so those beyond
/// `most` in one window share the last; so does what was not told of a kind that had to make room.
#[derive(Debug)]
pub struct Throttles<K> {
    lines: u64,
    window: Duration,
    most: usize,
    current: Mutex<HashMap<K, Window>>,
    others: Throttle,
}

impl Throttle {
    pub const fn new(lines: u64, window: Duration) -> Self {
        Self {
            lines,
            window,
            current: Mutex::new(None),
        }
    }

    /// Counts one event. Where it is to be told: with how many events of the last window were not.
    pub fn due(&self, now: Instant) -> Option<u64> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let window = current.get_or_insert(Window::new(now));
        window.due(self.lines, self.window, now)
    }

    /// How many events of the last window were not told, if it has ended. They are taken for told then.
    pub fn ended(&self, now: Instant) -> Option<u64> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = current.take_if(|window| window.has_ended(self.window, now))?;
        Some(ended.untold()).filter(|untold| *untold > 0)
    }

    /// Counts events that will not be told otherwise.
    fn miss(&self, events: u64, now: Instant) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.get_or_insert(Window::new(now)).events += events;
    }
}

impl Window {
    fn new(since: Instant) -> Self {
        Self {
            since,
            events: 0,
            told: 0,
        }
    }

    fn untold(&self) -> u64 {
        self.events - self.told
    }

    fn has_ended(&self, length: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= length
    }

    fn due(&mut self, lines: u64, length: Duration, now: Instant) -> Option<u64> {
        let mut untold = 0;
        if self.has_ended(length, now) {
            untold = self.untold();
            *self = Self::new(now);
        }
        self.events += 1;
        let is_told = self.told < lines;
        self.told += u64::from(is_told);
        is_told.then_some(untold)
    }
}

/// Whom a flood is held against: whoever has one IPv6 address has the 2^64 of its network.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

impl<K: Hash + Eq + Clone> Throttles<K> {
    pub fn new(lines: u64, window: Duration, most: usize) -> Self {
        Self {
            lines,
            window,
            most,
            current: Mutex::default(),
            others: Throttle::new(lines, window),
        }
    }

    /// As [`Throttle::due`], for an event of `kind`.
    pub fn due(&self, kind: K, now: Instant) -> Option<u64> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.len() >= self.most && !current.contains_key(&kind) {
            let ended = self.take_ended(&mut current, now);
            let untold: u64 = ended.iter().map(|(_, untold)| untold).sum();
            if untold > 0 {
                self.others.miss(untold, now);
            }
            if current.len() >= self.most {
                return self.others.due(now);
            }
        }
        let window = current.entry(kind).or_insert(Window::new(now));
        window.due(self.lines, self.window, now)
    }

    /// As [`Throttle::ended`], of each kind, and of all together that had no window of their own.
    pub fn ended(&self, now: Instant) -> (Vec<(K, u64)>, Option<u64>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        (self.take_ended(&mut current, now), self.others.ended(now))
    }

    /// Forgets windows that have ended; gives those of which something was not told.
    fn take_ended(&self, current: &mut HashMap<K, Window>, now: Instant) -> Vec<(K, u64)> {
        let mut ended = Vec::new();
        current.retain(|kind, window| {
            let has_ended = window.has_ended(self.window, now);
            if has_ended && window.untold() > 0 {
                ended.push((kind.clone(), window.untold()));
            }
            !has_ended
        });
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    #[test]
    fn the_first_lines_of_a_window_are_told_and_the_others_counted() {
        let throttle = Throttle::new(2, WINDOW);
        let start = Instant::now();
        let told = |at| (0..1000).map(|_| throttle.due(at)).collect::<Vec<_>>();
        let first = told(start);
        assert_eq!(first[..3], [Some(0), Some(0), None]);
        assert_eq!(first.iter().flatten().count(), 2);
        assert!(
            told(start + WINDOW - Duration::from_nanos(1))
                .iter()
                .all(Option::is_none)
        );
        assert_eq!(told(start + WINDOW)[..3], [Some(1998), Some(0), None]);
        // A clock that goes back begins no window.
        assert_eq!(throttle.due(start), None);
    }

    #[test]
    fn each_kind_has_lines_of_its_own_until_there_are_too_many_kinds() {
        let throttles = Throttles::new(1, WINDOW, 2);
        let start = Instant::now();
        assert_eq!(
            (throttles.due("a", start), throttles.due("b", start)),
            (Some(0), Some(0))
        );
        assert_eq!((throttles.due("a", start), throttles.due("a", start)), (None, None));
        // A flood of new kinds is one kind, and takes no memory.
        let flood: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        let told = flood.iter().filter_map(|kind| throttles.due(kind, start)).count();
        assert_eq!(told, 1);
        assert_eq!(throttles.current.lock().unwrap().len(), 2);
        assert_eq!(throttles.due("a", start + WINDOW), Some(2));
        // What had its window makes room.
        assert_eq!(throttles.due("c", start + WINDOW), Some(0));
        assert_eq!(throttles.due("d", start + WINDOW), Some(999));
    }

    #[test]
    fn what_was_not_told_of_a_flood_is_told_once_when_it_has_ended() {
        let (throttle, throttles) = (Throttle::new(2, WINDOW), Throttles::new(2, WINDOW, 1));
        let start = Instant::now();
        assert_eq!(throttle.ended(start), None);
        for _ in 0..10 {
            throttle.due(start);
            throttles.due("a", start);
            throttles.due("b", start);
        }
        throttles.due("b", start);
        let early = start + WINDOW - Duration::from_nanos(1);
        assert_eq!((throttle.ended(early), throttles.ended(early)), (None, (vec![], None)));
        let end = start + WINDOW;
        assert_eq!((throttle.ended(end), throttle.ended(end)), (Some(8), None));
        assert_eq!(throttles.ended(end), (vec![("a", 8)], Some(9)));
        assert_eq!(throttles.ended(end), (vec![], None));
        // What was told so is not told again, and what was told by lines alone is not told at all.
        assert_eq!((throttle.due(end), throttles.due("a", end)), (Some(0), Some(0)));
        assert_eq!(throttle.ended(end + WINDOW), None);
    }

    #[test]
    fn what_was_not_told_of_a_kind_that_makes_room_is_not_lost() {
        let throttles = Throttles::new(1, WINDOW, 1);
        let start = Instant::now();
        for _ in 0..10 {
            throttles.due("a", start);
        }
        assert_eq!(throttles.due("b", start + WINDOW), Some(0));
        assert_eq!(throttles.ended(start + 2 * WINDOW), (vec![], Some(9)));
    }

    #[test]
    fn a_flood_is_held_against_an_address_or_a_network_of_ipv6() {
        let of = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn where_all_were_told_none_is_missing() {
        let throttle = Throttle::new(1, WINDOW);
        let start = Instant::now();
        assert_eq!(throttle.due(start), Some(0));
        assert_eq!(throttle.due(start + WINDOW), Some(0));
        assert_eq!(throttle.due(start + WINDOW), None);
        // The windows begin with an event, not one after another.
        assert_eq!(throttle.due(start + 5 * WINDOW / 2), Some(1));
        assert_eq!(throttle.due(start + 3 * WINDOW), None);
    }
}
