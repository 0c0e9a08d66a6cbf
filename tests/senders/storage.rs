//! What somebody has stored: every sample of every series, to the bit.
//!
//! Takes folders of a write-ahead log, which the tool `storage` reads, of Prometheus and of Thanos alike; gives series.
//! Never asks a query: it would leave out stale markers and give one NaN for another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use gauntlet_tests::process::provisioned;
use serde_json::Value;

/// The tool's version is its Prometheus library's.
pub const TOOL: (&str, &str) = ("storage", "3.15.1");

pub type Labels = BTreeMap<String, String>;
pub type Storage = BTreeMap<Labels, Series>;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Milliseconds to the value: a float's bits, or a histogram with all its buckets.
    pub points: BTreeMap<i64, String>,
    /// Milliseconds, and labels with the value's bits.
    pub exemplars: BTreeSet<(i64, String)>,
}

/// Milliseconds since 1970, both included.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub since: i64,
    pub until: i64,
}

impl Window {
    pub fn has(&self, time: i64) -> bool {
        (self.since..=self.until).contains(&time)
    }
}

/// What the logs in `folders` have of the window; a folder that is not there yet has nothing.
///
/// # Errors
/// If the tool fails.
pub fn read(folders: &[PathBuf], window: Window) -> Result<Storage> {
    let folders: Vec<&PathBuf> = folders.iter().filter(|folder| folder.is_dir()).collect();
    if folders.is_empty() {
        return Ok(Storage::new());
    }
    let output = Command::new(provisioned(TOOL.0, TOOL.1)?)
        .arg(format!("-since={}", window.since))
        .arg(format!("-until={}", window.until))
        .args(folders)
        .output()
        .context("running the tool `storage`")?;
    if !output.status.success() {
        bail!("storage: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout).context("what the tool `storage` wrote")?;
    let mut storage = Storage::new();
    for line in text.lines() {
        let (labels, series) = parse(line).with_context(|| format!("a line of the tool `storage`: {line:.200}"))?;
        merge(&mut storage, labels, series);
    }
    Ok(storage)
}

/// Adds to what is there: a series may be in two logs.
pub fn merge(storage: &mut Storage, labels: Labels, series: Series) {
    let known = storage.entry(labels).or_default();
    known.points.extend(series.points);
    known.exemplars.extend(series.exemplars);
}

fn parse(line: &str) -> Option<(Labels, Series)> {
    let json: Value = serde_json::from_str(line).ok()?;
    let labels = json["labels"].as_object()?.iter();
    let labels = labels
        .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect::<Option<_>>()?;
    let series = Series {
        points: points(&json["points"])?.into_iter().collect(),
        exemplars: points(&json["exemplars"])?.into_iter().collect(),
    };
    Some((labels, series))
}

fn points(json: &Value) -> Option<Vec<(i64, String)>> {
    let point = |point: &Value| Some((point["t"].as_i64()?, point["v"].as_str()?.to_owned()));
    json.as_array()?.iter().map(point).collect()
}

/// A float as the tool writes it.
pub fn bits(value: f64) -> String {
    format!("{:016x}", value.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_tool_is_read() {
        let line = r#"{"folder":"w","labels":{"__name__":"up"},"points":[{"t":1,"v":"00"}],"exemplars":[]}"#;
        let (labels, series) = parse(line).unwrap();
        assert_eq!(labels["__name__"], "up");
        assert_eq!(series.points, BTreeMap::from([(1, "00".to_owned())]));
        assert!(parse(r#"{"labels":{},"points":[{"t":"1"}],"exemplars":[]}"#).is_none());
    }
}
