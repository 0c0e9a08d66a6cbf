//! A running gateway, asked on its admin listener.
//!
//! Takes a question as JSON, gives the answer's bytes, or a sentence that says why there is none. Never shows the token.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;
use tokio::time::timeout;

use crate::model::plain;
use crate::net::{Address, Dialer, HttpAnswer, Pool, TextBounds, Tls};

/// For name look-up, TCP and TLS.
const CONNECT: Duration = Duration::from_secs(10);
/// For the answer, once it has begun.
const READ: Duration = Duration::from_secs(60);
/// Of an answer that says what is wrong, as much is shown, in bytes.
const MAX_SHOWN: usize = 1024;

/// By what a gateway's operator proves himself.
#[derive(Debug, Args)]
pub(super) struct Token {
    /// The file with the token of the admin listener, if the gateway asks for one.
    #[arg(long = "token-file", env = "GAUNTLET_ADMIN_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Sends `question` to `path` of the gateway at `url`, which has `patience` to begin its answer.
///
/// # Errors
/// A sentence for the operator.
pub(super) async fn ask(
    url: &str,
    token: &Token,
    path: &str,
    question: Vec<u8>,
    patience: Duration,
    most: usize,
) -> Result<Vec<u8>, String> {
    let address = address(url)?;
    let tls = match address.is_https() {
        true => Some(Tls::new(None).map_err(|error| format!("{url} cannot be asked: {error}"))?),
        false => None,
    };
    let dialer = Dialer {
        tls,
        connect_timeout: CONNECT,
    };
    let bounds = TextBounds {
        bytes: most,
        time: READ,
    };
    let head = Request::post(path)
        .header(HOST, address.host_header())
        .header(CONTENT_TYPE, "application/json");
    let request = match token.bearer()? {
        Some(bearer) => head.header(AUTHORIZATION, bearer),
        None => head,
    };
    let request = request.body(Full::new(Bytes::from(question)));
    let request = request.map_err(|error| format!("{url} cannot be asked: {error}"))?;
    let pool = Pool::default();
    let exchange = pool.exchange(&address, &dialer, bounds, || request.clone());
    let answer = timeout(CONNECT + patience, exchange).await;
    let answer = answer.map_err(|_| format!("{url} did not answer in time"))?;
    let answer = answer.map_err(|error| format!("{url} did not answer: {error}"))?;
    let length = answer
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    if length.is_some_and(|length| length.parse() != Ok(answer.text.len())) {
        return Err(format!("the answer of {url} broke off, or is larger than {most} bytes"));
    }
    match answer.status.is_success() {
        true => Ok(answer.text),
        false => Err(refusal(url, &answer)),
    }
}

impl Token {
    fn bearer(&self) -> Result<Option<HeaderValue>, String> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let named = file.display();
        let token = std::fs::read_to_string(file).map_err(|error| format!("cannot read {named}: {error}"))?;
        let bearer = HeaderValue::try_from(format!("Bearer {}", token.trim()));
        let bearer = bearer.map_err(|_| format!("what {named} holds cannot be a token"))?;
        Ok(Some(bearer))
    }
}

fn address(url: &str) -> Result<Address, String> {
    let wrong = || {
        format!(
            "expected a URL such as http://127.0.0.1:10902, found {}",
            plain(url, 128)
        )
    };
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let (https, default_port) = match uri.scheme_str() {
        Some("http") => (false, 80),
        Some("https") => (true, 443),
        _ => return Err(wrong()),
    };
    let host = uri.host().filter(|_| uri.path().len() <= 1).ok_or_else(wrong)?;
    let host = host.trim_matches(['[', ']']).to_owned();
    Address::new(https, host, uri.port_u16().unwrap_or(default_port), None).map_err(|_| wrong())
}

/// What the gateway says is wrong: in Prometheus' envelope, or as text.
fn refusal(url: &str, answer: &HttpAnswer) -> String {
    let text = String::from_utf8_lossy(&answer.text);
    let told: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let error = told
        .as_ref()
        .and_then(|told| told["error"].as_str())
        .unwrap_or(text.trim());
    format!("{url} answered {}: {}", answer.status.as_u16(), plain(error, MAX_SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_scheme_and_a_host() {
        let name = |url| address(url).map(|address| address.name().to_owned());
        assert!(address("http://127.0.0.1:10902").is_ok());
        assert!(address("http://[::1]:10902/").is_ok());
        assert!(address("https://gauntlet.example.com").is_ok());
        for wrong in ["127.0.0.1:10902", "ftp://a", "http://a/metrics", "http://", "", "/"] {
            let error = name(wrong).unwrap_err();
            assert!(error.contains("such as http://"), "{wrong}: {error}");
        }
    }
}
