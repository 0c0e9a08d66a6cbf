//! A receiver's own words, made fit for the log.
//!
//! Takes the start of a text, gives one line of it. Never for a sender: receivers name the receivers behind them.

use crate::model::plain;

/// Bytes of a receiver's text that are kept.
pub(super) const MOST: usize = 1024;

/// One printable line of at most so many bytes. What stands in braces or quotes is left out, and so are the values of a
/// duplicate: labels and values are nobody's who reads the log.
pub(super) fn line(text: &str, most: usize) -> String {
    let text = text.split(" existing ").next().unwrap_or(text).trim();
    let (mut line, mut until, mut before) = (String::new(), None, ' ');
    for c in text.chars() {
        let closes = match c {
            _ if until == Some(c) => {
                until = None;
                before = c;
                line.push(c);
                continue;
            }
            '{' => Some('}'),
            '"' => Some('"'),
            // Else it is an apostrophe.
            '\'' if before == ' ' => Some('\''),
            _ => None,
        };
        if until.is_none() {
            line.push(if c.is_control() { ' ' } else { c });
            if closes.is_some() {
                line.push_str("..");
                until = closes;
            }
        }
        before = c;
        if line.len() >= most {
            break;
        }
    }
    plain(line.trim_end(), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_one_bounded_line() {
        assert_eq!(line("  a\r\nb\0 ", 10), "a  b");
        assert_eq!(line(&"é".repeat(100), 10), "ééééé");
        assert_eq!(line("\u{202e}a", 10), "\\u{202e}a");
    }

    #[test]
    fn labels_and_values_are_not_in_a_line() {
        for (text, shown) in [
            (
                "user=a: said (id). It is from series {a=\"secret\", b=\"c\"} of user a\n",
                "user=a: said (id). It is from series {..} of user a",
            ),
            (
                "label: 'x', value: 'secret' (truncated)",
                "label: '..', value: '..' (truncated)",
            ),
            ("a histogram's count: \"secret", "a histogram's count: \".."),
            (
                "duplicate sample for timestamp 17; overrides not allowed: existing 1, new value 2",
                "duplicate sample for timestamp 17; overrides not allowed:",
            ),
        ] {
            assert_eq!(line(text, 100), shown);
        }
    }
}
