//! The arguments of one `relabel`: the labels of all its series, one after the other.
//!
//! Takes names and values, gives them in one piece. Its room is used again by the next call on the same thread. Never
//! looks at what they say.

use std::cell::Cell;
use std::string::FromUtf8Error;

/// Room kept for a thread's next call, in bytes of text.
const KEPT: usize = 1 << 20;

#[derive(Default)]
pub struct Arguments {
    /// Names and values.
    pub(super) text: String,
    /// Of each name and value, in bytes.
    pub(super) lengths: Vec<u32>,
    /// Labels of each series.
    pub(super) labels: Vec<u32>,
}

thread_local! {
    /// Room for the next call on this thread. Fresh room for each is given back to the system between two writes, and
    /// a page of two megabytes zeroed for it when it is needed again.
    static REUSED: Cell<Arguments> = Cell::default();
}

impl Arguments {
    /// With the room of this thread's last one.
    pub fn reused() -> Self {
        REUSED.take()
    }

    pub fn reuse(self) {
        if self.text.capacity() <= KEPT {
            REUSED.set(self);
        }
    }

    /// How many series are asked about.
    pub fn series_count(&self) -> usize {
        self.labels.len()
    }

    /// Asks about `series` in place of what was asked before; `parts` hands the names and values of one of them to a
    /// function.
    ///
    /// # Errors
    /// If they are not UTF-8. What a scan proved is, and so is what a plugin returned.
    pub fn ask_for<S>(
        &mut self,
        series: impl Iterator<Item = S>,
        parts: impl Fn(S, &mut dyn FnMut(&[u8])),
    ) -> Result<(), FromUtf8Error> {
        let mut text = std::mem::take(&mut self.text).into_bytes();
        text.clear();
        self.lengths.clear();
        self.labels.clear();
        for one in series {
            let before = self.lengths.len();
            parts(one, &mut |part| {
                text.extend_from_slice(part);
                // Shorter than the body they came in, or than what a plugin may leave on a series.
                self.lengths.push(part.len() as u32);
            });
            self.labels.push(((self.lengths.len() - before) / 2) as u32);
        }
        // Once over all of it costs a tenth of once for each.
        self.text = String::from_utf8(text)?;
        Ok(())
    }
}
