//! Series and writes that nobody sent, for checks and for measuring.
//!
//! Takes a number, gives the same series for it every time and everywhere: of the usual shape, or of every shape that a
//! plugin must survive.

use std::sync::Arc;

use super::subject::LabelList;
use crate::chain::Write;
use crate::model::{Label, Protocol, Totals};

/// LabelList of a series that is as large as most are.
const USUAL_LABELS: usize = 10;

fn label(name: impl Into<String>, value: impl Into<String>) -> Label {
    Label {
        name: name.into(),
        value: value.into(),
    }
}

fn sorted(mut labels: LabelList) -> LabelList {
    labels.sort();
    labels
}

/// A series as a Prometheus sends them, another one for each number.
pub fn usual(number: u64) -> LabelList {
    // Fibonacci hashing spreads neighbours.
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let pick = |shift: u32, of: &[&'static str]| of[(spread >> shift) as usize % of.len()];
    let mut labels = vec![
        label(
            "__name__",
            pick(
                8,
                &[
                    "http_requests_total",
                    "up",
                    "node_cpu_seconds_total",
                    "go_goroutines",
                    "kube_pod_info",
                ],
            ),
        ),
        label("cluster", pick(16, &["eu-1", "us-1"])),
        label("code", pick(20, &["200", "404", "500"])),
        label("env", pick(24, &["prod", "stage", "dev"])),
        label("handler", pick(28, &["/", "/api/v1/write", "/metrics"])),
        label(
            "instance",
            format!("10.{}.{}.{}:9100", spread >> 56, (spread >> 48) & 0xff, number % 251),
        ),
        label("job", pick(32, &["node", "api", "kubelet"])),
        label("method", pick(36, &["GET", "POST"])),
        label("pod", format!("web-{number}")),
        label("team", pick(40, &["a", "b", "c", "d"])),
    ];
    debug_assert_eq!(labels.len(), USUAL_LABELS);
    labels.retain(|label| {
        label.name == "pod"
            || !spread.is_multiple_of(7)
            || label.name.len().is_multiple_of(2)
            || label.name == "__name__"
    });
    sorted(labels)
}

/// Each with what it is.
pub fn hostile() -> Vec<(&'static str, LabelList)> {
    let named = |more: LabelList| sorted([vec![label("__name__", "x")], more].concat());
    let every_control = (1u32..0x20).filter_map(char::from_u32).collect::<String>();
    vec![
        ("a series without labels", Vec::new()),
        ("a series without a metric's name", vec![label("job", "x")]),
        ("a value of 4 KiB", named(vec![label("v", "x".repeat(4096))])),
        ("a name of 4 KiB", named(vec![label("n".repeat(4096), "x")])),
        ("a value of 400 KiB", named(vec![label("v", "x".repeat(400 << 10))])),
        (
            "values that are not ASCII",
            named(vec![label("ort", "München 火 🔥"), label("größe", "é\u{301}")]),
        ),
        (
            "characters at the ends of Unicode",
            named(vec![label("v", "\u{10ffff}\u{fffd}\u{200b}\u{202e}")]),
        ),
        (
            "control characters",
            named(vec![
                label("v", format!("{every_control}\u{7f}\u{0}")),
                label("a\nb", "x\ry"),
            ]),
        ),
        (
            "quotes and backslashes",
            named(vec![label("v", "\"\\{}=,'`$(x)"), label("a\"b", "c")]),
        ),
        (
            "a number where text is usual",
            named(vec![label("0", "0"), label("v", "NaN")]),
        ),
        (
            "10,000 labels",
            named((0..10_000).map(|n| label(format!("l{n:05}"), format!("{n}"))).collect()),
        ),
        (
            "512 labels with one long prefix",
            named(
                (0..512)
                    .map(|n| label(format!("{}{n}", "p".repeat(200)), "1"))
                    .collect(),
            ),
        ),
    ]
}

fn totals(series: u64) -> Totals {
    Totals {
        series,
        samples: series,
        histograms: 0,
        exemplars: 0,
    }
}

/// A write as a Prometheus sends them, another one for each number.
pub fn write(number: u64) -> Write {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let series = 1 + (spread >> 53);
    let mut streams = vec![(Arc::from(""), totals(series))];
    if number % 3 == 1 {
        streams.push((Arc::from("team-a"), totals(1 + series / 2)));
    }
    Write {
        subject: ["", "agent-1", "agent-2"][(spread >> 40) as usize % 3].to_owned(),
        protocol: Protocol::V1,
        compressed_bytes: series * 12,
        decoded_bytes: series * 90,
        active_series: series + (spread >> 44) % 100_000,
        new_series: (spread >> 30) % (series + 1),
        streams,
    }
}

/// No count of the gateway's comes near it. The largest numbers of all are none that JavaScript can give back.
const LARGEST: u64 = 1 << 62;

/// Each with what it is.
pub fn hostile_writes() -> Vec<(&'static str, Write)> {
    let most = Totals {
        series: LARGEST,
        samples: LARGEST,
        histograms: LARGEST,
        exemplars: LARGEST,
    };
    let largest = Write {
        subject: "s".repeat(4096),
        protocol: Protocol::V2,
        compressed_bytes: LARGEST,
        decoded_bytes: LARGEST,
        active_series: LARGEST,
        new_series: LARGEST,
        streams: vec![(Arc::from(""), most)],
    };
    let many = Write {
        streams: (0..64)
            .map(|n| (Arc::from(format!("stream-{n} \"火\"")), totals(n)))
            .collect(),
        ..Write::default()
    };
    vec![
        ("a write with nothing in it", Write::default()),
        ("a write of the largest numbers", largest),
        ("a write with 64 streams", many),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_series_are_fit_to_be_sent_and_differ() {
        let all: Vec<LabelList> = (0..1000).map(usual).collect();
        for labels in all.iter().chain(hostile().iter().map(|(_, labels)| labels)) {
            assert!(labels.windows(2).all(|pair| pair[0].name < pair[1].name), "{labels:?}");
            assert!(
                labels
                    .iter()
                    .all(|label| !label.value.is_empty() && !label.name.is_empty())
            );
        }
        let different: std::collections::BTreeSet<&LabelList> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(usual(1).len(), USUAL_LABELS);
    }
}
