//! A few lines of HTTP/1.0 over loopback that block: for admin and query interfaces.
//!
//! Takes an address, a path and perhaps a body; gives status and body. Never speaks TLS: whatever is said to
//! Gauntlet's front door is said by a sender.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::metrics::Metrics;

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

/// # Errors
/// If no whole answer came.
pub fn get(address: &str, path: &str) -> Result<Answer> {
    exchange(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"), &[])
}

/// # Errors
/// If no whole answer came.
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
///
/// # Errors
/// If no whole answer came.
pub fn ok(address: &str, path: &str) -> Result<bool> {
    Ok(get(address, path)?.status == 200)
}

/// The numbers of `/metrics`.
///
/// # Errors
/// If the page cannot be had.
pub fn metrics(address: &str) -> Result<Metrics> {
    let page = get(address, "/metrics")?;
    if page.status != 200 {
        bail!("{address} answers {} to /metrics: {}", page.status, page.text());
    }
    Ok(Metrics::parse(&page.text()))
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
