//! Series and labels as they are shown, and what changed between two of them.
//!
//! Takes labels, gives lines of text without control characters, which can be read back as they are written.

use std::cmp::Ordering;
use std::iter::once;

use crate::model::{Label, series_text};
use crate::sandbox::{Fault, Line};

/// `up{job="node"}`.
pub fn show_series(labels: &[Label]) -> String {
    series_text(labels.iter().map(|label| (&*label.name, &*label.value)))
}

/// Text in quotes, on one line.
pub fn quoted(text: &str) -> String {
    let labelled = series_text(once(("x", text)));
    let quoted = labelled.strip_prefix("{x=").and_then(|rest| rest.strip_suffix('}'));
    quoted.unwrap_or_default().to_owned()
}

/// A label's name, in quotes where it is no plain one.
pub fn show_name(name: &str) -> String {
    let labelled = series_text(once((name, "")));
    let shown = labelled.strip_prefix('{').and_then(|rest| rest.strip_suffix("=\"\"}"));
    shown.unwrap_or(name).to_owned()
}

/// A fault below a line that is indented; a stack has lines of its own.
pub fn shown_fault(fault: &Fault) -> String {
    fault.on_lines().replace('\n', "\n    ")
}

/// What a plugin printed.
pub fn shown_lines(printed: &[Line]) -> Vec<String> {
    let mut lines = Vec::new();
    for line in printed {
        let mut text = line.text.lines();
        lines.push(format!("| {}: {}", line.level, text.next().unwrap_or_default()));
        lines.extend(text.map(|line| format!("|   {line}")));
    }
    lines
}

/// What is on the series now and was not, and the other way round: `+ name="value"`, `- ..`, `~ name="old" -> "new"`.
pub fn difference(before: &[Label], after: &[Label]) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    let with = |label: &Label| format!("{}={}", show_name(&label.name), quoted(&label.value));
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return lines,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.name.cmp(&new.name),
        };
        let was = old.next_if(|_| order.is_le());
        let is = new.next_if(|_| order.is_ge());
        match (was, is) {
            (Some(was), Some(is)) if was.value != is.value => {
                lines.push(format!("~ {} -> {}", with(was), quoted(&is.value)));
            }
            (Some(was), None) => lines.push(format!("- {}", with(was))),
            (None, Some(is)) => lines.push(format!("+ {}", with(is))),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse_series;

    #[test]
    fn a_difference_is_told_label_by_label() {
        let difference =
            |before: &str, after: &str| difference(&parse_series(before).unwrap(), &parse_series(after).unwrap());
        let lines = difference("up{a=\"1\",b=\"2\",c=\"3\"}", "down{b=\"9\",c=\"3\",\"d e\"=\"\\n\"}");
        assert_eq!(
            lines,
            [
                "~ __name__=\"up\" -> \"down\"",
                "- a=\"1\"",
                "~ b=\"2\" -> \"9\"",
                "+ \"d e\"=\"\\n\""
            ]
        );
        assert!(difference("up", "up").is_empty());
    }
}
