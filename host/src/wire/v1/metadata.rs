//! The metadata of a remote write 1.0 request: what metrics are, beside any series.
//!
//! Takes the entries that a write came with, or what a 2.0 write says of its series, gives entries in canonical form for who
//! wants them. What is no entry costs nothing but itself: a receiver would refuse the whole write for it.

use std::collections::HashSet;

use super::tags::{METADATA, METADATA_FAMILY, METADATA_HELP, METADATA_TYPE, METADATA_UNIT, SERIES};
use crate::wire::fields::Fields;
use crate::wire::series::{ScanError, Scanned, Torn};
use crate::wire::v2::extras::Metadata;
use crate::wire::varint;

/// Of the entries made of what a 2.0 write says; a thousand metrics have a tenth of it.
const MAX_FAMILIES_BYTES: usize = 1 << 20;

/// How many entries were appended, and how many are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Put {
    pub entries: u64,
    pub invalid: u64,
}

/// One entry. Texts are UTF-8, and may be empty but for the family's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Described<'a> {
    pub kind: i32,
    pub family: &'a [u8],
    pub help: &'a [u8],
    pub unit: &'a [u8],
}

/// Appends the entries that lie in the body of `scanned`, each in canonical form.
///
/// # Errors
/// If the body is not what a scan makes of one.
pub fn put_sent(out: &mut Vec<u8>, scanned: &Scanned) -> Result<Put, Torn> {
    let mut put = Put::default();
    let (body, mut at) = (&scanned.body()[..], 0);
    while let Some(&tag) = body.get(at) {
        let (start, end) = varint::read_extent(body, at + 1).ok_or(Torn)?;
        match tag {
            METADATA => match read(&body[start..end]) {
                Some(entry) => {
                    put_entry(out, &entry);
                    put.entries += 1;
                }
                None => put.invalid += 1,
            },
            SERIES => {}
            _ => return Err(Torn),
        }
        at = end;
    }
    Ok(put)
}

/// None if the message is malformed, names no family, or has a text that is not UTF-8.
fn read(message: &[u8]) -> Option<Described<'_>> {
    let entry = read_fields(message).ok()??;
    (!entry.family.is_empty()).then_some(entry)
}

fn read_fields(message: &[u8]) -> Result<Option<Described<'_>>, ScanError> {
    let mut entry = Described::default();
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        if number == 1 {
            entry.kind = value.varint("a type of metadata is not an integer")? as i32;
            continue;
        }
        let place = match number {
            2 => &mut entry.family,
            4 => &mut entry.help,
            5 => &mut entry.unit,
            _ => continue,
        };
        *place = value.bytes("a text of metadata is not a string")?;
        if std::str::from_utf8(place).is_err() {
            return Ok(None);
        }
    }
    Ok(Some(entry))
}

fn put_entry(out: &mut Vec<u8>, entry: &Described<'_>) {
    let mut content = Vec::with_capacity(entry.family.len() + entry.help.len() + entry.unit.len() + 32);
    if entry.kind != 0 {
        content.push(METADATA_TYPE);
        // An enum is an int32: a number below zero takes ten bytes.
        varint::put(&mut content, i64::from(entry.kind) as u64);
    }
    let texts = [
        (METADATA_FAMILY, entry.family),
        (METADATA_HELP, entry.help),
        (METADATA_UNIT, entry.unit),
    ];
    for (tag, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        varint::put_bytes(&mut content, tag, text);
    }
    varint::put_bytes(out, METADATA, &content);
}

/// What a write says of its series, as entries, one for each family: the first word counts.
#[derive(Default)]
pub struct Families(HashSet<Vec<u8>>);

impl Families {
    /// Appends an entry for the metric of this name, unless its family has one. False if there is too much already: a help
    /// text of any length takes a byte or two in each series of a 2.0 write.
    pub fn put(&mut self, out: &mut Vec<u8>, name: &[u8], said: &Metadata<'_>) -> bool {
        let Metadata { kind, help, unit } = *said;
        let family = family(name, kind);
        if self.0.contains(family) {
            return true;
        }
        let fits = out.len() + family.len() + help.len() + unit.len() <= MAX_FAMILIES_BYTES;
        if fits {
            self.0.insert(family.to_vec());
            let entry = Described {
                kind,
                family,
                help,
                unit,
            };
            put_entry(out, &entry);
        }
        fits
    }
}

/// The family of a metric: a classic histogram and a summary have several metrics, told apart by what their names end in.
fn family(name: &[u8], kind: i32) -> &[u8] {
    const HISTOGRAM: i32 = 3;
    const GAUGE_HISTOGRAM: i32 = 4;
    const SUMMARY: i32 = 5;
    let ends: &[&str] = match kind {
        HISTOGRAM => &["_bucket", "_count", "_sum"],
        GAUGE_HISTOGRAM => &["_bucket", "_gcount", "_gsum"],
        SUMMARY => &["_count", "_sum"],
        _ => &[],
    };
    let stem = ends.iter().find_map(|end| name.strip_suffix(end.as_bytes()));
    stem.filter(|stem| !stem.is_empty()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_belongs_to_its_family_by_its_type() {
        for (name, kind, of) in [
            ("http_seconds_bucket", 3, "http_seconds"),
            ("http_seconds_sum", 3, "http_seconds"),
            ("http_seconds", 3, "http_seconds"),
            ("rpc_count", 5, "rpc"),
            ("rpc_bucket", 5, "rpc_bucket"),
            ("load_gsum", 4, "load"),
            ("requests_total", 1, "requests_total"),
            ("a_sum", 0, "a_sum"),
            ("_sum", 3, "_sum"),
        ] {
            assert_eq!(family(name.as_bytes(), kind), of.as_bytes(), "{name} {kind}");
        }
    }

    #[test]
    fn a_family_is_told_once_and_a_text_that_many_refer_to_does_not_grow_without_end() {
        let help = vec![b'h'; MAX_FAMILIES_BYTES / 4];
        let said = Metadata {
            kind: 1,
            help: &help,
            unit: b"",
        };
        let (mut families, mut out) = (Families::default(), Vec::new());
        let put: Vec<bool> = (0..10_000)
            .map(|i| families.put(&mut out, format!("m{i}").as_bytes(), &said))
            .collect();
        assert_eq!(put.iter().filter(|put| **put).count(), 3);
        assert!(out.len() <= MAX_FAMILIES_BYTES, "{}", out.len());
        let before = out.len();
        assert!(families.put(&mut out, b"m0", &said), "it was told");
        assert_eq!(out.len(), before);
    }

    #[test]
    fn an_entry_that_is_none_is_not_read() {
        assert_eq!(read(b"\x08\x01"), None, "no family");
        assert_eq!(read(b"\x12\x01\xff"), None, "not UTF-8");
        assert_eq!(read(b"\x12\x05a"), None, "cut short");
        assert_eq!(read(b"\x0a\x01a"), None, "a type that is a text");
        let entry = Described {
            kind: -1,
            family: b"up",
            help: "é".as_bytes(),
            unit: b"",
        };
        let mut out = Vec::new();
        put_entry(&mut out, &entry);
        assert_eq!(read(&out[2..]), Some(entry));
    }
}
