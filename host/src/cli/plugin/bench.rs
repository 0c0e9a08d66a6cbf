//! `gauntlet plugin bench`: what a plugin costs.
//!
//! Takes a component with settings; gives its size, how long it takes to compile and to start, processor time per new series,
//! per call and per decision, how much of `call_timeout` a full call takes, the memory it holds after many calls, and how
//! many instructions it executes, which is the same on every machine. Known series cost nothing: they are not asked about.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::arguments::{Configured, Confines, Format, OnePlugin};
use super::corpus::{usual as usual_series, write as usual_write};
use super::outcome::{Sound, Wrong};
use super::subject::{Form, LabelList, Subject};
use super::workshop::Workshop;
use crate::chain::MOST_SERIES;
use crate::config::PluginSource;
use crate::sandbox::types::Scope;
use crate::sandbox::{Fault, Instance, thread_time};

pub const EXAMPLES: &str = "Examples:
  gauntlet plugin bench redact.wasm --settings '{key: \"correct horse battery\", pseudonyms: [pod]}'
  gauntlet plugin bench relabel --settings @relabel.yaml --format json

The exit code is 0 if every call was answered in time, else 1.";

/// Calls that are measured of each kind, as long as they take no longer than [`MOST`]; a few are made whatever they take.
const CALLS: usize = 400;
const LEAST: usize = 5;
const MOST: Duration = Duration::from_secs(2);
const STARTS: usize = 21;
/// Series of the call whose instructions are counted: few enough for any language, which counting makes slower.
const COUNTED: usize = 16;
/// After which memory is looked at.
const MANY_CALLS: u64 = 10_000;

/// What was measured. Times are of the processor, but for compiling.
#[derive(Debug, Default)]
struct Costs {
    compile: Duration,
    start: Duration,
    series: Option<SeriesCosts>,
    decision: Option<Duration>,
    /// Bytes.
    memory: usize,
    memory_after: usize,
    instructions: Instructions,
}

#[derive(Debug)]
struct SeriesCosts {
    /// How many a full call has: no more than it has time for.
    fits: usize,
    /// Of a call with one series.
    single: Duration,
    /// Of a full one, the median and the slowest.
    full: Duration,
    slowest: Duration,
}

#[derive(Debug, Default)]
struct Instructions {
    start: u64,
    /// Of a call with one series, and of one with [`COUNTED`].
    single: Option<u64>,
    full: Option<u64>,
    decision: Option<u64>,
}

/// # Errors
/// If the plugin cannot be read, or the configuration cannot be used.
pub fn run(options: &OnePlugin) -> Result<Sound, Wrong> {
    let (source, limits, context) = options.read()?;
    match measure(&limits, &source, &context)? {
        Ok(costs) => match options.format {
            Format::Text => print!("{}", text(&source, &limits, &costs)),
            Format::Json => println!("{:#}", json(&source, &limits, &costs)),
        },
        Err(fault) => {
            eprintln!("the plugin {fault}");
            return Ok(false);
        }
    }
    Ok(true)
}

fn measure(limits: &Confines, source: &PluginSource, context: &Configured) -> Result<Result<Costs, String>, Wrong> {
    let workshop = Workshop::compiling(limits)?;
    let began = Instant::now();
    let plugin = match workshop.load(source) {
        Ok(plugin) => plugin,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let compile = began.elapsed();
    let subject = workshop.subject(plugin, context.clone());
    let counting = Workshop::counting(limits)?;
    let counted = match counting.load(source) {
        Ok(plugin) => counting.subject(plugin, context.clone()),
        Err(error) => return Ok(Err(error.to_string())),
    };
    let costs = || {
        Ok(Costs {
            compile,
            instructions: count(&counted)?,
            ..time(&subject)?
        })
    };
    Ok(costs().map_err(|fault: Fault| fault.to_string()))
}

fn time(subject: &Subject) -> Result<Costs, Fault> {
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let began = thread_time();
        let _instance = subject.start()?;
        starts.push(thread_time() - began);
    }
    let mut instance = subject.start()?;
    let memory = instance.memory();
    let scope = subject.scope(&mut instance)?;
    let series = match scope.contains(Scope::SERIES) {
        true => Some(time_series(subject, &mut instance)?),
        false => None,
    };
    let decision = match scope.contains(Scope::WRITES) {
        true => {
            let inputs = subject.inputs(&mut instance)?;
            let decide = |instance: &mut Instance, number| {
                let mut write = usual_write(number);
                write.mask(inputs);
                subject.decide(instance, &write).map(drop)
            };
            Some(median(&mut times(&mut instance, decide)?))
        }
        false => None,
    };
    for number in 0..MANY_CALLS {
        one_more(subject, scope, &mut instance, number)?;
    }
    Ok(Costs {
        start: median(&mut starts),
        series,
        decision,
        memory,
        memory_after: instance.memory(),
        ..Costs::default()
    })
}

fn one_more(subject: &Subject, scope: Scope, instance: &mut Instance, number: u64) -> Result<(), Fault> {
    match (scope.contains(Scope::SERIES), scope.contains(Scope::WRITES)) {
        (true, _) => subject.ask(instance, &[usual_series(number)], Form::Usual).map(drop),
        (false, true) => subject.decide(instance, &usual_write(number)).map(drop),
        (false, false) => Ok(()),
    }
}

fn time_series(subject: &Subject, instance: &mut Instance) -> Result<SeriesCosts, Fault> {
    let fits = fits(subject)?;
    let mut all = Vec::new();
    let began = Instant::now();
    for number in 0..CALLS as u64 {
        if all.len() >= LEAST && began.elapsed() > MOST {
            break;
        }
        let series = full_call(number, fits);
        let began = thread_time();
        subject.ask(instance, &series, Form::Usual)?;
        all.push(thread_time() - began);
    }
    let single =
        |instance: &mut Instance, number| subject.ask(instance, &[usual_series(number)], Form::Usual).map(drop);
    Ok(SeriesCosts {
        fits,
        single: median(&mut times(instance, single)?),
        slowest: all.iter().max().copied().unwrap_or_default(),
        full: median(&mut all),
    })
}

/// The most series that a call has time for, as far as halves of halves go.
fn fits(subject: &Subject) -> Result<usize, Fault> {
    let mut fits = MOST_SERIES;
    loop {
        match subject.ask(&mut subject.start()?, &full_call(0, fits), Form::Usual) {
            Err(Fault::Timeout(_)) if fits > 1 => fits /= 4,
            Err(fault) => return Err(fault),
            Ok(_) => return Ok(fits),
        }
    }
}

fn full_call(number: u64, fits: usize) -> Vec<LabelList> {
    let first = number * fits as u64;
    (first..first + fits as u64).map(usual_series).collect()
}

fn times(
    instance: &mut Instance,
    call: impl Fn(&mut Instance, u64) -> Result<(), Fault>,
) -> Result<Vec<Duration>, Fault> {
    let (began, mut all) = (Instant::now(), Vec::new());
    for number in 0..CALLS as u64 {
        if all.len() >= LEAST && began.elapsed() > MOST {
            break;
        }
        let before = thread_time();
        call(instance, number)?;
        all.push(thread_time() - before);
    }
    Ok(all)
}

fn median(all: &mut [Duration]) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// On an engine that counts. The second of two equal calls is what counts: the first one may set things up.
fn count(subject: &Subject) -> Result<Instructions, Fault> {
    let mut instance = subject.start()?;
    let mut counted = Instructions {
        start: instance.instructions().unwrap_or_default(),
        ..Instructions::default()
    };
    let second = |instance: &mut Instance, call: &dyn Fn(&mut Instance) -> Result<(), Fault>| {
        call(instance)?;
        let before = instance.instructions();
        call(instance)?;
        Ok(instance.instructions().zip(before).map(|(now, before)| now - before))
    };
    let scope = subject.scope(&mut instance)?;
    if scope.contains(Scope::SERIES) {
        let (one, full) = ([usual_series(1)], full_call(1, COUNTED));
        counted.single = second(&mut instance, &|instance| {
            subject.ask(instance, &one, Form::Usual).map(drop)
        })?;
        counted.full = second(&mut instance, &|instance| {
            subject.ask(instance, &full, Form::Usual).map(drop)
        })?;
    }
    if scope.contains(Scope::WRITES) {
        let mut write = usual_write(1);
        write.mask(subject.inputs(&mut instance)?);
        counted.decision = second(&mut instance, &|instance| subject.decide(instance, &write).map(drop))?;
    }
    Ok(counted)
}

fn text(source: &PluginSource, limits: &Confines, costs: &Costs) -> String {
    let micro = |time: Duration| format!("{:.1} us", time.as_secs_f64() * 1e6);
    let counted = |count: Option<u64>| count.map(|count| format!(", {count} instructions")).unwrap_or_default();
    let mut rows = vec![
        ("size", format!("{} bytes", source.bytes.len())),
        ("compile", format!("{:.0} ms", costs.compile.as_secs_f64() * 1e3)),
        (
            "start",
            format!("{}{}", micro(costs.start), counted(Some(costs.instructions.start))),
        ),
    ];
    if let Some(series) = &costs.series {
        let per_series = series.full.as_nanos() / series.fits as u128;
        let instructions = costs.instructions.full.map(|full| full / COUNTED as u64);
        rows.push((
            "new series",
            format!(
                "{per_series} ns each, {} in a call{}",
                series.fits,
                counted(instructions)
            ),
        ));
        rows.push((
            "single call",
            format!("{}{}", micro(series.single), counted(costs.instructions.single)),
        ));
        rows.push((
            "full call",
            format!(
                "{}, the slowest {}, which is {:.1} % of `sandbox.call_timeout` ({} ms)",
                micro(series.full),
                micro(series.slowest),
                share(series, limits) * 100.0,
                limits.sandbox.call_timeout.as_millis()
            ),
        ));
    }
    if let Some(decision) = costs.decision {
        rows.push((
            "decision",
            format!("{}{}", micro(decision), counted(costs.instructions.decision)),
        ));
    }
    rows.push((
        "memory",
        format!(
            "{} bytes at first, {} after {MANY_CALLS} calls, of the {} of `sandbox.memory_limit`",
            costs.memory, costs.memory_after, limits.sandbox.memory_limit
        ),
    ));
    rows.iter()
        .map(|(name, value)| format!("{name:<12} {value}\n"))
        .collect()
}

/// Of `call_timeout`, for the slowest full call.
fn share(series: &SeriesCosts, limits: &Confines) -> f64 {
    series.slowest.as_secs_f64() / limits.sandbox.call_timeout.as_secs_f64()
}

fn json(source: &PluginSource, limits: &Confines, costs: &Costs) -> Value {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let series = costs.series.as_ref();
    json!({
        "plugin": source.name,
        "bytes": source.bytes.len(),
        "compile_ns": nanos(costs.compile),
        "start_ns": nanos(costs.start),
        "series_ns": series.map(|series| nanos(series.full) / series.fits as u64),
        "single_call_ns": series.map(|series| nanos(series.single)),
        "full_call_ns": series.map(|series| nanos(series.full)),
        "slowest_full_call_ns": series.map(|series| nanos(series.slowest)),
        "share_of_call_timeout": series.map(|series| share(series, limits)),
        "decision_ns": costs.decision.map(nanos),
        "memory_bytes": costs.memory,
        "memory_bytes_after_calls": costs.memory_after,
        "instructions": {
            "start": costs.instructions.start,
            "series": costs.instructions.full.map(|full| full / COUNTED as u64),
            "single_call": costs.instructions.single,
            "decision": costs.instructions.decision,
        },
    })
}
