//! `gauntlet policy from-prometheus`: relabelling that a Prometheus does, as policies that a gateway runs.
//!
//! Takes a `prometheus.yml`, gives the `policies` of a tenant's file as YAML, with what was not carried over as comments
//! and on standard error. Never writes a file.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::tenant::lines;
use crate::cli::answer::Done;
use crate::config::{ConfigError, RemoteWriteRules, remote_write_rules};

pub(super) const EXAMPLE: &str = r"Example:
  gauntlet policy from-prometheus prometheus.yml
  gauntlet policy from-prometheus prometheus.yml --remote-write long-term >> tenants/kazusa.yaml";

/// Largest file read.
const MAX_FILE: u64 = 16 << 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// The configuration of the Prometheus that sends.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The `remote_write` to read: its name, or its number from 0 on. If this is left out, all are read, and what there is
    /// of each is a document of its own.
    #[arg(long, value_name = "NAME")]
    remote_write: Option<String>,
}

pub(super) fn run(options: &Options) -> Done {
    let file = options.file.display();
    let cannot = |error: &dyn std::fmt::Display| format!("cannot read {file}: {error}");
    let length = std::fs::metadata(&options.file).map_err(|error| cannot(&error))?.len();
    if length > MAX_FILE {
        return Err(cannot(&format!("it has more than {} MiB", MAX_FILE >> 20)));
    }
    let text = std::fs::read_to_string(&options.file).map_err(|error| cannot(&error))?;
    let all = remote_write_rules(&options.file, &text).map_err(|errors| lines(&errors))?;
    let chosen = chosen(&all, options.remote_write.as_deref()).map_err(|error| format!("{file}: {error}"))?;
    let documents: Vec<String> = chosen.iter().map(|one| document(one)).collect();
    for error in chosen.iter().flat_map(|one| one.lost.iter().chain(&one.stays)) {
        eprintln!("{error}");
    }
    print!("{}", documents.join("---\n"));
    Ok(chosen.iter().any(|one| !one.lost.is_empty()))
}

fn chosen<'r>(all: &'r [RemoteWriteRules], wanted: Option<&str>) -> Result<Vec<&'r RemoteWriteRules>, String> {
    let Some(wanted) = wanted else {
        // One that does nothing is nobody's policy, unless there is no other.
        let with_rules: Vec<_> = all.iter().filter(|one| !one.rules.is_empty()).collect();
        let none = with_rules.is_empty();
        return match all.first() {
            None => Err("there is no `remote_write`".to_owned()),
            Some(first) if none => Ok(vec![first]),
            Some(_) => Ok(with_rules),
        };
    };
    let named = all.iter().find(|one| one.name.as_deref() == Some(wanted));
    let numbered = || all.get(wanted.parse::<usize>().ok()?);
    let names: Vec<String> = all.iter().map(title).collect();
    let found = named.or_else(numbered);
    found
        .map(|one| vec![one])
        .ok_or_else(|| format!("there is no `remote_write` {wanted:?}; there are {}", names.join(", ")))
}

fn title(one: &RemoteWriteRules) -> String {
    let name = one.name.iter().map(|name| format!(" (`{name}`)"));
    one.place.clone() + &name.collect::<String>()
}

/// A part of a tenant's file.
fn document(one: &RemoteWriteRules) -> String {
    let mut text = format!("# From the `write_relabel_configs` of {}.\n", title(one));
    comments("Not carried over:", &one.lost, &mut text);
    comments("Stays as it is:", &one.stays, &mut text);
    if one.rules.is_empty() {
        return text + "policies: []\n";
    }
    text.push_str("policies:\n  - plugin: relabel\n    settings:\n      relabel_configs:\n");
    for rule in &one.rules {
        for (at, (key, json)) in rule.iter().enumerate() {
            let dash = if at == 0 { '-' } else { ' ' };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "        {dash} {key}: {json}");
        }
        if rule.is_empty() {
            text.push_str("        - {}\n");
        }
    }
    text
}

fn comments(heading: &str, errors: &[ConfigError], text: &mut String) {
    if errors.is_empty() {
        return;
    }
    let _ = writeln!(text, "# {heading}");
    for error in errors {
        let _ = writeln!(text, "#   {error}");
    }
}
