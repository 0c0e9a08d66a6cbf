//! A series written from its values, for whoever sends some: what was received is spliced instead.
//!
//! Takes labels and samples, gives canonical bytes. Never checks the labels: see [`encode_labels`].

use super::labels::encode_labels;
use super::tags::{SAMPLE, SAMPLE_TIMESTAMP, SAMPLE_VALUE, SERIES};
use crate::wire::varint;

/// Appends one series. A sample is a value and its time in milliseconds.
pub fn write_series<'a>(
    out: &mut Vec<u8>,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    samples: impl Iterator<Item = (f64, i64)>,
) {
    let (mut content, mut sample) = (Vec::new(), Vec::new());
    encode_labels(labels, &mut content);
    for (value, timestamp) in samples {
        sample.clear();
        put_value(
            &mut sample,
            (SAMPLE_VALUE, value.to_bits()),
            (SAMPLE_TIMESTAMP, timestamp as u64),
        );
        varint::put_bytes(&mut content, SAMPLE, &sample);
    }
    varint::put_bytes(out, SERIES, &content);
}

/// Proto3 leaves zeros out. The comparison is of bits: a negative zero stays.
pub(super) fn put_value(out: &mut Vec<u8>, (value_tag, bits): (u8, u64), (timestamp_tag, timestamp): (u8, u64)) {
    if bits != 0 {
        out.push(value_tag);
        out.extend_from_slice(&bits.to_le_bytes());
    }
    if timestamp != 0 {
        out.push(timestamp_tag);
        varint::put(out, timestamp);
    }
}
