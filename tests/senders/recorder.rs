//! A receiver that keeps what it gets and answers what it is told to: the truth about senders that store nothing.
//!
//! Takes remote write 1.0 over plain HTTP at any path; gives what was accepted at each, to the bit. Answers 415 to what
//! it cannot read, zstd and remote write 2.0, as Thanos and Prometheus answer zstd.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use gauntlet_tests::remote_write::{Label, TimeSeries, decode};

use crate::storage::{Labels, Series, Storage, Window, bits, merge};

pub struct Recorder {
    pub address: SocketAddr,
    places: Arc<Mutex<HashMap<String, Place>>>,
}

#[derive(Default)]
struct Place {
    /// None is 204.
    answers: Option<u16>,
    refused: u64,
    storage: Storage,
}

impl Recorder {
    /// Serves until this program ends.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let places = Arc::<Mutex<HashMap<String, Place>>>::default();
        let shared = Arc::clone(&places);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let places = Arc::clone(&shared);
                // A sender that went away wants no answer.
                thread::spawn(move || serve(stream, &places));
            }
        });
        Self { address, places }
    }

    /// From now on `path` is answered so; None is 204, and what came is kept.
    pub fn answer(&self, path: &str, status: Option<u16>) {
        self.with(path, |place| place.answers = status);
    }

    /// How many writes were refused at `path` so far.
    pub fn refused(&self, path: &str) -> u64 {
        self.with(path, |place| place.refused)
    }

    /// What was accepted at `path`, of the window.
    pub fn storage(&self, path: &str, window: Window) -> Storage {
        let mut storage = self.with(path, |place| place.storage.clone());
        for series in storage.values_mut() {
            series.points.retain(|time, _| window.has(*time));
            series.exemplars.retain(|(time, _)| window.has(*time));
        }
        storage.retain(|_, series| !series.points.is_empty() || !series.exemplars.is_empty());
        storage
    }

    fn with<T>(&self, path: &str, act: impl FnOnce(&mut Place) -> T) -> T {
        let mut places = self.places.lock().expect("no panic under the lock");
        act(places.entry(path.to_owned()).or_default())
    }
}

fn serve(stream: TcpStream, places: &Mutex<HashMap<String, Place>>) -> Option<()> {
    stream.set_nodelay(true).ok();
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let head = Head::read(&mut reader)?;
        let mut body = vec![0; head.length];
        reader.read_exact(&mut body).ok()?;
        let status = answer(&head, &body, places);
        let hint = if matches!(status, 429 | 503) {
            "Retry-After: 1\r\n"
        } else {
            ""
        };
        let text = format!("HTTP/1.1 {status} as told\r\n{hint}{LENGTH}");
        writer.write_all(text.as_bytes()).ok()?;
        if head.is_last {
            return Some(());
        }
    }
}

const LENGTH: &str = "Content-Length: 0\r\n\r\n";

fn answer(head: &Head, body: &[u8], places: &Mutex<HashMap<String, Place>>) -> u16 {
    if head.encoding != "snappy" || head.kind.contains("v2.request") {
        return 415;
    }
    let Ok(write) = decode(body) else { return 400 };
    let mut places = places.lock().expect("no panic under the lock");
    let place = places.entry(head.path.clone()).or_default();
    if let Some(status) = place.answers {
        place.refused += 1;
        return status;
    }
    for series in &write.timeseries {
        merge(&mut place.storage, labels(&series.labels), kept(series));
    }
    204
}

fn labels(labels: &[Label]) -> Labels {
    labels
        .iter()
        .map(|label| (label.name.clone(), label.value.clone()))
        .collect()
}

fn kept(series: &TimeSeries) -> Series {
    let points = series
        .samples
        .iter()
        .map(|sample| (sample.timestamp, bits(sample.value)));
    let exemplars = series.exemplars.iter().map(|exemplar| {
        let labels = exemplar
            .labels
            .iter()
            .map(|label| format!("{}={:?}", label.name, label.value));
        let labels: Vec<String> = labels.collect();
        (
            exemplar.timestamp,
            format!("{{{}}} {}", labels.join(", "), bits(exemplar.value)),
        )
    });
    Series {
        points: points.collect(),
        exemplars: exemplars.collect(),
    }
}

struct Head {
    path: String,
    length: usize,
    encoding: String,
    /// In lower case.
    kind: String,
    /// HTTP/1.0: the connection ends with the answer.
    is_last: bool,
}

impl Head {
    fn read(reader: &mut impl BufRead) -> Option<Self> {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let path = line.split(' ').nth(1)?.to_owned();
        let is_last = line.ends_with("HTTP/1.0\r\n");
        let (mut length, mut encoding, mut kind) = (0, String::new(), String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let Some((name, value)) = line.split_once(':') else {
                return Some(Self {
                    path,
                    length,
                    encoding,
                    kind,
                    is_last,
                });
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().ok()?,
                "content-encoding" => encoding = value.to_owned(),
                "content-type" => kind = value.to_ascii_lowercase(),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_tests::remote_write::{T0, series, write};

    const ALL: Window = Window {
        since: i64::MIN,
        until: i64::MAX,
    };

    fn post(recorder: &Recorder, encoding: &str) -> u16 {
        let body = write([series("up").sample(1.0, 5).exemplar("a", 6)]).body();
        let headers = [
            ("Content-Encoding", encoding),
            ("Content-Type", "application/x-protobuf"),
        ];
        let answer = gauntlet_tests::http::post(&recorder.address.to_string(), "/a", &headers, &body);
        answer.unwrap().status
    }

    #[test]
    fn it_keeps_what_it_accepts_and_refuses_as_told() {
        let recorder = Recorder::start();
        recorder.answer("/a", Some(503));
        assert_eq!((post(&recorder, "snappy"), post(&recorder, "zstd")), (503, 415));
        assert!(recorder.storage("/a", ALL).is_empty());
        recorder.answer("/a", None);
        assert_eq!(post(&recorder, "snappy"), 204);
        let stored = recorder.storage("/a", ALL);
        let up = stored.values().next().unwrap();
        assert_eq!(up.points[&(T0 + 5)], bits(1.0));
        assert_eq!(
            up.exemplars.first().unwrap().1,
            format!("{{trace_id=\"a\"}} {}", bits(1.0))
        );
        assert_eq!(recorder.refused("/a"), 1);
    }
}
