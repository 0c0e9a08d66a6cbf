//! `gauntlet status`: whether a running gateway is well, on one screen.
//!
//! Takes the address of a gateway, gives what it is and what is wrong. The exit code is 1 if anything is.

use clap::Args;
use serde_json::{Value, json};

use super::answer::{Done, Shape, wait_for, write_out};
use crate::model::{plain, seconds_since_1970};
use crate::terminal::{Inquirer, PolicySeen, RunningGateway, StatusSeen, UpstreamSeen, alarms, look_at};

pub(super) const EXAMPLE: &str = r"Examples:
  gauntlet status
  gauntlet status --url https://gauntlet.example.com:10902 --token-file operator-token --ca-file ca.crt
  gauntlet status --format json";

/// As much of each as alarms are made of.
const POLICIES: &str = "/api/v1/policies?fields=tenant,policy,last_failure,quarantined_seconds,impure";
/// More are counted, and not shown.
const MAX_ALARMS: usize = 20;
const MAX_SHOWN: usize = 200;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    gateway: RunningGateway,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t)]
    format: Shape,
}

/// What was asked.
struct Told {
    status: StatusSeen,
    upstreams: Vec<UpstreamSeen>,
    alarms: Vec<String>,
}

pub(super) fn run(options: &Options) -> Done {
    let told = wait_for(ask(options))?;
    match options.format {
        Shape::Text => write_out(text(&options.gateway.url, &told, seconds_since_1970()).as_bytes())?,
        Shape::Json => write_out(format!("{:#}\n", as_json(&told)).as_bytes())?,
    }
    Ok(!told.alarms.is_empty())
}

async fn ask(options: &Options) -> Result<Told, String> {
    let inquirer = Inquirer::new(&options.gateway.url, &options.gateway.operator)?;
    let status = look_at(&inquirer, "/api/v1/status").await?;
    let upstreams: Vec<UpstreamSeen> = look_at(&inquirer, "/api/v1/upstreams").await?;
    let policies: Vec<PolicySeen> = look_at(&inquirer, POLICIES).await?;
    Ok(Told {
        alarms: alarms(&status, &upstreams, &policies),
        status,
        upstreams,
    })
}

fn text(url: &str, told: &Told, now: i64) -> String {
    let Told {
        status,
        upstreams,
        alarms,
    } = told;
    let reload = &status.last_reload;
    let ago = now.saturating_sub_unsigned(reload.timestamp_seconds).max(0);
    let outcome = if reload.successful { "successful" } else { "FAILED" };
    let endpoints = upstreams.iter().flat_map(|upstream| &upstream.endpoints);
    let (up, down): (Vec<_>, Vec<_>) = endpoints.partition(|endpoint| endpoint.healthy);
    let shown = |text: &str| plain(text, MAX_SHOWN);
    let mut lines = vec![
        format!("gateway    {url}, version {}", shown(&status.version)),
        format!("ready      {}", if status.ready { "yes" } else { "NO" }),
        format!(
            "tenants    {} served, {} broken",
            status.tenants,
            status.broken_tenants.len()
        ),
        format!(
            "upstreams  {}, endpoints {} up, {} down",
            upstreams.len(),
            up.len(),
            down.len()
        ),
        format!(
            "reload     {outcome}, {} ago, after {}",
            duration(ago),
            shown(&reload.cause)
        ),
    ];
    lines.extend(
        reload
            .warnings
            .iter()
            .map(|warning| format!("warning    {}", shown(warning))),
    );
    lines.push(match alarms.len() {
        0 => "all is well".to_owned(),
        1 => "1 thing to look at:".to_owned(),
        count => format!("{count} things to look at:"),
    });
    lines.extend(alarms.iter().take(MAX_ALARMS).map(|alarm| format!("! {alarm}")));
    if let Some(more) = alarms.len().checked_sub(MAX_ALARMS).filter(|more| *more > 0) {
        lines.push(format!("! and {more} more (--format json has all)"));
    }
    lines.join("\n") + "\n"
}

fn as_json(told: &Told) -> Value {
    json!({
        "version": told.status.version,
        "ready": told.status.ready,
        "tenants": told.status.tenants,
        "last_reload_successful": told.status.last_reload.successful,
        "wrong": told.alarms,
    })
}

fn duration(seconds: i64) -> String {
    match seconds {
        s if s < 120 => format!("{s} s"),
        s if s < 7200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(alarms: usize) -> Told {
        Told {
            status: serde_json::from_value(json!({
                "version": "0.1.0", "ready": true, "tenants": 2,
                "last_reload": {"successful": true, "cause": "SIGHUP", "timestamp_seconds": 1000, "warnings": ["w"]},
            }))
            .unwrap(),
            upstreams: serde_json::from_value(json!([{"upstream": "soft", "endpoints": [{"healthy": true}, {}]}]))
                .unwrap(),
            alarms: (0..alarms).map(|n| format!("alarm {n}")).collect(),
        }
    }

    #[test]
    fn a_screenful_says_what_the_gateway_is_and_what_is_wrong() {
        assert_eq!(
            text("http://g:1", &told(0), 1100),
            "gateway    http://g:1, version 0.1.0\n\
             ready      yes\n\
             tenants    2 served, 0 broken\n\
             upstreams  1, endpoints 1 up, 1 down\n\
             reload     successful, 100 s ago, after SIGHUP\n\
             warning    w\n\
             all is well\n"
        );
        let many = text("http://g:1", &told(25), 1000 + 86_400 * 3);
        assert!(
            many.contains("3 days ago") && many.contains("25 things to look at:\n! alarm 0\n"),
            "{many}"
        );
        assert!(
            many.ends_with("! alarm 19\n! and 5 more (--format json has all)\n"),
            "{many}"
        );
        assert!(
            text("u", &told(1), 0).contains("0 s ago") && text("u", &told(1), 0).contains("\n1 thing to look at:\n")
        );
    }
}
