//! The tables: CPU per sample by subject, and every bar with what was reached.
//!
//! Takes rows and bars, gives markdown. Asserts nothing: a number is for people to read.

use std::fmt::Write;

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

/// What a number counts; decides how it is written and whether more of it is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unit {
    Times,
    /// So many times less: more is better.
    TimesLess,
    /// A part of another number: more is better.
    AtLeast,
    Percent,
    Milliseconds,
    Seconds,
    MiB,
    Requests,
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Self::Times if value < 1.95 => format!("{value:.2}x"),
            Self::Times => format!("{value:.1}x"),
            Self::TimesLess if value < 1.0 => format!("{:.1}x more", 1.0 / value),
            Self::TimesLess => format!("{value:.1}x less"),
            Self::AtLeast => format!("{value:.3}"),
            Self::Percent => format!("{value:.1} %"),
            Self::Milliseconds if value < 10.0 => format!("{value:.2} ms"),
            Self::Milliseconds => format!("{value:.0} ms"),
            Self::Seconds => format!("{value:.2} s"),
            Self::MiB => format!("{value:.0} MiB"),
            Self::Requests => format!("{value:.0}"),
        }
    }

    /// A bar is written as short as it was set.
    fn write_bar(self, value: f64) -> String {
        let text = match self {
            Self::Times => format!("{value}x"),
            Self::TimesLess if value == 1.0 => return "no more".to_owned(),
            Self::TimesLess => return format!(">= {value}x less"),
            Self::AtLeast => return format!(">= {value}"),
            Self::Percent => format!("{value} %"),
            Self::Milliseconds => format!("{value} ms"),
            Self::Seconds => format!("{value} s"),
            Self::MiB => format!("{value} MiB"),
            Self::Requests if value == 0.0 => return "none".to_owned(),
            Self::Requests => format!("{value}"),
        };
        format!("<= {text}")
    }

    fn judge(self, value: f64, bar: f64) -> String {
        let met = match self {
            Self::TimesLess | Self::AtLeast => value >= bar,
            _ => value <= bar,
        };
        match self {
            _ if met => "met".to_owned(),
            Self::Requests => format!("**not met**: {value:.0} too many"),
            Self::TimesLess | Self::AtLeast => format!("**not met**: {:.0} % of it", value * 100.0 / bar),
            _ => format!("**not met**: {:.0} % over", (value / bar - 1.0) * 100.0),
        }
    }
}

/// One promise and what became of it.
pub struct Bar {
    pub what: String,
    /// None: not measured in this run.
    pub value: Option<f64>,
    pub unit: Unit,
    pub bar: f64,
    pub aim: Option<f64>,
    /// What a reader must know about the number.
    pub remark: String,
}

impl Bar {
    pub fn new(what: &str, value: Option<f64>, unit: Unit, bar: f64, aim: Option<f64>) -> Self {
        Self {
            what: what.to_owned(),
            value,
            unit,
            bar,
            aim,
            remark: String::new(),
        }
    }

    pub fn remark(mut self, text: impl Into<String>) -> Self {
        self.remark = text.into();
        self
    }
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
    fn a_bar_is_met_at_it_and_missed_beyond_it() {
        assert_eq!(Unit::Times.judge(4.0, 4.0), "met");
        assert_eq!(Unit::Times.judge(5.0, 4.0), "**not met**: 25 % over");
        assert_eq!(Unit::TimesLess.judge(8.0, 8.0), "met");
        assert_eq!(Unit::TimesLess.judge(2.0, 8.0), "**not met**: 25 % of it");
        assert_eq!(Unit::AtLeast.judge(0.99, 0.99), "met");
        assert_eq!(Unit::AtLeast.judge(0.495, 0.99), "**not met**: 50 % of it");
        assert_eq!(Unit::Percent.judge(20.1, 20.0), "**not met**: 1 % over");
        assert_eq!(Unit::Requests.judge(3.0, 0.0), "**not met**: 3 too many");
    }

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
