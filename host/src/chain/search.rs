//! Which series of a piece a policy fails on, or whether they were too many at once.
//!
//! Takes a piece in which a policy failed; gives halves of it to ask about, in the order of their series, until one is
//! alone with the failure, and smaller pieces where a policy was found to be slow. Says when a policy fails on too much for that to be a series' fault: a search holds a plugin
//! thread and its sender only so long. Never asks a policy.

use std::ops::Range;
use std::time::Duration;

/// Processor time that failing calls may take in one write, in allowances of one call. To find one series among 512 takes
/// twelve failing calls: each may run into its deadline, and two such series are still found.
const MAX_SPENT: u32 = 32;
/// Series of one write that may be refused this way. A policy that fails on more is at fault itself, and no data is let go
/// for it.
const MAX_REFUSED: usize = 32;

/// One write's.
#[derive(Debug)]
pub struct Search {
    /// Still to be asked about, the first one last.
    pieces: Vec<Range<usize>>,
    /// Places, among the policies that judge series, of those that failed in this piece.
    suspects: Vec<usize>,
    left: Duration,
    refused: usize,
}

impl Search {
    /// `allowance`: of one call.
    pub fn new(allowance: Duration) -> Self {
        Self {
            pieces: Vec::new(),
            suspects: Vec::new(),
            left: allowance * MAX_SPENT,
            refused: 0,
        }
    }

    /// The next piece to ask about, of at most so many series; `None` if nothing is searched for.
    pub fn next(&mut self, most: usize) -> Option<Range<usize>> {
        let piece = self.pieces.pop()?;
        let end = piece.end.min(piece.start.saturating_add(most.max(1)));
        if end < piece.end {
            self.pieces.push(end..piece.end);
        }
        Some(piece.start..end)
    }

    /// Whether a piece of the same write was asked about before.
    pub fn is_searching(&self) -> bool {
        !(self.pieces.is_empty() && self.suspects.is_empty())
    }

    pub fn suspects(&self, policy: usize) -> bool {
        self.suspects.contains(&policy)
    }

    /// A policy failed in a call of so much processor time. Whether the search may go on.
    pub fn failed(&mut self, policy: usize, took: Duration) -> bool {
        if !self.suspects(policy) {
            self.suspects.push(policy);
        }
        self.left = self.left.saturating_sub(took);
        !self.left.is_zero()
    }

    /// Asks about either half of a piece of several series.
    pub fn halve(&mut self, piece: &Range<usize>) {
        let middle = piece.start + piece.len() / 2;
        self.pieces.push(middle..piece.end);
        self.pieces.push(piece.start..middle);
    }

    /// Searches for nothing any more.
    pub fn abandon(&mut self) {
        self.pieces.clear();
        self.suspects.clear();
    }

    /// A policy failed on one series alone. Whether that may be the series' fault.
    pub fn found(&mut self) -> bool {
        self.refused += 1;
        self.refused <= MAX_REFUSED
    }

    /// The policies that are cleared: all that failed in a piece of which nothing is left to ask about.
    pub fn cleared(&mut self) -> Vec<usize> {
        match self.pieces.is_empty() {
            true => std::mem::take(&mut self.suspects),
            false => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Duration = Duration::from_millis(50);

    /// Searches `0..series` for `bad` ones; gives those found, and the calls that failed.
    fn search(series: usize, bad: &[usize]) -> (Vec<usize>, usize) {
        let mut search = Search::new(ALLOWANCE);
        let (mut found, mut failed, mut asked) = (vec![], 0, 0);
        let mut piece = 0..series;
        loop {
            if bad.iter().any(|bad| piece.contains(bad)) {
                failed += 1;
                search.failed(0, Duration::ZERO);
                match piece.len() {
                    1 => found.push(piece.start),
                    _ => search.halve(&piece),
                }
            } else {
                assert_eq!(asked, piece.start, "in order");
            }
            if bad.is_empty() || piece.len() == 1 || !bad.iter().any(|bad| piece.contains(bad)) {
                asked = piece.end;
            }
            match search.next(usize::MAX) {
                Some(next) => piece = next,
                None => break,
            }
        }
        assert_eq!((asked, search.cleared().is_empty()), (series, bad.is_empty()));
        (found, failed)
    }

    #[test]
    fn every_bad_series_is_found_and_the_others_are_asked_about_in_order() {
        assert_eq!(search(512, &[]), (vec![], 0));
        for one in [0, 1, 255, 256, 511] {
            assert_eq!(search(512, &[one]), (vec![one], 10));
        }
        assert_eq!(search(7, &[0, 3, 6]).0, [0, 3, 6]);
        assert_eq!(search(1, &[0]), (vec![0], 1));
    }

    #[test]
    fn what_is_left_to_ask_about_is_cut_for_a_policy_that_was_found_to_be_slow() {
        let mut search = Search::new(ALLOWANCE);
        search.failed(0, ALLOWANCE);
        search.halve(&(0..9));
        let pieces: Vec<_> = [usize::MAX, 2, 0, 3, 2].map(|most| search.next(most)).into();
        assert_eq!(pieces, [Some(0..4), Some(4..6), Some(6..7), Some(7..9), None]);
        assert_eq!(search.cleared(), [0]);
    }

    #[test]
    fn a_search_ends_where_too_much_fails() {
        let mut search = Search::new(ALLOWANCE);
        assert!((1..MAX_SPENT).all(|_| search.failed(0, ALLOWANCE)));
        assert!(!search.failed(0, ALLOWANCE));
        let mut search = Search::new(ALLOWANCE);
        assert!((0..MAX_REFUSED).all(|_| search.found()));
        assert!(!search.found());
    }

    #[test]
    fn a_policy_is_cleared_when_nothing_is_left_to_ask_about() {
        let mut search = Search::new(ALLOWANCE);
        search.failed(3, Duration::ZERO);
        search.halve(&(0..2));
        assert!(search.cleared().is_empty() && search.suspects(3) && !search.suspects(0));
        search.next(2);
        search.next(2);
        assert_eq!(search.cleared(), [3]);
        assert!(!search.suspects(3) && search.cleared().is_empty());
    }
}
