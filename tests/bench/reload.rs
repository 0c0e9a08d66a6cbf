//! Five hundred tenants, each with its own rules: how long a start takes, and what a reload of one does to all.
//!
//! Takes the setting, gives bars. A reload is one tenant's file rewritten and `POST /-/reload`; it is effective when
//! a write of that tenant arrives at the receiver with the new label. The others write on all the while.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use gauntlet_tests::bodies::{Tokens, Write};
use gauntlet_tests::remote_write::{WriteRequest, series};
use gauntlet_tests::sink::Sink;

use crate::gauntlet::{Config, Gauntlet, Policies, token, write_tenant};
use crate::load::{self, Connection, Pace, Target, Until, percentile};
use crate::setting::Setting;
use crate::table::{Bar, Figure, Unit};

const TENANTS: usize = 500;
const START: &str = "500 tenants, start";
const RELOAD: &str = "500 tenants, reload";
const RATE: u64 = 400;
/// From one reload to the next: the quiet part is what "before" means.
const APART: Duration = Duration::from_millis(750);

pub fn bars(setting: &Setting) -> Vec<Bar> {
    let (wants_start, wants_reload) = (setting.options.wants(START), setting.options.wants(RELOAD));
    if !wants_start && !wants_reload {
        return Vec::new();
    }
    let folder = setting.folder().join("tenants");
    let tokens: Vec<_> = (0..TENANTS).map(|number| token(number).0).collect();
    let tenants = (0..TENANTS).map(|number| tenant(number, 0));
    let watched = Sink::keeping_last();
    let upstreams = [("sink", setting.sink.address), ("watched", watched.address)];
    let config = Config::new("500 tenants", &upstreams)
        .with_tokens()
        .tenant_files(&folder, tenants)
        .section("sandbox: {cache_dir: cache}\n");
    // The first start compiles the plugins and fills the cache.
    let first = config.start(setting).start_took;
    let starts = if wants_start { setting.options.rounds.max(2) } else { 1 };
    let mut took = Vec::new();
    let mut gauntlet = None;
    for _ in 0..starts {
        // The last one is kept: the former must be gone before the next is timed.
        drop(gauntlet.take());
        let next = config.start(setting);
        took.push(next.start_took.as_secs_f64());
        gauntlet = Some(next);
    }
    let gauntlet = gauntlet.expect("at least one start");
    let mut bars = Vec::new();
    if wants_start {
        let (took, rss) = (Figure::of(took), gauntlet.process.rss() as f64 / f64::from(1 << 20));
        bars.push(
            Bar::new(
                "500 tenants, start to listening",
                Some(took.median),
                Unit::Seconds,
                5.0,
                Some(2.0),
            )
            .remark(format!(
                "{:.2} - {:.2} s over {starts} starts, plugins in the cache; {:.2} s without",
                took.low,
                took.high,
                first.as_secs_f64()
            )),
        );
        bars.push(Bar::new(
            "500 tenants, memory after the start",
            Some(rss),
            Unit::MiB,
            300.0,
            None,
        ));
    }
    if wants_reload {
        bars.extend(reloads(setting, &gauntlet, &folder, &watched, tokens.into()));
    }
    bars
}

/// A tenant with three rules that nobody else has. Number 0 is the one that is reloaded: its writes go to a receiver
/// of their own, under a label that says the version.
fn tenant(number: usize, version: usize) -> String {
    let (_, credential) = token(number);
    let rules = format!(
        r#"[{{action: drop, source_labels: [__name__], regex: "absent_{number}_.*"}}, {{action: labeldrop, regex: "absent_{number}"}}, {{target_label: cluster, replacement: "{}"}}]"#,
        label(number, version)
    );
    let upstream = if number == 0 { "watched" } else { "sink" };
    Policies::rules(&rules).tenant(&format!("tenant-{number}"), &format!("{{{credential}}}"), upstream, "")
}

fn label(number: usize, version: usize) -> String {
    format!("cluster-{number:03}-version-{version:03}")
}

fn reloads(setting: &Setting, gauntlet: &Gauntlet, folder: &Path, watched: &Sink, tokens: Tokens) -> Vec<Bar> {
    let target = gauntlet.target(setting.without_certificate());
    let source = setting.bodies.by_tenant(&tokens);
    let warm = Pace {
        rate: None,
        until: Until::Writes(TENANTS as u64),
    };
    load::run(&target, &source, warm).accepted(RELOAD);
    // Each takes some ten milliseconds: of fewer writes the 99th percentile would be the slowest one.
    let count = setting.options.rounds * 12;
    let pace = Pace {
        rate: Some(RATE),
        until: Until::Time(APART * (count as u32 + 1)),
    };
    let loading = {
        let (target, source) = (target.clone(), Arc::clone(&source));
        thread::spawn(move || load::run(&target, &source, pace))
    };
    let prober = Prober::start(target, watched.clone(), Arc::clone(&tokens[0]));
    let mut spans = Vec::new();
    for version in 1..=count {
        thread::sleep(APART);
        prober.expect(version);
        write_tenant(folder, 0, &tenant(0, version));
        let began = Instant::now();
        let answered = gauntlet.reload();
        let effective = prober.effective();
        spans.push((began, answered, effective));
    }
    let failed_probes = prober.stop();
    let outcome = loading.join().expect("the load");
    let during = |sent: Instant, took: Duration| {
        let meets = |(began, answered, effective): &(Instant, Instant, Instant)| {
            sent <= *answered.max(effective) && sent + took >= *began
        };
        spans.iter().any(meets)
    };
    let (busy, quiet): (Vec<_>, Vec<_>) = outcome
        .answers
        .iter()
        .partition(|answer| during(answer.sent, answer.took));
    let p99 =
        |answers: Vec<load::Answer>| percentile(answers.iter().map(|a| a.took).collect(), 99.0).as_secs_f64() * 1e3;
    let (writes, failed) = (busy.len(), outcome.failed() + failed_probes);
    let (busy, quiet) = (p99(busy), p99(quiet));
    let took = |of: fn(&(Instant, Instant, Instant)) -> Duration| {
        Figure::of(spans.iter().map(|span| of(span).as_secs_f64() * 1e3).collect())
    };
    let (effective, answered) = (took(|s| s.2 - s.0), took(|s| s.1 - s.0));
    vec![
        Bar::new(
            "reload of one tenant of 500, until it is effective",
            Some(effective.median),
            Unit::Milliseconds,
            300.0,
            None,
        )
        .remark(format!(
            "{:.0} - {:.0} ms over {count} reloads under {RATE} writes/s; answered after {:.0} ms",
            effective.low, effective.high, answered.median
        )),
        Bar::new("failed requests", Some(failed as f64), Unit::Requests, 0.0, None).remark(format!(
            "of {} writes; {:?}",
            outcome.writes(),
            outcome.statuses
        )),
        Bar::new(
            "p99 while reloading, of p99 before",
            Some(busy / quiet),
            Unit::Times,
            2.0,
            None,
        )
        .remark(format!("{busy:.2} ms in {writes} writes, {quiet:.2} ms in the others")),
    ]
}

/// Writes as the reloaded tenant, one small write after the other, and sees what arrives.
struct Prober {
    expected: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    seen: mpsc::Receiver<Instant>,
    thread: thread::JoinHandle<u64>,
}

impl Prober {
    fn start(target: Target, watched: Sink, token: Arc<str>) -> Self {
        let (expected, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (sender, seen) = mpsc::channel();
        let thread = {
            let (expected, ended) = (Arc::clone(&expected), Arc::clone(&ended));
            thread::spawn(move || probe(&target, &watched, token, &expected, &ended, &sender))
        };
        Self {
            expected,
            ended,
            seen,
            thread,
        }
    }

    fn expect(&self, version: usize) {
        self.expected.store(version, Ordering::Release);
    }

    /// When the expected version first arrived.
    fn effective(&self) -> Instant {
        let seen = self.seen.recv_timeout(Duration::from_secs(30));
        seen.expect("the reload was answered and has no effect in 30 s")
    }

    /// Gives how many of its writes failed.
    fn stop(self) -> u64 {
        self.ended.store(true, Ordering::Release);
        self.thread.join().expect("the prober")
    }
}

fn probe(
    target: &Target,
    watched: &Sink,
    token: Arc<str>,
    expected: &AtomicUsize,
    ended: &AtomicBool,
    seen: &mpsc::Sender<Instant>,
) -> u64 {
    let write = Write {
        body: WriteRequest::as_given([series("probe").sample(1.0, 0)]).body().into(),
        samples: 1,
        token: Some(token),
    };
    let (mut connection, mut told, mut failed) = (Connection::open(target), 0, 0);
    while !ended.load(Ordering::Acquire) {
        let status = connection.write(target, &write).map_or(0, |(status, _)| status);
        if !(200..300).contains(&status) {
            failed += 1;
            connection = Connection::open(target);
        }
        let now = Instant::now();
        let version = expected.load(Ordering::Acquire);
        if version > told {
            let decoded = snap::raw::Decoder::new().decompress_vec(&watched.last());
            let sought = label(0, version);
            if decoded.is_ok_and(|bytes| bytes.windows(sought.len()).any(|w| w == sought.as_bytes())) {
                told = version;
                // Nobody listens once the last reload was seen.
                let _ = seen.send(now);
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
    failed
}
