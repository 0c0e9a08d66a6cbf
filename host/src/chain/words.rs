//! Short texts out of a plugin that become metric labels, stream names and look-ups.
//!
//! Takes any string, gives one that is bounded in length and free of control characters, and shares equal ones.
//! Never lets a plugin choose how many different ones there are: whatever is told apart by them later need not bound
//! them again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::labels::Unfit;
use crate::model::{Refusal, plain};
use crate::sandbox::Fault;

/// Longest stream name, in bytes.
pub const MAX_STREAM_LENGTH: usize = 128;
/// Streams that one policy may name in its lifetime, and that may be left when the whole chain has had its say: each may
/// become a request of its own. The default stream has no name and comes on top.
pub const MAX_STREAMS: usize = 64;
/// Longest drop reason kept, in bytes; a mark for what was cut comes on top.
pub const MAX_REASON_LENGTH: usize = 64;
/// Different drop reasons kept per policy; the rest are counted as [`OTHER`].
pub const MAX_REASONS: usize = 32;
pub const OTHER: &str = "other";

/// A bounded set of shared texts.
#[derive(Debug, Default)]
pub struct Vocabulary(Mutex<HashSet<Arc<str>>>);

impl Vocabulary {
    /// The shared copy of `word`; `None` if it would be the one too many.
    pub fn share(&self, word: &str, most: usize) -> Option<Arc<str>> {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = words.get(word) {
            return Some(known.clone());
        }
        if words.len() >= most {
            return None;
        }
        let word: Arc<str> = Arc::from(word);
        words.insert(word.clone());
        Some(word)
    }

    /// A drop reason, made fit to be shown.
    pub fn reason(&self, text: &str) -> Arc<str> {
        let text = plain(text, MAX_REASON_LENGTH);
        let text = if text.is_empty() { "unnamed" } else { &text };
        self.share(text, MAX_REASONS).unwrap_or_else(|| Arc::from(OTHER))
    }

    /// A stream's name; `None` for the default stream.
    ///
    /// # Errors
    /// If it is not fit to be one, or one too many.
    pub fn stream(&self, name: &str) -> Result<Option<Arc<str>>, Unfit> {
        if name.is_empty() {
            return Ok(None);
        }
        if check_name("stream", name, MAX_STREAM_LENGTH).is_err() {
            return Err(Unfit::of(Refusal::StreamName));
        }
        match self.share(name, MAX_STREAMS) {
            Some(name) => Ok(Some(name)),
            None => Err(Unfit::of(Refusal::TooManyStreams)),
        }
    }
}

/// A drop reason as it is counted and shown, as long as there are not too many.
pub fn reason_kept(text: &str) -> String {
    Vocabulary::default().reason(text).to_string()
}

/// Why this can be no stream's name.
pub fn stream_fault(name: &str) -> Option<Refusal> {
    let fault = Vocabulary::default().stream(name).err();
    fault.map(|unfit| unfit.refusal)
}

/// A name that goes into logs, metrics and look-ups.
pub fn check_name(what: &str, name: &str, most: usize) -> Result<(), Fault> {
    if name.len() > most {
        return Err(Fault::Invalid(format!("a {what} name of {} bytes", name.len())));
    }
    if name.chars().any(char::is_control) {
        return Err(Fault::Invalid(format!("a {what} name with control characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_only_so_many_reasons() {
        let words = Vocabulary::default();
        for i in 0..MAX_REASONS {
            assert_eq!(&*words.reason(&format!("r{i}")), format!("r{i}"));
        }
        assert_eq!(&*words.reason("one too many"), OTHER);
        assert_eq!(&*words.reason("r0"), "r0");
        assert_eq!(&*words.reason(""), OTHER);
    }
}
