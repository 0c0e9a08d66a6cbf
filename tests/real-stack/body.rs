//! Remote-write bodies for curl and for the receivers themselves.
//!
//! Takes one series with one sample; gives the snappy-compressed `WriteRequest` of the harness' own encoder. Never
//! sorts or checks labels: a forger does not either.

use gauntlet_tests::remote_write::{T0, WriteRequest, series};

/// A write of one series with one sample at `seconds` (Unix time). Labels go out in the order given, after the name.
pub fn write(name: &str, labels: &[(&str, &str)], seconds: f64) -> Vec<u8> {
    let mut one = series(name);
    for (label, value) in labels {
        one = one.label(label, value);
    }
    let milliseconds = (seconds * 1000.0) as i64;
    WriteRequest::as_given([one.sample(1.0, milliseconds - T0)]).body()
}
