//! How often the same thing is told.
//!
//! Takes the time of each event, gives whether there is a line for it and how many events had none before it. The
//! first ones of every window are told and the others counted: what happens ten thousand times a second must not fill
//! the disk, nor make the others wait for standard error. Metrics count every event all the same. Never reads a clock.

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
        let mut untold = 0;
        let window = match &mut *current {
            Some(window) if now.saturating_duration_since(window.since) < self.window => window,
            ended => {
                untold = ended.map_or(0, |window| window.events.saturating_sub(self.lines));
                ended.insert(Window { since: now, events: 0 })
            }
        };
        window.events += 1;
        (window.events <= self.lines).then_some(untold)
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
