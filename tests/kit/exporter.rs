//! An exporter whose every sample is known: it follows from the number of the scrape.
//!
//! Takes scrapes at `/text/..` (OpenMetrics if asked for, with exemplars, else Prometheus text) and at `/native/..`
//! (protobuf with a native histogram), and at `/many/N` pages of so many gauges; gives values that anybody can compute again with [`gauge`]. Each path counts its
//! own scrapes and tells the number as `known_scrape_number`. Never sets a timestamp, so that a series that ends is told
//! as stale by whoever scrapes it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

/// Series of `known_gauge`.
pub const GAUGES: u64 = 60;
/// Series of `known_total`, each with an exemplar where the format has any.
const COUNTERS: u64 = 20;
/// Series of `go_known`, for policies that drop them.
const DROPPED: u64 = 10;
/// Upper bounds of the classic histogram, besides infinity.
const BOUNDS: [f64; 4] = [0.1, 0.5, 2.5, 10.0];
/// `known_ends` is there for so many scrapes, and then away for as many.
const PHASE: u64 = 7;

pub struct Exporter {
    pub address: SocketAddr,
}

impl Exporter {
    /// Serves until this program ends.
    ///
    /// # Panics
    /// If there is no port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let scrapes = Arc::new(Mutex::new(HashMap::new()));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let scrapes = Arc::clone(&scrapes);
                // A scraper that went away wants no answer.
                thread::spawn(move || serve(stream, &scrapes).ok());
            }
        });
        Self { address }
    }
}

/// The value of `known_gauge{series="<series>"}` at a scrape. Some are such that a lax copy would change them; none is a
/// negative zero, whose sign Prometheus' own encoder loses.
pub fn gauge(series: u64, scrape: u64) -> f64 {
    match series {
        0 if scrape.is_multiple_of(3) => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3 => f64::from_bits(scrape),
        4 => f64::MAX / (scrape + 1) as f64,
        other => (other as f64 + 0.1) * scrape as f64 / 3.0,
    }
}

fn serve(stream: TcpStream, scrapes: &Mutex<HashMap<String, u64>>) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut openmetrics = false;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        openmetrics |= line.starts_with("accept:") && line.contains("openmetrics");
    }
    let scrape = {
        let mut scrapes = scrapes.lock().expect("no panic under the lock");
        let count = scrapes.entry(path.clone()).or_default();
        *count += 1;
        *count
    };
    let (kind, body) = if let Some(count) = path.strip_prefix("/many/") {
        (TEXT, many(count.parse().unwrap_or(0), scrape).into_bytes())
    } else if path.starts_with("/native/") {
        (PROTOBUF, native(scrape))
    } else if openmetrics {
        (OPENMETRICS, text(scrape, Some(now())).into_bytes())
    } else {
        (TEXT, text(scrape, None).into_bytes())
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    writer.write_all(head.as_bytes())?;
    writer.write_all(&body)
}

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROTOBUF: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// `exemplars`, where the format has any, is their time in seconds.
fn text(scrape: u64, exemplars: Option<f64>) -> String {
    let mut page = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| writeln!(page, "{line}").expect("a string");
    let exemplar = |value: f64| match exemplars {
        Some(time) => format!(" # {{trace_id=\"{scrape:08x}\"}} {value:e} {time:.3}"),
        None => String::new(),
    };
    line(format_args!(
        "# TYPE known_scrape_number gauge\nknown_scrape_number {scrape}"
    ));
    line(format_args!("# TYPE known_gauge gauge"));
    for series in 0..GAUGES {
        let value = written(gauge(series, scrape));
        line(format_args!("known_gauge{{series=\"{series:03}\"}} {value}"));
    }
    line(format_args!("# TYPE go_known gauge"));
    for series in 0..DROPPED {
        line(format_args!("go_known{{series=\"{series:03}\"}} {scrape}"));
    }
    if (scrape / PHASE).is_multiple_of(2) {
        line(format_args!(
            "# TYPE known_ends gauge\nknown_ends{{reason=\"often\"}} {scrape}"
        ));
    }
    // OpenMetrics names the family, Prometheus' text the series.
    let family = if exemplars.is_some() { "known" } else { "known_total" };
    line(format_args!("# TYPE {family} counter"));
    for series in 0..COUNTERS {
        let exemplar = exemplar(series as f64 + scrape as f64 / 8.0);
        line(format_args!(
            "known_total{{series=\"{series:03}\"}} {}{exemplar}",
            scrape * series
        ));
    }
    line(format_args!("# TYPE known_seconds histogram"));
    for (at, bound) in (1..).zip(BOUNDS) {
        let exemplar = exemplar(bound - 0.01 / scrape as f64);
        line(format_args!(
            "known_seconds_bucket{{le=\"{bound:?}\"}} {}{exemplar}",
            scrape * at
        ));
    }
    let all = scrape * (BOUNDS.len() as u64 + 1);
    line(format_args!("known_seconds_bucket{{le=\"+Inf\"}} {all}"));
    line(format_args!(
        "known_seconds_sum {:e}\nknown_seconds_count {all}",
        scrape as f64 / 7.0
    ));
    if exemplars.is_some() {
        page.push_str("# EOF\n");
    }
    page
}

fn many(count: u32, scrape: u64) -> String {
    let line = |series: u32| {
        format!(
            "known_many{{series=\"{series:06}\",instance_of=\"many\"}} {}\n",
            gauge(7 + u64::from(series), scrape)
        )
    };
    std::iter::once("# TYPE known_many gauge\n".to_owned())
        .chain((0..count).map(line))
        .collect()
}

fn written(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 {
            "+Inf".to_owned()
        } else {
            "-Inf".to_owned()
        }
    } else {
        format!("{value:e}")
    }
}

/// `known_scrape_number` and `known_native_seconds`, whose buckets all grow, the further ones by less.
fn native(scrape: u64) -> Vec<u8> {
    let histogram = Histogram {
        count: scrape * 10,
        sum: scrape as f64 * 1.7,
        schema: 2,
        zero_threshold: 1e-128,
        zero_count: scrape,
        negative_span: vec![Span { offset: -3, length: 1 }],
        negative_delta: vec![scrape as i64],
        positive_span: vec![Span { offset: -1, length: 2 }, Span { offset: 4, length: 1 }],
        // 4, 3 and 1 times the number of the scrape.
        positive_delta: vec![4 * scrape as i64, -(scrape as i64), -2 * scrape as i64],
    };
    let families = [
        Family {
            name: "known_scrape_number".to_owned(),
            kind: 1,
            metric: vec![Metric {
                gauge: Some(Gauge { value: scrape as f64 }),
                histogram: None,
            }],
        },
        Family {
            name: "known_native_seconds".to_owned(),
            kind: 4,
            metric: vec![Metric {
                gauge: None,
                histogram: Some(histogram),
            }],
        },
    ];
    let mut body = Vec::new();
    for family in families {
        family.encode_length_delimited(&mut body).expect("room");
    }
    body
}

/// `io.prometheus.client.MetricFamily`, as far as it is used here.
#[derive(Clone, PartialEq, prost::Message)]
struct Family {
    #[prost(string, tag = "1")]
    name: String,
    /// 1 is a gauge, 4 a histogram.
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(message, optional, tag = "2")]
    gauge: Option<Gauge>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Gauge {
    #[prost(double, tag = "1")]
    value: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "9")]
    negative_span: Vec<Span>,
    #[prost(sint64, repeated, tag = "10")]
    negative_delta: Vec<i64>,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<Span>,
    #[prost(sint64, repeated, tag = "13")]
    positive_delta: Vec<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_counts_its_own_scrapes_and_the_values_can_be_computed_again() {
        let exporter = Exporter::start();
        let scrape = |path: &str| crate::http::get(&exporter.address.to_string(), path).unwrap().text();
        scrape("/text/a");
        let (second, other) = (scrape("/text/a"), scrape("/text/b"));
        assert!(second.contains("known_scrape_number 2\n") && other.contains("known_scrape_number 1\n"));
        let line = format!("known_gauge{{series=\"007\"}} {:e}\n", gauge(7, 2));
        assert!(second.contains(&line), "{second}");
        assert!(scrape("/native/a").contains("known_native_seconds"));
    }

    #[test]
    fn a_series_ends_and_comes_again() {
        let has = |scrape| text(scrape, None).contains("known_ends");
        assert!(has(1) && !has(PHASE) && has(2 * PHASE));
    }

    #[test]
    fn openmetrics_has_exemplars_and_an_end() {
        let page = text(1, Some(1.5));
        assert!(page.ends_with("# EOF\n") && page.contains(" # {trace_id=\"00000001\"} "));
        assert!(!text(1, None).contains(" # {"));
    }
}
