//! The senders: writes over TLS on kept-alive connections, at a fixed rate or as fast as answers come.
//!
//! Takes a target, a source of bodies and a pace, gives what was answered and how long each answer took. Never sends
//! a second write on a connection before the first is answered, as Prometheus' shards do not either.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gauntlet_tests::bodies::{Source, Write};
use gauntlet_tests::sink::head;
use rustls::pki_types::ServerName;

pub const CONNECTIONS: u64 = 8;

/// Where writes go.
#[derive(Clone)]
pub struct Target {
    pub name: String,
    pub address: SocketAddr,
    pub tls: Arc<rustls::ClientConfig>,
    pub path: &'static str,
    pub version: Version,
}

/// Of remote write, by which a write is sent.
#[derive(Clone, Copy, Default)]
pub enum Version {
    #[default]
    One,
    Two,
}

impl Version {
    fn headers(self) -> &'static str {
        match self {
            Self::One => "Content-Type: application/x-protobuf\r\nX-Prometheus-Remote-Write-Version: 0.1.0",
            Self::Two => {
                "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n\
                 X-Prometheus-Remote-Write-Version: 2.0.0"
            }
        }
    }
}

/// How fast, and for how long.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Writes per second over all connections; none: as fast as answers come.
    pub rate: Option<u64>,
    pub until: Until,
}

#[derive(Clone, Copy)]
pub enum Until {
    Time(Duration),
    /// So many writes over all connections.
    Writes(u64),
}

/// One write's answer.
#[derive(Clone, Copy)]
pub struct Answer {
    pub sent: Instant,
    pub took: Duration,
}

/// What came of a load.
#[derive(Default)]
pub struct Outcome {
    pub samples: u64,
    pub answers: Vec<Answer>,
    /// Answers by status; 0 is a broken connection.
    pub statuses: BTreeMap<u16, u64>,
    pub took: Duration,
    /// The text of the first answer that was not 2xx.
    pub complaint: Option<String>,
}

impl Outcome {
    pub fn writes(&self) -> u64 {
        self.answers.len() as u64
    }

    pub fn failed(&self) -> u64 {
        let refused = self.statuses.iter().filter(|(status, _)| !(200..300).contains(*status));
        refused.map(|(_, count)| count).sum()
    }

    pub fn writes_per_second(&self) -> f64 {
        self.writes() as f64 / self.took.as_secs_f64()
    }

    /// The latency that so many of a hundred answers stay below.
    pub fn percentile(&self, percent: f64) -> Duration {
        percentile(self.answers.iter().map(|answer| answer.took).collect(), percent)
    }

    /// For a load that must be the work that was meant. A busy machine may cost a write now and then, which its
    /// sender would repeat: that is said, and is no reason to throw away the rest of the run.
    ///
    /// # Panics
    /// If more than one write in a hundred was not accepted.
    pub fn accepted(self, name: &str) -> Self {
        if self.failed() > 0 {
            eprintln!("{name}: {}", self.failures());
        }
        assert!(
            self.writes() > 0 && self.failed() * 100 <= self.writes(),
            "{name}: {}",
            self.failures()
        );
        self
    }

    /// What was not accepted, in words.
    pub fn failures(&self) -> String {
        let text = self.complaint.as_deref().unwrap_or_default();
        let (failed, all) = (self.failed(), self.writes());
        format!("{failed} of {all} writes were not accepted {:?} {text}", self.statuses)
    }
}

pub fn percentile(mut all: Vec<Duration>, percent: f64) -> Duration {
    all.sort_unstable();
    let at = (all.len() as f64 * percent / 100.0).ceil() as usize;
    all.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

/// Sends and waits for every answer.
pub fn run(target: &Target, source: &Source, pace: Pace) -> Outcome {
    let began = Instant::now();
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|which| {
            let (target, source) = (target.clone(), Arc::clone(source));
            thread::spawn(move || connection(which, began, &target, &source, pace))
        })
        .collect();
    let mut all = Outcome::default();
    for thread in threads {
        let one = thread.join().expect("a sender");
        all.samples += one.samples;
        all.answers.extend(one.answers);
        for (status, count) in one.statuses {
            *all.statuses.entry(status).or_default() += count;
        }
        all.complaint = all.complaint.or(one.complaint);
    }
    all.took = began.elapsed();
    all
}

/// The part of one connection: writes number `which`, `which + 8`, ..
fn connection(which: u64, began: Instant, target: &Target, source: &Source, pace: Pace) -> Outcome {
    let mut outcome = Outcome::default();
    let mut connection = None;
    let mut number = which;
    loop {
        if matches!(pace.until, Until::Writes(count) if number >= count) {
            return outcome;
        }
        let write = source(number);
        let due = pace.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(number as f64 / rate as f64)
        });
        if matches!(pace.until, Until::Time(time) if began.elapsed().max(due) >= time) {
            return outcome;
        }
        thread::sleep(due.saturating_sub(began.elapsed()));
        number += CONNECTIONS;
        let open = connection.get_or_insert_with(|| Connection::open(target));
        let sent = Instant::now();
        let (status, text) = open.write(target, &write).unwrap_or((0, String::new()));
        let took = sent.elapsed();
        outcome.answers.push(Answer { sent, took });
        *outcome.statuses.entry(status).or_default() += 1;
        if (200..300).contains(&status) {
            outcome.samples += write.samples;
            continue;
        }
        outcome.complaint.get_or_insert(text);
        if status == 0 {
            connection = None;
            // A subject that is gone must not be called in a loop.
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// One kept-alive connection.
pub struct Connection(BufReader<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>);

impl Connection {
    /// # Panics
    /// If nobody listens.
    pub fn open(target: &Target) -> Self {
        let stream =
            TcpStream::connect(target.address).unwrap_or_else(|e| panic!("{} does not listen: {e}", target.name));
        stream.set_nodelay(true).expect("an option");
        let name = ServerName::try_from("localhost").expect("a name");
        let session = rustls::ClientConnection::new(Arc::clone(&target.tls), name).expect("a session");
        Self(BufReader::new(rustls::StreamOwned::new(session, stream)))
    }

    /// Sends one write; gives the answer's status and text, or None where the connection broke.
    pub fn write(&mut self, target: &Target, write: &Write) -> Option<(u16, String)> {
        let token = write
            .token
            .as_ref()
            .map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        let mut request = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\n{}\r\nContent-Encoding: snappy\r\n{token}\
             Content-Length: {}\r\n\r\n",
            target.path,
            target.version.headers(),
            write.body.len()
        )
        .into_bytes();
        request.extend_from_slice(&write.body);
        self.0.get_mut().write_all(&request).ok()?;
        self.0.get_mut().flush().ok()?;
        let mut first = String::new();
        self.0.read_line(&mut first).ok()?;
        let status = first.split_whitespace().nth(1)?.parse().ok()?;
        let length = head(&mut self.0)?;
        let mut text = vec![0; length];
        self.0.read_exact(&mut text).ok()?;
        Some((status, String::from_utf8_lossy(&text).into_owned()))
    }
}
