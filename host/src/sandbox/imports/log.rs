//! What plugins say: bounded, escaped lines in the gateway's log.
//!
//! Takes messages through `gauntlet:policy/log` and bytes through a stock toolchain's standard output; gives
//! events with the tenant's and the policy's name. Never lets a plugin write more than its share of lines or
//! bytes, nor a control character.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::model::{joined, plain_lines};
use crate::sandbox::contract::log::Level;
use crate::sandbox::meter::Meter;
use crate::telemetry::metrics::PolicyLabels;
use crate::telemetry::{Metrics, Throttle};

/// Lines of one call: enough for a word about every unusual series of a batch, not for a line per series.
const LINES_PER_CALL: u32 = 16;
/// Lines of one policy per second, all its instances together.
const LINES_PER_SECOND: u64 = 32;
/// Longest line, in bytes.
const LINE_LENGTH: usize = 512;
/// What a standard output takes at once, in bytes.
const WRITE_SIZE: usize = 4096;

/// Lines of one policy that operators are shown: the last ones.
const SHOWN_LINES: usize = 16;
/// And how many bytes they may have together: there may be thousands of policies.
const SHOWN_BYTES: usize = 4096;

/// Longest message for who listens, in bytes: a stack.
const HEARD_LENGTH: usize = 4096;
/// Most messages kept for who listens and does not fetch them.
const MOST_HEARD: usize = 1024;

/// One policy's share of the log.
#[derive(Debug)]
pub struct Share {
    pub tenant: String,
    pub policy: String,
    pub meter: Meter,
    throttle: Throttle,
    last: Mutex<VecDeque<(Line, Instant)>>,
    /// In place of the log.
    heard: Option<Mutex<Heard>>,
}

#[derive(Debug, Default)]
struct Heard {
    lines: Vec<Line>,
    /// Lines that were too many.
    dropped: usize,
}

/// What a plugin wrote, for its author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub level: &'static str,
    /// Without control characters; with lines where its author alone reads it.
    pub text: String,
}

impl Share {
    pub fn new(tenant: &str, policy: &str, meter: Meter) -> Self {
        Self {
            tenant: tenant.to_owned(),
            policy: policy.to_owned(),
            meter,
            throttle: Throttle::new(LINES_PER_SECOND, Duration::from_secs(1)),
            last: Mutex::default(),
            heard: None,
        }
    }

    /// Of a plugin that its author tries out: what it writes is for [`Share::heard`], as many lines of each call as the log
    /// would take.
    pub fn listening(tenant: &str, policy: &str) -> Self {
        Self {
            heard: Some(Mutex::default()),
            ..Self::new(tenant, policy, Meter::new(&Metrics::new(), &PolicyLabels::default()))
        }
    }

    /// The lines since the last time, if it listens, and a word about those that were too many.
    pub fn heard(&self) -> Vec<Line> {
        let Some(heard) = &self.heard else { return Vec::new() };
        let heard = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
        let mut lines = heard.lines;
        if heard.dropped > 0 {
            let text = format!("{} lines more were printed than a call may", heard.dropped);
            lines.push(Line { level: "gateway", text });
        }
        lines
    }

    /// The last lines, the newest first, each with how long ago it was written.
    pub fn last(&self, now: Instant) -> Vec<(Line, Duration)> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let ago = |(line, at): &(Line, Instant)| (line.clone(), now.saturating_duration_since(*at));
        last.iter().map(ago).collect()
    }

    fn remember(&self, line: Line, now: Instant) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.truncate(SHOWN_LINES - 1);
        last.push_front((line, now));
        while last.len() > 1 && last.iter().map(|(line, _)| line.text.len()).sum::<usize>() > SHOWN_BYTES {
            last.pop_back();
        }
    }

    fn take(&self, now: Instant) -> bool {
        // The meter counts those that were not told.
        self.throttle.due(now).is_some()
    }
}

/// One instance's way into the log.
#[derive(Debug)]
pub struct Lines {
    share: Arc<Share>,
    written: u32,
    /// The line of standard output that has no end yet.
    partial: Vec<u8>,
    /// The last error of this call, which is kept also where the log takes no more.
    last_error: Option<String>,
}

impl Lines {
    pub fn new(share: Arc<Share>) -> Self {
        Self {
            share,
            written: 0,
            partial: Vec::new(),
            last_error: None,
        }
    }

    /// A new call may write [`LINES_PER_CALL`] lines again.
    pub fn begin_call(&mut self) {
        self.written = 0;
        self.last_error = None;
    }

    /// Ends a line that standard output left open. Gives the last error that the call told, cut as a line is.
    pub fn end_call(&mut self) -> Option<String> {
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.write(Level::Info, &String::from_utf8_lossy(&line));
        }
        self.last_error.take()
    }

    pub fn write(&mut self, level: Level, message: &str) {
        self.written = self.written.saturating_add(1);
        if level == Level::Error {
            self.last_error = Some(plain_lines(message, LINE_LENGTH));
        }
        if let Some(heard) = &self.share.heard {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            if self.written > LINES_PER_CALL || heard.lines.len() >= MOST_HEARD {
                heard.dropped += 1;
                return;
            }
            let (level, text) = (word(level), plain_lines(message, HEARD_LENGTH));
            heard.lines.push(Line { level, text });
            return;
        }
        let now = Instant::now();
        if self.written > LINES_PER_CALL || !self.share.take(now) {
            self.share.meter.log_line_dropped();
            return;
        }
        let line = joined(&plain_lines(message, LINE_LENGTH));
        self.share.meter.logged(line.len());
        let (tenant, policy) = (&*self.share.tenant, &*self.share.policy);
        match level {
            Level::Debug => tracing::debug!(target: "gauntlet::plugin", tenant, policy, "{line}"),
            Level::Info => tracing::info!(target: "gauntlet::plugin", tenant, policy, "{line}"),
            Level::Warn => tracing::warn!(target: "gauntlet::plugin", tenant, policy, "{line}"),
            Level::Error => tracing::error!(target: "gauntlet::plugin", tenant, policy, "{line}"),
        }
        let (level, text) = (word(level), line);
        self.share.remember(Line { level, text }, now);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            // What is over the longest line is cut here already, so that it is not kept.
            let room = (LINE_LENGTH + 1).saturating_sub(self.partial.len());
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            self.partial.extend_from_slice(&text[..text.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_call();
            }
        }
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// Standard output and standard error of a plugin.
#[derive(Clone)]
pub struct Stdout(pub Arc<Mutex<Lines>>);

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdout {
    /// Only the second WASI preview is linked, which uses `p2_stream`.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Stdout {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bytes(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_SIZE)
    }
}

/// Never makes a plugin wait: waiting in the host is the one thing that no deadline could end.
impl Pollable for Stdout {
    fn ready<'a, 'b>(&'a mut self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_call_is_kept_whatever_the_log_takes() {
        let mut lines = Lines::new(Arc::new(Share::listening("a", "p")));
        lines.begin_call();
        (0..100).for_each(|n| lines.write(Level::Error, &format!("error {n}")));
        lines.write(Level::Info, "by the way");
        assert_eq!(lines.end_call().as_deref(), Some("error 99"));
        lines.begin_call();
        assert_eq!(lines.end_call(), None);
        lines.write(Level::Error, &"x".repeat(10_000));
        lines.begin_call();
        assert_eq!(lines.end_call(), None);
    }

    #[test]
    fn the_last_lines_of_a_policy_are_shown_and_bounded_in_number_and_in_bytes() {
        let meter = Meter::new(&Metrics::new(), &PolicyLabels::default());
        let share = Arc::new(Share::new("a", "relabel", meter));
        let mut lines = Lines::new(Arc::clone(&share));
        let write = |lines: &mut Lines, text: &str| {
            lines.begin_call();
            lines.write(Level::Warn, text);
        };
        (0..20).for_each(|n| write(&mut lines, &format!("line {n}\n  at f\n")));
        let last = share.last(Instant::now());
        let first = Line {
            level: "warn",
            text: "line 19\\n  at f".to_owned(),
        };
        assert_eq!((last.len(), &last[0].0), (SHOWN_LINES, &first));
        (0..12).for_each(|_| write(&mut lines, &"x".repeat(5000)));
        let last = share.last(Instant::now());
        let bytes: usize = last.iter().map(|(line, _)| line.text.len()).sum();
        assert!(bytes <= SHOWN_BYTES && last.len() < SHOWN_LINES, "{bytes}");
        // What the log is spared is not shown either.
        (0..100).for_each(|_| write(&mut lines, "flood"));
        assert!(share.last(Instant::now()).iter().all(|(line, _)| line.text != "flood"));
    }
}
