//! A running gateway, asked on its admin listener.
//!
//! Takes a path, or a question as JSON, gives the answer's bytes, or a sentence that says why there is none. Never shows the
//! token.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use serde_json::Value;
use tokio::time::timeout;

use crate::config::TlsClient;
use crate::model::plain;
use crate::net::{Address, Dialer, HttpAnswer, Pool, TextBounds, Tls};

/// For name look-up, TCP and TLS.
const CONNECT: Duration = Duration::from_secs(10);
/// For the answer, once it has begun.
const READ: Duration = Duration::from_secs(60);
/// For what needs no plugin to be asked.
const SOON: Duration = Duration::from_secs(10);
/// Of an answer that says what is wrong, as much is shown, in bytes.
const MAX_SHOWN: usize = 1024;
const EXAMPLE: &str = "http://127.0.0.1:10902";

/// By what a gateway's operator proves himself, and whom he believes.
#[derive(Debug, Clone, Default, Args)]
pub struct Operator {
    /// The file with the token of the admin listener, if the gateway asks for one.
    #[arg(long = "token-file", env = "GAUNTLET_ADMIN_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The name that goes with a password, if the gateway asks for one.
    #[arg(
        long,
        env = "GAUNTLET_ADMIN_USERNAME",
        value_name = "NAME",
        requires = "password_file",
        conflicts_with = "token_file"
    )]
    username: Option<String>,
    /// The file with the password.
    #[arg(
        long = "password-file",
        env = "GAUNTLET_ADMIN_PASSWORD_FILE",
        value_name = "FILE",
        requires = "username"
    )]
    password_file: Option<PathBuf>,
    /// The file with the certificates that a gateway at https:// is verified by. If this is left out, the system's count.
    #[arg(long = "ca-file", env = "GAUNTLET_ADMIN_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// A running gateway, and as whom it is asked.
#[derive(Debug, Clone, Args)]
pub struct RunningGateway {
    /// The address of the gateway's admin listener.
    #[arg(long, env = "GAUNTLET_ADMIN_URL", value_name = "URL", default_value = EXAMPLE)]
    pub url: String,
    #[command(flatten)]
    pub operator: Operator,
}

/// Asks one gateway; a connection that is still good is used again.
pub struct Inquirer {
    url: String,
    address: Address,
    dialer: Dialer,
    authorization: Option<HeaderValue>,
    pool: Pool,
}

impl Inquirer {
    /// # Errors
    /// A sentence for the operator: the URL is none, or a file cannot be read.
    pub fn new(url: &str, operator: &Operator) -> Result<Self, String> {
        let (address, path) = located(url, EXAMPLE)?;
        if path.len() > 1 {
            return Err(expected(url, EXAMPLE));
        }
        let tls = match address.is_https() {
            true => Some(
                operator
                    .tls()
                    .map_err(|error| format!("{url} cannot be asked: {error}"))?,
            ),
            false => None,
        };
        Ok(Self {
            url: url.to_owned(),
            address,
            dialer: Dialer {
                tls,
                connect_timeout: CONNECT,
            },
            authorization: operator.authorization()?,
            pool: Pool::default(),
        })
    }

    /// What is at `path`, at most so many bytes.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub async fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, String> {
        self.exchange(Method::GET, path, Vec::new(), SOON, most).await
    }

    /// The `data` of what is at `path`, which is JSON.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub async fn data(&self, path: &str, most: usize) -> Result<Value, String> {
        let answer = self.read(path, most).await?;
        self.data_of(&answer)
    }

    /// Sends `question` to `path`; the gateway has `patience` to begin its answer.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub async fn ask(&self, path: &str, question: Vec<u8>, patience: Duration, most: usize) -> Result<Vec<u8>, String> {
        self.exchange(Method::POST, path, question, patience, most).await
    }

    /// What Prometheus' envelope holds.
    ///
    /// # Errors
    /// If there is none.
    pub fn data_of(&self, answer: &[u8]) -> Result<Value, String> {
        let envelope: Result<Value, _> = serde_json::from_slice(answer);
        let mut envelope = envelope.map_err(|error| self.nonsense(&error))?;
        match envelope.get_mut("data") {
            Some(data) => Ok(data.take()),
            None => Err(self.nonsense(&"there is no `data` in it")),
        }
    }

    /// The sentence for an answer that no gateway gives.
    pub fn nonsense(&self, why: &dyn std::fmt::Display) -> String {
        format!("{} did not answer as a gateway does: {why}", self.url)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        question: Vec<u8>,
        patience: Duration,
        most: usize,
    ) -> Result<Vec<u8>, String> {
        let url = &self.url;
        let bounds = TextBounds {
            bytes: most,
            time: READ,
        };
        let head = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.host_header())
            .header(CONTENT_TYPE, "application/json");
        let request = match &self.authorization {
            Some(value) => head.header(AUTHORIZATION, value),
            None => head,
        };
        let request = request.body(Full::new(Bytes::from(question)));
        let request = request.map_err(|error| format!("{url} cannot be asked: {error}"))?;
        let exchange = self
            .pool
            .exchange(&self.address, &self.dialer, bounds, || request.clone());
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
}

impl Operator {
    fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        let password = self.username.as_deref().zip(self.password_file.as_deref());
        authorization(self.token_file.as_deref(), password)
    }

    fn tls(&self) -> Result<Tls, String> {
        let ca = self.ca_file.as_deref().map(text_of).transpose()?;
        let config = ca.map(|ca| TlsClient {
            ca: Some(ca.into_bytes().into()),
            client: None,
            server_name: None,
        });
        Tls::new(config.as_ref()).map_err(|error| error.to_string())
    }
}

/// What a request proves itself by: the token in a file, or a username with the password in one. Never shown.
///
/// # Errors
/// A sentence: a file cannot be read, or what it holds can be no credential.
pub fn authorization(token: Option<&Path>, password: Option<(&str, &Path)>) -> Result<Option<HeaderValue>, String> {
    let (file, value) = match (token, password) {
        (Some(file), _) => (file, format!("Bearer {}", text_of(file)?.trim())),
        (None, Some((username, file))) => {
            let pair = STANDARD.encode(format!("{username}:{}", text_of(file)?.trim()));
            (file, format!("Basic {pair}"))
        }
        (None, None) => return Ok(None),
    };
    let value = HeaderValue::try_from(value);
    let mut value = value.map_err(|_| format!("what {} holds can be no credential", file.display()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn text_of(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// Where a URL leads: scheme, host and port, and the path.
///
/// # Errors
/// A sentence with `example`, if it is none.
pub fn located(url: &str, example: &str) -> Result<(Address, String), String> {
    let wrong = || expected(url, example);
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let (https, default_port) = match uri.scheme_str() {
        Some("http") => (false, 80),
        Some("https") => (true, 443),
        _ => return Err(wrong()),
    };
    let host = uri.host().ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
    let address = Address::new(https, host, uri.port_u16().unwrap_or(default_port), None);
    Ok((address.map_err(|_| wrong())?, uri.path().to_owned()))
}

fn expected(url: &str, example: &str) -> String {
    format!("expected a URL such as {example}, found {}", plain(url, 128))
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
        let new = |url: &str| Inquirer::new(url, &Operator::default()).map(|_| ());
        assert_eq!(new("http://127.0.0.1:10902"), Ok(()));
        assert_eq!(new("http://[::1]:10902/"), Ok(()));
        assert!(located("https://gauntlet.example.com", EXAMPLE).is_ok());
        for wrong in ["127.0.0.1:10902", "ftp://a", "http://a/metrics", "http://", "", "/"] {
            let error = new(wrong).unwrap_err();
            assert!(error.contains("such as http://"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_credential_is_read_from_a_file_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "open sesame\n").unwrap();
        let bearer = authorization(Some(&file), None).unwrap().unwrap();
        assert_eq!(bearer.to_str().unwrap(), "Bearer open sesame");
        let basic = authorization(None, Some(("ali", &file))).unwrap().unwrap();
        assert_eq!(basic.to_str().unwrap(), "Basic YWxpOm9wZW4gc2VzYW1l");
        assert_eq!(format!("{bearer:?}{basic:?}"), "SensitiveSensitive");
        assert_eq!(authorization(None, None), Ok(None));
        std::fs::write(&file, "a\nb").unwrap();
        let error = authorization(Some(&file), None).unwrap_err();
        assert!(
            error.contains("can be no credential") && !error.contains("a\nb"),
            "{error}"
        );
    }
}
