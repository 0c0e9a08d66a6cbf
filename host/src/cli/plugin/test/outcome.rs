//! What came of one file of cases.
//!
//! Takes what was compared and checked, gives whether all of it holds; gives what the cases under one policy's settings ask
//! about, for the checks. Never runs anything.

use super::super::arguments::Configured;
use super::super::subject::LabelList;
use super::cases::{self, Compared};
use super::checks::Check;
use crate::chain::Write;
use crate::config::{Matter, Suite};

/// What came of one file.
#[derive(Default)]
pub struct FileOutcome {
    pub compared: Vec<Compared>,
    pub checks: Vec<Check>,
    /// What stands in the way of all cases.
    pub unusable: Option<String>,
}

impl FileOutcome {
    pub fn unusable(why: String) -> Self {
        Self {
            unusable: Some(why),
            ..Self::default()
        }
    }

    pub fn is_sound(&self) -> bool {
        let cases = self.compared.iter().all(|case| case.differs.is_none());
        self.unusable.is_none() && cases && self.checks.iter().all(|check| check.findings.is_empty())
    }
}

/// What the cases with these settings ask about.
pub fn asked_under(suite: &Suite, settings: &str, context: &Configured) -> (Vec<LabelList>, Vec<Write>) {
    let (mut series, mut writes) = (Vec::new(), Vec::new());
    for case in &suite.cases {
        if case.settings.as_deref().unwrap_or(&context.settings) != settings {
            continue;
        }
        match &case.question {
            Matter::Series(labels) => series.push(labels.clone()),
            Matter::Write(write) => writes.push(cases::write_of(write)),
            Matter::Settings => {}
        }
    }
    (series, writes)
}
