//! What the numbers in one generation's verdicts stand for: streams, and who dropped a series and why.
//!
//! Takes words that each policy of a chain has bounded, in length and in number; gives a number for each, and the words
//! back. Bounds only how many streams there are in all, by those that are left at the end of a chain. Never gives a word
//! for a number that stands for none: that is a bug, which must not look like the default stream.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::verdict::{Bug, DropId, StreamId, Unsettled};
use crate::chain::MAX_STREAMS;

pub struct Words {
    streams: Numbered<Arc<str>>,
    drops: Numbered<DropWords>,
}

/// Who dropped a series, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DropWords {
    pub policy: Arc<str>,
    pub reason: Arc<str>,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            // Number 0 is the default stream, which has no name.
            streams: Numbered::of(vec![Arc::from("")]),
            drops: Numbered::of(Vec::new()),
        }
    }
}

impl Words {
    /// # Errors
    /// If it is one too many for the tenant.
    pub fn stream_id(&self, name: &Arc<str>) -> Result<StreamId, Unsettled> {
        self.streams
            .number(name, 1 + MAX_STREAMS)
            .ok_or(Unsettled::TooManyStreams)
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
        assert_eq!((words.stream_id(&kube), words.stream_id(&node)), (Ok(1), Ok(2)));
        assert_eq!(words.stream_id(&kube), Ok(1));
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
    }
}
