//! Text of a stranger, made fit to be shown.
//!
//! Takes any string, gives one that is bounded in length and free of control characters; of a text with lines, such as a stack,
//! one that keeps them, or one line of it. Never fails.

/// What stands for a tab in a text with lines.
const TAB: &str = "    ";

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

/// As [`plain`], of a text whose lines stay lines. Where they are too many, those in the middle are left out: a stack begins or
/// ends with what went wrong, depending on the language.
pub fn plain_lines(text: &str, most: usize) -> String {
    let text = text.trim_end();
    if !text.contains('\n') {
        return plain(text, most);
    }
    let (mut lines, mut begin, mut end, mut left) = (text.lines(), Vec::new(), Vec::new(), most);
    // In turns, so that neither end goes without.
    loop {
        let from_begin = begin.len() <= end.len();
        let rest = lines.clone();
        let Some(line) = (if from_begin { lines.next() } else { lines.next_back() }) else {
            break;
        };
        // No more of a line is looked at than may be shown.
        let line: String = line.chars().take(most).collect();
        let line = plain(&line.replace('\t', TAB), most / 2);
        if line.len() + 1 > left {
            begin.push(format!("… lines left out: {}", rest.count()));
            break;
        }
        left -= line.len() + 1;
        if from_begin { &mut begin } else { &mut end }.push(line);
    }
    begin.extend(end.into_iter().rev());
    begin.join("\n")
}

/// What [`plain_lines`] gives, on one line.
pub fn joined(lines: &str) -> String {
    lines.replace('\n', "\\n")
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
    fn lines_stay_lines_and_what_is_too_much_is_left_out_of_the_middle() {
        assert_eq!(plain_lines("", 10), "");
        assert_eq!(plain_lines("one\n", 10), "one");
        assert_eq!(plain_lines("abcdefghijkl", 10), "abcdefghij…");
        assert_eq!(plain_lines("a\r\n\tb\x1b\n", 100), "a\n    b\\u{1b}");
        let stack: Vec<String> = (0..100).map(|n| format!("frame {n:02}")).collect();
        let cut = plain_lines(&stack.join("\n"), 40);
        assert_eq!(cut, "frame 00\nframe 01\n… lines left out: 96\nframe 98\nframe 99");
        assert_eq!(joined(&plain_lines("a\nb\x1b\n", 100)), "a\\nb\\u{1b}");
        // One of them may be as long as it likes.
        let cut = plain_lines(&format!("begins\n{}\nends", "x".repeat(1000)), 40);
        assert_eq!(cut, format!("begins\n{}…\nends", "x".repeat(20)));
        assert!(plain_lines(&"x\n".repeat(100_000), 40).len() < 80);
    }

    #[test]
    fn a_long_text_is_cut_on_a_character() {
        assert_eq!(plain("abcd", 4), "abcd");
        assert_eq!(plain("abcde", 4), "abcd…");
        assert_eq!(plain("abc火", 4), "abc…");
        assert_eq!(plain("abc\x1b", 8), "abc…");
    }
}
