//! What was seen of each policy, as steps.
//!
//! Takes what a chain's witness saw, and what came of it; gives one step for each policy, asked or not, and one for the
//! host's own checks. Never asks a policy.

use std::sync::Arc;

use super::explanation::{AskedBudget, AskedCharge, AskedRoute, ExplainedStep, LabelChange, text_of};
use crate::chain::{After, CallError, Charge, Decision, Outcome, PolicyInfo, Route, Terms, Testimony};
use crate::config::Mode;
use crate::judge::{JudgeError, Ruling};
use crate::model::{Label, Refusal, SeriesBudget};
use crate::tenant::Generation;

/// The policies that judge series, and the labels that they have left: `None` if they let nothing through.
pub(super) fn of_series(
    generation: &Generation,
    sent: &[Label],
    seen: &[Testimony],
    ruling: &Result<Ruling, JudgeError>,
) -> (Vec<ExplainedStep>, Option<Vec<Label>>) {
    let mut left = Left::of(&Outcome::UNTOUCHED, sent);
    let mut steps = Vec::new();
    for info in generation.policies().filter(|info| info.judges_series()) {
        let mut step = of_policy(info, "series");
        let said = seen.iter().find(|seen| seen.policy == info.name);
        asked(&mut step, said);
        match said.map(|seen| &seen.after) {
            Some(After::Series(outcome)) => {
                let after = Left::of(outcome, sent);
                judged(&mut step, outcome, &left, &after);
                step.before = left.labels.as_deref().map(text_of);
                step.after = after.labels.as_deref().map(text_of);
                if step.applied != Some(false) {
                    left = after;
                }
            }
            other => silent(&mut step, other, ruling.as_ref().err()),
        }
        steps.push(step);
    }
    (steps, left.labels)
}

/// What the host's own checks make of the labels that policies left.
pub(super) fn of_law(after: Option<&[Label]>, ruling: &Ruling) -> ExplainedStep {
    let mut step = ExplainedStep {
        about: "series".to_owned(),
        ..ExplainedStep::default()
    };
    let Some(after) = after else {
        told(&mut step, "not_asked", None);
        return step;
    };
    step.before = Some(text_of(after));
    match ruling {
        Ruling::Edit { labels, .. } => {
            step.after = Some(text_of(labels));
            step.labels = LabelChange::between(after, labels);
            let said = if step.labels.is_empty() { "keep" } else { "edit" };
            told(&mut step, said, None);
        }
        Ruling::Refuse { refusal, blame } => {
            told(&mut step, "refuse", Some(refused_for(*refusal, blame.label.as_deref())));
        }
        Ruling::Keep { .. } | Ruling::Drop(_) => {
            step.after = step.before.clone();
            told(&mut step, "keep", None);
        }
    }
    step
}

/// What can be no series is put to no policy.
pub(super) fn refused_unread(why: &str) -> ExplainedStep {
    ExplainedStep {
        about: "series".to_owned(),
        said: "refuse".to_owned(),
        detail: Some(why.to_owned()),
        ..ExplainedStep::default()
    }
}

/// The policies that judge writes.
pub(super) fn of_write(
    generation: &Generation,
    seen: &[Testimony],
    decision: &Result<Decision, JudgeError>,
) -> Vec<ExplainedStep> {
    let judging = generation.policies().filter(|info| info.judges_writes());
    let step = |info: &PolicyInfo| {
        let mut step = of_policy(info, "write");
        let said = seen.iter().find(|seen| seen.policy == info.name);
        asked(&mut step, said);
        match said.map(|seen| &seen.after) {
            Some(After::Admitted(terms)) => admitted(&mut step, terms),
            Some(After::Rejected(reason)) => told(&mut step, "reject", Some(reason.to_string())),
            other => silent(&mut step, other, decision.as_ref().err()),
        }
        step
    };
    judging.map(step).collect()
}

fn of_policy(info: &PolicyInfo, about: &str) -> ExplainedStep {
    ExplainedStep {
        about: about.to_owned(),
        policy: Some(info.name.to_string()),
        plugin: Some(info.plugin.clone()),
        owner: Some(info.owner.word().to_owned()),
        mode: (info.mode != Mode::Enforce).then(|| info.mode.to_string()),
        ..ExplainedStep::default()
    }
}

/// Notes whether its word counts, where it does not always.
fn asked(step: &mut ExplainedStep, said: Option<&Testimony>) {
    step.applied = said.filter(|_| step.mode.is_some()).map(|said| said.counts);
}

fn told(step: &mut ExplainedStep, said: &str, detail: Option<String>) {
    said.clone_into(&mut step.said);
    step.detail = detail;
}

/// Of a policy that has said nothing: it failed, or nothing was left to ask it about. `error` is what the whole chain failed
/// with.
fn silent(step: &mut ExplainedStep, after: Option<&After>, error: Option<&JudgeError>) {
    let name = step.policy.clone().unwrap_or_default();
    match (error, after) {
        (Some(JudgeError::Call(CallError::Failed { policy, fault })), _) if **policy == name => {
            told(step, "failed", Some(fault.to_string()));
        }
        (Some(JudgeError::Call(error @ CallError::Quarantined { policy, .. })), _) if **policy == name => {
            told(step, "failed", Some(error.to_string()));
        }
        (_, Some(After::Failed(fault))) if step.applied == Some(false) => told(step, "failed", Some(fault.clone())),
        (_, Some(After::Failed(fault))) => told(step, "left_out", Some(fault.clone())),
        _ => told(step, "not_asked", None),
    }
}

/// What policies have left so far.
#[derive(Default)]
struct Left {
    /// `None`: nothing.
    labels: Option<Vec<Label>>,
    stream: Arc<str>,
    budget: Option<Arc<SeriesBudget>>,
}

impl Left {
    fn of(outcome: &Outcome, sent: &[Label]) -> Self {
        let (labels, stream, budget) = match outcome {
            Outcome::Keep { stream, budget } => (sent.to_vec(), stream, budget),
            Outcome::Edit { labels, stream, budget } => (labels.to_vec(), stream, budget),
            Outcome::Drop { .. } | Outcome::Reject { .. } | Outcome::TooLarge => return Self::default(),
        };
        Self {
            labels: Some(labels),
            stream: stream.clone().unwrap_or_default(),
            budget: budget.clone(),
        }
    }
}

fn judged(step: &mut ExplainedStep, outcome: &Outcome, before: &Left, after: &Left) {
    match outcome {
        Outcome::Drop { reason, .. } => return told(step, "drop", Some(reason.to_string())),
        Outcome::Reject { unfit, .. } => {
            let at_fault = Some(&*unfit.label).filter(|label| !label.is_empty());
            return told(step, "refuse", Some(refused_for(unfit.refusal, at_fault)));
        }
        Outcome::TooLarge => return told(step, "not_asked", None),
        Outcome::Keep { .. } | Outcome::Edit { .. } => {}
    }
    let labels = |left: &Left| left.labels.clone().unwrap_or_default();
    step.labels = LabelChange::between(&labels(before), &labels(after));
    step.stream = (before.stream != after.stream).then(|| after.stream.to_string());
    let budget = after.budget.as_ref().filter(|_| before.budget != after.budget);
    step.budget = budget.map(|budget| AskedBudget {
        name: budget.name.to_string(),
        max_active_series: budget.max_active_series,
    });
    let is_edited = !step.labels.is_empty() || step.stream.is_some() || step.budget.is_some();
    told(step, if is_edited { "edit" } else { "keep" }, None);
}

fn refused_for(refusal: Refusal, label: Option<&str>) -> String {
    let label = label.map(|label| format!(": {label}"));
    format!("{}{}", refusal.text(), label.unwrap_or_default())
}

fn admitted(step: &mut ExplainedStep, terms: &Terms) {
    let charge = |charge: &Charge| AskedCharge {
        bucket: charge.bucket.clone(),
        tokens: charge.tokens,
        per_second: charge.per_second,
        burst: charge.burst,
    };
    let route = |(stream, upstream): &Route| AskedRoute {
        stream: stream.to_string(),
        upstream: upstream.to_string(),
    };
    step.charges = terms.charges.iter().map(charge).collect();
    step.routes = terms.routes.iter().map(route).collect();
    told(step, "admit", None);
}
