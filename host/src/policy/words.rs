//! Short texts out of a plugin that become metric labels, stream names or lines of a log.
//!
//! Takes any string, gives one that is bounded in length and free of control characters, and shares equal ones.
//! Never lets a plugin choose how many different ones there are.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

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

/// `text` with control characters escaped, cut to `most` bytes (a mark for the cut comes on top).
///
/// Format characters that reorder or hide text on a terminal (bidirectional overrides, zero width) count as
/// control characters: log text is data.
pub fn plain(text: &str, most: usize) -> String {
    let mut plain = String::with_capacity(text.len().min(most) + 3);
    for c in text.chars() {
        let before = plain.len();
        match c {
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
                plain.extend(c.escape_unicode());
            }
            c if c.is_control() => plain.extend(c.escape_default()),
            c => plain.push(c),
        }
        if plain.len() > most {
            plain.truncate(before);
            plain.push('…');
            break;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_the_rest_is_not() {
        assert_eq!(
            plain("\x1b[31mred\r\nnext\u{7f}\u{9b}", 100),
            "\\u{1b}[31mred\\r\\nnext\\u{7f}\\u{9b}"
        );
        assert_eq!(plain("a\u{202e}b\u{200b}", 100), "a\\u{202e}b\\u{200b}");
        assert_eq!(plain("grün 火", 100), "grün 火");
    }

    #[test]
    fn a_long_text_is_cut_on_a_character() {
        assert_eq!(plain("abcd", 4), "abcd");
        assert_eq!(plain("abcde", 4), "abcd…");
        assert_eq!(plain("abc火", 4), "abc…");
        assert_eq!(plain("abc\x1b", 8), "abc…");
    }

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
