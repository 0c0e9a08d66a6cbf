//! The scorecard: what was promised of each row, and what became of it.
//!
//! Takes what rows measured, gives a markdown table, and writes it between two marks of `docs/reliability.md`. What was
//! measured of another program beside is shown and never judged.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use gauntlet_tests::bar::{Bar, Unit};
use gauntlet_tests::machine::processors;

use crate::options::{Options, Program};

const BEGIN: &str = "<!-- The scorecard begins: `make attack` writes it. -->";
const END: &str = "<!-- The scorecard ends. -->";

pub struct Card {
    quick: bool,
    lines: Vec<Line>,
}

struct Line {
    row: String,
    bar: Bar,
    is_beside: bool,
}

impl Card {
    pub fn new(options: &Options) -> Self {
        Self {
            quick: options.quick,
            lines: Vec::new(),
        }
    }

    /// Adds what became of a promise about `row`; says it at once.
    pub fn add(&mut self, program: &Program, row: &str, bar: Bar) {
        let line = Line {
            row: row.to_owned(),
            bar,
            is_beside: program.is_beside,
        };
        eprint!("{}", line.text());
        self.lines.push(line);
    }

    /// As [`Card::add`], for what a busy machine changes: a quick run shows it, where it cannot be missed.
    pub fn add_if_calm(&mut self, program: &Program, row: &str, bar: Bar) {
        if !self.quick {
            self.add(program, row, bar);
        }
    }

    pub fn is_met(&self) -> bool {
        self.lines.iter().filter(|line| !line.is_beside).all(Line::is_met)
    }

    pub fn text(&self) -> String {
        let mut text = String::from("| attack | what is held | reached | bar | | |\n|---|---|---|---|---|---|\n");
        for line in &self.lines {
            text += &line.text();
        }
        text
    }

    /// # Panics
    /// If `docs/reliability.md` has no place for it.
    pub fn write(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reliability.md");
        let text = fs::read_to_string(&path).expect("docs/reliability.md");
        let (before, rest) = text.split_once(BEGIN).expect("where the card begins");
        let (_, after) = rest.split_once(END).expect("where the card ends");
        let card = format!(
            "{before}{BEGIN}\n{}\n\n{}\n{END}{after}",
            machine(),
            self.text().trim_end()
        );
        fs::write(&path, card).expect("docs/reliability.md");
    }
}

impl Line {
    fn is_met(&self) -> bool {
        self.bar
            .value
            .is_none_or(|value| self.bar.unit.is_met(value, self.bar.bar))
    }

    fn text(&self) -> String {
        let Self { row, bar, is_beside } = self;
        let Some(value) = bar.value else { return String::new() };
        let mut text = String::new();
        let beside = if *is_beside { ", the program beside" } else { "" };
        writeln!(
            text,
            "| {row}{beside} | {} | {} | {} | {} | {} |",
            bar.what,
            bar.unit.write(value),
            bar.unit.write_bar(bar.bar),
            bar.unit.judge(value, bar.bar),
            bar.remark
        )
        .expect("a string");
        text
    }
}

/// How often the kernel killed a process of it, or it ended by itself.
pub fn deaths(count: usize) -> Bar {
    Bar::new(
        "it lives; processes killed",
        Some(count as f64),
        Unit::Requests,
        0.0,
        None,
    )
}

fn machine() -> String {
    format!(
        "{}, which attackers, bystander and receivers share with the gateway.",
        processors()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_bar_of_the_program_beside_is_shown_and_fails_nothing() {
        let options = Options::parse(["--gateway", "g", "--beside", "h"].map(str::to_owned).into_iter()).unwrap();
        let programs = options.programs_for("m1");
        let mut card = Card::new(&options);
        card.add(&programs[0], "m1", deaths(0));
        card.add(&programs[1], "m1", deaths(2));
        assert!(card.is_met());
        assert!(
            card.text()
                .contains("| m1, the program beside | it lives; processes killed | 2 | none |")
        );
        card.add(&programs[0], "m2", deaths(1));
        assert!(!card.is_met());
    }
}
