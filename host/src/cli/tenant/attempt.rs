//! `gauntlet tenant try`: whether a tenant's sender would get through, and if not, how far.
//!
//! Takes an address and a credential, sends one sample of the series `gauntlet_try`, says at which step it ended. It is a sample
//! like any other: if all goes well, it is stored. Never shows the credential.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use http_body_util::Full;
use tokio::time::timeout;

use super::steps::{Ended, Stage, answered, unanswered};
use crate::cli::answer::{Done, tenant_id, wait_for};
use crate::config::TlsClient;
use crate::model::{TenantId, plain, seconds_since_1970};
use crate::net::{Address, ConnectFault, Dialer, ExchangeError, Pool, TextBounds, Tls};
use crate::terminal::{authorization, located};
use crate::tls;
use crate::wire::{snappy, write_series};

pub(super) const EXAMPLE: &str = r"Examples:
  gauntlet tenant try kazusa --url https://gauntlet.example.com:19291 --cert kazusa/client.crt --key kazusa/client.key
  gauntlet tenant try kazusa --url https://gauntlet.example.com:19291 --token-file kazusa/token --ca-file gateway-ca.crt
  gauntlet tenant try kazusa --url https://gauntlet.example.com:19291 --username kazusa --password-file kazusa/password";

const SERIES: [(&str, &str); 2] = [("__name__", "gauntlet_try"), ("job", "gauntlet-try")];
/// For name look-up, TCP and TLS.
const CONNECT: Duration = Duration::from_secs(10);
/// A gateway asks its receivers first, which may take as long as their `timeout`.
const PATIENCE: Duration = Duration::from_secs(60);
const BOUNDS: TextBounds = TextBounds {
    bytes: 2048,
    time: Duration::from_secs(10),
};
const MAX_SHOWN: usize = 1024;
/// For a gateway to say that it does not believe a certificate, where the first time that was lost.
const REFUSAL: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// The tenant that the credential is to prove.
    #[arg(value_name = "NAME", value_parser = tenant_id)]
    name: TenantId,
    /// Where senders reach the gateway. If it has no path, the one is taken that names the tenant, so that a credential of
    /// another tenant is found out.
    #[arg(long, value_name = "URL")]
    url: String,
    /// The client certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The file with the bearer token.
    #[arg(long, value_name = "FILE", conflicts_with = "username")]
    token_file: Option<PathBuf>,
    /// The username, for a password.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// The file with the password.
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// The certificates that the gateway's is verified by, PEM. If this is left out, the system's count.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Where a write goes.
struct Target {
    address: Address,
    path: String,
}

/// What came back, or why nothing did.
enum Outcome {
    Answer { status: u16, text: String },
    None(ExchangeError),
    Late,
}

pub(super) fn run(options: &Options) -> Done {
    let target = target(&options.url, &options.name)?;
    let outcome = wait_for(send(options, &target))?;
    let is_https = target.address.is_https();
    let (step, advice) = match &outcome {
        Outcome::Answer { status, text } => answered(*status, text),
        Outcome::None(error) => unanswered(*error, is_https),
        Outcome::Late => late(),
    };
    print!("{}", report(&target, step, &said(&outcome), advice));
    if let Some(warning) = expired(options) {
        println!("{warning}");
    }
    if step == Stage::Done {
        println!(
            "The sample is stored, unless a policy of the tenant drops it on purpose: `gauntlet explain --tenant {} \
             'gauntlet_try{{job=\"gauntlet-try\"}}'` tells.",
            options.name
        );
    }
    Ok(step != Stage::Done)
}

fn late() -> Ended {
    (
        Stage::Receiver,
        "the gateway took the write and did not answer in a minute: its receivers are likely to hang; `gauntlet status` tells",
    )
}

async fn send(options: &Options, target: &Target) -> Result<Outcome, String> {
    let tls = match target.address.is_https() {
        true => Some(client(options)?),
        false if options.cert.is_some() => {
            return Err("a client certificate needs TLS: use https:// in --url".to_owned());
        }
        false => None,
    };
    let dialer = Dialer {
        tls,
        connect_timeout: CONNECT,
    };
    let request = request(options, target)?;
    let pool = Pool::default();
    let exchange = pool.exchange(&target.address, &dialer, BOUNDS, || request.clone());
    Ok(match timeout(CONNECT + PATIENCE, exchange).await {
        Ok(Ok(answer)) => Outcome::Answer {
            status: answer.status.as_u16(),
            text: String::from_utf8_lossy(&answer.text).trim().to_owned(),
        },
        Ok(Err(ExchangeError::Reset)) if target.address.is_https() => {
            let refusal = dialer.late_refusal(&target.address, REFUSAL).await;
            let refusal = refusal.filter(|fault| *fault == ConnectFault::ClientCertificate);
            Outcome::None(refusal.map_or(ExchangeError::Reset, ExchangeError::Connect))
        }
        Ok(Err(error)) => Outcome::None(error),
        Err(_) => Outcome::Late,
    })
}

fn client(options: &Options) -> Result<Tls, String> {
    let pem = |path: &Option<PathBuf>| path.as_deref().map(read).transpose();
    let (ca, cert, key) = (pem(&options.ca_file)?, pem(&options.cert)?, pem(&options.key)?);
    let client = cert.zip(key).map(|(cert, key)| (cert.into(), key.into()));
    let config = TlsClient {
        ca: ca.map(Into::into),
        client,
        server_name: None,
    };
    Tls::new(Some(&config)).map_err(|error| error.to_string())
}

fn request(options: &Options, target: &Target) -> Result<Request<Full<Bytes>>, String> {
    let head = Request::post(target.path.as_str())
        .header(HOST, target.address.host_header())
        .header(CONTENT_TYPE, "application/x-protobuf")
        .header(CONTENT_ENCODING, "snappy")
        .header("x-prometheus-remote-write-version", "0.1.0")
        .header(USER_AGENT, concat!("gauntlet-try/", env!("CARGO_PKG_VERSION")));
    let password = options.username.as_deref().zip(options.password_file.as_deref());
    let head = match authorization(options.token_file.as_deref(), password)? {
        Some(value) => head.header(AUTHORIZATION, value),
        None => head,
    };
    let request = head.body(Full::new(Bytes::from(sample()?)));
    request.map_err(|error| format!("{} cannot be asked: {error}", options.url))
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// One sample, now.
fn sample() -> Result<Vec<u8>, String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let (mut body, mut compressed) = (Vec::new(), Vec::new());
    write_series(&mut body, SERIES.into_iter(), [(1.0, now)].into_iter());
    snappy::encode(&body, &mut compressed).map_err(|error| error.to_string())?;
    Ok(compressed)
}

fn target(url: &str, tenant: &TenantId) -> Result<Target, String> {
    let (address, path) = located(url, "https://gauntlet.example.com:19291")?;
    let path = match path.as_str() {
        "" | "/" => format!("/api/metrics/v1/{tenant}/api/v1/receive"),
        _ => path,
    };
    Ok(Target { address, path })
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answer { status, text } if text.is_empty() => format!("the answer was {status}"),
        Outcome::Answer { status, text } => format!("the answer was {status}: {}", plain(text, MAX_SHOWN)),
        Outcome::None(ExchangeError::Connect(fault)) => fault.to_string(),
        Outcome::None(error) => error.to_string(),
        Outcome::Late => "there was no answer in time".to_owned(),
    }
}

/// A line for each step that it came to.
fn report(target: &Target, ended: Stage, said: &str, advice: &str) -> String {
    let mut text = format!("{}{}\n", target.address, target.path);
    let steps = Stage::ALL.into_iter();
    for step in steps.filter(|step| *step != Stage::Tls || target.address.is_https() || ended == Stage::Tls) {
        let word = step.word();
        if step < ended {
            text.push_str(&format!("  ok      {word}\n"));
        } else {
            text.push_str(&format!("  ENDED   {word}: {said}\n          {advice}.\n"));
            break;
        }
    }
    text
}

/// What is wrong with the certificate that was presented, as far as it says so itself.
fn expired(options: &Options) -> Option<String> {
    let path = options.cert.as_ref()?;
    let end = tls::expiry(&read(path).ok()?)?;
    (end < seconds_since_1970()).then(|| format!("The certificate {} has expired: have it renewed.", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(url: &str) -> Result<String, String> {
        let tenant = TenantId::new("a'b").unwrap();
        target(url, &tenant).map(|target| format!("{} {}", target.address, target.path))
    }

    #[test]
    fn without_a_path_the_tenant_is_named() {
        assert_eq!(
            path("https://g:19291").unwrap(),
            "https://g:19291 /api/metrics/v1/a'b/api/v1/receive"
        );
        assert_eq!(
            path("http://[::1]/api/v1/push").unwrap(),
            "http://[::1]:80 /api/v1/push"
        );
        for wrong in ["g:19291", "ftp://g", "", "https://"] {
            assert!(path(wrong).unwrap_err().contains("such as https://"), "{wrong}");
        }
    }

    #[test]
    fn the_report_ends_with_the_step_and_what_to_do() {
        let tenant = TenantId::new("a").unwrap();
        let https = target("https://g:1/w", &tenant).unwrap();
        assert_eq!(
            report(&https, Stage::Path, "the answer was 404", "check it"),
            "https://g:1/w\n  ok      name resolution\n  ok      connection\n  ok      TLS handshake\n  ENDED   path: the \
             answer was 404\n          check it.\n"
        );
        let plain = target("http://g:1/w", &tenant).unwrap();
        let done = report(&plain, Stage::Done, "", "");
        assert!(
            done.ends_with("  ok      receiver\n") && !done.contains("TLS") && !done.contains("ENDED"),
            "{done}"
        );
    }
}
