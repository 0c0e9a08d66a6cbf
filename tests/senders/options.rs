//! What was asked for on the command line.
//!
//! Takes the arguments, gives which senders meet which situations, before which receivers.

use std::path::PathBuf;

use gauntlet_tests::gateway::beside;

use crate::receivers::Make;
use crate::senders::{Kind, PLANS, Plan};
use crate::situation::Situation;

/// What is no cell of the matrix.
const PARTS: [&str; 4] = ["compliance", "statuses", "backlog", "sizing"];

pub struct Options {
    /// Only what has one of these in its name; of senders, situations, receivers and parts each. Empty: all.
    words: Vec<String>,
    pub quick: bool,
    pub gateway: PathBuf,
}

impl Options {
    /// # Errors
    /// What is wrong with the arguments.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut words, mut quick, mut gateway) = (Vec::new(), false, None);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => quick = true,
                "--gateway" => gateway = Some(arguments.next().map(PathBuf::from).ok_or("--gateway wants a program")?),
                word if !word.starts_with('-') => words.push(word.to_lowercase()),
                unknown => return Err(format!("unknown option {unknown}")),
            }
        }
        let gateway = gateway.map_or_else(beside, Ok).map_err(|error| format!("{error:#}"))?;
        Ok(Self { words, quick, gateway })
    }

    /// The ones that were named; all of them, if none was. A short run has what a machine needs no build for.
    pub fn plans(&self) -> Vec<Plan> {
        let quick = |plan: &Plan| !self.quick || plan.kind == Kind::Prometheus2;
        let plans = self.named(&PLANS, |plan| plan.id);
        plans.into_iter().filter(quick).collect()
    }

    pub fn situations(&self) -> Vec<Situation> {
        let short = [Situation::Steady, Situation::ReceiversDown, Situation::Killed];
        let all = if self.quick { &short[..] } else { &Situation::ALL };
        self.named(all, |situation| situation.word())
    }

    /// Without a name, the ones that operators have.
    pub fn makes(&self) -> Vec<Make> {
        let out_of_order = Make::ThanosOutOfOrder;
        if self.words.iter().any(|word| word == out_of_order.word()) {
            return vec![out_of_order];
        }
        let all = [Make::Thanos, Make::Prometheus];
        let all = if self.quick { &all[..1] } else { &all };
        self.named(all, |make| make.word())
    }

    /// Whether the matrix is tried: not if a part alone was named.
    pub fn has_cells(&self) -> bool {
        let is_part = |word: &String| PARTS.contains(&word.as_str());
        self.words.is_empty() || !self.words.iter().any(is_part)
    }

    /// Whether a part that is no cell of the matrix is measured.
    pub fn wants(&self, part: &'static str) -> bool {
        !self.quick && (self.words.is_empty() || self.words.iter().any(|word| word == part))
    }

    /// Whether the document is written: a run of some cells would put half of the truth there.
    pub fn is_whole(&self) -> bool {
        self.words.is_empty() && !self.quick
    }

    fn named<T: Copy>(&self, all: &[T], name: impl Fn(&T) -> &'static str) -> Vec<T> {
        let is_named = |item: &&T| self.words.iter().any(|word| word == name(item));
        let named: Vec<T> = all.iter().filter(is_named).copied().collect();
        if named.is_empty() { all.to_vec() } else { named }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        Options::parse(format!("--gateway g {text}").split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_word_names_a_sender_a_situation_or_a_receiver_and_leaves_the_rest() {
        let options = parse("vmagent killed").unwrap();
        assert_eq!(options.plans().len(), 1);
        assert_eq!(options.situations(), [Situation::Killed]);
        assert_eq!(options.makes().len(), 2);
        assert!(!options.is_whole() && !options.wants("statuses") && parse("statuses").unwrap().wants("statuses"));
        assert_eq!(parse("thanos-out-of-order").unwrap().makes(), [Make::ThanosOutOfOrder]);
        assert!(parse("").unwrap().is_whole() && parse("--slow").is_err());
    }

    #[test]
    fn a_short_run_has_one_sender_and_one_receiver() {
        let options = parse("--quick").unwrap();
        assert_eq!((options.plans().len(), options.makes().len()), (1, 1));
        assert!(!options.is_whole() && !options.wants("statuses"));
    }
}
