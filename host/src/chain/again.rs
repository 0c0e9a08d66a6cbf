//! What a policy said in one write, to be asked about again.
//!
//! Takes series before and after a policy judged them; picks some of those that were new, by a hash that no plugin can
//! predict, and keeps what was said of them until the write is answered. Bounded in number and bytes. Never asks a policy.

use std::time::{Instant, SystemTime};

use super::outcome::Outcome;
use super::purity::{Impurity, Purity};
use super::samples::{PolicyWatch, Samples};
use crate::wire::labels::label_bytes;
use crate::wire::{Shown, shown_whole};

/// Series and bytes that one write may leave to be asked about again.
const MOST_OF_A_WRITE: usize = 64;
const MOST_BYTES: usize = 64 << 10;
/// Longest series asked about again, in bytes, edited or not.
const MAX_BYTES: usize = 8 << 10;
/// Longest text that a series or an answer is shown as, in bytes.
const MAX_SHOWN: usize = 512;

/// What a policy said of one series, which came with these label bytes.
pub struct Answered {
    /// Its place among the policies that judge series.
    pub policy: usize,
    pub sent: Box<[u8]>,
    /// What policies made of it that were asked before.
    pub before: Outcome,
    pub after: Outcome,
}

/// Of the series with these label bytes.
pub fn impurity(sent: &[u8], both: [&Outcome; 2]) -> Impurity {
    let labels = label_bytes(sent);
    Impurity {
        series: shown_whole(labels.clone(), MAX_SHOWN),
        metric: Shown::of(labels, None).without_value().to_string(),
        said: both.map(Outcome::told),
        answers: both.map(|outcome| outcome.shown(MAX_SHOWN)),
        at: SystemTime::now(),
    }
}

/// What of one write is to be asked about again.
#[derive(Default)]
pub struct Again {
    answered: Vec<Answered>,
    bytes: usize,
}

/// Series that were picked before they were judged: their places, and what they were then.
pub struct Picked(Vec<(usize, Outcome)>);

impl Again {
    pub fn is_empty(&self) -> bool {
        self.answered.is_empty()
    }

    /// Picks among the live ones of `series`, which are about to be judged.
    pub fn pick<'a>(
        &self,
        watch: &PolicyWatch,
        purity: &Purity,
        series: &[Outcome],
        sent: impl Fn(usize) -> &'a [u8],
    ) -> Picked {
        let room = MOST_OF_A_WRITE.saturating_sub(self.answered.len());
        let part = purity.part(series.len(), Instant::now());
        if room == 0 || part == 0 {
            return Picked(Vec::new());
        }
        let live = series.iter().enumerate().filter(|(_, outcome)| outcome.is_live());
        let picked = live.filter(|(at, _)| watch.picks(sent(*at), part));
        Picked(picked.take(room).map(|(at, before)| (at, before.clone())).collect())
    }

    /// Keeps what was said of those that were picked.
    pub fn keep<'a>(
        &mut self,
        policy: usize,
        picked: Picked,
        series: &[Outcome],
        sent: impl Fn(usize) -> &'a [u8],
        samples: &Samples,
    ) {
        for (at, before) in picked.0 {
            let (sent, after) = (sent(at), series[at].clone());
            if policy == 0 {
                samples.note(sent);
            }
            let bytes = sent.len() + before.size() + after.size();
            if bytes > MAX_BYTES || self.bytes + bytes > MOST_BYTES {
                continue;
            }
            self.bytes += bytes;
            self.answered.push(Answered {
                policy,
                sent: sent.into(),
                before,
                after,
            });
        }
    }

    /// What the policy at this place said, the last first: beside other series than they had beside them.
    pub fn take_of(&mut self, policy: usize) -> Vec<Answered> {
        let all = std::mem::take(&mut self.answered);
        let (mut of_policy, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.policy == policy);
        self.answered = others;
        of_policy.reverse();
        of_policy
    }
}
