//! Labels and the patterns that their values must match, as policies' settings have them.
//!
//! Takes a mapping of labels to patterns; says whether a series matches all of them. Never needs a label to be there: a
//! missing one is an empty one.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::Regex;

/// In the order in which they were written: an author puts first what is quick to fail. Without any, all series match.
#[derive(Debug, Default)]
pub struct Patterns(Vec<(String, Regex)>);

impl Patterns {
    /// `value` gives that of a label.
    pub fn match_all<'s>(&mut self, value: impl Fn(&str) -> &'s str) -> bool {
        let mut patterns = self.0.iter_mut();
        patterns.all(|(label, pattern)| pattern.is_match(value(label)))
    }
}

struct Pattern(Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pattern = String::deserialize(deserializer).map_err(|_| D::Error::custom("must be a pattern in quotes"))?;
        Regex::new(&pattern).map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Patterns;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of labels to patterns")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut written: A) -> Result<Patterns, A::Error> {
        let mut patterns = Vec::new();
        while let Some((label, Pattern(regex))) = written.next_entry()? {
            patterns.push((label, regex));
        }
        Ok(Patterns(patterns))
    }
}
