//! Remote-write 1.0 bodies, encoded by hand so that no code under test has a part in them.
//!
//! Takes one series with one sample; gives the snappy-compressed `WriteRequest`. Never sorts or checks labels: a
//! forger does not either.

use anyhow::Result;

/// A write of one series with one sample at `seconds` (Unix time). Labels go out in the order given.
pub fn write(labels: &[(&str, &str)], value: f64, seconds: f64) -> Result<Vec<u8>> {
    let mut series = Vec::new();
    for (name, text) in labels {
        let mut label = Vec::new();
        field(&mut label, 1, name.as_bytes());
        field(&mut label, 2, text.as_bytes());
        field(&mut series, 1, &label);
    }
    let mut sample = vec![1 << 3 | 1];
    sample.extend_from_slice(&value.to_le_bytes());
    sample.push(2 << 3);
    // Whole milliseconds of this century: positive and far below 2^53.
    varint(&mut sample, (seconds * 1000.0) as u64);
    field(&mut series, 2, &sample);
    let mut request = Vec::new();
    field(&mut request, 1, &series);
    Ok(snap::raw::Encoder::new().compress_vec(&request)?)
}

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
