//! `gauntlet tap`: the series that a tenant sends to a running gateway, as a capture.
//!
//! Takes a tenant and a time, writes a capture to standard output. Never writes a label's value unless it is told to.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::answer::{finish, tenant_id, wait_for};
use crate::config;
use crate::model::TenantId;
use crate::terminal::{Inquirer, RunningGateway};

pub(super) const EXAMPLE: &str = r"Examples:
  gauntlet tap --tenant kazusa --for 30s
  gauntlet tap --tenant kazusa --for 60s --values --url http://10.0.0.7:10902 > kazusa.series";

/// Above what a gateway takes.
const MAX_ANSWER: usize = 64 << 20;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The tenant whose series are taken.
    #[arg(long, value_name = "ID", value_parser = tenant_id)]
    tenant: TenantId,
    /// How long they are taken, in whole seconds.
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = config::parse_duration)]
    duration: Duration,
    #[command(flatten)]
    gateway: RunningGateway,
    /// Takes the values of labels too, which may be what a policy redacts. Without them each is `_`, but for the name of the
    /// metric.
    #[arg(long)]
    values: bool,
}

pub(super) fn run(options: &Options) -> ExitCode {
    finish(tap(options).map(|capture| {
        print!("{capture}");
        let is_empty = capture.lines().all(|line| line.starts_with('#'));
        if is_empty {
            eprintln!("no write of tenant {} came in this time", options.tenant);
        }
        is_empty
    }))
}

fn tap(options: &Options) -> Result<String, String> {
    let question = json!({
        "tenant": options.tenant.as_str(),
        "seconds": options.duration.as_secs(),
        "values": options.values,
    });
    let question = question.to_string().into_bytes();
    let url = &options.gateway.url;
    let inquirer = Inquirer::new(&options.gateway.url, &options.gateway.operator)?;
    let answer = wait_for(inquirer.ask("/api/v1/tap", question, options.duration, MAX_ANSWER))?;
    String::from_utf8(answer).map_err(|_| format!("{url} did not answer as a gateway does"))
}
