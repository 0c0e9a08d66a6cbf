//! The table of docs/senders.md: what of each sender's samples is missing or wrong, in each situation.
//!
//! Takes what became of them, gives markdown, and writes it between two marks of the document.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use gauntlet_tests::machine::processors;

use crate::receivers::Make;
use crate::site::{Outcome, Part};
use crate::situation::Situation;

const BEGIN: &str = "<!-- The tables begin: `make senders` writes them. -->";
const END: &str = "<!-- The tables end. -->";

/// One receiver's situations, as far as they were tried.
pub struct Table {
    pub make: Make,
    pub columns: Vec<(Situation, Result<Vec<Outcome>, String>)>,
}

impl Table {
    pub fn text(&self) -> String {
        let mut text = format!("### {}\n\n| sender |", self.make.title());
        for (situation, _) in &self.columns {
            write!(text, " {} |", situation.title()).expect("a string");
        }
        text += "\n|---|";
        text += &"---|".repeat(self.columns.len());
        text += "\n";
        for title in self.titles() {
            write!(text, "| {title} |").expect("a string");
            for (situation, outcomes) in &self.columns {
                let part = outcomes.as_ref().ok().and_then(|outcomes| find(outcomes, title));
                write!(
                    text,
                    " {} |",
                    part.map_or("not run".to_owned(), |part| cell(*situation, part))
                )
                .expect("a string");
            }
            text += "\n";
        }
        text
    }

    fn titles(&self) -> Vec<&str> {
        let mut titles = Vec::new();
        for outcome in self
            .columns
            .iter()
            .filter_map(|(_, outcomes)| outcomes.as_ref().ok())
            .flatten()
        {
            for part in &outcome.parts {
                if !titles.contains(&part.title.as_str()) {
                    titles.push(&part.title);
                }
            }
        }
        titles
    }

    /// Everything that is not as it should be, for people to look for.
    pub fn faults(&self) -> String {
        let mut text = String::new();
        for (situation, outcomes) in &self.columns {
            let place = format!("{}, {}", self.make.title(), situation.title());
            match outcomes {
                Err(error) => writeln!(text, "{place}: {error}").expect("a string"),
                Ok(outcomes) => outcomes.iter().for_each(|outcome| tell(&mut text, &place, outcome)),
            }
        }
        text
    }

    pub fn is_good(&self) -> bool {
        self.columns.iter().all(|(situation, outcomes)| {
            let good = |outcomes: &Vec<Outcome>| !outcomes.iter().any(|outcome| situation.is_bad(outcome));
            outcomes.as_ref().is_ok_and(good)
        })
    }
}

fn find<'a>(outcomes: &'a [Outcome], title: &str) -> Option<&'a Part> {
    outcomes
        .iter()
        .flat_map(|outcome| &outcome.parts)
        .find(|part| part.title == title)
}

fn cell(situation: Situation, part: &Part) -> String {
    let (gateway, control) = (&part.gateway, &part.control);
    if gateway.sent == 0 {
        return "nothing was sent".to_owned();
    }
    let mut text = match situation.has_control() {
        true => format!("{} of {} ({})", gateway.wrong(), gateway.sent, control.wrong()),
        false => format!("{} of {}", gateway.wrong(), gateway.sent),
    };
    if situation.has_control() && gateway.wrong() > control.wrong() || !situation.has_control() && gateway.wrong() > 0 {
        text = format!("**{text}**");
    }
    if gateway.exemplars_missing > 0 || (situation.has_control() && control.exemplars_missing > 0) {
        write!(
            text,
            "; exemplars {} of {}",
            gateway.exemplars_missing, gateway.exemplars
        )
        .expect("a string");
        if situation.has_control() {
            write!(text, " ({})", control.exemplars_missing).expect("a string");
        }
    }
    text
}

fn tell(text: &mut String, place: &str, outcome: &Outcome) {
    if outcome.misread > 0 {
        writeln!(
            text,
            "{place}: {} read {} values wrongly",
            outcome.plan.title, outcome.misread
        )
        .expect("a string");
    }
    for part in &outcome.parts {
        for (way, count) in [("through the gateway", &part.gateway), ("past it", &part.control)] {
            let Some(first) = &count.first else { continue };
            writeln!(
                text,
                "{place}: {} {way}: {} missing, {} different of {}; the first: {first}; the gateway answered {}",
                part.title, count.missing, count.different, count.sent, outcome.answers
            )
            .expect("a string");
        }
    }
}

/// What stands between the marks.
pub fn document(tables: &[Table], rest: &str) -> String {
    let mut text = format!("{}, which senders, gateway and receivers share.\n\n", processors());
    for table in tables {
        text += &table.text();
        text += "\n";
    }
    text += rest;
    text.trim_end().to_owned()
}

/// # Panics
/// If docs/senders.md has no place for it.
pub fn write(text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/senders.md");
    let page = fs::read_to_string(&path).expect("docs/senders.md");
    let (before, rest) = page.split_once(BEGIN).expect("where the tables begin");
    let (_, after) = rest.split_once(END).expect("where the tables end");
    fs::write(&path, format!("{before}{BEGIN}\n{text}\n{END}{after}")).expect("docs/senders.md");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Count;

    fn part(gateway: u64, control: u64) -> Part {
        let count = |missing| Count {
            sent: 9,
            missing,
            ..Count::default()
        };
        Part {
            title: "x".to_owned(),
            gateway: count(gateway),
            control: count(control),
        }
    }

    #[test]
    fn a_cell_shouts_where_the_gateway_lost_more_than_the_control() {
        assert_eq!(cell(Situation::Steady, &part(0, 0)), "0 of 9 (0)");
        assert_eq!(cell(Situation::ReceiversDown, &part(2, 2)), "2 of 9 (2)");
        assert_eq!(cell(Situation::ReceiversDown, &part(2, 1)), "**2 of 9 (1)**");
        assert_eq!(cell(Situation::Killed, &part(1, 5)), "1 of 9 (5)");
        assert_eq!(cell(Situation::OverRate, &part(1, 5)), "**1 of 9**");
    }
}
