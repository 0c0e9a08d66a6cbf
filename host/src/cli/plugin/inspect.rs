//! `gauntlet plugin inspect`: what a component is, and whether the gateway would take it.
//!
//! Takes a component, and settings if its author wants to see it configured; gives its digest, what it imports and exports,
//! how long it takes to compile and to start, what memory it rests at, and what it judges. What stands in the way is the
//! gateway's own error.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::arguments::{Configured, Confines, Format, OnePlugin};
use super::outcome::{Sound, Wrong};
use super::workshop::Workshop;
use crate::config::PluginSource;
use crate::sandbox::Surface;
use crate::sandbox::types::Scope;

pub const EXAMPLES: &str = "Examples:
  gauntlet plugin inspect redact.wasm
  gauntlet plugin inspect redact.wasm --config gauntlet.yaml --settings '{key: \"correct horse battery\", pseudonyms: [user]}'

The exit code is 0 if the gateway would take the plugin with these settings, else 1.";

/// What is known of a component.
struct Findings {
    source: Arc<PluginSource>,
    /// `None` if it is no component.
    surface: Option<Surface>,
    compiled_in: Option<Duration>,
    rest: Option<Rest>,
    /// Why the gateway would not take it.
    fault: Option<String>,
}

/// An instance that has its settings.
struct Rest {
    started_in: Duration,
    /// Bytes.
    memory: usize,
    /// What it is asked about under its settings.
    judges: Scope,
}

/// # Errors
/// If there is no such file, or the configuration cannot be used.
pub fn run(options: &OnePlugin) -> Result<Sound, Wrong> {
    let (source, limits, context) = options.read()?;
    let findings = look(&limits, source, &context)?;
    match options.format {
        Format::Text => print!("{}", text(&findings, &limits)),
        Format::Json => println!("{:#}", json(&findings)),
    }
    Ok(findings.fault.is_none())
}

fn look(limits: &Confines, source: Arc<PluginSource>, context: &Configured) -> Result<Findings, Wrong> {
    let workshop = Workshop::compiling(limits)?;
    let surface = Surface::read(&source.bytes);
    let began = Instant::now();
    let plugin = workshop.load(&source);
    let took = began.elapsed();
    let mut findings = Findings {
        surface: surface.ok(),
        compiled_in: plugin.is_ok().then_some(took),
        rest: None,
        fault: plugin.as_ref().err().map(ToString::to_string),
        source,
    };
    if let Ok(plugin) = plugin {
        findings.fault = workshop.try_out(&findings.source, context).err();
        let began = Instant::now();
        let subject = workshop.subject(plugin, context.clone());
        let rest = subject.start().and_then(|mut instance| {
            Ok(Rest {
                started_in: began.elapsed(),
                memory: instance.memory(),
                judges: subject.scope(&mut instance)?,
            })
        });
        findings.rest = rest.ok();
    }
    Ok(findings)
}

fn text(findings: &Findings, limits: &Confines) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:<12} {value}");
    };
    row("plugin", &findings.source.name);
    row("size", &format!("{} bytes", findings.source.bytes.len()));
    row("sha256", &HEXLOWER.encode(&findings.source.sha256));
    if let Some(surface) = &findings.surface {
        row(
            "speaks",
            surface.contract.as_deref().unwrap_or("no contract of a policy"),
        );
        row("exports", &listed(&surface.exports));
        row("ignored", &listed(&surface.ignored));
        row("imports", &listed(&surface.imports));
    }
    if let Some(took) = findings.compiled_in {
        row("compiles in", &format!("{:.0} ms", took.as_secs_f64() * 1e3));
    }
    if let Some(rest) = &findings.rest {
        row(
            "starts in",
            &format!("{:.2} ms, its settings taken", rest.started_in.as_secs_f64() * 1e3),
        );
        let most = limits.sandbox.memory_limit;
        row(
            "rests at",
            &format!(
                "{} bytes of memory, of the {most} of `sandbox.memory_limit`",
                rest.memory
            ),
        );
        row("judges", &format!("{} under these settings", judges(rest.judges)));
    }
    row(
        "gateway",
        &match &findings.fault {
            None => "takes it with these settings".to_owned(),
            Some(fault) => format!("refuses it: the plugin {fault}"),
        },
    );
    out
}

fn judges(scope: Scope) -> &'static str {
    match (scope.contains(Scope::SERIES), scope.contains(Scope::WRITES)) {
        (true, true) => "series and writes",
        (true, false) => "series",
        (false, true) => "writes",
        (false, false) => "nothing",
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.join(", ")
}

fn json(findings: &Findings) -> Value {
    let surface = findings.surface.as_ref();
    json!({
        "plugin": findings.source.name,
        "bytes": findings.source.bytes.len(),
        "sha256": HEXLOWER.encode(&findings.source.sha256),
        "speaks": surface.and_then(|surface| surface.contract.clone()),
        "exports": surface.map(|surface| &surface.exports),
        "ignored": surface.map(|surface| &surface.ignored),
        "imports": surface.map(|surface| &surface.imports),
        "compile_seconds": findings.compiled_in.map(|took| took.as_secs_f64()),
        "start_seconds": findings.rest.as_ref().map(|rest| rest.started_in.as_secs_f64()),
        "memory_bytes": findings.rest.as_ref().map(|rest| rest.memory),
        "judges_series": findings.rest.as_ref().map(|rest| rest.judges.contains(Scope::SERIES)),
        "judges_writes": findings.rest.as_ref().map(|rest| rest.judges.contains(Scope::WRITES)),
        "taken": findings.fault.is_none(),
        "fault": findings.fault,
    })
}
