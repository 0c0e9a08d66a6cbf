//! The log of answers: a line for each request that was refused, and for a sample of the writes that were stored.
//!
//! Takes what became of a request, gives it to whoever writes the lines. Never waits: what finds no room is counted and gone,
//! and so are refusals beyond [`MOST_FAILURES`] a second, which the next line tells.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::metrics::ReasonLabels;
use super::{LogFormat, Metrics, Throttle};

/// Lines that wait to be written; each has at most some 500 bytes.
const WAITING: usize = 4096;
/// Lines of requests that were refused, in one [`SECOND`].
const MOST_FAILURES: u64 = 1000;
const SECOND: Duration = Duration::from_secs(1);
/// All of them.
const WHOLE: u64 = 1 << 32;

/// The end at which requests are told.
#[derive(Debug)]
pub struct AccessLog {
    lines: SyncSender<AccessLine>,
    /// Of stored writes, in parts of [`WHOLE`].
    share: u64,
    sampled: AtomicU64,
    failures: Throttle,
    metrics: Arc<Metrics>,
}

/// One request that was answered.
#[derive(Debug, Clone)]
pub struct AccessLine {
    pub time: SystemTime,
    /// Empty if none was proved.
    pub tenant: String,
    pub status: u16,
    /// Empty if it was stored.
    pub reason: &'static str,
    /// Of the compressed body, once it is in.
    pub bytes: u64,
    /// Of a write that could be read and was let through; it may have none.
    pub samples: Option<u64>,
    pub duration: Duration,
    /// Those that something was sent to, with commas between.
    pub upstreams: String,
    pub request_id: String,
    pub peer: SocketAddr,
    /// The kind of the credential.
    pub credential: &'static str,
    /// Refusals of the second before that had no line.
    pub untold: u64,
}

impl AccessLog {
    /// For this share of stored writes, from 0 to 1. With the end at which lines are taken off.
    pub fn new(sample: f64, metrics: Arc<Metrics>) -> (Self, Receiver<AccessLine>) {
        let (lines, written) = sync_channel(WAITING);
        let log = Self {
            lines,
            share: (sample * WHOLE as f64) as u64,
            sampled: AtomicU64::new(0),
            failures: Throttle::new(MOST_FAILURES, SECOND),
            metrics,
        };
        (log, written)
    }

    /// Whether there is to be a line of this one, and if so, how many refusals before it had none.
    pub fn due(&self, is_stored: bool, now: Instant) -> Option<u64> {
        if is_stored {
            let before = self.sampled.fetch_add(self.share, Ordering::Relaxed) % WHOLE;
            return (before + self.share >= WHOLE).then_some(0);
        }
        let due = self.failures.due(now);
        if due.is_none() {
            self.metrics.access_log_left_out("rate");
        }
        due
    }

    pub fn tell(&self, line: AccessLine) {
        if self.lines.try_send(line).is_err() {
            self.metrics.access_log_left_out("full");
        }
    }
}

impl Metrics {
    /// One line of the access log, for which there was no room, or no disk.
    pub fn access_log_left_out(&self, reason: &'static str) {
        self.access_log_dropped.get_or_create(&ReasonLabels { reason }).inc();
    }
}

impl AccessLine {
    /// With its end.
    pub fn text(&self, format: LogFormat) -> String {
        let time = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        match format {
            LogFormat::Json => self.json(time),
            LogFormat::Logfmt => self.logfmt(time),
        }
    }

    fn json(&self, time: Duration) -> String {
        let mut line = serde_json::json!({
            "time": rounded(time),
            "tenant": self.tenant,
            "status": self.status,
            "reason": self.reason,
            "bytes": self.bytes,
            "samples": self.samples,
            "duration": rounded(self.duration),
            "upstream": self.upstreams,
            "request_id": self.request_id,
            "peer": self.peer.to_string(),
            "credential": self.credential,
        });
        if self.untold > 0 {
            line["untold"] = self.untold.into();
        }
        format!("{line}\n")
    }

    /// No value has a blank or a quote in it: names are the configuration's, and a request's name is one that a header takes.
    fn logfmt(&self, time: Duration) -> String {
        let samples = self.samples.map(|samples| samples.to_string()).unwrap_or_default();
        let untold = match self.untold {
            0 => String::new(),
            untold => format!(" untold={untold}"),
        };
        format!(
            "time={:.6} tenant={} status={} reason={} bytes={} samples={samples} duration={:.6} upstream={} request_id={} \
             peer={} credential={}{untold}\n",
            time.as_secs_f64(),
            self.tenant,
            self.status,
            self.reason,
            self.bytes,
            self.duration.as_secs_f64(),
            self.upstreams,
            self.request_id,
            self.peer,
            self.credential,
        )
    }
}

/// Seconds, to the microsecond.
fn rounded(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(sample: f64) -> (AccessLog, Receiver<AccessLine>) {
        AccessLog::new(sample, Arc::new(Metrics::new()))
    }

    fn line() -> AccessLine {
        AccessLine {
            time: UNIX_EPOCH + Duration::from_millis(1_767_225_600_250),
            tenant: "a".into(),
            status: 204,
            reason: "",
            bytes: 100,
            samples: Some(2),
            duration: Duration::from_micros(1500),
            upstreams: "soft,other".into(),
            request_id: "0000000000000001".into(),
            peer: "10.0.0.7:1234".parse().unwrap(),
            credential: "bearer_token",
            untold: 0,
        }
    }

    fn left_out(log: &AccessLog, reason: &'static str) -> u64 {
        log.metrics
            .access_log_dropped
            .get_or_create(&ReasonLabels { reason })
            .get()
    }

    #[test]
    fn of_stored_writes_there_is_the_share_that_was_asked_for() {
        let now = Instant::now();
        for (sample, lines) in [(0.0, 0), (0.01, 10), (0.25, 250), (0.6, 600), (1.0, 1000)] {
            let (log, _written) = log(sample);
            let due = (0..1000).filter(|_| log.due(true, now).is_some()).count();
            assert!(due.abs_diff(lines) <= 1, "{due} of {lines}");
        }
    }

    #[test]
    fn refusals_have_a_line_each_up_to_a_rate_and_what_has_none_is_told() {
        let (log, _written) = log(0.0);
        let now = Instant::now();
        let due = (0..MOST_FAILURES + 5).filter(|_| log.due(false, now).is_some());
        assert_eq!(due.count() as u64, MOST_FAILURES);
        assert_eq!(left_out(&log, "rate"), 5);
        assert_eq!(log.due(false, now + SECOND), Some(5));
    }

    #[test]
    fn where_nobody_writes_nobody_waits() {
        let (log, written) = log(1.0);
        (0..WAITING + 3).for_each(|_| log.tell(line()));
        assert_eq!(left_out(&log, "full"), 3);
        assert_eq!(written.try_iter().count(), WAITING);
        drop(written);
        log.tell(line());
        assert_eq!(left_out(&log, "full"), 4);
    }

    #[test]
    fn a_line_says_the_same_in_both_formats() {
        let mut line = line();
        line.untold = 7;
        let json = line.text(LogFormat::Json);
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&read["time"], &read["untold"]), (&1_767_225_600.25.into(), &7.into()));
        assert!(json.ends_with("}\n") && json.matches('\n').count() == 1, "{json}");
        let expected = "time=1767225600.250000 tenant=a status=204 reason= bytes=100 samples=2 duration=0.001500 \
                        upstream=soft,other request_id=0000000000000001 peer=10.0.0.7:1234 credential=bearer_token untold=7\n";
        assert_eq!(line.text(LogFormat::Logfmt), expected);
    }
}
