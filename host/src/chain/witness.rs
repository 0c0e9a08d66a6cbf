//! What a chain makes of one series, or of one write, policy by policy: seen while it does it.
//!
//! Handed into a job by whoever wants to know why; gives what was left after each policy that was asked. The job is the one
//! that serves: a witness changes neither what a policy is asked nor what its answer leads to. Without one a job does
//! nothing more.

use std::sync::{Arc, Mutex, PoisonError};

use super::member::{Member, Missed};
use super::outcome::Outcome;
use super::write::Terms;

/// One job's. Cheap to copy: the copies see the same.
#[derive(Debug, Clone, Default)]
pub struct Witness(Arc<Mutex<Vec<Testimony>>>);

/// What was left when one policy had had its say.
#[derive(Debug, Clone, PartialEq)]
pub struct Testimony {
    pub policy: Arc<str>,
    pub after: After,
    /// False where the policy is in shadow: it was asked, and what it said is not done.
    pub counts: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum After {
    /// Of a series: what the chain makes of it so far.
    Series(Outcome),
    /// Of a write: what this policy admits it under.
    Admitted(Terms),
    /// Of a write: this policy refuses it.
    Rejected(Arc<str>),
    /// It failed. The chain fails with it, unless it may be left out.
    Failed(String),
}

impl Witness {
    pub(super) fn series(&self, member: &Member, series: &[Outcome], counts: bool) {
        if let [one] = series {
            self.see(member, After::Series(one.clone()), counts);
        }
    }

    /// `counts`: see [`Testimony::counts`].
    pub(super) fn see(&self, member: &Member, after: After, counts: bool) {
        let policy = member.info.name.clone();
        self.lock().push(Testimony { policy, after, counts });
    }

    pub(super) fn failed(&self, member: &Member, missed: &Missed, counts: bool) {
        self.see(member, After::Failed(missed.to_string()), counts);
    }

    /// All that was seen, in the order of the chain.
    pub fn seen(&self) -> Vec<Testimony> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Testimony>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
