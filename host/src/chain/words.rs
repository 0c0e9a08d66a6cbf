//! Short texts out of a plugin that become metric labels or stream names.
//!
//! Takes any string, gives one that is bounded in length and free of control characters, and shares equal ones.
//! Never lets a plugin choose how many different ones there are.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::sandbox::plain;

/// Longest drop reason kept, in bytes.
pub const MAX_REASON_LENGTH: usize = 64;
/// Different drop reasons kept per policy; the rest are counted as [`OTHER`].
pub const MAX_REASONS: usize = 32;
pub const OTHER: &str = "other";

/// A bounded set of shared texts.
#[derive(Debug, Default)]
pub struct Words(Mutex<HashSet<Arc<str>>>);

impl Words {
    /// The shared copy of `word`; `None` where it would be the one too many.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_only_so_many_reasons() {
        let words = Words::default();
        for i in 0..MAX_REASONS {
            assert_eq!(&*words.reason(&format!("r{i}")), format!("r{i}"));
        }
        assert_eq!(&*words.reason("one too many"), OTHER);
        assert_eq!(&*words.reason("r0"), "r0");
        assert_eq!(&*words.reason(""), OTHER);
    }
}
