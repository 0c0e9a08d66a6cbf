//! The demo's table: what became of every tenant's samples, from the gateway's own metrics.
//!
//! Takes a row per tenant and the last reload's report, gives lines. `rows` alone knows where the rows come from: the
//! text that an operator's Prometheus would read, so the table cannot say what the metrics do not.

use std::collections::BTreeMap;
use std::io::Write;

use crate::reload::Report;

/// One sample of the text format: labels and value.
type Labelled<'a> = (BTreeMap<&'a str, &'a str>, f64);

/// What became of one tenant's samples.
#[derive(Default, Clone)]
pub(super) struct Row {
    received: f64,
    edited: f64,
    dropped: BTreeMap<String, f64>,
    rejected: f64,
    /// Writes, not samples: those told to wait.
    limited: f64,
    forwarded: f64,
    /// None: no such tenant is configured.
    generation: Option<f64>,
    /// Upper bound in seconds, and how many answers took at most that.
    buckets: Vec<(f64, f64)>,
}

pub(super) struct Table {
    terminal: bool,
    lines: usize,
    generations: BTreeMap<String, Option<f64>>,
    said: Vec<String>,
}

impl Table {
    pub(super) fn new(terminal: bool) -> Self {
        Self {
            terminal,
            lines: 0,
            generations: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    /// Prints news of the configuration, if any, and the table; on a terminal over the last one.
    pub(super) fn draw(&mut self, rows: &BTreeMap<String, Row>, report: &Report, receiver: &BTreeMap<String, u64>) {
        let news = self.news(rows, report);
        let lines = render(rows, receiver);
        let mut out = String::new();
        if self.terminal && self.lines > 0 {
            // Up to the table's first line, and clear from there.
            out.push_str(&format!("\x1b[{}A\x1b[J", self.lines));
        }
        for line in news.iter().chain(&lines) {
            out.push_str(line);
            out.push('\n');
        }
        self.lines = lines.len();
        let mut stdout = std::io::stdout().lock();
        // A closed terminal is not the demo's business: the signal that follows ends it.
        let _ = stdout.write_all(out.as_bytes());
        let _ = stdout.flush();
    }

    /// What changed since the last time, one line each.
    fn news(&mut self, rows: &BTreeMap<String, Row>, report: &Report) -> Vec<String> {
        let mut news = Vec::new();
        for (tenant, row) in rows {
            let before = self.generations.insert(tenant.clone(), row.generation);
            if before.is_none_or(|before| before == row.generation) {
                continue;
            }
            news.push(match row.generation {
                Some(generation) => format!("* {tenant}: new policies in use (generation {generation})"),
                None => format!("* {tenant}: the tenant is gone and its writes are refused"),
            });
        }
        let mut said: Vec<String> = report
            .errors
            .iter()
            .chain(&report.plugins)
            .map(|e| format!("! not in use: {e}"))
            .collect();
        said.extend(report.broken.iter().map(|broken| {
            let tenant = broken.tenant.as_ref().map_or("?", |tenant| tenant.as_str());
            let serving = broken
                .serving
                .map_or("nothing serves".into(), |g| format!("generation {g} still serves"));
            format!("! {tenant}: not in use, {serving}: {}", broken.error)
        }));
        if said.is_empty() && !self.said.is_empty() {
            news.push("* the configuration is sound again".into());
        }
        if said != self.said {
            news.extend(said.iter().cloned());
        }
        self.said = said;
        news
    }
}

fn render(rows: &BTreeMap<String, Row>, receiver: &BTreeMap<String, u64>) -> Vec<String> {
    let head = format!(
        "{:<10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>8} {:>8}  {}",
        "tenant",
        "received",
        "kept",
        "edited",
        "dropped",
        "rejected",
        "forwarded",
        "at thanos",
        "limited",
        "p99",
        "dropped by"
    );
    let mut lines = vec![head];
    for (tenant, row) in rows {
        let dropped = row.dropped.values().fold(0.0, |sum, samples| sum + samples);
        let why: Vec<String> = row
            .dropped
            .iter()
            .map(|(why, samples)| format!("{why} {samples}"))
            .collect();
        lines.push(format!(
            "{tenant:<10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>8} {:>8}  {}",
            row.received,
            row.forwarded - row.edited,
            row.edited,
            dropped,
            row.rejected,
            row.forwarded,
            receiver.get(tenant).copied().unwrap_or(0),
            row.limited,
            p99(&row.buckets),
            why.join(", "),
        ));
    }
    let limited: Vec<String> = rows
        .iter()
        .filter(|(_, row)| row.limited > 0.0)
        .map(|(tenant, row)| format!("{tenant}: {} writes told to wait (503), sent again later", row.limited))
        .collect();
    lines.push(limited.join("   "));
    lines
}

/// The bound under which 99 of 100 answers were given.
fn p99(buckets: &[(f64, f64)]) -> String {
    let total = buckets.iter().map(|(_, count)| *count).fold(0.0, f64::max);
    if total == 0.0 {
        return "-".into();
    }
    match buckets.iter().find(|(_, count)| *count >= total * 0.99) {
        Some((bound, _)) if bound.is_finite() => format!("<{} ms", bound * 1000.0),
        _ => ">32 s".into(),
    }
}

pub(super) fn rows(metrics: &str) -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, (labels, value))) = sample(line) else {
            continue;
        };
        let Some(tenant) = labels.get("tenant").filter(|tenant| !tenant.is_empty()) else {
            continue;
        };
        let row = rows.entry((*tenant).to_owned()).or_default();
        match name {
            "gauntlet_received_samples_total" => row.received += value,
            "gauntlet_edited_samples_total" => row.edited += value,
            "gauntlet_forwarded_samples_total" => row.forwarded += value,
            "gauntlet_rejected_samples_total" => row.rejected += value,
            "gauntlet_limited_requests_total" => row.limited += value,
            "gauntlet_tenant_generation" => row.generation = Some(value),
            "gauntlet_dropped_samples_total" => {
                let word = |label| labels.get(label).copied().unwrap_or("");
                *row.dropped
                    .entry(format!("{}: {}", word("policy"), word("reason")))
                    .or_default() += value;
            }
            "gauntlet_request_duration_seconds_bucket" => {
                let bound = labels.get("le").and_then(|le| le.replace("+Inf", "inf").parse().ok());
                row.buckets.push((bound.unwrap_or(f64::INFINITY), value));
            }
            _ => {}
        }
    }
    rows
}

/// `name{label="value",...} number`. Label values here are tenants, policies and bounds: nothing that is escaped but
/// a policy's reason, which is shown as it stands.
fn sample(line: &str) -> Option<(&str, Labelled<'_>)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, value) = rest.rsplit_once("} ")?;
    let mut parsed = BTreeMap::new();
    for pair in labels.split("\",") {
        let (label, value) = pair.split_once("=\"")?;
        parsed.insert(label, value.trim_end_matches('"'));
    }
    Some((name, (parsed, value.split(' ').next()?.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;
    use crate::telemetry::metrics::{DropLabels, PolicyLabels, RejectLabels, TenantLabels};

    #[test]
    fn the_table_shows_what_the_metrics_say() {
        let metrics = Metrics::new();
        let labels = TenantLabels {
            tenant: "kazusa".into(),
        };
        metrics.received_samples.get_or_create(&labels).inc_by(7);
        metrics.request_duration.get_or_create(&labels).observe(0.0015);
        let drop = DropLabels {
            tenant: "kazusa".into(),
            policy: "relabel".into(),
            reason: "go, \"gone\"".into(),
        };
        metrics.dropped_samples.get_or_create(&drop).inc_by(3);
        let rows = rows(&metrics.text());
        let row = &rows["kazusa"];
        assert_eq!((row.received, row.dropped.values().sum::<f64>()), (7.0, 3.0));
        assert_eq!(p99(&row.buckets), "<2 ms");
    }

    #[test]
    fn rejected_samples_and_writes_told_to_wait_have_a_column_each() {
        let metrics = Metrics::new();
        let rejected = RejectLabels {
            tenant: "kazusa".into(),
            reason: "label_value_too_long",
        };
        metrics.rejected_samples.get_or_create(&rejected).inc_by(5);
        let limited = PolicyLabels {
            tenant: "kazusa".into(),
            policy: "limits".into(),
        };
        metrics.limited_requests.get_or_create(&limited).inc_by(2);
        let lines = render(&rows(&metrics.text()), &BTreeMap::new());
        let column = |name: &str| {
            let place = lines[0].split_whitespace().position(|head| head == name).unwrap();
            // "at thanos" is two words in the head.
            let place = if name == "limited" { place - 1 } else { place };
            lines[1].split_whitespace().nth(place).unwrap()
        };
        assert_eq!((column("rejected"), column("limited")), ("5", "2"));
    }

    #[test]
    fn a_tenant_that_is_deleted_is_told_as_gone() {
        let metrics = Metrics::new();
        let labels = TenantLabels {
            tenant: "kazusa".into(),
        };
        metrics.received_samples.get_or_create(&labels).inc();
        metrics.tenant_generation.get_or_create(&labels).set(3);
        let (mut table, report) = (Table::new(false), Report::default());
        assert!(table.news(&rows(&metrics.text()), &report).is_empty());
        metrics.tenant_generation.clear();
        let gone = ["* kazusa: the tenant is gone and its writes are refused"];
        assert_eq!(table.news(&rows(&metrics.text()), &report), gone);
        metrics.tenant_generation.get_or_create(&labels).set(4);
        let back = ["* kazusa: new policies in use (generation 4)"];
        assert_eq!(table.news(&rows(&metrics.text()), &report), back);
    }
}
