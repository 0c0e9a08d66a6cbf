//! What does not lie in a body is never written as nothing.

use super::super::splice::{edit, keep, splice};
use super::super::{EncodeError, Patch, Piece, Scanned, Torn, encode};
use super::{scan_model, series, write};

fn one(name: &str) -> Scanned {
    scan_model(&write(&[series(&[("__name__", name)])]))
}

#[test]
fn a_series_of_another_body_is_torn_and_not_left_out() {
    let (short, long) = (one("up"), one(&"up".repeat(50)));
    let (own, foreign) = (&short.series()[0], &long.series()[0]);
    let patch = Patch::whole(b"");
    assert_eq!(keep(&mut Vec::new(), &short, foreign), Err(Torn));
    assert_eq!(edit(&mut Vec::new(), &short, foreign, &patch), Err(Torn));
    for pieces in [
        [Piece::Keep(own), Piece::Keep(foreign)],
        [Piece::Keep(foreign), Piece::Keep(own)],
        [Piece::Keep(foreign), Piece::Edit(own, patch)],
        [Piece::Edit(foreign, patch), Piece::Keep(own)],
    ] {
        assert_eq!(splice(&mut Vec::new(), &mut Vec::new(), &short, pieces), Err(Torn));
        let mut out = vec![7];
        assert_eq!(encode(&short, pieces, 0, &mut out), Err(EncodeError::Torn(Torn)));
        assert_eq!(out, [7]);
    }
    // The thread's scratch space is as good as before.
    let mut out = Vec::new();
    encode(&short, [Piece::Keep(own)], 0, &mut out).unwrap();
    assert_eq!(snap::raw::Decoder::new().decompress_vec(&out).unwrap(), *short.body());
}

#[test]
fn a_patch_takes_no_more_label_bytes_than_there_are() {
    let scanned = one("up");
    let series = &scanned.series()[0];
    let sent = scanned.label_bytes(series).len() as u16;
    let taking = |first, last| {
        let patch = Patch {
            first,
            middle: b"",
            last,
        };
        let mut out = Vec::new();
        edit(&mut out, &scanned, series, &patch).map(|()| out)
    };
    assert_eq!(taking(sent - 1, 1).unwrap(), *scanned.body());
    for (first, last) in [(sent, 1), (sent + 1, 0), (0, sent + 1), (u16::MAX, u16::MAX)] {
        assert_eq!(taking(first, last), Err(Torn), "{first} and {last} of {sent}");
    }
}

#[test]
#[should_panic(expected = "out of range")]
fn labels_of_a_series_of_another_body_are_not_none() {
    one("up").label_bytes(&one(&"up".repeat(50)).series()[0]);
}
