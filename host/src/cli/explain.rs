//! `gauntlet explain`: why a running gateway keeps, changes, drops or refuses a series.
//!
//! Takes series and the address of a gateway, shows each step on their way; `gauntlet policy explain` shows the same of files.
//! Never changes what it asks.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

use super::answer::{Done, Shape, tenant_id, wait_for, write_out};
use crate::explain::{
    AskedBudget, AskedCharge, AskedRoute, Explained, ExplainedStep, Explanation, Inquiry, LabelChange,
};
use crate::model::{Label, TenantId, parse_series};
use crate::terminal::{Inquirer, RunningGateway};

pub(super) const EXAMPLE: &str = r#"Examples:
  gauntlet explain --tenant kazusa 'up{job="node",instance="a:9100"}'
  gauntlet explain --url http://10.0.0.7:10902 --tenant kazusa 'up{job="node"}' --format json"#;

/// A gateway may have others' calls to run first.
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_ANSWER: usize = 64 << 20;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    gateway: RunningGateway,
    #[command(flatten)]
    question: AskedSeries,
}

/// Which series are asked about, and how it is told.
#[derive(Debug, Args)]
pub(super) struct AskedSeries {
    /// The tenant as whose the series would be sent.
    #[arg(long, value_name = "ID", value_parser = tenant_id)]
    pub(super) tenant: TenantId,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t)]
    format: Shape,
    /// Series as Prometheus writes them, such as `up{job="node"}`.
    #[arg(value_name = "SERIES", required = true)]
    series: Vec<String>,
}

pub(super) fn run(options: &Options) -> Done {
    // A mistake in the text is told without a gateway.
    options.question.parsed()?;
    options.question.show(&wait_for(live(options))?)
}

async fn live(options: &Options) -> Result<Explained, String> {
    let question = &options.question;
    let inquiry = Inquiry {
        tenant: question.tenant.to_string(),
        series: question.series.clone(),
        policies: None,
    };
    let inquiry = serde_json::to_vec(&inquiry).map_err(|error| error.to_string())?;
    let inquirer = Inquirer::new(&options.gateway.url, &options.gateway.operator)?;
    let answer = inquirer.ask("/api/v1/explain", inquiry, PATIENCE, MAX_ANSWER).await?;
    let data = inquirer.data_of(&answer)?;
    serde_json::from_value(data).map_err(|error| inquirer.nonsense(&error))
}

impl AskedSeries {
    pub(super) fn parsed(&self) -> Result<Vec<Vec<Label>>, String> {
        let parsed = self.series.iter().map(|text| {
            let parsed = parse_series(text);
            parsed.map_err(|error| format!("{text:?} is no series: column {}: {}", error.column, error.fault))
        });
        parsed.collect()
    }

    pub(super) fn show(&self, explained: &Explained) -> Done {
        let text = match self.format {
            Shape::Json => serde_json::to_string_pretty(explained).map_err(|error| error.to_string())?,
            Shape::Text => {
                let all: Vec<String> = explained.explanations.iter().map(shown).collect();
                all.join("\n\n")
            }
        };
        write_out(format!("{text}\n").as_bytes())?;
        Ok(explained.explanations.iter().any(|one| !one.answer.is_good()))
    }
}

fn shown(one: &Explanation) -> String {
    let mut text = format!("{}\n", one.series);
    for step in &one.steps {
        step_shown(step, &mut text);
    }
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "  active series: {} of {}{}",
        one.active_series,
        one.max_active_series,
        if one.is_new { ", and this one would be new" } else { "" }
    );
    if let Some(forwarded) = &one.forwarded {
        let stream = stream_shown(&forwarded.stream);
        let _ = writeln!(
            text,
            "  forwarded as {} in {stream} to upstream {}",
            forwarded.series, forwarded.upstream
        );
    }
    let retry = one.answer.retry_after_seconds;
    let retry = retry
        .map(|seconds| format!(" (Retry-After: {seconds})"))
        .unwrap_or_default();
    let reason = one.answer.reason.iter().map(|reason| format!(" {reason}"));
    let reason: String = reason.collect();
    let _ = write!(text, "  answer: {}{reason}{retry}", one.answer.status);
    if !one.answer.text.is_empty() {
        let _ = write!(text, ": {}", one.answer.text);
    }
    text
}

fn step_shown(step: &ExplainedStep, text: &mut String) {
    let who = match (&step.policy, &step.owner) {
        (Some(policy), Some(owner)) => format!("policy {policy} ({owner}'s)"),
        (Some(policy), None) => format!("policy {policy}"),
        (None, _) => "the gateway's own checks".to_owned(),
    };
    let about = if step.about == "write" { ", about the write" } else { "" };
    let said = step.said.replace('_', " ");
    let detail = step.detail.iter().map(|detail| format!(": {detail}"));
    let mode = mode_shown(step).unwrap_or_default();
    let _ = writeln!(text, "  {who}{about}: {said}{}{mode}", detail.collect::<String>());
    let labels = step.labels.iter().map(change_shown);
    let stream = step
        .stream
        .iter()
        .map(|stream| format!("into {}", stream_shown(stream)));
    let budget = step.budget.iter().map(budget_shown);
    let charges = step.charges.iter().map(charge_shown);
    let routes = step.routes.iter().map(route_shown);
    for line in labels.chain(stream).chain(budget).chain(charges).chain(routes) {
        let _ = writeln!(text, "      {line}");
    }
}

/// Of a policy whose word does not count always.
fn mode_shown(step: &ExplainedStep) -> Option<String> {
    let what = if step.about == "write" {
        "the write"
    } else {
        "this series"
    };
    let applied = if step.applied? { "applied" } else { "asked, not applied" };
    Some(format!(" (mode {}: {applied} to {what})", step.mode.as_ref()?))
}

fn change_shown(change: &LabelChange) -> String {
    let LabelChange { label, from, to } = change;
    match (from, to) {
        (Some(from), Some(to)) => format!("~ {label}: {from:?} becomes {to:?}"),
        (Some(from), None) => format!("- {label}: {from:?}"),
        (None, to) => format!("+ {label}: {:?}", to.as_deref().unwrap_or_default()),
    }
}

fn budget_shown(budget: &AskedBudget) -> String {
    let AskedBudget {
        name,
        max_active_series,
    } = budget;
    format!("counts against budget {name:?} of {max_active_series} active series")
}

fn charge_shown(charge: &AskedCharge) -> String {
    format!(
        "takes {} of bucket {}, which holds {} and gains {} a second",
        charge.tokens, charge.bucket, charge.burst, charge.per_second
    )
}

fn route_shown(route: &AskedRoute) -> String {
    format!("sends {} to upstream {}", stream_shown(&route.stream), route.upstream)
}

fn stream_shown(stream: &str) -> String {
    match stream {
        "" => "the default stream".to_owned(),
        name => format!("stream {name}"),
    }
}
