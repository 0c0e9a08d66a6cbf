//! Rows as a table: which columns there is room for, in which order, and what of it is looked for.
//!
//! Takes rows, gives cells as text, each with the tone it is shown in. Never draws.

use std::cmp::Ordering;

use clap::ValueEnum;

use super::rows::{Condition, Row, Rows};
use crate::model::plain;

/// Between two columns.
const GAP: usize = 2;
/// A tenant's name may have 150 characters.
const MAX_NAME: usize = 40;
const MAX_LAST: usize = 60;
/// What it is cut to at most, where there is no room for all of it.
const LEAST_LAST: usize = 12;

/// What a column is about, and what rows are sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Column {
    Tenant,
    #[default]
    Received,
    Kept,
    Edited,
    Dropped,
    Rejected,
    Waiting,
    /// By its place among the gateway's upstreams.
    #[value(skip)]
    Upstream(usize),
    Series,
    P99,
    Last,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sorting {
    pub by: Column,
    /// The other way round: smallest numbers first, names from the end.
    pub reverse: bool,
}

/// How a cell is to be seen, on a screen.
#[cfg_attr(not(feature = "top"), allow(dead_code))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Faint,
    Warning,
    Bad,
}

#[cfg_attr(not(feature = "top"), allow(dead_code))]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// One column that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heading {
    pub(super) column: Column,
    pub(super) title: String,
    pub(super) width: usize,
}

#[cfg_attr(not(feature = "top"), allow(dead_code))]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) columns: Vec<Heading>,
    /// A cell for each column.
    pub(super) lines: Vec<Vec<Cell>>,
    /// Columns that there is no room for.
    pub(super) hidden: usize,
}

impl Column {
    /// Text, which begins at the left and is sorted from its beginning.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Tenant | Self::Last)
    }

    /// All there are, from left to right.
    pub(super) fn all(upstreams: usize) -> Vec<Self> {
        let before = [
            Self::Tenant,
            Self::Received,
            Self::Kept,
            Self::Edited,
            Self::Dropped,
            Self::Rejected,
            Self::Waiting,
        ];
        let after = [Self::Series, Self::P99, Self::Last];
        let between = (0..upstreams).map(Self::Upstream);
        before.into_iter().chain(between).chain(after).collect()
    }

    /// The first to go where there is no room has the highest.
    fn dispensable(self) -> usize {
        match self {
            Self::Tenant => 0,
            Self::Received => 1,
            Self::Rejected => 2,
            Self::Waiting => 3,
            Self::Dropped => 4,
            Self::Series => 5,
            Self::Last => 6,
            Self::Kept => 7,
            Self::P99 => 8,
            Self::Edited => 9,
            Self::Upstream(at) => 10 + at,
        }
    }

    fn title(self, upstreams: &[String]) -> String {
        match self {
            Self::Tenant => "tenant".to_owned(),
            Self::Received => "received".to_owned(),
            Self::Kept => "kept".to_owned(),
            Self::Edited => "edited".to_owned(),
            Self::Dropped => "dropped".to_owned(),
            Self::Rejected => "rejected".to_owned(),
            Self::Waiting => "waiting".to_owned(),
            Self::Upstream(at) => format!("→ {}", upstreams.get(at).map_or("", String::as_str)),
            Self::Series => "series".to_owned(),
            Self::P99 => "p99".to_owned(),
            Self::Last => "last refusal".to_owned(),
        }
    }

    fn order(self, a: &Row, b: &Row) -> Ordering {
        let larger = |of: &dyn Fn(&Row) -> f64| of(b).total_cmp(&of(a));
        match self {
            Self::Tenant => a.tenant.cmp(&b.tenant),
            Self::Received => larger(&|row| row.received),
            Self::Kept => larger(&|row| row.kept),
            Self::Edited => larger(&|row| row.edited),
            Self::Dropped => larger(&|row| row.dropped),
            Self::Rejected => larger(&|row| row.rejected),
            Self::Waiting => larger(&|row| row.waiting),
            Self::Upstream(at) => larger(&|row| row.upstreams.get(at).copied().flatten().unwrap_or(-1.0)),
            Self::Series => larger(&fullness),
            Self::P99 => larger(&|row| row.p99_seconds.unwrap_or(-1.0)),
            // Those that were refused lately come first.
            Self::Last => (a.last.is_empty(), &a.last).cmp(&(b.last.is_empty(), &b.last)),
        }
    }

    fn cell(self, row: &Row) -> Cell {
        let rate = |samples: f64, tone: Tone| Cell {
            text: short(samples),
            tone: if samples > 0.0 { tone } else { Tone::Faint },
        };
        match self {
            Self::Tenant => Cell {
                text: plain(&row.tenant, MAX_NAME),
                tone: match row.condition {
                    Condition::Broken | Condition::Losing => Tone::Bad,
                    Condition::Waiting => Tone::Warning,
                    Condition::Fine => Tone::Plain,
                    Condition::Disabled => Tone::Faint,
                },
            },
            Self::Received => rate(row.received, Tone::Plain),
            Self::Kept => rate(row.kept, Tone::Plain),
            Self::Edited => rate(row.edited, Tone::Plain),
            Self::Dropped => rate(row.dropped, Tone::Plain),
            Self::Rejected => rate(row.rejected, Tone::Bad),
            Self::Waiting => rate(row.waiting, Tone::Warning),
            Self::Upstream(at) => match row.upstreams.get(at).copied().flatten() {
                Some(samples) => rate(samples, Tone::Plain),
                None => Cell::default(),
            },
            Self::Series => series(row),
            Self::P99 => Cell {
                text: row.p99_seconds.map_or_else(String::new, shown_seconds),
                tone: Tone::Plain,
            },
            Self::Last => last(row),
        }
    }
}

impl Table {
    /// Of the rows that have `search` in their name, as many columns as fit into `width`.
    pub(super) fn of(rows: &Rows, sorting: Sorting, search: &str, width: usize) -> Self {
        let search = search.to_lowercase();
        let mut found: Vec<&Row> = rows
            .rows
            .iter()
            .filter(|row| row.tenant.to_lowercase().contains(&search))
            .collect();
        found.sort_by(|a, b| {
            let order = sorting.by.order(a, b);
            let order = if sorting.reverse { order.reverse() } else { order };
            order.then_with(|| a.tenant.cmp(&b.tenant))
        });
        let shown = Column::all(rows.upstreams.len()).into_iter().map(|column| {
            let cells: Vec<Cell> = found.iter().map(|row| column.cell(row)).collect();
            let title = column.title(&rows.upstreams);
            let widest = cells.iter().map(|cell| cell.text.chars().count()).max();
            // One more for the mark of the column that rows are sorted by.
            let width = widest.unwrap_or(0).max(title.chars().count() + 1);
            (Heading { column, title, width }, cells)
        });
        let mut shown: Vec<(Heading, Vec<Cell>)> = shown.collect();
        let before = shown.len();
        fit(&mut shown, width);
        let lines = (0..found.len()).map(|line| shown.iter().map(|(_, cells)| cells[line].clone()).collect());
        Self {
            lines: lines.collect(),
            hidden: before - shown.len(),
            columns: shown.into_iter().map(|(column, _)| column).collect(),
        }
    }
}

/// Leaves out the columns that there is no room for beside those that are needed more; what is last may be cut.
fn fit(shown: &mut Vec<(Heading, Vec<Cell>)>, width: usize) {
    let mut by_need: Vec<usize> = (0..shown.len()).collect();
    by_need.sort_by_key(|at| shown[*at].0.column.dispensable());
    let mut left = width + GAP;
    let mut kept = Vec::new();
    for at in by_need {
        let heading = &mut shown[at].0;
        let room = left.saturating_sub(GAP);
        let least = match heading.column {
            Column::Tenant => 0,
            Column::Last => heading.width.min(LEAST_LAST),
            _ => heading.width,
        };
        if least <= room {
            heading.width = heading.width.min(room);
            left -= heading.width + GAP;
            kept.push(heading.column);
        }
    }
    shown.retain(|(heading, _)| kept.contains(&heading.column));
}

/// The part of the active series that it may have.
fn fullness(row: &Row) -> f64 {
    match row.max_active_series {
        0 => 0.0,
        max => row.active_series as f64 / max as f64,
    }
}

fn series(row: &Row) -> Cell {
    if row.max_active_series == 0 {
        return Cell::default();
    }
    let full = fullness(row);
    Cell {
        text: format!("{} {:>3.0}%", short_count(row.active_series), (full * 100.0).floor()),
        tone: match full {
            full if full >= 1.0 => Tone::Bad,
            full if full >= 0.9 => Tone::Warning,
            _ => Tone::Plain,
        },
    }
}

fn last(row: &Row) -> Cell {
    let (text, tone) = match row.condition {
        Condition::Broken => (format!("broken {}", row.last), Tone::Bad),
        Condition::Disabled => ("disabled".to_owned(), Tone::Faint),
        Condition::Losing => (row.last.clone(), Tone::Bad),
        Condition::Waiting => (row.last.clone(), Tone::Warning),
        Condition::Fine => (row.last.clone(), Tone::Faint),
    };
    let text = plain(text.trim_end(), MAX_LAST);
    Cell { text, tone }
}

/// A number in at most six characters.
pub(super) fn short(number: f64) -> String {
    match number {
        0.0 => "0".to_owned(),
        n if n < 9.95 => format!("{n:.1}"),
        n if n < 9_999.5 => format!("{n:.0}"),
        n if n < 999_950.0 => format!("{:.1}k", n / 1e3),
        n if n < 999_950_000.0 => format!("{:.1}M", n / 1e6),
        n => format!("{:.1}G", n / 1e9),
    }
}

/// The same of a number that is whole.
fn short_count(count: u64) -> String {
    match count {
        0..10 => count.to_string(),
        _ => short(count as f64),
    }
}

fn shown_seconds(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => ">32 s".to_owned(),
        s if s < 1.0 => format!("{} ms", short(s * 1e3)),
        s => format!("{} s", short(s)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::flow;
    use super::*;

    fn table(sorting: Sorting, search: &str, width: usize) -> Table {
        Table::of(&flow().rows(), sorting, search, width)
    }

    fn names(table: &Table) -> Vec<&str> {
        table.lines.iter().map(|line| line[0].text.as_str()).collect()
    }

    fn titles(table: &Table) -> Vec<&str> {
        table.columns.iter().map(|column| column.title.as_str()).collect()
    }

    #[test]
    fn rows_are_sorted_by_any_column_and_either_way() {
        let by = |by, reverse| Sorting { by, reverse };
        let sorted = |by| names(&table(by, "", 300)).join("");
        assert_eq!(sorted(by(Column::Received, false)), "abcd");
        assert_eq!(sorted(by(Column::Received, true)), "cdba");
        assert_eq!(sorted(by(Column::Tenant, true)), "dcba");
        assert_eq!(sorted(by(Column::Rejected, false)), "bacd");
        assert_eq!(sorted(by(Column::Series, false)), "bacd");
        assert_eq!(sorted(by(Column::Upstream(0), false)), "abcd");
        assert_eq!(sorted(by(Column::P99, false)), "abcd");
        assert_eq!(sorted(by(Column::Last, false)), "cbad");
    }

    #[test]
    fn a_search_leaves_those_that_have_it_in_their_name_in_any_case() {
        let found = |search| names(&table(Sorting::default(), search, 300)).len();
        assert_eq!([found("B"), found("x"), found("")], [1, 0, 4]);
    }

    #[test]
    fn columns_that_do_not_fit_go_and_the_most_needed_stay() {
        let wide = table(Sorting::default(), "", 200);
        assert_eq!(
            titles(&wide),
            [
                "tenant",
                "received",
                "kept",
                "edited",
                "dropped",
                "rejected",
                "waiting",
                "→ hard",
                "→ soft",
                "series",
                "p99",
                "last refusal"
            ]
        );
        assert_eq!(wide.hidden, 0);
        let usual = table(Sorting::default(), "", 80);
        assert_eq!(
            titles(&usual),
            [
                "tenant",
                "received",
                "dropped",
                "rejected",
                "waiting",
                "series",
                "last refusal"
            ]
        );
        assert_eq!((usual.hidden, usual.columns[6].width), (5, 19));
        let narrow = table(Sorting::default(), "", 40);
        assert_eq!(titles(&narrow), ["tenant", "received", "rejected", "waiting"]);
        let sliver = table(Sorting::default(), "", 3);
        assert_eq!((titles(&sliver), sliver.columns[0].width), (vec!["tenant"], 3));
    }

    #[test]
    fn what_is_lost_is_bad_and_what_waits_is_a_warning() {
        let table = table(
            Sorting {
                by: Column::Tenant,
                reverse: false,
            },
            "",
            300,
        );
        let tone = |line: usize, title: &str| {
            let at = titles(&table).iter().position(|name| *name == title).unwrap();
            (table.lines[line][at].tone, table.lines[line][at].text.as_str())
        };
        assert_eq!(tone(0, "waiting"), (Tone::Warning, "20"));
        assert_eq!(tone(0, "rejected"), (Tone::Faint, "0"));
        assert_eq!(tone(1, "rejected"), (Tone::Bad, "1.0"));
        assert_eq!(tone(1, "series"), (Tone::Warning, "950  95%"));
        assert_eq!(tone(1, "→ hard"), (Tone::Plain, ""));
        assert_eq!(tone(2, "last refusal"), (Tone::Bad, "broken nothing serves it"));
        assert_eq!(tone(3, "last refusal"), (Tone::Faint, "disabled"));
        assert_eq!(tone(0, "p99"), (Tone::Plain, "4.0 ms"));
    }

    #[test]
    fn a_number_is_short_whatever_its_size() {
        let shown = [0.0, 0.04, 9.94, 9.96, 9_999.0, 10_000.0, 999_949.0, 1e6, 2.5e9].map(short);
        assert_eq!(
            shown,
            ["0", "0.0", "9.9", "10", "9999", "10.0k", "999.9k", "1.0M", "2.5G"]
        );
        assert_eq!([1, 9, 10, 12_345].map(short_count), ["1", "9", "10", "12.3k"]);
    }
}
