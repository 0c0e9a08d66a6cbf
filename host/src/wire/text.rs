//! The canonical bytes of a write, which are there, or are written when somebody asks for them.
//!
//! Takes bytes, or those that they can be written of, gives the bytes. Where most writes go on as they came, nobody asks: of a
//! body of 2.0 no byte is written out then. Remembers whether the last ones were asked for ([`Foresight`]), for who needs
//! them anyway has them sooner at once. Never knows how they are written.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// Most writes that are written at once after one was not, in vain.
const MOST_AT_ONCE: u32 = 255;

/// Labels of one series, in a body that was written out, that lie in one row before, too: what is at `at..end` is what lies from
/// `from` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LabelRow {
    pub(super) at: u32,
    pub(super) end: u32,
    pub(super) from: u32,
}

impl LabelRow {
    #[inline(always)]
    pub(super) fn new(at: Range<usize>, from: u32) -> Self {
        Self {
            at: at.start as u32,
            end: at.end as u32,
            from,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrittenText {
    pub(super) body: Bytes,
    /// Labels that lie in it before as well.
    pub(super) rows: Vec<LabelRow>,
}

/// What bytes are written of.
#[derive(Debug, Clone)]
pub(super) struct Unwritten {
    pub(super) came_as: Bytes,
    /// None is a bug: it was seen that it can be written.
    pub(super) write: fn(&Bytes) -> Option<WrittenText>,
    pub(super) foresight: Arc<Foresight>,
}

#[derive(Debug, Clone)]
pub(super) struct Text {
    written: OnceLock<WrittenText>,
    unwritten: Option<Unwritten>,
    length: usize,
}

impl Text {
    pub(super) fn written(body: Bytes, rows: Vec<LabelRow>) -> Self {
        Self {
            length: body.len(),
            written: OnceLock::from(WrittenText { body, rows }),
            unwritten: None,
        }
    }

    /// It will have so many bytes.
    pub(super) fn unwritten(unwritten: Unwritten, length: usize) -> Self {
        Self {
            written: OnceLock::new(),
            unwritten: Some(unwritten),
            length,
        }
    }

    /// Writes it, if that was not done yet. Empty where that is a bug: whoever writes some of it on says that it is torn.
    #[inline]
    pub(super) fn get(&self) -> &WrittenText {
        self.written.get_or_init(|| self.write())
    }

    #[cold]
    fn write(&self) -> WrittenText {
        let written = self.unwritten.as_ref().and_then(|unwritten| {
            unwritten.foresight.was_in_vain();
            (unwritten.write)(&unwritten.came_as)
        });
        written
            .filter(|written| written.body.len() == self.length)
            .unwrap_or(WrittenText {
                body: Bytes::new(),
                rows: Vec::new(),
            })
    }

    /// In bytes, written or not.
    pub(super) fn length(&self) -> usize {
        self.length
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Text {}

/// Whether the bytes of the next write will be asked for, by the last ones.
#[derive(Debug, Default)]
pub struct Foresight {
    /// As many are to be written at once before one is not.
    at_once: AtomicU32,
    /// How many that will be the next time.
    next: AtomicU32,
}

impl Foresight {
    /// Whether the next one is to be written at once. Threads that ask at the same time may get an answer each that is one
    /// write old.
    pub(super) fn is_asked_for(&self) -> bool {
        let at_once = self.at_once.load(Ordering::Relaxed);
        if at_once > 0 {
            self.at_once.store(at_once - 1, Ordering::Relaxed);
            return true;
        }
        let next = self.next.load(Ordering::Relaxed);
        self.next.store(next / 2, Ordering::Relaxed);
        false
    }

    /// One was not written at once, in vain: it had to be all the same.
    pub(super) fn was_in_vain(&self) {
        let next = self.next.load(Ordering::Relaxed);
        self.at_once.store(next, Ordering::Relaxed);
        self.next.store((4 * next + 3).min(MOST_AT_ONCE), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of so many writes, how many are not written at once, where each or one of so many is asked for.
    fn tried(writes: usize, one_of: usize) -> usize {
        let foresight = Foresight::default();
        let tried = |at: &usize| {
            let is_tried = !foresight.is_asked_for();
            if is_tried && at.is_multiple_of(one_of) {
                foresight.was_in_vain();
            }
            is_tried
        };
        (0..writes).filter(tried).count()
    }

    #[test]
    fn who_needs_every_write_has_nearly_every_one_written_at_once() {
        assert!(tried(6400, 1) < 6400 / 80);
        assert!(tried(6400, 100) > 6400 * 9 / 10);
        assert_eq!(tried(6400, 6401), 6400);
    }

    #[test]
    fn it_is_written_once_and_only_where_somebody_asks() {
        let foresight = Arc::new(Foresight::default());
        let write: fn(&Bytes) -> Option<WrittenText> = |came_as| {
            Some(WrittenText {
                body: came_as.slice(1..),
                rows: Vec::new(),
            })
        };
        let unwritten = Unwritten {
            came_as: Bytes::from_static(b"abc"),
            write,
            foresight: Arc::clone(&foresight),
        };
        let text = Text::unwritten(unwritten.clone(), 2);
        assert_eq!((text.length(), text.written.get().is_some()), (2, false));
        assert_eq!(text.get().body, "bc");
        assert!(std::ptr::eq(text.get(), text.get()));
        assert_eq!(foresight.next.load(Ordering::Relaxed), 3);
        // It is not what it was said to be.
        assert_eq!(Text::unwritten(unwritten, 3).get().body, "");
    }
}
