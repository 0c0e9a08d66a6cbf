//! What attackers send: legal writes that cost more than they look, and what is no write at all.
//!
//! Takes counts, gives sources of bodies. What may be the same each time is made once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gauntlet_tests::bodies::{SERIAL, Source, Template, Write};
use gauntlet_tests::remote_write::compress;
use gauntlet_tests::{RequestV2, TimeSeries, WriteRequest, series, write};
use prost::Message;

/// The same body each time.
pub fn always(body: Vec<u8>) -> Source {
    let body: Arc<[u8]> = body.into();
    Arc::new(move |_| Write {
        body: Arc::clone(&body),
        samples: 0,
        token: None,
    })
}

/// Series that nobody has sent before, `count` in each write.
pub fn new_series(count: usize) -> Source {
    let mark = std::str::from_utf8(SERIAL).expect("letters");
    let all = (0..count).map(|place| usual(place).label("serial", mark));
    serial(write(all).encode_to_vec(), count)
}

/// Series that nobody has sent before, as small as they can be: a write of 40,000 is 1.5 MB.
pub fn tiny_new_series(count: usize) -> Source {
    let mark = std::str::from_utf8(SERIAL).expect("letters");
    let all = (0..count).map(|_| series(&format!("n{mark}")).sample(0.0, 0));
    serial(write(all).encode_to_vec(), count)
}

/// Writes of a template whose serial numbers, `count` in each, are always new.
fn serial(template: Vec<u8>, count: usize) -> Source {
    let template = Template::new(template, SERIAL);
    let next = AtomicU64::new(0);
    Arc::new(move |_| {
        let first = next.fetch_add(count as u64, Ordering::Relaxed);
        Write {
            body: template.patched(|place| format!("{:012}", first + place as u64).into_bytes()),
            samples: count as u64,
            token: None,
        }
    })
}

/// A series as an exporter has it.
fn usual(place: usize) -> TimeSeries {
    series("http_request_duration_seconds_bucket")
        .label("cluster", "a-usual-cluster")
        .label("handler", "/api/v1/query_range")
        .label("instance", "10.20.30.40:9100")
        .label("job", "kubernetes-pods")
        .label("le", "0.25")
        .label("place", &place.to_string())
        .sample(1.0, 0)
}

/// The same known series each time, their labels in the wrong order.
pub fn unsorted(count: usize) -> Source {
    let turned = |place| {
        let mut one = usual(place);
        one.labels.sort();
        one.labels.reverse();
        one
    };
    always(WriteRequest::as_given((0..count).map(turned)).body())
}

/// About 1.4 MB that decode to 30 MB in 19,000 series.
pub fn swollen() -> Source {
    let long = "a".repeat(1_400);
    always(write((0..19_000).map(|place| usual(place).label("long", &long))).body())
}

/// Some 33 MB that no compression shortens, and which may just come: as decoded they are no longer than they came.
pub fn largest() -> Source {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut letters = |count: usize| {
        let letter = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'!' + (state >> 40) as u8 % 90)
        };
        (0..count).map(letter).collect::<String>()
    };
    let all = (0..8_200).map(|place| {
        series("large")
            .label("noise", &letters(4_000))
            .label("place", &place.to_string())
    });
    always(write(all.map(|one| one.sample(1.0, 0)).collect::<Vec<_>>()).body())
}

/// Entries of metadata with nothing in them.
pub fn empty_metadata(count: usize) -> Source {
    always(compress(&[0x1a, 0x00].repeat(count)))
}

/// Fields that no version of the protocol has.
pub fn unknown_fields(count: usize) -> Source {
    always(compress(&[0x78, 0x00].repeat(count)))
}

/// Known series of 2.0 that have all the same help text, of so many bytes, and no ASCII: in each it takes a byte.
pub fn one_help(count: usize, bytes: usize) -> Source {
    let write = write((0..count).map(usual));
    always(
        RequestV2::of(&write)
            .with_metadata(1, &"é".repeat(bytes / 2), "")
            .body(),
    )
}

/// A small write of known series.
pub fn small() -> Source {
    always(write((0..20).map(usual)).body())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_tests::remote_write::decode;

    fn sizes(source: &Source) -> (usize, usize) {
        let body = source(0).body;
        (body.len(), snap::raw::decompress_len(&body).unwrap())
    }

    #[test]
    fn bodies_are_as_large_as_their_attacks_say() {
        let (compressed, decoded) = sizes(&swollen());
        assert!((1_200_000..1_700_000).contains(&compressed), "{compressed}");
        assert!((28_000_000..32 << 20).contains(&decoded), "{decoded}");
        let (compressed, decoded) = sizes(&largest());
        assert!((33_000_000..32 << 20).contains(&compressed), "{compressed}");
        assert!((33_000_000..32 << 20).contains(&decoded), "{decoded}");
        let (_, decoded) = sizes(&tiny_new_series(40_000));
        assert!((1_000_000..1_600_000).contains(&decoded), "{decoded}");
        let (compressed, decoded) = sizes(&one_help(4_000, 800_000));
        assert!((60_000..90_000).contains(&compressed), "{compressed}");
        assert!((900_000..1_048_576).contains(&decoded), "{decoded}");
        for source in [empty_metadata(500_000), unknown_fields(500_000)] {
            assert!((40_000..50_000).contains(&sizes(&source).0));
        }
    }

    #[test]
    fn new_series_are_new_each_time_and_sorted() {
        let source = new_series(3);
        let texts: Vec<String> = (0..2).flat_map(|_| decode(&source(0).body).unwrap().texts()).collect();
        let mut distinct = texts.clone();
        distinct.dedup();
        assert_eq!((distinct.len(), texts.len()), (6, 6));
        assert!(texts[5].ends_with("serial=\"000000000005\"}"), "{texts:?}");
        assert!(decode(&unsorted(1)(0).body).unwrap().texts()[0].contains("place=\"0\",le="));
    }
}
