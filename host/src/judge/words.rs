//! What the numbers in one generation's verdicts stand for: streams, who dropped a series and why, and whose fault it is
//! that one is refused.
//!
//! Takes words that each policy of a chain has bounded, in length and in number; gives a number for each, and the words
//! back. Bounds how many streams there are in all, by those that are left at the end of a chain, and how many labels are
//! named. Never gives a word for a number that stands for none: that is a bug, which must not look like the default stream.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::verdict::{BlameId, Bug, DropId, StreamId};
use crate::chain::MAX_STREAMS;
use crate::model::plain;

/// Labels at fault that are remembered by name, with the policies that left them: what a sender can make up it makes up
/// without end. Of the refusals for any other the policy alone is told.
const MAX_NAMED_LABELS: usize = 256;
/// Longest name of a label at fault that is remembered, in bytes.
const MAX_LABEL_LENGTH: usize = 64;

pub struct Words {
    streams: Numbered<Arc<str>>,
    drops: Numbered<DropWords>,
    blames: Numbered<Blame>,
}

/// Who dropped a series, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DropWords {
    pub policy: Arc<str>,
    pub reason: Arc<str>,
}

/// Whose fault it is that a series is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blame {
    /// That left the series as it is; `None` if it is as it was sent.
    pub policy: Option<Arc<str>>,
    /// Its name, without control characters; `None` if it is no single label's, or one too many to be named.
    pub label: Option<Arc<str>>,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            // Number 0 is the default stream, which has no name.
            streams: Numbered::of(vec![Arc::from("")]),
            drops: Numbered::of(Vec::new()),
            blames: Numbered::of(vec![Blame::default()]),
        }
    }
}

impl Words {
    /// `None` if it is one too many for the tenant.
    pub fn stream_id(&self, name: &Arc<str>) -> Option<StreamId> {
        self.streams.number(name, 1 + MAX_STREAMS)
    }

    /// Of a label that is at fault, and of the policy that left it.
    pub fn blame_id(&self, policy: Option<Arc<str>>, label: Option<&str>) -> BlameId {
        let label = label.map(|label| Arc::from(plain(label, MAX_LABEL_LENGTH)));
        let mut blame = Blame { policy, label };
        let named = self.blames.number(&blame, MAX_NAMED_LABELS);
        blame.label = None;
        let number = named.or_else(|| self.blames.number(&blame, usize::from(BlameId::MAX)));
        number.unwrap_or_default()
    }

    /// # Errors
    /// If there are more reasons than numbers, which the bound of each policy rules out.
    pub fn drop_id(&self, words: &DropWords) -> Result<DropId, Bug> {
        self.drops.number(words, usize::from(DropId::MAX)).ok_or(Bug::NoNumber)
    }

    /// The names of the first `count` streams, by their numbers.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn streams(&self, count: usize) -> Result<Vec<Arc<str>>, Bug> {
        let known = self.streams.read();
        known.get(..count).map(<[_]>::to_vec).ok_or(Bug::NoStream)
    }

    /// # Errors
    /// If `id` stands for nobody.
    pub fn of_blame(&self, id: BlameId) -> Result<Blame, Bug> {
        let known = self.blames.read();
        known.get(usize::from(id)).cloned().ok_or(Bug::NoBlame)
    }

    /// # Errors
    /// If `id` stands for nothing.
    pub fn of_drop(&self, id: DropId) -> Result<DropWords, Bug> {
        let known = self.drops.read();
        known.get(usize::from(id)).cloned().ok_or(Bug::NoReason)
    }
}

/// Each by its place.
struct Numbered<T>(RwLock<Vec<T>>);

impl<T: Clone + PartialEq> Numbered<T> {
    fn of(first: Vec<T>) -> Self {
        Self(RwLock::new(first))
    }

    /// `None` where there are `most` others already.
    fn number(&self, word: &T, most: usize) -> Option<u16> {
        let find = |known: &[T]| known.iter().position(|known| known == word);
        let known = find(&self.read());
        let at = known.or_else(|| {
            let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
            // Another thread may have been first.
            find(&all).or_else(|| {
                let room = all.len() < most;
                room.then(|| {
                    all.push(word.clone());
                    all.len() - 1
                })
            })
        });
        u16::try_from(at?).ok()
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<T>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_one_number_and_comes_back_by_it() {
        let words = Words::default();
        let (kube, node) = (Arc::from("kube"), Arc::from("node"));
        assert_eq!((words.stream_id(&kube), words.stream_id(&node)), (Some(1), Some(2)));
        assert_eq!(words.stream_id(&kube), Some(1));
        assert_eq!(words.streams(3), Ok(vec![Arc::from(""), kube.clone(), node]));
        let drop = |policy: &str| DropWords {
            policy: Arc::from(policy),
            reason: kube.clone(),
        };
        assert_eq!((words.drop_id(&drop("a")), words.drop_id(&drop("b"))), (Ok(0), Ok(1)));
        assert_eq!(words.of_drop(1), Ok(drop("b")));
    }

    #[test]
    fn a_number_that_stands_for_nothing_is_a_bug_and_no_word() {
        let words = Words::default();
        assert_eq!(words.streams(2), Err(Bug::NoStream));
        assert_eq!(words.of_drop(0), Err(Bug::NoReason));
        assert_eq!(words.of_blame(1), Err(Bug::NoBlame));
    }

    #[test]
    fn labels_that_a_sender_makes_up_are_named_only_so_often_and_policies_always() {
        let words = Words::default();
        let policy = || Some(Arc::from("relabel"));
        let blame = |label: &str| words.of_blame(words.blame_id(policy(), Some(label))).unwrap();
        let first = blame("job");
        assert_eq!((first.policy, first.label.as_deref()), (policy(), Some("job")));
        for n in 0..MAX_NAMED_LABELS {
            blame(&format!("l{n}"));
        }
        let later = blame("one too many");
        assert_eq!((later.policy, later.label), (policy(), None));
        assert_eq!(blame("job").label.as_deref(), Some("job"));
        assert_eq!(words.blame_id(None, None), 0);
        let shown = Words::default();
        let long = shown.blame_id(None, Some(&"\n".repeat(100)));
        assert_eq!(shown.of_blame(long).unwrap().label.unwrap().len(), 64 + '…'.len_utf8());
    }
}
