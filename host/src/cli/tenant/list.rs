//! `gauntlet tenant list`: which tenants there are, how they prove themselves, and where they write.
//!
//! Takes a configuration or the address of a running gateway, gives a line for each tenant. Never shows a secret, nor needs one.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::answer::{Done, Shape, wait_for, write_out};
use crate::config::{self, CertificateName, Credential};
use crate::model::{plain, seconds_since_1970};
use crate::terminal::{CredentialSeen, Inquirer, Operator, StatusSeen, TenantSeen, look_at};

pub(super) const EXAMPLE: &str = r"Examples:
  gauntlet tenant list --config gauntlet.yaml
  gauntlet tenant list --live http://127.0.0.1:10902 --format json";

const MAX_SHOWN: usize = 300;
/// In seconds.
const DAY: i64 = 86_400;

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// The main configuration file whose tenants are listed; files with secrets need not be there.
    #[arg(long, value_name = "FILE", required_unless_present = "live", conflicts_with = "live")]
    config: Option<PathBuf>,
    /// The address of a running gateway's admin listener: the tenants that it serves are listed.
    #[arg(long, value_name = "URL")]
    live: Option<String>,
    #[command(flatten)]
    operator: Operator,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t)]
    format: Shape,
}

#[derive(Default)]
struct Listed {
    tenant: String,
    file: String,
    /// `serves`, `disabled` or `broken`.
    state: &'static str,
    credentials: Vec<String>,
    policies: Vec<String>,
    upstreams: Vec<String>,
    error: Option<String>,
}

pub(super) fn run(options: &Options) -> Done {
    let mut all = match (&options.live, &options.config) {
        (Some(url), _) => wait_for(live(url, &options.operator))?,
        (None, Some(file)) => written(file)?,
        (None, None) => return Err("give a configuration with --config, or a gateway with --live".to_owned()),
    };
    all.sort_by(|a, b| (&a.tenant, &a.file).cmp(&(&b.tenant, &b.file)));
    match options.format {
        Shape::Json => write_out(format!("{:#}\n", Value::Array(all.iter().map(as_json).collect())).as_bytes())?,
        Shape::Text => write_out(text(&all).as_bytes())?,
    }
    Ok(all.iter().any(|listed| listed.error.is_some()))
}

fn written(file: &std::path::Path) -> Result<Vec<Listed>, String> {
    let loaded = config::load_without_secrets(file).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })?;
    let sound = loaded.config.tenants.values().map(|tenant| Listed {
        tenant: tenant.id.to_string(),
        file: tenant.file.display().to_string(),
        state: if tenant.enabled { "serves" } else { "disabled" },
        credentials: tenant.credentials.iter().map(credential).collect(),
        policies: tenant.policies.iter().map(|policy| policy.name.clone()).collect(),
        upstreams: tenant.upstreams.clone(),
        error: None,
    });
    let broken = loaded.broken.iter().map(|broken| Listed {
        tenant: broken
            .tenant
            .as_ref()
            .map_or_else(|| "?".to_owned(), ToString::to_string),
        file: broken.file.display().to_string(),
        state: "broken",
        credentials: broken.credentials.iter().map(credential).collect(),
        error: broken.errors.first().map(ToString::to_string),
        ..Listed::default()
    });
    Ok(sound.chain(broken).collect())
}

async fn live(url: &str, operator: &Operator) -> Result<Vec<Listed>, String> {
    let inquirer = Inquirer::new(url, operator)?;
    let status: StatusSeen = look_at(&inquirer, "/api/v1/status").await?;
    let tenants: Vec<TenantSeen> = look_at(&inquirer, "/api/v1/tenants").await?;
    let (mut broken, now) = (status.broken_tenants, seconds_since_1970());
    let mut all: Vec<Listed> = tenants
        .into_iter()
        .map(|seen| {
            let error = broken.iter().position(|one| one.tenant.as_ref() == Some(&seen.tenant));
            let error = error.map(|at| broken.swap_remove(at).error);
            Listed {
                state: match (&error, seen.enabled) {
                    (Some(_), _) => "broken",
                    (None, true) => "serves",
                    (None, false) => "disabled",
                },
                credentials: seen
                    .credentials
                    .iter()
                    .map(|one| one.shown() + &last_use(one, now))
                    .collect(),
                tenant: seen.tenant,
                file: seen.file,
                policies: seen.policies,
                upstreams: seen.upstreams,
                error,
            }
        })
        .collect();
    all.extend(broken.into_iter().map(|one| Listed {
        tenant: one.tenant.unwrap_or_else(|| "?".to_owned()),
        file: one.file,
        state: "broken",
        error: Some(one.error),
        ..Listed::default()
    }));
    Ok(all)
}

/// When it was used last, and when the certificate ends that it was used with.
fn last_use(credential: &CredentialSeen, now: i64) -> String {
    let Some(ago) = credential.last_used_seconds_ago else {
        return String::new();
    };
    let end = credential
        .expires_timestamp_seconds
        .map(|end| match end.saturating_sub(now) {
            left if left < 0 => ", certificate has expired".to_owned(),
            left => format!(", certificate ends in {} days", left / DAY),
        });
    format!(" (used {ago} s ago{})", end.unwrap_or_default())
}

/// Its kind and its public name.
fn credential(credential: &Credential) -> String {
    match credential {
        Credential::ClientCertificate(
            CertificateName::UriSan(name) | CertificateName::DnsSan(name) | CertificateName::CommonName(name),
        ) => format!("client certificate {name}"),
        Credential::BearerToken(_) => "bearer token".to_owned(),
        Credential::BasicAuth { username, .. } => format!("basic auth {username}"),
    }
}

fn as_json(listed: &Listed) -> Value {
    json!({
        "tenant": listed.tenant,
        "file": listed.file,
        "state": listed.state,
        "credentials": listed.credentials,
        "policies": listed.policies,
        "upstreams": listed.upstreams,
        "error": listed.error,
    })
}

/// Columns as wide as what is in them, and below a broken tenant what is wrong with it.
fn text(all: &[Listed]) -> String {
    let or_none = |all: &[String]| if all.is_empty() { "-".to_owned() } else { all.join(", ") };
    let mut lines = vec![["TENANT", "STATE", "UPSTREAMS", "POLICIES", "CREDENTIALS", "FILE"].map(str::to_owned)];
    lines.extend(all.iter().map(|listed| {
        [
            listed.tenant.clone(),
            listed.state.to_owned(),
            or_none(&listed.upstreams),
            or_none(&listed.policies),
            or_none(&listed.credentials),
            listed.file.clone(),
        ]
        .map(|cell| plain(&cell, MAX_SHOWN))
    }));
    let widest = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(widest);
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
        if let Some(error) = at.checked_sub(1).and_then(|at| all[at].error.as_ref()) {
            text.push_str(&format!("! {}\n", plain(error, MAX_SHOWN)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_says_when_it_was_used_and_when_its_certificate_ends() {
        let used = |ago, expires| {
            let credential = CredentialSeen {
                last_used_seconds_ago: ago,
                expires_timestamp_seconds: expires,
                ..CredentialSeen::default()
            };
            last_use(&credential, 100 * DAY)
        };
        assert_eq!(used(None, None), "");
        assert_eq!(used(Some(5), None), " (used 5 s ago)");
        assert_eq!(
            used(Some(5), Some(112 * DAY + 7)),
            " (used 5 s ago, certificate ends in 12 days)"
        );
        assert_eq!(
            used(Some(5), Some(100 * DAY - 1)),
            " (used 5 s ago, certificate has expired)"
        );
    }

    #[test]
    fn a_line_for_each_tenant_and_below_it_what_is_wrong() {
        let all = [
            Listed {
                tenant: "kazusa".to_owned(),
                file: "/etc/kazusa.yaml".to_owned(),
                state: "serves",
                credentials: vec!["bearer token".to_owned(), "basic auth kazusa".to_owned()],
                policies: vec!["limits".to_owned()],
                upstreams: vec!["soft".to_owned()],
                error: None,
            },
            Listed {
                tenant: "b".to_owned(),
                file: "/etc/b.yaml".to_owned(),
                state: "broken",
                error: Some("/etc/b.yaml:2:1: no\u{1b}".to_owned()),
                ..Listed::default()
            },
        ];
        assert_eq!(
            text(&all),
            "TENANT  STATE   UPSTREAMS  POLICIES  CREDENTIALS                      FILE\n\
             kazusa  serves  soft       limits    bearer token, basic auth kazusa  /etc/kazusa.yaml\n\
             b       broken  -          -         -                                /etc/b.yaml\n\
             ! /etc/b.yaml:2:1: no\\u{1b}\n"
        );
    }
}
