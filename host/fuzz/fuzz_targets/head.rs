//! Bytes of any content on a sender's connection to the whole gateway: answers or an end, never more answers than heads,
//! and nothing that two readers could understand differently is taken.
#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use gauntlet::listener::framing::Framing;
use gauntlet::server::{Options, start};
use libfuzzer_sys::fuzz_target;

/// A token of `seeds/head`.
const CONFIG: &str = "
remote_write: {listen_address: '127.0.0.1:0', insecure_http: true, header_timeout: 2s, idle_timeout: 2s, body_timeout: 2s}
admin: {listen_address: '127.0.0.1:0'}
upstreams: {nobody: {endpoints: ['http://127.0.0.1:1']}}
tenants: [{tenant: a, credentials: [{bearer_token_sha256: \
2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae}]}]
";

static GATEWAY: LazyLock<SocketAddr> = LazyLock::new(|| {
    let file = std::env::temp_dir().join(format!("gauntlet-fuzz-{}.yaml", std::process::id()));
    std::fs::write(&file, CONFIG).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let options = Options {
                config_file: file,
                poll_interval: Duration::ZERO,
                shutdown_timeout: Duration::ZERO,
            };
            let running = start(&options).await.unwrap();
            tell.send(running.remote_write).unwrap();
            std::future::pending::<()>().await;
        });
    });
    told.recv().unwrap()
});

fuzz_target!(|data: &[u8]| {
    let answers = say(data);
    let statuses: Vec<&str> = statuses(&answers).collect();
    let known = [
        "200", "204", "400", "401", "404", "405", "408", "411", "413", "414", "415", "417", "431", "500", "501", "503",
        "505",
    ];
    assert!(statuses.iter().all(|status| known.contains(status)), "{statuses:?}");
    assert!(!statuses.contains(&"500"), "a bug is answered 500");
    let heads = sound_heads(data);
    // What follows them is answered too, once: that it is no request.
    assert!(
        statuses.len() <= heads + 1,
        "{} answers to {heads} heads",
        statuses.len()
    );
    let seen = Framing::default().follow(data);
    let most = seen.heads as usize + 1;
    assert!(statuses.len() <= most, "{} answers, {seen:?}", statuses.len());
    if is_ambiguous(data) {
        assert!(
            !statuses.first().is_some_and(|status| status.starts_with('2')),
            "{statuses:?}"
        );
    }
});

/// Says it and no more, and gives everything that comes until the other side ends it too.
fn say(data: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(*GATEWAY).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // Whoever was refused early does not take the rest.
    let _ = stream.write_all(data);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answers) {
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::ConnectionReset,
            "the connection does not end"
        );
    }
    answers
}

fn statuses(answers: &[u8]) -> impl Iterator<Item = &str> {
    let starts = answers
        .windows(13)
        .filter(|line| line.starts_with(b"HTTP/1.") && line[8] == b' ');
    starts.map(|line| std::str::from_utf8(&line[9..12]).expect("a status"))
}

/// Whether the first head has a line that ends in two ways, two hosts or none, or both kinds of length. One of HTTP/1.0 need
/// have no host (RFC 9112, 3.2).
fn is_ambiguous(mut data: &[u8]) -> bool {
    // Empty lines before a request are none of it (RFC 9112, 2.2).
    while let Some(rest) = data.strip_prefix(b"\r\n") {
        data = rest;
    }
    let Some(end) = data.windows(4).position(|w| w == b"\r\n\r\n") else {
        return true;
    };
    let head = data[..end].to_ascii_lowercase();
    let lines: Vec<&[u8]> = head.split(|byte| *byte == b'\n').collect();
    let bare = lines[..lines.len() - 1].iter().any(|line| !line.ends_with(b"\r"));
    let count = |name: &[u8]| lines.iter().filter(|line| line.starts_with(name)).count();
    let lengths = count(b"content-length:");
    let least = usize::from(!lines[0].ends_with(b"http/1.0\r"));
    bare || !(least..=1).contains(&count(b"host:")) || lengths > 1 || (lengths > 0 && count(b"transfer-encoding:") > 0)
}

/// How many heads come before the first byte that two readers could understand differently, by the strictest reading.
fn sound_heads(mut data: &[u8]) -> usize {
    let mut heads = 0;
    while let Some((head, rest)) = head(data) {
        heads += 1;
        match after_body(&head, rest) {
            Some(rest) => data = rest,
            None => break,
        }
    }
    heads
}

/// The lines of a head in lower case, and what follows it.
fn head(mut data: &[u8]) -> Option<(Vec<Vec<u8>>, &[u8])> {
    let mut lines = Vec::new();
    loop {
        let (line, rest) = line(data)?;
        data = rest;
        match (line, lines.is_empty()) {
            // Empty lines may stand before a request.
            (b"", true) => {}
            (b"", false) => return Some((lines, data)),
            _ => lines.push(line.to_ascii_lowercase()),
        }
    }
}

fn line(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = data.iter().position(|byte| *byte == b'\n')?;
    Some((data[..end].strip_suffix(b"\r")?, &data[end + 1..]))
}

fn after_body<'d>(head: &[Vec<u8>], data: &'d [u8]) -> Option<&'d [u8]> {
    let value = |name: &[u8]| head.iter().find_map(|line| line.strip_prefix(name));
    if value(b"transfer-encoding:").is_some() {
        return after_chunks(data);
    }
    match value(b"content-length:") {
        None => Some(data),
        Some(length) => data.get(std::str::from_utf8(length).ok()?.trim().parse().ok()?..),
    }
}

fn after_chunks(mut data: &[u8]) -> Option<&[u8]> {
    loop {
        let (size, rest) = line(data)?;
        let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(&size[..digits]).ok()?;
        match usize::from_str_radix(size, 16).ok()? {
            0 => return after_trailers(rest),
            size => data = rest.get(size..)?.strip_prefix(b"\r\n")?,
        }
    }
}

fn after_trailers(mut data: &[u8]) -> Option<&[u8]> {
    loop {
        let (line, rest) = line(data)?;
        data = rest;
        if line.is_empty() {
            return Some(data);
        }
    }
}
