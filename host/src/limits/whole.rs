//! A bound that several share, so that the flood of one leaves room for the others.
//!
//! Takes how much is taken of it and by whom, gives more or says whose bound was met. Anybody may fill one half. Beyond
//! that nobody gets more than a fair part of the other half, and what is left at the end is for those who hold little:
//! who floods first finds it closed, who comes last finds it open. Never waits.

use std::sync::atomic::{AtomicU64, Ordering};

/// How much may be held at once, of whatever is counted.
#[derive(Debug)]
pub struct Whole {
    taken: AtomicU64,
    most: AtomicU64,
    rule: Rule,
}

/// How it is shared.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Percent of the whole that those who hold more than little never fill.
    pub kept_free: u64,
    /// So much is little, whatever a fair part would be.
    pub little: u64,
}

/// Who asks for more.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    /// What he would hold then.
    pub own: u64,
    /// How many share the whole now, he among them.
    pub sharers: usize,
}

/// Which bound was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// There is no more of it.
    Whole,
    /// There is, but for others.
    Share,
}

impl Whole {
    pub fn new(most: u64, rule: Rule) -> Self {
        Self {
            taken: AtomicU64::new(0),
            most: AtomicU64::new(most),
            rule,
        }
    }

    /// What is taken stays taken.
    pub fn set_most(&self, most: u64) {
        self.most.store(most, Ordering::Relaxed);
    }

    pub fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub fn percent(&self) -> u64 {
        let percent = u128::from(self.taken()) * 100 / u128::from(self.most().max(1));
        u64::try_from(percent).unwrap_or(u64::MAX)
    }

    /// # Errors
    /// The bound that is met; nothing is taken then.
    pub fn take(&self, more: u64, asking: Asking) -> Result<(), Closed> {
        self.take_if(more, |after| self.allows(after, asking))
    }

    /// As [`Whole::take`], but who holds all that is taken gets all that he asks for: what he does with it cannot be done
    /// with less, and nobody is there to wait for.
    ///
    /// # Errors
    /// The bound that is met; nothing is taken then.
    pub fn take_alone_or(&self, more: u64, held: u64, asking: Asking) -> Result<(), Closed> {
        self.take_if(more, |after| match after - more {
            taken if taken == held => Ok(()),
            _ => self.allows(after, asking),
        })
    }

    /// As [`Whole::take`] for somebody whose turn it is: up to seven eighths of the whole, or all of it if it is needed,
    /// whatever anybody's part.
    ///
    /// # Errors
    /// The bound that is met; nothing is taken then.
    pub fn take_in_turn(&self, more: u64) -> Result<(), Closed> {
        let most = self.most();
        let bound = (most - most / 8).max(more.min(most));
        self.take_if(more, |after| if after <= bound { Ok(()) } else { Err(Closed::Whole) })
    }

    /// Whether one more would be given now.
    ///
    /// # Errors
    /// The bound that would be met.
    pub fn has_room(&self, asking: Asking) -> Result<(), Closed> {
        self.allows(self.taken().saturating_add(1), asking)
    }

    pub fn give_back(&self, less: u64) {
        self.taken.fetch_sub(less, Ordering::Relaxed);
    }

    fn take_if(&self, more: u64, allows: impl Fn(u64) -> Result<(), Closed>) -> Result<(), Closed> {
        let mut taken = self.taken();
        loop {
            let after = taken.checked_add(more).ok_or(Closed::Whole)?;
            allows(after)?;
            match self
                .taken
                .compare_exchange_weak(taken, after, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(now) => taken = now,
            }
        }
    }

    fn allows(&self, after: u64, Asking { own, sharers }: Asking) -> Result<(), Closed> {
        let (most, sharers) = (self.most(), sharers.max(1) as u64);
        let Rule { kept_free, little } = self.rule;
        let fair = if sharers == 1 { most } else { most / 2 / sharers };
        // Rounded down: of a few there is nothing to keep free.
        let kept_free = most / 100 * kept_free;
        match after {
            _ if after > most => Err(Closed::Whole),
            _ if after <= most / 2 => Ok(()),
            _ if after <= most - kept_free && own <= fair.max(little) => Ok(()),
            _ if own <= (most / 8 / sharers).max(little) => Ok(()),
            _ => Err(Closed::Share),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule {
        kept_free: 20,
        little: 2,
    };

    /// How much each of `sharers` gets, if each in turn takes one by one all that he can.
    fn taken_one_after_the_other(most: u64, sharers: usize) -> Vec<u64> {
        let whole = Whole::new(most, RULE);
        let take_all = |came: usize| {
            (1..)
                .take_while(|&own| whole.take(1, Asking { own, sharers: came }).is_ok())
                .count() as u64
        };
        (1..=sharers).map(take_all).collect()
    }

    #[test]
    fn who_is_alone_leaves_a_part_and_who_comes_gets_of_it() {
        assert_eq!(taken_one_after_the_other(100, 1), [80]);
        let taken = taken_one_after_the_other(100, 6);
        assert_eq!(taken, [80, 6, 4, 3, 2, 2]);
    }

    #[test]
    fn of_a_few_nothing_is_kept_free() {
        assert_eq!(taken_one_after_the_other(7, 2), [7, 0]);
        let whole = Whole::new(1, RULE);
        let asking = Asking { own: 1, sharers: 1 };
        assert_eq!(
            (whole.take(1, asking), whole.take(1, asking)),
            (Ok(()), Err(Closed::Whole))
        );
    }

    #[test]
    fn many_that_flood_at_once_leave_what_another_needs() {
        let (whole, flooding) = (Whole::new(1024, RULE), 8);
        let mut own = vec![0; flooding];
        let mut taken = true;
        while std::mem::take(&mut taken) {
            for own in &mut own {
                let asking = Asking {
                    own: *own + 1,
                    sharers: flooding,
                };
                if whole.take(1, asking).is_ok() {
                    (*own, taken) = (*own + 1, true);
                }
            }
        }
        assert!(own.iter().all(|&own| own >= 64), "{own:?}");
        let sharers = flooding + 1;
        for own in 1..=14 {
            assert_eq!(whole.take(1, Asking { own, sharers }), Ok(()), "{own}");
        }
        assert!(whole.taken() <= 1024);
    }

    #[test]
    fn who_is_alone_gets_what_his_work_takes() {
        let whole = Whole::new(10, RULE);
        let asking = Asking { own: 10, sharers: 1 };
        assert_eq!(whole.take(10, asking), Ok(()));
        assert_eq!(whole.take_alone_or(5, 9, asking), Err(Closed::Whole));
        assert_eq!((whole.take_alone_or(5, 10, asking), whole.taken()), (Ok(()), 15));
    }

    #[test]
    fn a_turn_takes_up_to_seven_eighths_or_all_that_it_needs() {
        let whole = Whole::new(80, RULE);
        assert_eq!(
            (whole.take_in_turn(70), whole.take_in_turn(1)),
            (Ok(()), Err(Closed::Whole))
        );
        whole.give_back(70);
        assert_eq!(whole.take_in_turn(80), Ok(()));
        whole.give_back(80);
        assert_eq!((whole.take_in_turn(81), whole.taken()), (Err(Closed::Whole), 0));
        assert_eq!(whole.take_in_turn(u64::MAX), Err(Closed::Whole));
    }
}
