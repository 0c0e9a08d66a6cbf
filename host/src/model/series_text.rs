//! Series as people write them: `up{job="node"}`, as in Prometheus' text format and in its queries.
//!
//! Takes one series, or an exposition with a series on each line; gives its labels in order, and writes labels as the same
//! text again. A name in quotes may be any text, and stands among the labels: `{"größe.in.bytes", job="node"}`. In quotes
//! Go's escapes hold. Values and timestamps may follow and are left out. Never gives what can be no series: a name twice,
//! or one that is empty.

use std::fmt::Write as _;

use super::Label;

const METRIC_NAME: &str = "__name__";

/// Why a text is no series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {fault}")]
pub struct TextError {
    /// The first one is 1.
    pub line: usize,
    /// In characters; the first one is 1.
    pub column: usize,
    pub fault: TextFault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextFault {
    #[error("the series has no labels, not even a metric name")]
    Empty,
    #[error("expected {0}")]
    Expected(&'static str),
    #[error("the quote that begins here does not end")]
    Unended,
    #[error("`\\{0}` is no escape: a backslash in quotes is written `\\\\`")]
    Escape(char),
    #[error("an escape that stands for no character")]
    NoCharacter,
    #[error("a label is written name=\"value\": this is a series, and no selector of several")]
    Selector,
    #[error("a label without a name")]
    EmptyName,
    #[error("the label {0} stands here twice")]
    Twice(String),
    #[error("after a series nothing may stand but a value, a timestamp and an exemplar")]
    Rest,
}

/// The labels of one series, sorted by name; those with an empty value are left out, as they mean nothing.
///
/// # Errors
/// See [`TextError`].
pub fn parse_series(text: &str) -> Result<Vec<Label>, TextError> {
    Reader::read(text).map_err(|(rest, fault)| at(text, 0, rest, fault))
}

/// The series of an exposition, each with the number of its line. Comments and empty lines are skipped.
pub fn parse_exposition(text: &str) -> impl Iterator<Item = Result<(usize, Vec<Label>), TextError>> {
    let lines = text.lines().enumerate();
    let series = lines.filter(|(_, line)| !line.trim_start().is_empty() && !line.trim_start().starts_with('#'));
    series.map(|(number, line)| {
        let labels = Reader::read(line).map_err(|(rest, fault)| at(line, number, rest, fault))?;
        Ok((number + 1, labels))
    })
}

/// Labels as one line of text, which [`parse_series`] reads back; control characters are escaped.
pub fn series_text<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let (mut metric, mut inner) = (String::new(), String::new());
    for (name, value) in labels {
        if name == METRIC_NAME && metric.is_empty() && is_name(value, true) {
            metric.push_str(value);
            continue;
        }
        inner.push_str(if inner.is_empty() { "" } else { "," });
        if !is_name(name, false) {
            quote(name, &mut inner);
        } else if name != METRIC_NAME {
            inner.push_str(name);
        }
        // A metric's name that is no plain one stands alone, in quotes.
        inner.push_str(if name == METRIC_NAME { "" } else { "=" });
        quote(value, &mut inner);
    }
    match inner.is_empty() && !metric.is_empty() {
        true => metric,
        false => format!("{metric}{{{inner}}}"),
    }
}

fn at(line: &str, number: usize, rest: &str, fault: TextFault) -> TextError {
    let before = line.get(..line.len() - rest.len()).unwrap_or_default();
    TextError {
        line: number + 1,
        column: before.chars().count() + 1,
        fault,
    }
}

/// `colons`: as metrics may have them, and labels may not.
fn is_name(text: &str, colons: bool) -> bool {
    !text.is_empty() && name_length(text, colons) == text.len()
}

fn name_length(text: &str, colons: bool) -> usize {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    match text.starts_with(|c: char| c.is_ascii_digit()) {
        true => 0,
        false => text.find(|c| !is_part(c)).unwrap_or(text.len()),
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            // What a terminal would obey, or would not show.
            c if c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}') =>
            {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Where it went wrong, and why.
type Stopped<'t> = (&'t str, TextFault);

/// What is still to be read.
struct Reader<'t>(&'t str);

impl<'t> Reader<'t> {
    fn read(text: &'t str) -> Result<Vec<Label>, Stopped<'t>> {
        let mut reader = Self(text);
        let mut labels = Vec::new();
        reader.skip_space();
        let metric = reader.name(true);
        if !metric.is_empty() {
            labels.push((METRIC_NAME.to_owned(), metric.to_owned(), text));
        }
        reader.skip_space();
        if reader.take('{') {
            while !reader.take('}') {
                reader.label(&mut labels)?;
                if !reader.take(',') && !reader.0.starts_with('}') {
                    return Err((reader.0, TextFault::Expected("`,` or `}`")));
                }
                reader.skip_space();
            }
        } else if metric.is_empty() {
            return Err((reader.0, TextFault::Expected("the name of a metric, or `{`")));
        }
        reader.rest()?;
        in_order(text, labels)
    }

    /// One label, or the name of the metric in quotes, and the space behind it.
    fn label(&mut self, labels: &mut Vec<(String, String, &'t str)>) -> Result<(), Stopped<'t>> {
        self.skip_space();
        let start = self.0;
        let quoted = self.quoted()?;
        let is_quoted = quoted.is_some();
        let name = quoted.unwrap_or_else(|| self.name(false).to_owned());
        self.skip_space();
        if is_quoted && (self.0.starts_with(',') || self.0.starts_with('}')) {
            labels.push((METRIC_NAME.to_owned(), name, start));
            return Ok(());
        }
        if name.is_empty() {
            let fault = match is_quoted || self.0.starts_with('=') {
                true => TextFault::EmptyName,
                false => TextFault::Expected("the name of a label, or `}`"),
            };
            return Err((start, fault));
        }
        if ["!=", "=~", "!~"].iter().any(|operator| self.0.starts_with(operator)) {
            return Err((self.0, TextFault::Selector));
        }
        if !self.take('=') {
            return Err((self.0, TextFault::Expected("`=` and a value in quotes")));
        }
        self.skip_space();
        let value = self
            .quoted()?
            .ok_or((self.0, TextFault::Expected("a value in quotes")))?;
        self.skip_space();
        labels.push((name, value, start));
        Ok(())
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, c: char) -> bool {
        let rest = self.0.strip_prefix(c);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn name(&mut self, colons: bool) -> &'t str {
        let (name, rest) = self.0.split_at(name_length(self.0, colons));
        self.0 = rest;
        name
    }

    /// `None` if there is no quote here.
    fn quoted(&mut self) -> Result<Option<String>, Stopped<'t>> {
        let start = self.0;
        let Some(quote) = start.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            return Ok(None);
        };
        let (mut text, mut bytes) = (String::new(), start[1..].chars());
        loop {
            let here = bytes.as_str();
            match bytes.next() {
                None => return Err((start, TextFault::Unended)),
                Some('\\') => text.push(escaped(&mut bytes).map_err(|fault| (here, fault))?),
                Some(c) if c == quote => break,
                Some(c) => text.push(c),
            }
        }
        self.0 = bytes.as_str();
        Ok(Some(text))
    }

    /// A value and a timestamp, which are numbers, and an exemplar behind a `#`.
    fn rest(&mut self) -> Result<(), Stopped<'t>> {
        self.skip_space();
        let numbers = self.0.split(" #").next().unwrap_or_default();
        let numbers = if self.0.starts_with('#') { "" } else { numbers };
        let mut words = numbers.split_ascii_whitespace();
        let are_numbers = words.by_ref().take(2).all(|word| word.parse::<f64>().is_ok());
        match are_numbers && words.next().is_none() {
            true => Ok(()),
            false => Err((self.0, TextFault::Rest)),
        }
    }
}

/// What stands behind a backslash.
fn escaped(rest: &mut std::str::Chars<'_>) -> Result<char, TextFault> {
    let digits = match rest.next().ok_or(TextFault::Unended)? {
        'n' => return Ok('\n'),
        't' => return Ok('\t'),
        'r' => return Ok('\r'),
        c @ ('"' | '\'' | '\\') => return Ok(c),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        c => return Err(TextFault::Escape(c)),
    };
    let number = rest.as_str().get(..digits).and_then(|hex| {
        let is_hex = hex.bytes().all(|c| c.is_ascii_hexdigit());
        is_hex.then(|| u32::from_str_radix(hex, 16).ok()).flatten()
    });
    let c = number.and_then(char::from_u32).ok_or(TextFault::NoCharacter)?;
    // In Go `\xff` is a byte, and no text by itself.
    if digits == 2 && !c.is_ascii() {
        return Err(TextFault::NoCharacter);
    }
    rest.nth(digits - 1);
    Ok(c)
}

fn in_order<'t>(text: &'t str, mut labels: Vec<(String, String, &'t str)>) -> Result<Vec<Label>, Stopped<'t>> {
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(pair) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err((pair[1].2, TextFault::Twice(pair[0].0.clone())));
    }
    let labels: Vec<Label> = labels
        .into_iter()
        .filter(|(_, value, _)| !value.is_empty())
        .map(|(name, value, _)| Label { name, value })
        .collect();
    match labels.is_empty() {
        true => Err((text, TextFault::Empty)),
        false => Ok(labels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let labels = parse_series(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        labels.into_iter().map(|label| (label.name, label.value)).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    fn fault(text: &str) -> (usize, TextFault) {
        let error = parse_series(text).unwrap_err();
        (error.column, error.fault)
    }

    #[test]
    fn series_are_read_as_prometheus_writes_them() {
        let up = pairs(&[("__name__", "up"), ("job", "node"), ("zone", "a")]);
        for text in [
            r#"up{job="node",zone="a"}"#,
            r#" up { zone = "a" , job='node', } "#,
            r#"{__name__="up",zone="a",job="node"}"#,
            r#"{"up", zone="a", "job"="node"}"#,
            r#"up{zone="a",job="node",gone=""} 1 1700000000000"#,
            r#"up{zone="a",job="node"} NaN"#,
            r#"up{zone="a",job="node"} +Inf 1.5 # {trace_id="a"} 1 1"#,
            r#"up{zone="a",job="node"} # {trace_id="a"} 1"#,
        ] {
            assert_eq!(read(text), up, "{text}");
        }
        assert_eq!(read("up"), pairs(&[("__name__", "up")]));
        assert_eq!(read("job:up:sum5m 3"), pairs(&[("__name__", "job:up:sum5m")]));
        assert_eq!(read(r#"{job="a"}"#), pairs(&[("job", "a")]));
        assert_eq!(
            read(r#"{"größe.in.bytes","tag with space"="火"}"#),
            pairs(&[("__name__", "größe.in.bytes"), ("tag with space", "火")])
        );
        assert_eq!(
            read(r#"a{b="\"\\\n\t\x1b\u706b\U0001f525",c='"'}"#),
            pairs(&[("__name__", "a"), ("b", "\"\\\n\t\u{1b}火🔥"), ("c", "\"")])
        );
    }

    #[test]
    fn what_is_no_series_is_told_with_its_place() {
        assert_eq!(fault(""), (1, TextFault::Expected("the name of a metric, or `{`")));
        assert_eq!(fault("{}"), (1, TextFault::Empty));
        assert_eq!(fault(r#"{a=""}"#), (1, TextFault::Empty));
        assert_eq!(fault(r#"up{job="a"#), (8, TextFault::Unended));
        assert_eq!(
            fault(r#"up{job="a" zone="b"}"#),
            (12, TextFault::Expected("`,` or `}`"))
        );
        assert_eq!(fault(r"up{job=a}"), (8, TextFault::Expected("a value in quotes")));
        assert_eq!(fault("up{job}"), (7, TextFault::Expected("`=` and a value in quotes")));
        assert_eq!(
            fault("up{9=\"a\"}"),
            (4, TextFault::Expected("the name of a label, or `}`"))
        );
        assert_eq!(fault("up{"), (4, TextFault::Expected("the name of a label, or `}`")));
        assert_eq!(fault(r#"up{="a"}"#), (4, TextFault::EmptyName));
        assert_eq!(fault(r#"up{""="a"}"#), (4, TextFault::EmptyName));
        for selector in ["!=", "=~", "!~"] {
            assert_eq!(fault(&format!("up{{job{selector}\"a\"}}")), (7, TextFault::Selector));
        }
        assert_eq!(fault(r#"up{a="1",b="2",a="1"}"#), (16, TextFault::Twice("a".into())));
        assert_eq!(fault(r#"up{__name__="x"}"#), (4, TextFault::Twice("__name__".into())));
        assert_eq!(fault(r#"up{a="\d"}"#), (7, TextFault::Escape('d')));
        for escape in [r"\u12", r"\ud800", r"\xff", r"\U00110000", r"\u+123", r"\u火a"] {
            assert_eq!(
                fault(&format!("up{{a=\"{escape}\"}}")),
                (7, TextFault::NoCharacter),
                "{escape}"
            );
        }
        assert_eq!(fault("up 1 2 3"), (4, TextFault::Rest));
        assert_eq!(fault(r#"up{a="火"} no"#), (11, TextFault::Rest));
        assert_eq!(fault("9up").1, TextFault::Expected("the name of a metric, or `{`"));
    }

    #[test]
    fn an_exposition_is_read_line_by_line_without_its_comments() {
        let text = "# HELP up Is it?\n# TYPE up gauge\n\nup{a=\"1\"} 1\r\n  up{a=\"2\"} 0\n{oops\n# EOF\n";
        let all: Vec<_> = parse_exposition(text).collect();
        assert_eq!(all.len(), 3);
        let lines: Vec<usize> = all[..2].iter().map(|series| series.as_ref().unwrap().0).collect();
        assert_eq!(lines, [4, 5]);
        let error = all[2].clone().unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 6, column 6: expected `=` and a value in quotes"
        );
    }

    #[test]
    fn what_is_written_is_read_back_and_obeyed_by_no_terminal() {
        for labels in [
            pairs(&[("__name__", "up")]),
            pairs(&[("job", "a")]),
            pairs(&[("__name__", "a:b"), ("job", "\"\\\n\r\u{1b}[31m\u{202e}火")]),
            pairs(&[("", "x")]),
            pairs(&[("__name__", "größe in"), ("a:b", "1"), ("le", "+Inf"), ("9", "\u{9b}")]),
        ] {
            let text = series_text(labels.iter().map(|(name, value)| (&**name, &**value)));
            assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text}");
            if labels[0].0.is_empty() {
                assert_eq!(text, r#"{""="x"}"#);
                continue;
            }
            let mut sorted = labels;
            sorted.sort();
            assert_eq!(read(&text), sorted, "{text}");
        }
        let up = [("__name__", "up"), ("job", "node"), ("zone", "a")];
        assert_eq!(series_text(up.into_iter()), r#"up{job="node",zone="a"}"#);
    }
}
