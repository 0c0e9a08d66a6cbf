//! The tables: CPU per sample by subject, and every bar with what was reached.
//!
//! Takes rows and bars, gives markdown. Asserts nothing: a number is for people to read.

use std::fmt::Write;

pub use gauntlet_tests::bar::{Bar, Unit};

/// Several runs of one thing.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Figure {
    pub fn of(mut runs: Vec<f64>) -> Self {
        runs.sort_by(f64::total_cmp);
        Self {
            median: runs[runs.len() / 2],
            low: runs[0],
            high: runs[runs.len() - 1],
        }
    }
}

/// One subject's CPU per sample, in nanoseconds.
pub struct Row {
    pub name: String,
    pub load: String,
    pub figure: Figure,
}

/// CPU per sample; `reference` is whose multiple the last column gives.
pub fn cpu(rows: &[Row], reference: &str) -> String {
    let mut text = String::from(
        "| subject | writes | ns CPU per sample, median | min - max | of nginx |\n|---|---|---|---|---|\n",
    );
    let reference = rows.iter().find(|row| row.name == reference);
    for Row { name, load, figure } in rows {
        let times = reference.map_or("-".to_owned(), |reference| {
            format!("{:.1}x", figure.median / reference.figure.median)
        });
        let (middle, low, high) = (figure.median, figure.low, figure.high);
        writeln!(
            text,
            "| {name} | {load} | {middle:.1} | {low:.1} - {high:.1} | {times} |"
        )
        .expect("a string");
    }
    text
}

pub fn bars(bars: &[Bar]) -> String {
    let mut text = String::from("| what | reached | bar | | aim | | |\n|---|---|---|---|---|---|---|\n");
    for bar in bars.iter() {
        let Some(value) = bar.value else { continue };
        let aim = bar.aim.map_or(String::new(), |aim| bar.unit.write_bar(aim));
        let aimed = bar.aim.map_or(String::new(), |aim| bar.unit.judge(value, aim));
        writeln!(
            text,
            "| {} | {} | {} | {} | {aim} | {} | {} |",
            bar.what,
            bar.unit.write(value),
            bar.unit.write_bar(bar.bar),
            bar.unit.judge(value, bar.bar),
            // Only the bar's own miss is worth shouting.
            aimed.replace("**", ""),
            bar.remark
        )
        .expect("a string");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_has_no_line() {
        let bar = |value| Bar::new("x", value, Unit::TimesLess, 1.0, Some(2.0)).remark("why");
        let text = bars(&[bar(None), bar(Some(0.5))]);
        assert_eq!(text.lines().count(), 3);
        let line = "| x | 2.0x more | no more | **not met**: 50 % of it | >= 2x less | not met: 25 % of it | why |";
        assert_eq!(text.lines().last(), Some(line));
    }

    #[test]
    fn the_median_is_the_run_in_the_middle() {
        let figure = Figure::of(vec![5.0, 1.0, 3.0]);
        assert_eq!((figure.median, figure.low, figure.high), (3.0, 1.0, 5.0));
    }
}
