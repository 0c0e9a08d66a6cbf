//! The labels of one series.
//!
//! Takes canonical label bytes (those a scan proved, or those written here), gives names and values, and back.
//! Never checks what it writes: order, uniqueness and non-empty values are the caller's to keep.

use super::tags::{LABEL, NAME, VALUE};
use crate::wire::varint;

/// Most labels of one series, whatever the configuration allows: to sort them takes six times their bytes. Real series
/// have tens.
pub(super) const MAX_COUNT: usize = 10_000;

/// Names and values, in order, of a scanned series' label bytes.
///
/// # Panics
/// If the bytes are nothing that a scan proved or [`encode_labels`] wrote: a label left out could be the one that
/// a policy or a host check is about.
pub fn labels(bytes: &[u8]) -> impl Iterator<Item = (&str, &str)> + Clone {
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_else(|_| not_proved());
    label_bytes(bytes).map(move |(name, value)| (text(name), text(value)))
}

/// The same for whoever need not be told again that they are UTF-8, which costs more than finding them.
pub fn label_bytes(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (name, value, next) = read_one(rest).unwrap_or_else(|| not_proved());
        rest = next;
        Some((name, value))
    })
    .fuse()
}

#[cold]
fn not_proved() -> ! {
    panic!("labels were read from bytes that no scan has proved")
}

/// Name and value of the first label of `bytes`, and what follows it. None if they do not begin with one.
#[inline]
pub(crate) fn read_one(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    read_short(bytes).or_else(|| read_any(bytes))
}

/// As nearly all are: each length is one byte.
#[inline]
fn read_short(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let [LABEL, length @ ..0x80, rest @ ..] = bytes else {
        return None;
    };
    let (label, rest) = rest.split_at_checked(usize::from(*length))?;
    let [NAME, length @ ..0x80, label @ ..] = label else {
        return None;
    };
    let (name, label) = label.split_at_checked(usize::from(*length))?;
    let [VALUE, length @ ..0x80, value @ ..] = label else {
        return None;
    };
    (value.len() == usize::from(*length)).then_some((name, value, rest))
}

fn read_any(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (label, rest) = read_field(bytes, LABEL)?;
    let (name, value) = read_field(label, NAME)?;
    let (value, end) = read_field(value, VALUE)?;
    end.is_empty().then_some((name, value, rest))
}

/// The content of the field with this tag that `bytes` begin with, and what follows it.
pub(super) fn read_field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    if *bytes.first()? != tag {
        return None;
    }
    let (start, end) = varint::read_extent(bytes, 1)?;
    Some((bytes.get(start..end)?, bytes.get(end..)?))
}

/// Appends the label bytes of a series. Canonical if the labels are: names ascending by bytes, each once, neither
/// names nor values empty, `__name__` among them.
pub fn encode_labels<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>, out: &mut Vec<u8>) {
    for (name, value) in labels {
        put_label(out, name.as_bytes(), value.as_bytes());
    }
}

pub(super) fn put_label(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let part = |length: usize| 1 + varint::length(length as u64) + length;
    out.push(LABEL);
    varint::put(out, (part(name.len()) + part(value.len())) as u64);
    varint::put_bytes(out, NAME, name);
    varint::put_bytes(out, VALUE, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_as_they_were_written() {
        let long = "x".repeat(300);
        let written = [("__name__", "up"), ("a", "é"), ("b", long.as_str())];
        let mut bytes = Vec::new();
        encode_labels(written.into_iter(), &mut bytes);
        assert_eq!(labels(&bytes).collect::<Vec<_>>(), written);
        assert_eq!(&bytes[..16], b"\x0a\x0e\x0a\x08__name__\x12\x02up");
    }

    #[test]
    fn bytes_nobody_proved_are_never_taken_for_fewer_labels() {
        let mut bytes = Vec::new();
        encode_labels([("a", "b"), ("c", "d")].into_iter(), &mut bytes);
        let count = |bytes: &[u8]| std::panic::catch_unwind(|| labels(bytes).count()).ok();
        for cut in 0..=bytes.len() {
            let whole = (cut % 8 == 0).then_some(cut / 8);
            assert_eq!(count(&bytes[..cut]), whole, "cut at {cut}");
        }
        assert_eq!(count(b"\x0a\x06\x0a\x01\xff\x12\x01b"), None);
        assert_eq!(count(b"\x12\x00"), None);
    }
}
