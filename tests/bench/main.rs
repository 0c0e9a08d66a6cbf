//! CPU per sample of the whole process, beside nginx as a blind TLS proxy, in one run.
//!
//! Takes the release binary and Debian's nginx, gives a markdown table. Every subject gets the same load: recorded
//! bodies of a real Prometheus over TLS with a client certificate, keep-alive, to the same sink over plain HTTP. CPU
//! time is the kernel's (`/proc/<pid>/stat`, user + system, children included), never a clock around the code.
//! Asserts nothing: a number is for people to read.

// A measurement that cannot be made ends with the reason.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gauntlet_tests::certs::Certs;
use rustls::pki_types::ServerName;

const CONNECTIONS: usize = 8;
/// Writes per second over all connections: far below what any subject takes, so that all do the same work.
const WRITES_PER_SECOND: u64 = 400;
const ROUNDS: usize = 5;
const RUN: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(2);

struct Subject {
    name: &'static str,
    address: SocketAddr,
    process: Child,
    nanoseconds_per_sample: Vec<f64>,
}

impl Drop for Subject {
    fn drop(&mut self) {
        // TERM and not KILL: nginx's master takes its worker with it only then. One that is gone already needs neither.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let certs = Certs::new();
    certs.write_to(folder.path());
    let client = certs.client_common_name("bench");
    let tls = certs.client_config(Some(&client));
    let bodies = Arc::new(recorded());
    let sink = sink();
    let mut subjects = vec![
        nginx(folder.path(), sink),
        gauntlet(folder.path(), sink, "gauntlet, all kept", KEPT),
        gauntlet(folder.path(), sink, "gauntlet, one in ten dropped", DROPPED),
        gauntlet(folder.path(), sink, "gauntlet, all edited", EDITED),
    ];
    for subject in &subjects {
        load(subject.address, &tls, &bodies, WARM_UP);
    }
    for round in 1..=ROUNDS {
        for subject in &mut subjects {
            let before = cpu_seconds(subject.process.id());
            let samples = load(subject.address, &tls, &bodies, RUN);
            let spent = cpu_seconds(subject.process.id()) - before;
            subject.nanoseconds_per_sample.push(spent * 1e9 / samples as f64);
        }
        eprintln!("round {round} of {ROUNDS}");
    }
    print!("{}", table(&subjects, &bodies));
}

/// Three relabel rules that match nothing, `limits`, `route`.
const KEPT: &str = r#"
  - plugin: relabel
    settings:
      relabel_configs:
        - {action: drop, source_labels: [__name__], regex: "absent_.*"}
        - {action: labeldrop, regex: "absent"}
        - {source_labels: [absent], regex: "(.+)", target_label: other}
  - plugin: limits
    settings: {samples: {per_second: 100000000, burst: 100000000}}
  - plugin: route
    settings: {routes: [{match: {__name__: "absent_.*"}, stream: absent, upstream: sink}]}
"#;
const DROPPED: &str = r#"
  - plugin: relabel
    settings:
      relabel_configs:
        - {action: hashmod, source_labels: [__name__, cpu, mode, device, collector, name, state], target_label: __tmp, modulus: 10}
        - {action: drop, source_labels: [__tmp], regex: "0"}
        - {action: labeldrop, regex: "__tmp"}
"#;
const EDITED: &str = r#"
  - plugin: relabel
    settings: {relabel_configs: [{target_label: cluster, replacement: bench}]}
"#;

fn recorded() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/tests/data/rw1");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("recorded bodies")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "rw"))
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| fs::read(path).expect("a recorded body"))
        .collect()
}

/// Samples of every recorded body.
const SAMPLES_PER_WRITE: u64 = 2000;

fn gauntlet(folder: &Path, sink: SocketAddr, name: &'static str, policies: &str) -> Subject {
    let slug: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let config = folder.join(format!("{slug}.yaml"));
    let text = format!(
        "remote_write:\n  listen_address: 127.0.0.1:0\n  tls_server_config: {{cert_file: server.pem, key_file: server.key, \
         client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert}}\nadmin: {{listen_address: 127.0.0.1:0}}\n\
         upstreams: {{sink: {{endpoints: [\"http://{sink}\"]}}}}\ntenants:\n- tenant: bench\n  credentials: \
         [{{client_certificate: {{common_name: bench}}}}]\n  upstreams: [sink]\n  policies:{}",
        policies.replace("\n", "\n  ")
    );
    fs::write(&config, text).expect("a configuration");
    let binary = std::env::current_exe()
        .expect("this program")
        .with_file_name("gauntlet");
    let mut process = Command::new(&binary)
        .args(["serve", "--log.format=json"])
        .arg(format!("--config.file={}", config.display()))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start {}: {e}", binary.display()));
    let mut log = BufReader::new(process.stderr.take().expect("its log"));
    let address = loop {
        let mut line = String::new();
        assert!(
            log.read_line(&mut line).expect("a log line") > 0,
            "{name} ended before it listened"
        );
        let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) else {
            continue;
        };
        if line["message"] == "listening" && line["listener"] == "remote_write" {
            break line["address"]
                .as_str()
                .expect("an address")
                .parse()
                .expect("an address");
        }
        if line["level"] == "ERROR" {
            eprintln!("{name}: {line}");
        }
    };
    // Its log goes on being read, or the pipe would fill.
    thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Subject {
        name,
        address,
        process,
        nanoseconds_per_sample: Vec::new(),
    }
}

fn nginx(folder: &Path, sink: SocketAddr) -> Subject {
    let address = {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        free.local_addr().expect("its address")
    };
    let f = folder.display();
    let config = folder.join("nginx.conf");
    let text = format!(
        "daemon off; worker_processes 1; pid {f}/nginx.pid; error_log stderr error;\nevents {{}}\nhttp {{\n\
         access_log off; client_body_buffer_size 1m; client_max_body_size 32m; keepalive_requests 1000000;\n\
         client_body_temp_path {f}/b; proxy_temp_path {f}/p; fastcgi_temp_path {f}/f; uwsgi_temp_path {f}/u; scgi_temp_path {f}/s;\n\
         upstream sink {{ server {sink}; keepalive 16; keepalive_requests 1000000; }}\n\
         server {{ listen {address} ssl; ssl_certificate {f}/server.pem; ssl_certificate_key {f}/server.key;\n\
         ssl_client_certificate {f}/ca.pem; ssl_verify_client on;\n\
         location / {{ proxy_pass http://sink; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n"
    );
    fs::write(&config, text).expect("a configuration");
    let process = Command::new("nginx")
        .arg("-c")
        .arg(&config)
        .spawn()
        .expect("nginx is missing: scripts/provision bench installs it");
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "nginx does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    Subject {
        name: "nginx, blind TLS proxy",
        address,
        process,
        nanoseconds_per_sample: Vec::new(),
    }
}

/// Reads requests, answers 200, keeps nothing.
fn sink() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                stream.set_nodelay(true).ok();
                let mut writer = stream.try_clone().expect("a second handle");
                let mut reader = BufReader::with_capacity(1 << 16, stream);
                while let Some(length) = head(&mut reader) {
                    let mut body = vec![0; length];
                    if reader.read_exact(&mut body).is_err() {
                        return;
                    }
                    if writer
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Reads one head; gives the body's length.
fn head(reader: &mut impl BufRead) -> Option<usize> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            return Some(length);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
}

/// Sends writes at the fixed rate for `time`; gives the samples that were accepted. Panics on any answer but 2xx.
fn load(address: SocketAddr, tls: &Arc<rustls::ClientConfig>, bodies: &Arc<Vec<Vec<u8>>>, time: Duration) -> u64 {
    let sent = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|which| {
            let (tls, bodies) = (Arc::clone(tls), Arc::clone(bodies));
            let (sent, stop) = (Arc::clone(&sent), Arc::clone(&stop));
            thread::spawn(move || {
                let mut connection = connect(address, tls);
                let pause = Duration::from_secs(1) * CONNECTIONS as u32 / WRITES_PER_SECOND as u32;
                let mut due = began + pause * which as u32 / CONNECTIONS as u32;
                let mut number = which;
                while !stop.load(Ordering::Relaxed) {
                    if let Some(early) = due.checked_duration_since(Instant::now()) {
                        thread::sleep(early);
                    }
                    due += pause;
                    write(&mut connection, &bodies[number % bodies.len()]);
                    number += 1;
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("a sender");
    }
    sent.load(Ordering::Relaxed) * SAMPLES_PER_WRITE
}

type Connection = BufReader<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>;

fn connect(address: SocketAddr, tls: Arc<rustls::ClientConfig>) -> Connection {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("an option");
    let name = ServerName::try_from("localhost").expect("a name");
    let session = rustls::ClientConnection::new(tls, name).expect("a session");
    BufReader::new(rustls::StreamOwned::new(session, stream))
}

fn write(connection: &mut Connection, body: &[u8]) {
    let mut request = format!(
        "POST /api/v1/receive HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nContent-Type: application/x-protobuf\r\n\
         Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    connection.get_mut().write_all(&request).expect("a request");
    connection.get_mut().flush().expect("a request");
    let mut status = String::new();
    connection.read_line(&mut status).expect("an answer");
    assert!(status.starts_with("HTTP/1.1 20"), "{status}");
    let length = head(connection).expect("a head");
    let mut rest = vec![0; length];
    connection.read_exact(&mut rest).expect("a body");
}

/// User and system time of a process and its children so far.
fn cpu_seconds(pid: u32) -> f64 {
    let mut ticks = own_ticks(pid);
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children.split_whitespace() {
        ticks += own_ticks(child.parse().expect("a pid"));
    }
    // USER_HZ is 100 on every Linux that Rust runs on.
    ticks as f64 / 100.0
}

fn own_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

fn table(subjects: &[Subject], bodies: &[Vec<u8>]) -> String {
    let version = |program: &str, argument| {
        let output = Command::new(program).arg(argument).output().expect("a version");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let binary = std::env::current_exe()
        .expect("this program")
        .with_file_name("gauntlet");
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("")
        .trim_start_matches(['\t', ':', ' ']);
    let size = bodies.iter().map(Vec::len).sum::<usize>() / bodies.len();
    let mut text = format!(
        "{}, {}; {model}, {} threads. {WRITES_PER_SECOND} writes/s of {SAMPLES_PER_WRITE} samples ({size} bytes compressed), \
         {CONNECTIONS} connections, TLS with client certificate in, plain HTTP out; {ROUNDS} interleaved runs of {} s.\n\n\
         | subject | ns CPU per sample, median | min - max | of nginx |\n|---|---|---|---|\n",
        version(&binary.display().to_string(), "--version"),
        version("nginx", "-v"),
        thread::available_parallelism().map_or(0, usize::from),
        RUN.as_secs(),
    );
    let median = |subject: &Subject| {
        let mut sorted = subject.nanoseconds_per_sample.clone();
        sorted.sort_by(f64::total_cmp);
        (sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1])
    };
    let (nginx, ..) = median(&subjects[0]);
    for subject in subjects {
        let (middle, low, high) = median(subject);
        text += &format!(
            "| {} | {middle:.1} | {low:.1} - {high:.1} | {:.1}x |\n",
            subject.name,
            middle / nginx
        );
    }
    text
}
