//! `gauntlet plugin test`: cases, and what the gateway relies on without asking.
//!
//! Takes files of cases; gives a line for each case and each check that does not hold, with what was expected and what came.
//! A file is about a plugin, or about all policies of a tenant with the host's own checks behind them. `cases` compares, `outcome` is what came of a file,
//! `checks` holds what is always checked, `update` writes what came into the file, `watch` waits for a change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::arguments::{self, Configured, Confines, Format, UnderBounds, lines};
use super::build;
use super::outcome::{Sound, Wrong};
use super::project::{newer_source, project_of};
use super::shown::shown_lines;
use super::subject::Subject;
use super::workshop::Workshop;
use crate::config::{self, Matter, PluginSource, Suite, Tested};

mod cases;
mod chain;
mod checks;
mod outcome;
mod update;
mod watch;

use cases::Came;
use outcome::{FileOutcome, asked_under};
use watch::{Change, WatchedFiles};

pub const EXAMPLES: &str = "Examples:
  gauntlet plugin test
  gauntlet plugin test tests/*.yaml --config gauntlet.yaml
  gauntlet plugin test --watch

A file of cases, gauntlet-test.yaml:
  policy: {plugin: redact.wasm, settings: {key: \"correct horse battery\", pseudonyms: [user]}}
  cases:
    - series: up{job=\"node\"}
      expect: keep
    - series: logins_total{user=\"ada\"}
      expect: {edit: 'logins_total{user=\"p-86165f6966493d85\"}'}

The exit code is 0 if all cases and checks hold, 1 if one does not, 2 if a file cannot be read.";

const DEFAULT_FILE: &str = "gauntlet-test.yaml";

#[derive(Debug, Args)]
pub struct Options {
    /// Files of cases.
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    files: Vec<PathBuf>,
    /// Writes what came in place of what was expected into the files, for cases that stand on lines of their own.
    #[arg(long)]
    update: bool,
    /// Runs again whenever a file changes, until ^C. A plugin that stands in its project is built again when one of its sources
    /// changes.
    #[arg(long, conflicts_with = "update")]
    watch: bool,
    /// Leaves out the checks that are made whatever the cases are.
    #[arg(long)]
    cases_only: bool,
    #[command(flatten)]
    bounds: UnderBounds,
    /// How it is told.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// # Errors
/// If a file cannot be read, or the configuration cannot be used.
pub fn run(options: &Options) -> Result<Sound, Wrong> {
    let mut watch = WatchedFiles::default();
    loop {
        let outcome = run_once(options, &mut watch);
        if !options.watch {
            return outcome;
        }
        if let Err(wrong) = outcome {
            eprintln!("gauntlet: {wrong}");
        }
        while !is_ready(watch.wait(), &mut watch) {}
    }
}

/// Whether there is something to test again: all that is to be built was. A compiler says itself what is wrong.
fn is_ready(change: Change, watch: &mut WatchedFiles) -> bool {
    let Change::Sources(folders) = change else { return true };
    // Also those behind one that fails.
    let built: Vec<bool> = folders.iter().map(|folder| build_again(folder, watch)).collect();
    built.into_iter().all(|built| built)
}

fn build_again(folder: &Path, watch: &mut WatchedFiles) -> bool {
    let built = build::project(folder).unwrap_or_else(|| Err(format!("{} is no project any more", folder.display())));
    watch.built(folder);
    match &built {
        Ok(component) => eprintln!("{}", build::made(component.as_deref())),
        Err(fault) => eprintln!("{fault}"),
    }
    built.is_ok()
}

/// Watches what `component` is made of; builds it where it is older than that, or not there.
fn watch_project(component: &Path, watch: &mut WatchedFiles) {
    let Some(folder) = project_of(component) else { return };
    if !watch.note_project(folder) && (!component.exists() || newer_source(component).is_some()) {
        build_again(folder, watch);
    }
}

fn run_once(options: &Options, watch: &mut WatchedFiles) -> Result<Sound, Wrong> {
    // All of them first: what is wrong with one must not keep the others from being watched.
    let files = options.files.iter().map(PathBuf::as_path);
    files.chain(options.bounds.file()).for_each(|file| watch.note(file));
    let limits = options.bounds.read()?;
    let (mut sound, mut told) = (true, Vec::new());
    for file in &options.files {
        let suite = config::read_cases(file).map_err(|errors| lines(&errors))?;
        let mut outcome = one_file(&suite, &limits, options, watch)?;
        if options.update {
            update::write(file, &suite, &mut outcome.compared)?;
        }
        sound &= outcome.is_sound();
        match options.format {
            Format::Text => text(file, &outcome),
            Format::Json => told.push(json(file, &outcome)),
        }
    }
    if options.format == Format::Json {
        println!("{:#}", Value::from(told));
    }
    Ok(sound)
}

fn one_file(
    suite: &Suite,
    limits: &Confines,
    options: &Options,
    watch: &mut WatchedFiles,
) -> Result<FileOutcome, Wrong> {
    match &suite.subject {
        Tested::Chain { config, tenant } => chain::test(suite, config, tenant, !options.cases_only, watch),
        Tested::Plugin {
            plugin,
            settings,
            tenant,
            upstreams,
        } => {
            let context = Configured {
                settings: settings.clone(),
                tenant: tenant.clone(),
                upstreams: upstreams.clone(),
            };
            if options.watch {
                watch_project(plugin, watch);
            }
            let source = arguments::plugin(plugin).inspect_err(|_| watch.note(plugin))?;
            source.file.iter().for_each(|file| watch.note(file));
            of_plugin(suite, &source, &context, limits, !options.cases_only)
        }
    }
}

fn of_plugin(
    suite: &Suite,
    source: &PluginSource,
    context: &Configured,
    limits: &Confines,
    check: bool,
) -> Result<FileOutcome, Wrong> {
    let workshop = Workshop::open(limits)?;
    let loaded = match workshop.load(source) {
        Ok(plugin) => plugin,
        Err(error) => {
            return Ok(FileOutcome::unusable(format!(
                "the gateway refuses the plugin {}: it {error}",
                source.name
            )));
        }
    };
    let mut subjects: BTreeMap<&str, Subject> = BTreeMap::new();
    let mut compared = Vec::new();
    for case in &suite.cases {
        let settings = case.settings.as_deref().unwrap_or(&context.settings);
        let subject = subjects.entry(settings).or_insert_with(|| {
            let settings = settings.to_owned();
            workshop.subject(
                loaded.clone(),
                Configured {
                    settings,
                    ..context.clone()
                },
            )
        });
        let came = Came::of_plugin(subject, &case.question);
        let printed = subject.printed();
        let mut case = cases::compare(case, came);
        if let Some(differs) = &mut case.differs {
            differs.lines.extend(shown_lines(&printed));
        }
        compared.push(case);
    }
    let mut outcome = FileOutcome {
        compared,
        ..FileOutcome::default()
    };
    if check {
        outcome.checks = check_all(suite, &workshop, &loaded, context, &subjects)?;
    }
    Ok(outcome)
}

/// Under each of the settings that series or writes are asked under.
fn check_all(
    suite: &Suite,
    workshop: &Workshop,
    plugin: &std::sync::Arc<crate::sandbox::Plugin>,
    context: &Configured,
    subjects: &BTreeMap<&str, Subject>,
) -> Result<Vec<checks::Check>, Wrong> {
    let asked = suite.cases.iter().filter(|case| case.question != Matter::Settings);
    let mut all: Vec<&str> = asked
        .map(|case| case.settings.as_deref().unwrap_or(&context.settings))
        .collect();
    all.sort_unstable();
    all.dedup();
    if all.is_empty() {
        all.push(&context.settings);
    }
    let mut found = Vec::new();
    for settings in all {
        let (series, writes) = asked_under(suite, settings, context);
        let own;
        let subject = match subjects.get(settings) {
            Some(subject) => subject,
            None => {
                own = workshop.subject(plugin.clone(), context.clone());
                &own
            }
        };
        checks::merge(&mut found, checks::all(subject, &series, &writes));
    }
    Ok(found)
}

fn text(file: &Path, outcome: &FileOutcome) {
    let file = file.display();
    if let Some(why) = &outcome.unusable {
        println!("{file}: {why}");
        return;
    }
    for case in &outcome.compared {
        if let Some(differs) = &case.differs {
            println!("{file}:{}: {}", case.line, case.title);
            differs.lines.iter().for_each(|line| println!("  {line}"));
        }
    }
    for check in &outcome.checks {
        for finding in &check.findings {
            println!("{file}: {}: {}", check.name, finding.replace('\n', "\n    "));
        }
        if !check.findings.is_empty() {
            println!("  {}", check.why());
        }
    }
    let failed = outcome.compared.iter().filter(|case| case.differs.is_some()).count();
    let broken = outcome.checks.iter().filter(|check| !check.findings.is_empty()).count();
    let names: Vec<&str> = outcome.checks.iter().map(|check| check.name).collect();
    println!(
        "{file}: {} cases, {failed} failed; {} checks ({}), {broken} failed",
        outcome.compared.len(),
        names.len(),
        names.join(", ")
    );
}

fn json(file: &Path, outcome: &FileOutcome) -> Value {
    let cases = outcome.compared.iter().map(|case| {
        json!({
            "title": case.title,
            "line": case.line,
            "holds": case.differs.is_none(),
            "difference": case.differs.as_ref().map(|differs| &differs.lines),
        })
    });
    let checks = outcome
        .checks
        .iter()
        .map(|check| json!({"check": check.name, "why": check.why(), "findings": check.findings}));
    json!({
        "file": file.display().to_string(),
        "unusable": outcome.unusable,
        "cases": cases.collect::<Vec<_>>(),
        "checks": checks.collect::<Vec<_>>(),
        "holds": outcome.is_sound(),
    })
}
