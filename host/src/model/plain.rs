//! Text of a stranger, made fit to be shown.
//!
//! Takes any string, gives one that is bounded in length and free of control characters. Never fails.

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
}
