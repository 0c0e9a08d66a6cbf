//! The receiver behind every subject: reads requests, answers 200, keeps nothing.
//!
//! Takes plain HTTP on loopback, gives its address. On request it remembers the last body, for the one
//! row that looks at what arrives.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

#[derive(Clone)]
pub struct Sink {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Further fields of each answer's head.
    fields: &'static str,
    keeps_last: AtomicBool,
    last: Mutex<Vec<u8>>,
}

impl Sink {
    pub fn start() -> Self {
        Self::answering("")
    }

    /// One of remote write 2.0, which says that it stored whatever it was sent: more than any write has.
    pub fn of_version_2() -> Self {
        Self::answering(
            "X-Prometheus-Remote-Write-Samples-Written: 1000000\r\nX-Prometheus-Remote-Write-Histograms-Written: 1000000\r\n\
             X-Prometheus-Remote-Write-Exemplars-Written: 1000000\r\n",
        )
    }

    fn answering(fields: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State {
            fields,
            ..State::default()
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    /// One that keeps the last body for [`Sink::last`].
    pub fn keeping_last() -> Self {
        let sink = Self::start();
        sink.state.keeps_last.store(true, Ordering::Relaxed);
        sink
    }

    /// One that takes requests and never answers.
    ///
    /// # Panics
    /// If there is no port.
    pub fn hanging() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // Ends when the other side gives up: what is sent is taken, as by a receiver whose disk hangs.
                thread::spawn(move || io::copy(&mut stream, &mut io::sink()));
            }
        });
        address
    }

    /// The last body as it came, compressed.
    pub fn last(&self) -> Vec<u8> {
        self.state.last.lock().expect("no panic under the lock").clone()
    }
}

fn serve(stream: TcpStream, state: &State) {
    stream.set_nodelay(true).ok();
    let mut writer = stream.try_clone().expect("a second handle");
    let mut reader = BufReader::with_capacity(1 << 16, stream);
    let mut body = Vec::new();
    let answer = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", state.fields);
    while let Some(length) = head(&mut reader) {
        body.resize(length, 0);
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        if state.keeps_last.load(Ordering::Relaxed) {
            state.last.lock().expect("no panic under the lock").clone_from(&body);
        }
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads the fields of one head, the first line too; gives the body's length.
pub fn head(reader: &mut impl BufRead) -> Option<usize> {
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
