//! What is said of samples that a receiver refused.
//!
//! Takes what its text was read as, gives the word by which they are counted and what the sender is told. Never anything of
//! the receiver's but phrases that are known.

use crate::forward::{Conflict, ConflictClass, HowMany};

/// By which samples that a receiver refused are counted.
pub fn reason_of(class: ConflictClass) -> &'static str {
    match class {
        ConflictClass::OutOfOrder => "upstream_out_of_order",
        ConflictClass::Duplicate => "upstream_duplicate",
        ConflictClass::TooOld => "upstream_too_old",
        ConflictClass::TooFarAhead => "upstream_too_far_ahead",
        ConflictClass::OutOfBounds => "upstream_out_of_bounds",
        ConflictClass::Labels => "upstream_labels",
        ConflictClass::Limit => "upstream_limit",
        ConflictClass::Exemplars => "upstream_exemplars",
        ConflictClass::Other => "upstream_conflict",
    }
}

/// How much was stored, and why not the rest, where that is known.
pub(super) fn not_written_text(stored: u64, sent: u64, why: Option<&Conflict>) -> String {
    let why = why.map(why_text).unwrap_or_default();
    format!("the receiver stored {stored} of {sent} samples{why}")
}

/// What was refused, and why.
pub(super) fn conflict_text(conflict: &Conflict) -> String {
    let what = match conflict.how_many() {
        HowMany::Counted => format!("{} samples and stored the others", conflict.counted()),
        HowMany::AtMostCounted => format!("at most {} samples and stored the others", conflict.counted()),
        HowMany::Whole => "the write".into(),
        HowMany::Exemplars => "exemplars and stored all samples".into(),
        HowMany::Unknown => "samples and did not say how many".into(),
    };
    format!("the receiver refused {what}{}", why_text(conflict))
}

/// The class, and the receiver's phrases.
fn why_text(conflict: &Conflict) -> String {
    let (class, phrases) = (conflict.class().word(), conflict.phrases());
    let colon = if phrases.is_empty() { "" } else { ": " };
    format!(" ({class}){colon}{phrases}")
}
