//! A few lines of HTTP/1.0 over loopback, for the stack's admin and query interfaces.
//!
//! Takes an address, a path and perhaps a body; gives status and body. Never speaks TLS: whatever is said to
//! Gauntlet's front door is said by a real Prometheus or by curl.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A response: status and body.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn get(address: &str, path: &str) -> Result<Answer> {
    exchange(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"), &[])
}

pub fn post(address: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
    let mut head = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    exchange(address, &head, body)
}

/// True where `path` answers 200.
pub fn ok(address: &str, path: &str) -> Result<bool> {
    Ok(get(address, path)?.status == 200)
}

// HTTP/1.0, so that the answer ends with the connection and is never chunked.
fn exchange(address: &str, head: &str, body: &[u8]) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .with_context(|| format!("reading from {address}"))?;
    let Some(split) = answer.windows(4).position(|w| w == b"\r\n\r\n") else {
        bail!("{address} answered no HTTP");
    };
    let line = String::from_utf8_lossy(&answer[..split]);
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.get(..3))
        .and_then(|code| code.parse().ok());
    let Some(status) = status else {
        bail!("{address} answered no status")
    };
    Ok(Answer {
        status,
        body: answer.split_off(split + 4),
    })
}

/// Prometheus' query API, as Prometheus and the Thanos querier both serve it.
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
        let answer = get(&self.address, &path)?;
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

/// One counter or gauge of a `/metrics` page: the sum over the series of `name` whose labels contain every one of
/// `labels`, each written as on the page (`tenant="kazusa"`). Where there is none: 0, as of a counter not yet touched.
pub fn metric(address: &str, name: &str, labels: &[&str]) -> Result<f64> {
    sum(&get(address, "/metrics")?.text(), name, labels)
}

fn sum(page: &str, name: &str, labels: &[&str]) -> Result<f64> {
    let mut sum = 0.0;
    for line in page.lines() {
        let Some(rest) = line.strip_prefix(name) else {
            continue;
        };
        if !rest.starts_with(['{', ' ']) || !labels.iter().all(|label| rest.contains(label)) {
            continue;
        }
        if let Some(value) = rest.rsplit(' ').next() {
            sum += value.parse::<f64>().with_context(|| format!("metric line {line}"))?;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(sum(PAGE, "writes_total", &["tenant=\"a\""]).unwrap(), 4.0);
        assert_eq!(
            sum(PAGE, "writes_total", &["tenant=\"a\"", "code=\"503\""]).unwrap(),
            1.0
        );
        assert_eq!(sum(PAGE, "writes_total", &[]).unwrap(), 9.0);
        assert_eq!(sum(PAGE, "ready", &[]).unwrap(), 1.0);
        assert_eq!(sum(PAGE, "absent", &[]).unwrap(), 0.0);
    }

    #[test]
    fn a_query_is_escaped() {
        assert_eq!(percent("up{a=\"b\"}[5s] > 0"), "up%7Ba%3D%22b%22%7D%5B5s%5D%20%3E%200");
    }
}
