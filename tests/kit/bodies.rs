//! What is sent: recorded bodies of a real Prometheus, and bodies made of them before each write.
//!
//! Takes `host/tests/data/rw1`, gives sources that the senders ask for one write after the other. A body that must
//! differ each time is patched in place where a fixed number of bytes stands for a label's value or a time, then
//! compressed: the sender's work, never the subject's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::remote_write::{Label, WriteRequest, compress, decode};
use crate::remote_write_v2::RequestV2;
use prost::Message;

/// One write to send.
pub struct Write {
    pub body: Arc<[u8]>,
    pub samples: u64,
    /// None: the client certificate says who writes.
    pub token: Option<Arc<str>>,
}

/// Gives the write of that number. Called by the senders' threads, before the write is due.
pub type Source = Arc<dyn Fn(u64) -> Write + Send + Sync>;

/// One tenant's token after the other.
pub type Tokens = Arc<Vec<Arc<str>>>;

/// Recorded bodies, as recorded or cut.
#[derive(Clone)]
pub struct Bodies {
    pub compressed: Vec<Arc<[u8]>>,
    pub samples: u64,
}

/// The bodies as they were recorded.
pub fn recorded() -> Bodies {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/tests/data/rw1");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("recorded bodies")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "rw"))
        .collect();
    files.sort();
    let read = |path: &PathBuf| Arc::from(fs::read(path).expect("a recorded body"));
    of(files.iter().map(read).collect())
}

fn of(compressed: Vec<Arc<[u8]>>) -> Bodies {
    let samples: Vec<u64> = compressed
        .iter()
        .map(|body| decode(body).expect("a write").sample_count())
        .collect();
    assert!(
        samples.iter().all(|count| *count == samples[0]),
        "bodies differ in samples: {samples:?}"
    );
    Bodies {
        compressed,
        samples: samples[0],
    }
}

impl Bodies {
    /// The same series in bodies of `samples`.
    pub fn cut(&self, samples: usize) -> Self {
        let mut pieces = Vec::new();
        for body in &self.compressed {
            let write = decode(body).expect("a write");
            pieces.extend(
                write
                    .timeseries
                    .chunks_exact(samples)
                    .map(|series| Arc::from(WriteRequest::as_given(series.to_vec()).body())),
            );
        }
        of(pieces)
    }

    /// The same writes in remote write 2.0.
    pub fn as_v2(&self) -> Self {
        let translated = |body: &Arc<[u8]>| Arc::from(RequestV2::of(&decode(body).expect("a write")).body());
        Self {
            compressed: self.compressed.iter().map(translated).collect(),
            samples: self.samples,
        }
    }

    /// How many different series one body has: a recorded one holds several scrapes.
    pub fn series(&self) -> usize {
        let distinct = |body: &Arc<[u8]>| {
            let mut texts = decode(body).expect("a write").texts();
            texts.sort_unstable();
            texts.dedup();
            texts.len()
        };
        self.compressed.iter().map(distinct).sum::<usize>() / self.compressed.len()
    }

    pub fn mean_bytes(&self) -> usize {
        self.compressed.iter().map(|body| body.len()).sum::<usize>() / self.compressed.len()
    }

    /// One after the other, for ever.
    pub fn in_turn(&self) -> Source {
        let bodies = self.clone();
        Arc::new(move |number| Write {
            body: Arc::clone(&bodies.compressed[number as usize % bodies.compressed.len()]),
            samples: bodies.samples,
            token: None,
        })
    }

    /// Tenants in turn, bodies in turn: where there are several times as many tenants as bodies, each always sends the
    /// same one.
    pub fn by_tenant(&self, tokens: &Tokens) -> Source {
        let (bodies, tokens) = (self.clone(), Arc::clone(tokens));
        Arc::new(move |number| Write {
            body: Arc::clone(&bodies.compressed[number as usize % bodies.compressed.len()]),
            samples: bodies.samples,
            token: Some(Arc::clone(&tokens[number as usize % tokens.len()])),
        })
    }

    /// No series twice, not even within one write: each has a number of its own in a label.
    pub fn always_new(&self, tokens: Option<&Tokens>) -> Source {
        let mark = |write: &mut WriteRequest| {
            for series in &mut write.timeseries {
                series.labels.push(Label {
                    // Sorts behind every recorded name.
                    name: "zz_write".to_owned(),
                    value: String::from_utf8(SERIAL.to_vec()).expect("digits"),
                });
            }
            SERIAL.to_vec()
        };
        let templates = Arc::new(self.templates(mark, WriteRequest::encode_to_vec));
        let (samples, next) = (self.samples, AtomicU64::new(0));
        let tokens = tokens.cloned();
        Arc::new(move |_| {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let serial = |place: usize| format!("{:012}", number * samples + place as u64).into_bytes();
            Write {
                body: templates[number as usize % templates.len()].patched(serial),
                samples,
                token: tokens
                    .as_ref()
                    .map(|tokens| Arc::clone(&tokens[number as usize % tokens.len()])),
            }
        })
    }

    /// Recorded series with the time of the write, for a receiver that stores and refuses what is old. A series that
    /// stands in a body several times, once per scrape, has its samples a millisecond apart.
    pub fn stamped(&self) -> Source {
        self.stamped_as(WriteRequest::encode_to_vec)
    }

    /// The same writes in remote write 2.0.
    pub fn stamped_as_v2(&self) -> Source {
        self.stamped_as(|write| RequestV2::of(write).encode_to_vec())
    }

    /// In both versions a sample's time is the same bytes.
    fn stamped_as(&self, encoded: fn(&WriteRequest) -> Vec<u8>) -> Source {
        let mark = |write: &mut WriteRequest| {
            for sample in write.timeseries.iter_mut().flat_map(|series| &mut series.samples) {
                sample.timestamp = STAMP;
            }
            stamp(STAMP)
        };
        let templates = Arc::new(self.templates(mark, encoded));
        let scrapes: Vec<Vec<i64>> = self.compressed.iter().map(|body| scrapes(body)).collect();
        let most = scrapes.iter().flatten().max().copied().unwrap_or_default() + 1;
        let (samples, next) = (self.samples, AtomicI64::new(0));
        Arc::new(move |number| {
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("a clock after 1970");
            let now = since.as_millis() as i64;
            // Two samples of one series at one time would be one of them too few.
            let taken = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| Some(now.max(next) + most));
            let first = now.max(taken.expect("always Some"));
            let body = number as usize % templates.len();
            Write {
                body: templates[body].patched(|place| stamp(first + scrapes[body][place])),
                samples,
                token: None,
            }
        })
    }

    fn templates(
        &self,
        mark: impl Fn(&mut WriteRequest) -> Vec<u8>,
        encoded: fn(&WriteRequest) -> Vec<u8>,
    ) -> Vec<Template> {
        let template = |body: &Arc<[u8]>| {
            let mut write = decode(body).expect("a write");
            let needle = mark(&mut write);
            let template = Template::new(encoded(&write), &needle);
            assert_eq!(template.places.len(), write.timeseries.len(), "one mark per series");
            template
        };
        self.compressed.iter().map(template).collect()
    }

    /// A pattern that matches the names of about half of all series, the names taken in alternation so that runs
    /// of one kind are as long as they are in the recorded bodies.
    pub fn half_of_names(&self) -> String {
        let mut count: BTreeMap<String, u64> = BTreeMap::new();
        for body in &self.compressed {
            for series in decode(body).expect("a write").timeseries {
                *count
                    .entry(series.value("__name__").expect("a name").to_owned())
                    .or_default() += 1;
            }
        }
        let mut sorted: Vec<_> = count.into_iter().collect();
        sorted.sort_by_key(|(_, series)| std::cmp::Reverse(*series));
        let (mut taken, mut left, mut names) = (0, 0, Vec::new());
        for (name, series) in sorted {
            if taken <= left {
                taken += series;
                names.push(name);
            } else {
                left += series;
            }
        }
        names.join("|")
    }
}

/// For every series of a body, how many times it stood there before.
fn scrapes(body: &[u8]) -> Vec<i64> {
    let mut seen: BTreeMap<String, i64> = BTreeMap::new();
    let write = decode(body).expect("a write");
    let mut before = |text| {
        let count = seen.entry(text).or_default();
        *count += 1;
        *count - 1
    };
    write.texts().into_iter().map(&mut before).collect()
}

/// A sample's time as it is encoded.
fn stamp(milliseconds: i64) -> Vec<u8> {
    let mut field = vec![TIMESTAMP_KEY];
    prost::encoding::encode_varint(milliseconds as u64, &mut field);
    field
}

/// As long as what is written over it, and nowhere else in a recorded body.
pub const SERIAL: &[u8; 12] = b"#SERIAL-MARK";
/// A time with the varint length, six bytes, of every time from 2004 to 2109.
const STAMP: i64 = 0x02aa_aaaa_aaaa;
/// Field 2 of a sample, as a varint.
const TIMESTAMP_KEY: u8 = 0x10;

/// A decoded body and the places in it that change with each write.
pub struct Template {
    decoded: Vec<u8>,
    places: Vec<usize>,
    length: usize,
}

impl Template {
    /// `needle` stands wherever something changes with each write.
    pub fn new(decoded: Vec<u8>, needle: &[u8]) -> Self {
        let windows = decoded.windows(needle.len()).enumerate();
        let places = windows.filter(|(_, w)| *w == needle).map(|(at, _)| at).collect();
        Self {
            decoded,
            places,
            length: needle.len(),
        }
    }

    /// A body, compressed. `patch` gives the bytes of each place, counted from 0.
    pub fn patched(&self, patch: impl Fn(usize) -> Vec<u8>) -> Arc<[u8]> {
        let mut decoded = self.decoded.clone();
        for (number, place) in self.places.iter().enumerate() {
            decoded[*place..place + self.length].copy_from_slice(&patch(number));
        }
        compress(&decoded).into()
    }
}
