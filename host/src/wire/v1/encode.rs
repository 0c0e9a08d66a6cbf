//! From decided series to a compressed body, without searching it for what repeats.
//!
//! Takes a scanned body and what was decided for its series, gives the body to forward in the block format of snappy.
//! Never looks for a match where there is no reason for one: in a write the next series is much like the one before,
//! and what differs is a label, which was mostly seen before as a whole. So candidates are looked up at few places, by
//! what a label or the start of a series is, not at every byte by what its next four bytes are. Of series as Prometheus
//! sends them it makes 1.04 times the bytes that the `snap` crate makes, in two thirds of the time.

use std::cell::RefCell;

use super::copied;
use super::places::{LONG_TAIL, MULTIPLIER, NAME, SEAM_BITS, label_end, replace, word};
use super::splice::{self, Extent};
use crate::wire::series::{Piece, Scanned, Torn};
use crate::wire::snappy::SnappyError;
use crate::wire::snappy::elements::Elements;
use crate::wire::varint;

/// Entries of the table, by bits. What collides is forgotten.
const LABEL_BITS: u32 = 10;

/// Scratch space kept for its thread's next body. Larger bodies are rare enough to pay for theirs.
const KEPT_SCRATCH_BYTES: usize = 2 << 20;

struct Scratch {
    body: Vec<u8>,
    extents: Vec<Extent>,
    out: Vec<u8>,
    snap: snap::raw::Encoder,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        body: Vec::new(),
        extents: Vec::new(),
        out: Vec::new(),
        snap: snap::raw::Encoder::new(),
    });
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error(transparent)]
    Torn(#[from] Torn),
    #[error(transparent)]
    Snappy(#[from] SnappyError),
}

/// Encodes `pieces`, all of them series of `scanned`, into `out`, replacing what `out` held. `put_in` is how many bytes the
/// edits among them may add: of a large body nothing is allocated twice.
///
/// # Errors
/// Those of [`splice`](splice::splice), and `TooLong` for bodies of 4 GiB and more. `out` is as it was then.
pub fn encode<'a>(
    scanned: &Scanned,
    pieces: impl IntoIterator<Item = Piece<'a>>,
    put_in: usize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    encode_before(scanned, pieces, put_in, &[], out)
}

/// As [`encode`], with whole fields of a request behind the series.
///
/// # Errors
/// Those of [`encode`].
pub fn encode_before<'a>(
    scanned: &Scanned,
    pieces: impl IntoIterator<Item = Piece<'a>>,
    put_in: usize,
    last: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.body.clear();
        scratch.extents.clear();
        let sent = scanned.body().len();
        scratch.body.reserve(sent + put_in.max(sent / 8));
        scratch.extents.reserve(scanned.series().len());
        let spliced = splice::splice(&mut scratch.body, &mut scratch.extents, scanned, pieces);
        scratch.body.extend_from_slice(last);
        let encoded = match spliced {
            Ok(()) => encode_spliced(scratch, out).map_err(EncodeError::from),
            Err(torn) => Err(torn.into()),
        };
        if scratch.body.capacity() + scratch.out.capacity() > KEPT_SCRATCH_BYTES {
            (scratch.body, scratch.extents, scratch.out) = Default::default();
        }
        encoded
    })
}

/// Encodes all series of `scanned`, which know of labels that lie before, into `out`, replacing what `out` held.
///
/// # Errors
/// `TooLong` for bodies of 4 GiB and more. `out` is as it was then.
pub fn encode_copied(scanned: &Scanned, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    SCRATCH.with_borrow_mut(|scratch| {
        let Scratch { out: room, snap, .. } = scratch;
        encode_body(scanned.body(), room, out, |elements| {
            let mut encoder = copied::Encoder::new(scanned.body(), elements, snap, scanned.rows());
            scanned.series().iter().for_each(|series| encoder.series(series));
            encoder.finish()
        })?;
        if room.capacity() > KEPT_SCRATCH_BYTES {
            *room = Vec::new();
        }
        Ok(())
    })
}

fn encode_spliced(scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<(), SnappyError> {
    let Scratch {
        body,
        extents,
        out: room,
        snap,
    } = scratch;
    encode_body(body, room, out, |elements| {
        let mut encoder = Encoder::new(body, elements, snap);
        extents.iter().for_each(|extent| encoder.series(extent));
        encoder.elements.finish()
    })
}

/// Puts the elements that `encode` gives of `body`, written in `room`, behind its length in `out`.
fn encode_body<'a>(
    body: &'a [u8],
    room: &'a mut Vec<u8>,
    out: &mut Vec<u8>,
    encode: impl FnOnce(Elements<'a>) -> &'a [u8],
) -> Result<(), SnappyError> {
    if u32::try_from(body.len()).is_err() {
        return Err(SnappyError::TooLong {
            length: body.len() as u64,
        });
    }
    // Zeroed once for the thread, not for each body; by the system, which has no page for what is never written.
    let least = snap::raw::max_compress_len(body.len());
    if room.len() < least {
        *room = vec![0; least];
    }
    let stream = encode(Elements::new(body, room));
    out.clear();
    out.reserve_exact(varint::MAX_LENGTH + stream.len());
    varint::put(out, body.len() as u64);
    out.extend_from_slice(stream);
    Ok(())
}

struct Encoder<'a> {
    body: &'a [u8],
    elements: Elements<'a>,
    snap: &'a mut snap::raw::Encoder,
    before: Place,
    /// Last places of series whose first bytes were the same: their length, and that of their first label.
    seams: [u32; 1 << SEAM_BITS],
    /// Last places of first labels of a length.
    first_labels: [u32; 256],
    /// Last places of labels. Not all of them: a label inside a longer copy was not looked at.
    labels: [u32; 1 << LABEL_BITS],
}

/// Where the last series lies.
#[derive(Clone, Copy, Default)]
struct Place {
    start: usize,
    labels: usize,
    first_end: usize,
    end: usize,
}

impl<'a> Encoder<'a> {
    fn new(body: &'a [u8], elements: Elements<'a>, snap: &'a mut snap::raw::Encoder) -> Self {
        Self {
            body,
            elements,
            snap,
            before: Place::default(),
            seams: [0; 1 << SEAM_BITS],
            first_labels: [0; 256],
            labels: [0; 1 << LABEL_BITS],
        }
    }

    /// Writes one series but for its last bytes: a copy may reach from them into the next one.
    #[inline(always)]
    fn series(&mut self, extent: &Extent) {
        let place = Place {
            start: self.before.end,
            labels: extent.labels as usize,
            first_end: label_end(self.body, extent.labels as usize),
            end: extent.end as usize,
        };
        let tail = extent.tail as usize;
        // A copy that ends in the length of the next series leaves it to the seam, which has a longer one.
        self.elements.set_fence(place.end);
        if self.elements.done() <= place.start {
            self.seam(place);
        }
        if self.elements.done() < place.first_end {
            self.first_label(place);
        }
        if self.elements.done() < tail {
            self.other_labels(place.first_end, tail);
        }
        if place.end > self.elements.done().max(tail) + LONG_TAIL {
            self.elements.literal(tail);
            self.elements.search(place.end, self.snap);
        }
        self.before = place;
    }

    /// The end of the last series, its timestamp, and the start of this one, its length, as one copy: from where a series
    /// of this length came last, or else from between the last two.
    #[inline(always)]
    fn seam(&mut self, place: Place) {
        let first = word(self.body, place.start);
        // Five bytes count: two tags, and two lengths, of which that of the series mostly takes two.
        let seam = replace::<SEAM_BITS, _>(&mut self.seams, first << 24, place.start);
        if word(self.body, seam) != first || !self.elements.copy(place.start, seam, 0) {
            self.elements.copy(place.start, self.before.start, 0);
        }
    }

    /// The metric's name: as a whole, if it came before; else its start and its end are likely those of the last one.
    #[inline(always)]
    fn first_label(&mut self, place: Place) {
        let Place { labels, first_end, .. } = place;
        if self.known_label(labels, first_end) {
            return;
        }
        if self.elements.done() < labels {
            let same_length = std::mem::replace(&mut self.first_labels[(first_end - labels) % 256], labels as u32);
            self.elements.copy(labels, same_length as usize, 0);
        }
        let name = self.elements.done().max(labels + NAME);
        if name < first_end {
            self.elements.copy(name, self.before.labels + (name - labels), 0);
        }
        if self.elements.done() < first_end {
            self.elements.copy(first_end, self.before.first_end, 0);
        }
    }

    #[inline(always)]
    fn other_labels(&mut self, mut at: usize, tail: usize) {
        while at < tail {
            let end = label_end(self.body, at);
            if end > self.elements.done() {
                self.known_label(at, end);
            }
            at = end;
        }
    }

    /// Copies the label at `at..end`, and what followed it, from where it came last.
    #[inline(always)]
    fn known_label(&mut self, at: usize, end: usize) -> bool {
        let last = word(self.body, end.wrapping_sub(8));
        let key = last ^ word(self.body, at).wrapping_mul(MULTIPLIER);
        let known = replace::<LABEL_BITS, _>(&mut self.labels, key, at);
        // Most of those that are not the same are told by their end.
        word(self.body, (known + (end - at)).wrapping_sub(8)) == last && self.elements.copy(at, known, end)
    }
}
