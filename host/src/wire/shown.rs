//! A series as people are told of it: the name of its metric and the label that is at fault, or as much as there is room
//! for.
//!
//! Takes names and values as they were sent, be they text or not; gives text that is bounded and free of control
//! characters. Never shows a long value whole.

use std::borrow::Cow;
use std::fmt;

use crate::model::plain;

/// Longest metric or label name shown, in bytes; a mark for what was cut comes on top.
const MAX_NAME: usize = 128;
/// Longest label value shown, in bytes: enough to find it by.
const MAX_VALUE: usize = 32;
const METRIC_NAME: &[u8] = b"__name__";

/// A series by its metric and one label. What it displays, `up{job="node"}`, is for its sender alone: a log has no label
/// values in it, which may be what a policy redacts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    metric: String,
    label: Option<ShownLabel>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ShownLabel {
    name: String,
    /// `None` if the series was not sent with it.
    value: Option<String>,
}

impl Shown {
    /// Of a series whose label of the name `at_fault` is to be seen. If it has no metric's name, its first label has to do.
    pub fn of<'a>(labels: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, at_fault: Option<&[u8]>) -> Self {
        let find = |wanted: &[u8]| {
            labels
                .clone()
                .find(|(name, value)| *name == wanted && !value.is_empty())
        };
        let metric = find(METRIC_NAME).map(|(_, metric)| cut(metric, MAX_NAME));
        let label = match (at_fault, &metric) {
            (Some(METRIC_NAME), Some(_)) | (None, Some(_)) => None,
            (Some(name), _) => Some((name, find(name).map(|(_, value)| value))),
            (None, None) => labels.clone().next().map(|(name, value)| (name, Some(value))),
        };
        Self {
            metric: metric.unwrap_or_default(),
            label: label.map(|(name, value)| ShownLabel {
                name: quoted(name),
                value: value.map(quoted_value),
            }),
        }
    }

    /// `up{job}`, for logs and operators.
    pub fn without_value(&self) -> Self {
        let mut named = self.clone();
        if let Some(label) = &mut named.label {
            label.value = None;
        }
        named
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metric)?;
        match &self.label {
            Some(ShownLabel {
                name,
                value: Some(value),
            }) => write!(f, "{{{name}={value}}}"),
            Some(ShownLabel { name, value: None }) => write!(f, "{{{name}}}"),
            None if self.metric.is_empty() => f.write_str("{}"),
            None => Ok(()),
        }
    }
}

/// `up{job="node",zone="a"}`, cut to `most` bytes; a mark for the cut comes on top.
pub fn shown_whole<'a>(labels: impl Iterator<Item = (&'a [u8], &'a [u8])>, most: usize) -> String {
    let (mut metric, mut all) = (String::new(), String::new());
    for (name, value) in labels {
        if name == METRIC_NAME {
            metric = cut(value, MAX_NAME);
        } else if all.len() <= most {
            all.push_str(if all.is_empty() { "" } else { "," });
            all.push_str(&format!("{}={}", quoted(name), quoted_value(value)));
        }
    }
    plain(&format!("{metric}{{{all}}}"), most)
}

fn quoted_value(value: &[u8]) -> String {
    format!("\"{}\"", cut(value, MAX_VALUE).replace('"', "\\\""))
}

/// As PromQL has it: what is no plain name stands in quotes.
fn quoted(name: &[u8]) -> String {
    let is_plain = !name.is_empty() && name.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_');
    match is_plain {
        true => cut(name, MAX_NAME),
        false => format!("\"{}\"", cut(name, MAX_NAME)),
    }
}

fn cut(bytes: &[u8], most: usize) -> String {
    // What a character that is torn here leaves lies behind what is shown.
    let start: Cow<'_, str> = String::from_utf8_lossy(&bytes[..bytes.len().min(most + 4)]);
    plain(&start, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(labels: &[(&[u8], &[u8])], at_fault: Option<&[u8]>) -> String {
        Shown::of(labels.iter().copied(), at_fault).to_string()
    }

    #[test]
    fn a_series_is_shown_by_its_metric_and_the_label_at_fault() {
        let up: &[(&[u8], &[u8])] = &[(b"__name__", b"up"), (b"job", b"node"), (b"zone", b"a")];
        assert_eq!(of(up, None), "up");
        assert_eq!(of(up, Some(b"job")), r#"up{job="node"}"#);
        assert_eq!(of(up, Some(b"added")), "up{added}");
        assert_eq!(of(up, Some(b"__name__")), "up");
        assert_eq!(of(up, Some(b"")), r#"up{""}"#);
        assert_eq!(of(&up[1..], None), r#"{job="node"}"#);
        assert_eq!(of(&[], None), "{}");
        let named = |at_fault| Shown::of(up.iter().copied(), at_fault).without_value().to_string();
        assert_eq!(
            (named(Some(b"job")), named(None)),
            ("up{job}".to_owned(), "up".to_owned())
        );
        let whole = |most| shown_whole(up.iter().copied(), most);
        assert_eq!(whole(100), r#"up{job="node",zone="a"}"#);
        assert_eq!(whole(10), "up{job=\"no…");
        assert_eq!(of(&[(b"__name__", b""), (b"", b"x")], Some(b"")), r#"{""="x"}"#);
    }

    #[test]
    fn what_is_shown_is_bounded_and_holds_no_control_characters() {
        let long = "火".repeat(1000);
        let long = long.as_bytes();
        let text = of(&[(b"__name__", long), (long, long)], Some(long));
        assert!(text.len() < 400 && !text.contains('\u{fffd}'), "{text}");
        assert_eq!(text.matches('…').count(), 3, "{text}");
        let text = of(&[(b"__name__", b"a\n\xff"), (b"job", b"\x1b[31m\"}")], Some(b"job"));
        assert_eq!(text, "a\\n\u{fffd}{job=\"\\u{1b}[31m\\\"}\"}");
    }
}
