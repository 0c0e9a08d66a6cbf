//! From a body of 2.0 to one of 1.0 in one go, where that is light work.
//!
//! Takes a decoded body as senders write nearly all of them, symbols first and then series; gives what is written out of it,
//! or gives up: whoever calls measures the body then, and says what is wrong with it if anything is. Takes no more memory
//! than is asked for before it is known to be needed: for the series twice what it will be if all are like the first, and 2 MiB
//! if that is not enough.

use bytes::Bytes;

use super::measure::{LIGHT_REFERENCES, LIGHT_SYMBOLS, LIGHT_WRITTEN, Measuring};
use super::output::Output;
use super::symbols::{Symbol, Symbols};
use super::tags::{SERIES, SYMBOL};
use super::transcode::Transcoder;
use super::usual::Usual;
use crate::wire::series::{ScanLimits, Scanned, Series};
use crate::wire::varint::read_bytes;
use crate::wire::{LIGHT_ELEMENTS, varint};

/// How many series are measured, to take twice the room for all that these would need.
const SAMPLED: usize = 16;
/// For bodies whose later series need more.
const MOST_ROOM: usize = LIGHT_WRITTEN as usize - Output::SPARE;
/// Bytes of 2.0 for a label, its share of samples and tags included, at about the least.
const LEAST_LABEL: usize = 4;
/// Bytes of a series of 2.0, at about the least.
pub(super) const LEAST_SERIES: usize = 28;

/// Labels of usual series are what they seem to be.
#[derive(Debug)]
pub(super) struct WrittenOut {
    pub(super) scanned: Scanned,
    /// Bytes of memory that it took, besides the decoded body.
    pub(super) size: u64,
}

/// None where it is more than light work, where it takes more room than is tried with, and where anything is wrong with it.
pub(super) fn written_out(body: &Bytes, limits: &ScanLimits) -> Option<WrittenOut> {
    let (symbols, mut at) = symbols(body)?;
    let mut room = room(body, &symbols, at)?;
    let expected = ((body.len() - at) / LEAST_SERIES + 1).min(LIGHT_ELEMENTS);
    let mut measuring = Measuring::of(&symbols);
    let labels = (body.len() - at) / LEAST_LABEL;
    let out = Output::new(room as u64, labels, &symbols);
    let mut transcoder = Transcoder::new(body, &symbols, out, expected);
    let most = limits.max_series.min(LIGHT_ELEMENTS as u64);
    let (mut written, mut count) = (0, 0);
    loop {
        let fence = if room < MOST_ROOM { room - room / 8 } else { usize::MAX };
        let before = transcoder.out.at();
        let short = transcoder.short(at, (most.saturating_sub(count), fence));
        at = short.end;
        count += short.count;
        written += (transcoder.out.at() - before) as u64;
        measuring.references += short.references;
        if written > limits.max_decoded_size || count > most || !measuring.is_light() {
            return None;
        }
        let Some((series, end)) = read_bytes(body, at, SERIES) else {
            break;
        };
        at = end;
        count += 1;
        if transcoder.out.at() > fence {
            room = MOST_ROOM;
            transcoder.out.grow(room as u64);
        }
        // A reference takes a byte: of too many at once, no more than these are followed.
        if series.len() as u64 > LIGHT_REFERENCES {
            return None;
        }
        match Usual::of(series) {
            Some(usual) => {
                let place = transcoder.usual(end - series.len(), &usual).ok()?;
                measuring.usual(place.references, usual.count, usual.says_something());
                // As it is measured: with its start.
                let content = (place.end - place.labels_start + usual.start_length()) as u64;
                written += 1 + varint::length(content) as u64 + content;
            }
            None => {
                let content = measuring.series(series).ok()?;
                if content + Series::MOST_HEADER > transcoder.out.left() as u64 {
                    return None;
                }
                written += 1 + varint::length(content) as u64 + content;
                transcoder.any(series).ok()?;
            }
        }
    }
    if at < body.len() {
        return None;
    }
    let series = expected.max(2 * count as usize) * size_of::<Series>();
    let size = Output::size(room as u64, labels, measuring.references, &symbols) + measuring.beside() + series as u64;
    let scanned = transcoder.done();
    Some(WrittenOut { scanned, size })
}

/// Bytes for all series, if they are like the first, which begin at `at`.
fn room(body: &[u8], symbols: &Symbols, mut at: usize) -> Option<usize> {
    let (first, mut written) = (at, 0);
    let mut measuring = Measuring::of(symbols);
    for _ in 0..SAMPLED {
        let Some((series, end)) = read_bytes(body, at, SERIES) else {
            break;
        };
        written += measuring.series(series).ok()? + Series::MOST_HEADER;
        at = end;
        if !measuring.is_light() {
            return None;
        }
    }
    let sampled = (at - first).max(1) as u64;
    let expected = written.saturating_mul((body.len() - first) as u64) / sampled;
    let most = MOST_ROOM as u64;
    (expected <= most).then(|| most.min(2 * expected) as usize)
}

/// The symbols that `body` begins with, of which the first is empty, and where they end.
pub(super) fn symbols(body: &[u8]) -> Option<(Symbols, usize)> {
    let (mut symbols, mut at) = (Vec::new(), 0);
    while let Some((text, end)) = read_bytes(body, at, SYMBOL) {
        if symbols.len() as u64 == LIGHT_SYMBOLS {
            return None;
        }
        symbols.push(Symbol {
            start: (end - text.len()) as u32,
            length: text.len() as u32,
        });
        at = end;
    }
    (symbols.first()?.length == 0).then_some((Symbols(symbols), at))
}
