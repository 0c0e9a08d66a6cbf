//! What `/metrics` answered, as numbers.
//!
//! Takes the text format, gives values by name and labels; never interprets them.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Debug)]
pub struct Metrics {
    lines: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Metrics {
    /// Reads OpenMetrics or Prometheus text.
    ///
    /// # Panics
    /// On a line that is neither a comment nor a value.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
        Self {
            lines: lines
                .map(|l| line(l).unwrap_or_else(|| panic!("no metric: {l:?}")))
                .collect(),
        }
    }

    /// The sum of all values of `name` that carry `labels` (and maybe more); 0 where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        // The sum of nothing is -0, which nobody wants to read.
        self.matching(name, labels).sum::<f64>() + 0.0
    }

    /// Whether anything was exported under that name and labels.
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.matching(name, labels).next().is_some()
    }

    /// Every value of `label` that occurs anywhere.
    pub fn values_of(&self, label: &str) -> Vec<&str> {
        let values = self.lines.iter().filter_map(|(_, labels, _)| labels.get(label));
        let mut values: Vec<&str> = values.map(String::as_str).collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = f64> {
        let carries = move |have: &BTreeMap<String, String>| {
            labels.iter().all(|(k, v)| have.get(*k).is_some_and(|value| value == v))
        };
        let lines = self.lines.iter().filter(move |(n, have, _)| n == name && carries(have));
        lines.map(|(_, _, value)| *value)
    }
}

fn line(text: &str) -> Option<(String, BTreeMap<String, String>, f64)> {
    let end = text.find(['{', ' '])?;
    let name = text[..end].to_owned();
    let mut rest = &text[end..];
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(key.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name, labels, value))
}

/// The text up to the closing quote, unescaped, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_with_quotes_commas_and_braces_are_read() {
        let metrics =
            Metrics::parse("# HELP a b\na_total{x=\"1,\\\"}\",y=\"\"} 3\na_total{x=\"2\"} 4.5\nb 1 1700\n# EOF\n");
        assert_eq!(metrics.sum("a_total", &[]), 7.5);
        assert_eq!(metrics.sum("a_total", &[("x", "1,\"}")]), 3.0);
        assert!(metrics.has("b", &[]));
        assert!(!metrics.has("a_total", &[("x", "3")]));
    }
    const PAGE: &str = "\
# TYPE writes_total counter
writes_total{tenant=\"a\",code=\"204\"} 3
writes_total{tenant=\"a\",code=\"503\"} 1
writes_total{tenant=\"b\",code=\"204\"} 5
writes_total_bytes{tenant=\"a\"} 100
ready 1
";

    #[test]
    fn a_metric_is_summed_over_the_series_that_match() {
        let metrics = Metrics::parse(PAGE);
        assert_eq!(metrics.sum("writes_total", &[("tenant", "a")]), 4.0);
        assert_eq!(metrics.sum("writes_total", &[("tenant", "a"), ("code", "503")]), 1.0);
        assert_eq!(metrics.sum("writes_total", &[]), 9.0);
        assert_eq!(metrics.sum("ready", &[]), 1.0);
        assert_eq!(metrics.sum("absent", &[]), 0.0);
    }
}
