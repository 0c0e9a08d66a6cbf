//! Sick receivers: two of four are late, slow, silent or swallow packets, beside four that are well.
//!
//! Takes the setting, gives one bar for the share of the writes that late ones get, and two for each other sickness:
//! writes per second of those with four well ones, and the 99th percentile of the answers' latency. The first ten seconds
//! are for learning and are not counted. Fakes are right here: no real receiver is sick on demand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gauntlet_tests::sink::head;

use crate::gauntlet::{CERTIFICATE, Config, Policies};
use crate::load::{self, Pace, Until, percentile};
use crate::setting::Setting;
use crate::table::{Bar, Unit};

const NAME: &str = "sick receivers";
const LEARNING: Duration = Duration::from_secs(10);
/// Runs that are counted, in multiples of the run that the command line gives.
const RUNS: u32 = 2;
/// Few enough for a debug build.
const RATE: u64 = 200;
const SAMPLES: usize = 100;
/// What the well ones take: a receiver that stores is no quicker.
const WELL: Manner = Manner::Takes(Duration::from_millis(2));

/// How a receiver treats a write.
#[derive(Clone, Copy)]
enum Manner {
    /// Answers 200 after this time, and anything but a write at once.
    Takes(Duration),
    /// Takes connections and answers nothing.
    Silent,
    /// Takes no connection and refuses none.
    Swallows,
}

struct Fake {
    address: SocketAddr,
    writes: Arc<AtomicU64>,
    /// Of one that swallows: what keeps its queue full.
    _queue: Vec<TcpStream>,
}

/// What became of the writes after the learning.
struct Measured {
    writes_per_second: f64,
    p99: Duration,
    failed: u64,
    /// Those that reached the third and the fourth receiver.
    at_the_sick: u64,
}

pub fn bars(setting: &Setting) -> Vec<Bar> {
    if !setting.options.wants(NAME) {
        return Vec::new();
    }
    let programs = setting.options.programs(NAME).into_iter();
    programs
        .flat_map(|(name, program)| bars_of(setting, &name, &program))
        .collect()
}

fn bars_of(setting: &Setting, name: &str, program: &Path) -> Vec<Bar> {
    let measure = |what: &str, sick| measure(setting, &format!("{name}, {what}"), program, sick);
    let control = measure("none", WELL);
    let late = measure("two of four 30 ms later", Manner::Takes(Duration::from_millis(32)));
    let all = late.writes_per_second * window(setting).as_secs_f64();
    let share = late.at_the_sick as f64 * 100.0 / all;
    let mut bars = vec![
        Bar::new(
            &format!("{name}, two of four 30 ms later: their share of the writes"),
            Some(share),
            Unit::Percent,
            20.0,
            None,
        )
        .remark(remark(&late, &control)),
    ];
    for (what, sick) in [
        ("two of four take 3 s", Manner::Takes(Duration::from_secs(3))),
        ("two of four are silent", Manner::Silent),
        ("two of four swallow packets", Manner::Swallows),
    ] {
        let measured = measure(what, sick);
        let ratio = measured.writes_per_second / control.writes_per_second;
        let p99 = measured.p99.as_secs_f64() * 1e3;
        bars.push(
            Bar::new(
                &format!("{name}, {what}: writes/s of four well ones'"),
                Some(ratio),
                Unit::AtLeast,
                0.99,
                None,
            )
            .remark(remark(&measured, &control)),
        );
        let what = format!("{name}, {what}: p99");
        bars.push(Bar::new(&what, Some(p99), Unit::Milliseconds, 500.0, None));
    }
    bars
}

fn remark(measured: &Measured, control: &Measured) -> String {
    format!(
        "{:.1} writes/s beside {:.1}, p99 {:.1} ms beside {:.1}, {} not accepted beside {}, {} writes at the two; {RATE} \
         writes/s of {SAMPLES} offered, counted after {} s",
        measured.writes_per_second,
        control.writes_per_second,
        measured.p99.as_secs_f64() * 1e3,
        control.p99.as_secs_f64() * 1e3,
        measured.failed,
        control.failed,
        measured.at_the_sick,
        LEARNING.as_secs(),
    )
}

fn window(setting: &Setting) -> Duration {
    setting.options.run * RUNS
}

/// Two well receivers and two `sick` ones behind one upstream.
fn measure(setting: &Setting, name: &str, program: &Path, sick: Manner) -> Measured {
    let fakes = [WELL, WELL, sick, sick].map(Fake::start);
    let tenant = Policies::kept().tenant("bench", &format!("{{{CERTIFICATE}}}"), "sink", "");
    let config = Config::new(name, &[]).upstream("sink", &fakes.each_ref().map(|fake| fake.address));
    let gauntlet = config.tenants([tenant]).start_program(program, setting);
    let target = gauntlet.target(setting.with_certificate());
    let source = setting.bodies.cut(SAMPLES).in_turn();
    let until = Until::Time(LEARNING + window(setting));
    let rate = Some(RATE);
    let began = Instant::now();
    let load = thread::spawn(move || load::run(&target, &source, Pace { rate, until }));
    thread::sleep(LEARNING);
    let at_the_sick = || -> u64 { fakes[2..].iter().map(|fake| fake.writes.load(Ordering::Relaxed)).sum() };
    let learning = at_the_sick();
    let outcome = load.join().expect("the senders");
    let counted = outcome.answers.iter().filter(|answer| answer.sent >= began + LEARNING);
    let took: Vec<Duration> = counted.map(|answer| answer.took).collect();
    eprintln!("{name}: {}", outcome.failures());
    Measured {
        writes_per_second: took.len() as f64 / window(setting).as_secs_f64(),
        p99: percentile(took, 99.0),
        failed: outcome.failed(),
        at_the_sick: at_the_sick() - learning,
    }
}

impl Fake {
    fn start(manner: Manner) -> Self {
        let listener = listener(manner);
        let address = listener.local_addr().expect("its address");
        let writes = Arc::new(AtomicU64::new(0));
        let mut queue = Vec::new();
        if matches!(manner, Manner::Swallows) {
            while let Ok(waits) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
                queue.push(waits);
            }
        }
        let count = Arc::clone(&writes);
        thread::spawn(move || {
            if matches!(manner, Manner::Swallows) {
                // The listener is kept, and nobody is let in.
                loop {
                    thread::park();
                }
            }
            for stream in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                thread::spawn(move || serve(stream, manner, &count));
            }
        });
        Self {
            address,
            writes,
            _queue: queue,
        }
    }
}

/// Whoever swallows packets has the shortest queue there is.
fn listener(manner: Manner) -> TcpListener {
    let here = SocketAddr::from(([127, 0, 0, 1], 0));
    if !matches!(manner, Manner::Swallows) {
        return TcpListener::bind(here).expect("a port");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    runtime.expect("a runtime").block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(here).expect("a port");
        let listener = socket.listen(0).expect("a listener");
        listener.into_std().expect("a listener")
    })
}

fn serve(stream: TcpStream, manner: Manner, writes: &AtomicU64) {
    stream.set_nodelay(true).ok();
    let mut writer = stream.try_clone().expect("a second handle");
    let mut reader = BufReader::with_capacity(1 << 16, stream);
    let (mut first, mut body) = (String::new(), Vec::new());
    while reader.read_line(&mut first).is_ok_and(|n| n > 0) {
        let Some(length) = head(&mut reader) else { return };
        body.resize(length, 0);
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let is_write = first.starts_with("POST");
        first.clear();
        let time = match manner {
            Manner::Takes(time) if is_write => time,
            Manner::Takes(_) => Duration::ZERO,
            Manner::Silent | Manner::Swallows => Duration::from_secs(3600),
        };
        writes.fetch_add(u64::from(is_write), Ordering::Relaxed);
        thread::sleep(time);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        if writer.write_all(answer).is_err() {
            return;
        }
    }
}
