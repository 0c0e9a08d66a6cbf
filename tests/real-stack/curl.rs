//! curl at the front door: the sender that forges.
//!
//! Takes a body and what to present; gives the status, or 0 and curl's exit code where there was no HTTP answer.
//! Debian's Prometheus cannot play this part: it accepts `remote_write.headers` and does not send them.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::Stack;
use crate::certs::Pair;

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// 0: no HTTP answer.
    pub status: u16,
    /// curl's: 0 is an answer, 7 refused, 35 and 56 a failed handshake, 60 an untrusted server.
    pub exit: i32,
    pub www_authenticate: String,
    pub text: String,
}

/// One attempt.
pub struct Curl<'a> {
    stack: &'a Stack,
    url: String,
    arguments: Vec<String>,
}

impl<'a> Curl<'a> {
    /// A write to the gateway's front door, its certificate verified, presenting nothing.
    pub fn new(stack: &'a Stack) -> Self {
        let authority = stack.certs.authority.display().to_string();
        Self {
            stack,
            url: format!("https://{}/api/v1/receive", stack.gateway.write),
            arguments: vec!["--cacert".into(), authority],
        }
    }

    pub fn url(mut self, url: String) -> Self {
        self.url = url;
        self
    }

    pub fn certificate(mut self, pair: &Pair) -> Self {
        let (cert, key) = (pair.cert.display().to_string(), pair.key.display().to_string());
        self.arguments.extend(["--cert".into(), cert, "--key".into(), key]);
        self
    }

    pub fn header(mut self, header: &str) -> Self {
        self.arguments.extend(["-H".into(), header.to_owned()]);
        self
    }

    /// Posts `body` as remote write 1.0.
    pub fn post(self, body: &[u8]) -> Result<Reply> {
        let (file, answer) = (self.stack.dir.join("forged.rw"), self.stack.dir.join("answer.txt"));
        fs::write(&file, body)?;
        fs::write(&answer, "")?;
        let output = Command::new("curl")
            .args(["-sS", "--http1.1", "--max-time", "20", "-o"])
            .arg(&answer)
            .args(["-w", "%{http_code}\n%header{www-authenticate}"])
            .args([
                "-H",
                "Content-Type: application/x-protobuf",
                "-H",
                "Content-Encoding: snappy",
            ])
            .args(["-H", "X-Prometheus-Remote-Write-Version: 0.1.0"])
            .args(&self.arguments)
            .arg("--data-binary")
            .arg(format!("@{}", file.display()))
            .arg(&self.url)
            .output()
            .context("running curl")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (status, www_authenticate) = text.split_once('\n').unwrap_or((&text, ""));
        Ok(Reply {
            status: status.parse().with_context(|| format!("curl wrote {text:?}"))?,
            exit: output.status.code().unwrap_or(-1),
            www_authenticate: www_authenticate.to_owned(),
            text: fs::read_to_string(&answer)?,
        })
    }
}
