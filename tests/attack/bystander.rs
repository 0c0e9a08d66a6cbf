//! The sender that must not notice: writes at a steady rate on one connection, or on a new one each time.
//!
//! Takes a sender, bodies and a rate, gives how many writes that were due were stored and how long each answer took. It
//! lives on a thread and a runtime of its own, so that the attackers' work in this process is not in its times. A write
//! that was late is made up for while there is time, and is never sent twice.

use std::collections::BTreeMap;
use std::time::Duration;

use gauntlet_tests::Sender;
use gauntlet_tests::bodies::Source;
use tokio::time::{Instant, sleep_until, timeout};

/// As patient as a sender with a remote timeout of its own.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a broken connection: nobody calls in a loop.
const PAUSE: Duration = Duration::from_millis(50);

pub struct Bystander {
    pub sender: Sender,
    pub source: Source,
    /// Writes a second.
    pub rate: u32,
    /// Each write comes by a connection of its own.
    pub is_new_each_time: bool,
}

/// What it saw.
#[derive(Default)]
pub struct Seen {
    due: u64,
    stored: u64,
    took: Vec<Duration>,
    /// Other answers than 204; 0: none.
    others: BTreeMap<u16, u64>,
}

impl Bystander {
    /// Writes for so long.
    pub async fn watch(&self, time: Duration) -> Seen {
        let (sender, source, rate) = (self.sender.clone(), self.source.clone(), self.rate);
        let is_new = self.is_new_each_time;
        let own = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime
                .expect("a runtime")
                .block_on(writes(sender, &source, rate, is_new, time))
        };
        tokio::task::spawn_blocking(own).await.expect("a bystander")
    }
}

async fn writes(mut sender: Sender, source: &Source, rate: u32, is_new: bool, time: Duration) -> Seen {
    let began = Instant::now();
    let mut seen = Seen {
        due: (time.as_secs_f64() * f64::from(rate)) as u64,
        ..Seen::default()
    };
    for number in 0..seen.due {
        sleep_until(began + Duration::from_secs(number) / rate).await;
        if began.elapsed() >= time {
            break;
        }
        if is_new {
            sender = sender.clone();
        }
        let sent = Instant::now();
        let answer = timeout(PATIENCE, sender.request(source(number).body.to_vec()).try_send()).await;
        let status = answer.ok().and_then(Result::ok).map_or(0, |answer| answer.status);
        seen.note(status, sent.elapsed());
        if status == 0 {
            // Whatever is still under way on it is nobody's answer any more.
            sender = sender.clone();
            tokio::time::sleep(PAUSE).await;
        }
    }
    seen
}

impl Seen {
    fn note(&mut self, status: u16, took: Duration) {
        self.took.push(took);
        match status {
            204 => self.stored += 1,
            other => *self.others.entry(other).or_default() += 1,
        }
    }

    pub fn add(&mut self, other: Self) {
        self.due += other.due;
        self.stored += other.stored;
        self.took.extend(other.took);
        for (status, count) in other.others {
            *self.others.entry(status).or_default() += count;
        }
    }

    /// The part of what was due that was stored at the first attempt and in time.
    pub fn goodput(&self) -> f64 {
        self.stored as f64 / self.due as f64
    }

    /// The time that so many of a hundred answers stay below. Milliseconds.
    pub fn percentile(&self, percent: f64) -> f64 {
        let mut took = self.took.clone();
        took.sort_unstable();
        let at = (took.len() as f64 * percent / 100.0).ceil() as usize;
        let at = took.get(at.saturating_sub(1)).copied().unwrap_or_default();
        at.as_secs_f64() * 1000.0
    }

    pub fn text(&self) -> String {
        let mut text = format!(
            "{} of {} stored, p50 {:.1} ms, p99 {:.1} ms",
            self.stored,
            self.due,
            self.percentile(50.0),
            self.percentile(99.0)
        );
        for (status, count) in &self.others {
            let word = if *status == 0 {
                "no answer".to_owned()
            } else {
                status.to_string()
            };
            text += &format!(", {count} x {word}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_due_and_not_stored_is_missing_from_the_goodput() {
        let mut seen = Seen {
            due: 4,
            ..Seen::default()
        };
        seen.note(204, Duration::from_millis(1));
        seen.note(204, Duration::from_millis(3));
        seen.note(0, Duration::from_millis(5000));
        assert_eq!(seen.goodput(), 0.5);
        assert_eq!(seen.percentile(50.0), 3.0);
        assert_eq!(seen.text(), "2 of 4 stored, p50 3.0 ms, p99 5000.0 ms, 1 x no answer");
    }
}
