//! What was asked for on the command line.
//!
//! Takes the arguments, gives which rows are tried, on which programs, for how long.

use std::path::PathBuf;
use std::time::Duration;

use gauntlet_tests::bar::{Bar, Unit};
use gauntlet_tests::gateway::beside;

pub struct Options {
    /// Only rows whose name has one of these; empty: all of them.
    words: Vec<String>,
    pub quick: bool,
    gateway: PathBuf,
    beside: Option<PathBuf>,
}

/// A gateway's program, and what rows about it are called.
#[derive(Clone)]
pub struct Program {
    pub path: PathBuf,
    pub is_beside: bool,
}

impl Options {
    /// # Errors
    /// What is wrong with the arguments.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut words, mut quick, mut gateway, mut other) = (Vec::new(), false, None, None);
        while let Some(argument) = arguments.next() {
            let mut program = || {
                arguments
                    .next()
                    .map(PathBuf::from)
                    .ok_or(format!("{argument} wants a program"))
            };
            match argument.as_str() {
                "--quick" => quick = true,
                "--gateway" => gateway = Some(program()?),
                "--beside" => other = Some(program()?),
                word if !word.starts_with('-') => words.push(word.to_lowercase()),
                unknown => return Err(format!("unknown option {unknown}")),
            }
        }
        let gateway = gateway.map_or_else(beside, Ok).map_err(|error| format!("{error:#}"))?;
        Ok(Self {
            words,
            quick,
            gateway,
            beside: other,
        })
    }

    /// What a row is tried on; nothing, if nobody asked for it.
    pub fn programs_for(&self, row: &str) -> Vec<Program> {
        if !self.wants(row) {
            return Vec::new();
        }
        let own = Program {
            path: self.gateway.clone(),
            is_beside: false,
        };
        let other = self.beside.iter().map(|path| Program {
            path: path.clone(),
            is_beside: true,
        });
        std::iter::once(own).chain(other).collect()
    }

    fn wants(&self, row: &str) -> bool {
        let row = row.to_lowercase();
        // By its number, by its group, or by a word of it.
        let named = |word: &String| match word.len() {
            1 => row.starts_with(word),
            2 => row.split(' ').any(|own| own == word),
            _ => row.contains(word),
        };
        self.words.is_empty() || self.words.iter().any(named)
    }

    /// What takes `seconds` in a run of everything.
    pub fn time(&self, seconds: u64) -> Duration {
        let whole = Duration::from_secs(seconds);
        if self.quick { whole / 4 } else { whole }
    }

    /// A bar for the part of a bystander's writes that is stored; a machine busy with other things costs some.
    pub fn goodput(&self, reached: f64, bar: f64) -> Bar {
        let bar = if self.quick { bar.min(0.9) } else { bar };
        Bar::new("a bystander's goodput", Some(reached), Unit::AtLeast, bar, None)
    }

    /// Whether the card is written: a run of some rows, or a short one, would put half of the truth there.
    pub fn is_whole(&self) -> bool {
        self.words.is_empty() && !self.quick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        Options::parse(format!("--gateway g {text}").split_whitespace().map(str::to_owned))
    }

    #[test]
    fn rows_are_wanted_by_number_group_or_a_word_of_their_name() {
        let some = parse("m1 heads").unwrap();
        assert!(some.wants("m1 unfinished heads") && some.wants("c2 heads of 1 MiB"));
        assert!(!some.wants("m10 bodies") && !some.is_whole());
        assert!(parse("m").unwrap().wants("m10 bodies") && !parse("m").unwrap().wants("c1 from many"));
        assert!(parse("").unwrap().wants("m10 bodies"));
        assert!(parse("").unwrap().is_whole() && !parse("--quick").unwrap().is_whole());
        assert!(parse("--slow").is_err() && parse("--beside").is_err());
    }
}
