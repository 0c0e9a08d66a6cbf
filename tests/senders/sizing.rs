//! What a Thanos receiver takes: memory for each series and for each sample of its head, and processor time.
//!
//! Takes nothing; gives a table of receivers that are each written a known number of series every second, by loopback and
//! without replication, as the gateway forwards them: sorted labels, 2000 series a write. What a head holds after hours is
//! computed from it by whoever reads it, for a head holds up to three.

use std::fmt::Write;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use gauntlet_tests::http;
use gauntlet_tests::process::Ports;
use gauntlet_tests::remote_write::{Sample, TimeSeries, WriteRequest, series};

use crate::options::Options;
use crate::receivers::{Make, Receiver};
use crate::site::now;

const SERIES: [u64; 3] = [10_000, 30_000, 60_000];
/// Of each one a sample, every second.
const INTERVAL: Duration = Duration::from_secs(1);
const A_WRITE: usize = 2000;
/// Once the series are there.
const FIRST: u64 = 30;
const MEASURED: u64 = 120;
const MIB: f64 = (1 << 20) as f64;
const HEADERS: [(&str, &str); 4] = [
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
    ("THANOS-TENANT", "sized"),
];

/// Of one process, at one moment.
#[derive(Clone, Copy)]
struct Taken {
    memory: f64,
    cpu: f64,
}

struct Measured {
    idle: Taken,
    first: Taken,
    last: Taken,
}

/// # Errors
/// If a receiver does not start, or does not take what it is sent.
pub fn table(_: &Options) -> Result<String> {
    let dir = tempfile::Builder::new().prefix("gauntlet-senders-").tempdir()?;
    let mut ports = Ports::new();
    let logs = dir.path().join("logs");
    fs::create_dir_all(&logs)?;
    let start = |count: &u64| Receiver::start(Make::Thanos, &format!("sized-{count}"), dir.path(), &logs, &mut ports);
    let receivers = SERIES.iter().map(start).collect::<Result<Vec<Receiver>>>()?;
    let measured = thread::scope(|scope| {
        let measure = |(receiver, count)| scope.spawn(move || measure(receiver, count));
        let running: Vec<_> = receivers.iter().zip(SERIES).map(measure).collect();
        let join = |one: thread::ScopedJoinHandle<'_, Result<Measured>>| one.join().expect("no panic");
        running.into_iter().map(join).collect::<Result<Vec<Measured>>>()
    })?;
    Ok(text(&measured))
}

fn measure(receiver: &Receiver, count: u64) -> Result<Measured> {
    let idle = taken(receiver)?;
    let all: Vec<TimeSeries> = (0..count).map(one).collect();
    let writes = all.chunks(A_WRITE).map(|some| WriteRequest::as_given(some.to_vec()));
    let mut writes: Vec<WriteRequest> = writes.collect();
    let (begin, mut first) = (Instant::now(), idle);
    for scrape in 0..FIRST + MEASURED {
        if scrape == FIRST {
            first = taken(receiver)?;
        }
        thread::sleep((INTERVAL * scrape as u32).saturating_sub(begin.elapsed()));
        let time = now();
        for (at, write) in writes.iter_mut().enumerate() {
            for (n, series) in write.timeseries.iter_mut().enumerate() {
                let value = value((at * A_WRITE + n) as u64, scrape);
                series.samples = vec![Sample { value, timestamp: time }];
            }
            let answer = http::post(&receiver.write, receiver.make.path(), &HEADERS, &write.body())?;
            ensure!(answer.status == 200, "it answered {}: {}", answer.status, answer.text());
        }
    }
    let late = begin.elapsed().saturating_sub(INTERVAL * (FIRST + MEASURED) as u32);
    ensure!(late < 5 * INTERVAL, "it took {late:?} longer than it had to");
    let last = taken(receiver)?;
    Ok(Measured { idle, first, last })
}

/// Ten labels, with names and values of 210 bytes, as Kubernetes has them.
fn one(number: u64) -> TimeSeries {
    let pod = number / 40;
    series(&format!("container_some_metric_{}_total", number % 40))
        .label("cluster", "production-eu-1")
        .label("container", "server")
        .label("endpoint", "https-metrics")
        .label("instance", &format!("10.0.{}.{}:10250", pod / 250, pod % 250))
        .label("job", "kubelet")
        .label("namespace", &format!("team-{}", pod % 30))
        .label("node", &format!("node-{}.internal", pod / 30))
        .label("pod", &format!("deployment-{}-5d9f8c7b6-{pod:05}", pod % 30))
        .label("service", "kubelet")
}

/// A half are counters, a quarter does not change, a quarter is measured.
fn value(series: u64, scrape: u64) -> f64 {
    match series % 4 {
        0 | 1 => (series + scrape * (1 + series % 7)) as f64,
        2 => series as f64,
        _ => ((series * 31 + scrape * 17) % 1000) as f64 / 7.0,
    }
}

fn taken(receiver: &Receiver) -> Result<Taken> {
    let metrics = receiver.metrics()?;
    Ok(Taken {
        memory: metrics.sum("process_resident_memory_bytes", &[]),
        cpu: metrics.sum("process_cpu_seconds_total", &[]),
    })
}

fn text(measured: &[Measured]) -> String {
    let mut text = format!(
        "### What a receiver takes\n\nThanos 0.42.4, one sample of each series every second, {A_WRITE} series a write, {MEASURED} s after \
         the first {FIRST}.\n\n| series, and samples a second | memory, idle | with the series | of it per series | {MEASURED} s \
         later | more per sample | processors | per sample |\n|---|---|---|---|---|---|---|---|\n"
    );
    for (count, Measured { idle, first, last }) in SERIES.into_iter().zip(measured) {
        let (count, samples) = (count as f64, (count * MEASURED) as f64);
        writeln!(
            text,
            "| {count} | {:.0} MiB | {:.0} MiB | {:.1} KiB | {:.0} MiB | {:.1} B | {:.2} | {:.1} us |",
            idle.memory / MIB,
            first.memory / MIB,
            (first.memory - idle.memory) / count / 1024.0,
            last.memory / MIB,
            (last.memory - first.memory) / samples,
            (last.cpu - first.cpu) / MEASURED as f64,
            (last.cpu - first.cpu) / samples * 1e6,
        )
        .expect("a string");
    }
    text
}
