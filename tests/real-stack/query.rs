//! Prometheus' query API, as Prometheus and the Thanos querier both serve it.
//!
//! Takes an expression and a time; gives what it selects. Never asks for a range that it was not told.

use anyhow::{Context, Result, bail};
use gauntlet_tests::http;
use serde_json::Value;

/// Who is asked, and how.
pub struct Api {
    pub address: String,
    /// Extra parameters on every query, such as `&dedup=false`.
    pub parameters: &'static str,
}

impl Api {
    /// An instant query at `time` (Unix seconds); gives `data.result`.
    pub fn query(&self, expression: &str, time: f64) -> Result<Vec<Value>> {
        let path = format!(
            "/api/v1/query?query={}&time={time:.3}{}",
            percent(expression),
            self.parameters
        );
        let answer = http::get(&self.address, &path)?;
        let text = answer.text();
        if answer.status != 200 {
            bail!(
                "{expression}: {} {}",
                answer.status,
                text.chars().take(300).collect::<String>()
            );
        }
        let mut json: Value = serde_json::from_str(&text).with_context(|| format!("answer to {expression}"))?;
        match json["data"]["result"].take() {
            Value::Array(result) => Ok(result),
            other => bail!("{expression}: no vector but {other}"),
        }
    }

    /// The one number that `expression` gives now; an empty result is 0.
    pub fn number(&self, expression: &str, time: f64) -> Result<f64> {
        let result = self.query(expression, time)?;
        match result.as_slice() {
            [] => Ok(0.0),
            [one] => value_of(one),
            many => bail!("{expression}: {} series where one was expected", many.len()),
        }
    }
}

/// The value of one element of an instant vector.
pub fn value_of(element: &Value) -> Result<f64> {
    let text = element["value"][1]
        .as_str()
        .with_context(|| format!("no value in {element}"))?;
    Ok(text.parse()?)
}

fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_escaped() {
        assert_eq!(percent("up{a=\"b\"}[5s] > 0"), "up%7Ba%3D%22b%22%7D%5B5s%5D%20%3E%200");
    }
}
