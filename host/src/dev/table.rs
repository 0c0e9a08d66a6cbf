//! The demo's table: what became of every tenant's samples.
//!
//! Takes a row per tenant and the last reload's report, gives lines. Rows are made of snapshots, which are counted by
//! what `/metrics` shows, so the table cannot say what the metrics do not.

use std::collections::BTreeMap;
use std::io::Write;

use crate::reload::Report;
use crate::tenant::Snapshot;

/// What became of one tenant's samples.
#[derive(Default, Clone)]
pub(super) struct Row {
    received: u64,
    edited: u64,
    dropped: BTreeMap<String, u64>,
    rejected: u64,
    /// Writes, not samples: those told to wait.
    limited: u64,
    forwarded: u64,
    generation: u64,
    /// Upper bound in seconds, and how many answers took at most that and more than the bound before.
    buckets: Vec<(f64, u64)>,
}

pub(super) struct Table {
    terminal: bool,
    lines: usize,
    /// None: the tenant is gone.
    generations: BTreeMap<String, Option<u64>>,
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
        for (tenant, generation) in &mut self.generations {
            if generation.is_some() && !rows.contains_key(tenant) {
                *generation = None;
                news.push(format!("* {tenant}: the tenant is gone and its writes are refused"));
            }
        }
        for (tenant, Row { generation, .. }) in rows {
            let before = self.generations.insert(tenant.clone(), Some(*generation));
            if before.is_some_and(|before| before != Some(*generation)) {
                news.push(format!("* {tenant}: new policies in use (generation {generation})"));
            }
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
        let dropped: u64 = row.dropped.values().sum();
        let why: Vec<String> = row
            .dropped
            .iter()
            .map(|(why, samples)| format!("{why} {samples}"))
            .collect();
        lines.push(format!(
            "{tenant:<10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>8} {:>8}  {}",
            row.received,
            row.forwarded.saturating_sub(row.edited),
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
        .filter(|(_, row)| row.limited > 0)
        .map(|(tenant, row)| format!("{tenant}: {} writes told to wait (503), sent again later", row.limited))
        .collect();
    lines.push(limited.join("   "));
    lines
}

/// The bound under which 99 of 100 answers were given.
fn p99(buckets: &[(f64, u64)]) -> String {
    let total: u64 = buckets.iter().map(|(_, count)| count).sum();
    if total == 0 {
        return "-".into();
    }
    let mut within = 0;
    let found = buckets.iter().find(|(_, count)| {
        within += count;
        within * 100 >= total * 99
    });
    match found {
        Some((bound, _)) if bound.is_finite() => format!("<{} ms", bound * 1000.0),
        _ => ">32 s".into(),
    }
}

pub(super) fn rows(tenants: impl Iterator<Item = Snapshot>) -> BTreeMap<String, Row> {
    tenants
        .map(|tenant| (tenant.config.id.to_string(), row(tenant)))
        .collect()
}

fn row(tenant: Snapshot) -> Row {
    let counted = tenant.counted;
    let dropped = counted.dropped.iter();
    let dropped = dropped.map(|(words, samples)| (format!("{}: {}", words.policy, words.reason), *samples));
    Row {
        received: counted.received,
        edited: counted.edited,
        dropped: dropped.collect(),
        rejected: counted.rejected.iter().map(|(_, samples)| samples).sum(),
        limited: counted.limited.iter().map(|(_, writes)| writes).sum(),
        forwarded: counted.forwarded.iter().map(|(_, samples)| samples).sum(),
        generation: tenant.generation,
        buckets: tenant.request_duration,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config;
    use crate::judge::DropWords;
    use crate::judge::memo::MemoStats;
    use crate::tenant::Counted;

    fn kazusa(generation: u64, counted: Counted) -> BTreeMap<String, Row> {
        let snapshot = Snapshot {
            went_back: None,
            config: Arc::new(config::tests::bare("kazusa")),
            generation,
            policies: Vec::new(),
            counted,
            memo: MemoStats::default(),
            budgets: 0,
            fullest_budgets: Vec::new(),
            request_duration: vec![(0.001, 0), (0.002, 1), (f64::INFINITY, 0)],
            failures: Vec::new(),
            last_used: Vec::new(),
        };
        rows(std::iter::once(snapshot))
    }

    #[test]
    fn the_table_shows_what_the_metrics_say() {
        let words = DropWords {
            policy: "relabel".into(),
            reason: "go, \"gone\"".into(),
        };
        let rows = kazusa(
            1,
            Counted {
                received: 7,
                dropped: vec![(words, 3)],
                ..Counted::default()
            },
        );
        let row = &rows["kazusa"];
        assert_eq!((row.received, row.dropped.values().sum::<u64>()), (7, 3));
        assert_eq!(row.dropped.keys().collect::<Vec<_>>(), ["relabel: go, \"gone\""]);
        assert_eq!(p99(&row.buckets), "<2 ms");
    }

    #[test]
    fn the_99th_percentile_is_the_bound_that_holds_99_of_100() {
        let bounds = |within, over| vec![(0.001, within), (0.002, over), (f64::INFINITY, 0)];
        assert_eq!(p99(&bounds(99, 1)), "<1 ms");
        assert_eq!(p99(&bounds(98, 2)), "<2 ms");
        assert_eq!(p99(&[(0.001, 98), (f64::INFINITY, 2)]), ">32 s");
        assert_eq!(p99(&bounds(0, 0)), "-");
    }

    #[test]
    fn rejected_samples_and_writes_told_to_wait_have_a_column_each() {
        let counted = Counted {
            rejected: vec![("label_value_too_long", 5)],
            limited: vec![("limits".into(), 2)],
            ..Counted::default()
        };
        let lines = render(&kazusa(1, counted), &BTreeMap::new());
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
        let (mut table, report) = (Table::new(false), Report::default());
        assert!(table.news(&kazusa(3, Counted::default()), &report).is_empty());
        let gone = ["* kazusa: the tenant is gone and its writes are refused"];
        assert_eq!(table.news(&BTreeMap::new(), &report), gone);
        assert!(table.news(&BTreeMap::new(), &report).is_empty());
        let back = ["* kazusa: new policies in use (generation 4)"];
        assert_eq!(table.news(&kazusa(4, Counted::default()), &report), back);
    }
}
