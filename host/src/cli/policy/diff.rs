//! `gauntlet policy diff`: what a change of the configuration would do to the series that a tenant sends.
//!
//! Takes two configurations, a tenant and a capture; gives the series that would fare differently, counted and with examples.
//! Never touches a running gateway.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::capture::Capture;
use super::tenant::lab;
use crate::cli::answer::{Done, Shape, tenant_id, wait_for};
use crate::explain::{Weighed, text_of, weigh};
use crate::judge::Ruling;
use crate::model::{Label, TenantId};

pub(super) const EXAMPLE: &str = r"Examples:
  gauntlet tap --tenant kazusa --for 60s --values > kazusa.series
  gauntlet policy diff --config gauntlet.yaml --new changed/gauntlet.yaml --tenant kazusa kazusa.series";

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// The main configuration file as it serves.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The main configuration file as it would serve.
    #[arg(long, value_name = "FILE")]
    new: PathBuf,
    /// The tenant whose policies are compared.
    #[arg(long, value_name = "ID", value_parser = tenant_id)]
    tenant: TenantId,
    /// How many series are shown of each kind of change.
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    examples: usize,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t)]
    format: Shape,
    /// The series: a file with one on each line, as `gauntlet tap` or Prometheus writes them, or the body of a remote write
    /// request, if its name ends in `.rw`.
    #[arg(value_name = "CAPTURE")]
    capture: PathBuf,
}

/// How a series would fare differently, in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    KeepToDrop,
    DropToKeep,
    Edited,
    Moved,
    Refused,
    NotRefused,
}

impl Change {
    /// For programs, and for people.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::KeepToDrop => ("keep_to_drop", "keep -> drop"),
            Self::DropToKeep => ("drop_to_keep", "drop -> keep"),
            Self::Edited => ("edited_otherwise", "edited otherwise"),
            Self::Moved => ("sent_elsewhere", "sent elsewhere"),
            Self::Refused => ("refused", "refused"),
            Self::NotRefused => ("refused_no_more", "refused no more"),
        }
    }
}

/// What becomes of one series.
#[derive(Debug, PartialEq, Eq)]
enum Fare<'w> {
    On {
        labels: &'w [Label],
        stream: &'w str,
        upstream: Option<&'w str>,
    },
    Dropped {
        policy: &'w str,
        reason: &'w str,
    },
    Refused {
        why: &'static str,
        policy: Option<&'w str>,
    },
}

/// Series of which one thing changed.
#[derive(Default)]
struct Changed {
    count: usize,
    /// The series, and how it fares before and after.
    examples: Vec<[String; 3]>,
}

struct Comparison {
    series: usize,
    same: usize,
    changed: BTreeMap<Change, Changed>,
    /// Series that go on, before and after.
    on: [usize; 2],
    /// Why whole writes would be refused, before and after.
    refused: [Option<String>; 2],
}

pub(super) fn run(options: &Options) -> Done {
    let capture = Capture::read(&options.capture)?;
    if capture.is_without_values {
        eprintln!(
            "warning: this capture was made without label values: rules that look at them see none that was sent"
        );
    }
    let (before, after) = wait_for(async {
        let before = weighed(&options.config, &options.tenant, &capture.series).await?;
        let after = weighed(&options.new, &options.tenant, &capture.series).await?;
        Ok((before, after))
    })?;
    let comparison = Comparison::of(&capture.series, &before, &after, options.examples);
    match options.format {
        Shape::Json => println!("{:#}", comparison.json()),
        Shape::Text => print!("{}", comparison.text()),
    }
    Ok(!comparison.changed.is_empty() || comparison.refused[0] != comparison.refused[1])
}

async fn weighed(config: &Path, tenant: &TenantId, series: &[Vec<Label>]) -> Result<Weighed, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", config.display());
    let lab = lab(config, tenant).await?;
    let generation = lab.generation().map_err(|error| told(&error))?;
    weigh(generation, series).await.map_err(|error| told(&error))
}

impl Comparison {
    fn of(series: &[Vec<Label>], before: &Weighed, after: &Weighed, examples: usize) -> Self {
        let refused = |side: &Weighed| side.upstreams.as_ref().err().map(ToString::to_string);
        let mut comparison = Self {
            series: series.len(),
            same: 0,
            changed: BTreeMap::new(),
            on: [0, 0],
            refused: [refused(before), refused(after)],
        };
        for (labels, (old, new)) in series.iter().zip(before.rulings.iter().zip(&after.rulings)) {
            let (old, new) = (Fare::of(labels, old, before), Fare::of(labels, new, after));
            comparison.on[0] += usize::from(matches!(old, Fare::On { .. }));
            comparison.on[1] += usize::from(matches!(new, Fare::On { .. }));
            let Some(change) = old.change_to(&new) else {
                comparison.same += 1;
                continue;
            };
            let changed = comparison.changed.entry(change).or_default();
            changed.count += 1;
            if changed.examples.len() < examples {
                changed.examples.push([text_of(labels), old.text(), new.text()]);
            }
        }
        comparison
    }

    fn json(&self) -> serde_json::Value {
        let changes = self.changed.iter().map(|(change, changed)| {
            let examples = changed.examples.iter();
            let examples =
                examples.map(|[series, before, after]| json!({"series": series, "before": before, "after": after}));
            json!({"kind": change.words().0, "count": changed.count, "examples": examples.collect::<Vec<_>>()})
        });
        json!({
            "series": self.series,
            "same": self.same,
            "forwarded": {"before": self.on[0], "after": self.on[1]},
            "writes_refused": {"before": self.refused[0], "after": self.refused[1]},
            "changes": changes.collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} series, of which {} go on before and {} after\n",
            self.series, self.on[0], self.on[1]
        );
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:>8}  same", self.same);
        for (change, changed) in &self.changed {
            let _ = writeln!(text, "{:>8}  {}", changed.count, change.words().1);
        }
        for (when, refused) in ["before", "after"].iter().zip(&self.refused) {
            if let Some(why) = refused {
                let _ = writeln!(text, "{when}, whole writes are not let through: {why}");
            }
        }
        for (change, changed) in &self.changed {
            let _ = writeln!(text, "\n{}:", change.words().1);
            for [series, before, after] in &changed.examples {
                let _ = writeln!(text, "  {series}\n    before: {before}\n    after:  {after}");
            }
            let more = changed.count - changed.examples.len();
            if more > 0 {
                let _ = writeln!(text, "  and {more} more");
            }
        }
        text
    }
}

impl<'w> Fare<'w> {
    fn of(sent: &'w [Label], ruling: &'w Ruling, side: &'w Weighed) -> Self {
        let on = |labels: &'w [Label], stream: &'w str| {
            let upstreams = side.upstreams.as_ref().ok();
            Self::On {
                labels,
                stream,
                upstream: upstreams.and_then(|all| all.get(stream)).map(String::as_str),
            }
        };
        match ruling {
            Ruling::Keep { stream, .. } => on(sent, stream),
            Ruling::Edit { labels, stream, .. } => on(labels, stream),
            Ruling::Drop(words) => Self::Dropped {
                policy: &words.policy,
                reason: &words.reason,
            },
            Ruling::Refuse { refusal, blame } => Self::Refused {
                why: refusal.text(),
                policy: blame.policy.as_deref(),
            },
        }
    }

    /// What changes for who reads the data: why a series is dropped or refused does not.
    fn change_to(&self, after: &Self) -> Option<Change> {
        match (self, after) {
            (Self::On { labels, .. }, Self::On { labels: new, .. }) if labels != new => Some(Change::Edited),
            (Self::On { .. }, Self::On { .. }) => (self != after).then_some(Change::Moved),
            (Self::On { .. }, Self::Dropped { .. }) => Some(Change::KeepToDrop),
            (Self::Dropped { .. }, Self::On { .. }) => Some(Change::DropToKeep),
            (Self::On { .. } | Self::Dropped { .. }, Self::Refused { .. }) => Some(Change::Refused),
            (Self::Refused { .. }, Self::On { .. } | Self::Dropped { .. }) => Some(Change::NotRefused),
            (Self::Dropped { .. }, Self::Dropped { .. }) | (Self::Refused { .. }, Self::Refused { .. }) => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::On {
                labels,
                stream,
                upstream,
            } => {
                let stream = if stream.is_empty() {
                    String::new()
                } else {
                    format!(" in stream {stream}")
                };
                let upstream = upstream.iter().map(|upstream| format!(" to {upstream}"));
                format!("goes on as {}{stream}{}", text_of(labels), upstream.collect::<String>())
            }
            Self::Dropped { policy, reason } => format!("dropped by policy {policy}: {reason}"),
            Self::Refused { why, policy } => {
                let policy = policy.iter().map(|policy| format!(" (policy {policy})"));
                format!("refused: {why}{}", policy.collect::<String>())
            }
        }
    }
}
