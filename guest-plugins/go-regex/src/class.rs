//! Sets of code points, as character classes are built.
//!
//! Takes ranges in any order; gives a class for the engine. Surrogates may be in a set, as Go has it, and are
//! left out in the end: no text holds one.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir};

use crate::unicode::{MAX, Ranges, simple_fold};

/// Below and above these nothing folds.
const FIRST_FOLD: u32 = 0x41;
const LAST_FOLD: u32 = 0x1e943;

/// A set under construction: ranges may overlap until [`clean`](Self::clean).
#[derive(Debug, Clone, Default)]
pub(super) struct Set(Ranges);

impl Set {
    pub(super) fn of(ranges: &[(u32, u32)]) -> Self {
        Self(ranges.to_vec())
    }

    pub(super) fn add(&mut self, first: u32, last: u32) {
        match self.0.last_mut() {
            Some(open) if first <= open.1.saturating_add(1) && open.0 <= last.saturating_add(1) => {
                *open = (open.0.min(first), open.1.max(last));
            }
            _ => self.0.push((first, last)),
        }
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// Adds a range with everything that differs from it only in case.
    pub(super) fn add_folded(&mut self, first: u32, last: u32) {
        self.add(first, last);
        if first <= FIRST_FOLD && last >= LAST_FOLD {
            return;
        }
        for code in first.max(FIRST_FOLD)..=last.min(LAST_FOLD) {
            let mut other = simple_fold(code);
            while other != code {
                self.0.push((other, other));
                other = simple_fold(other);
            }
        }
    }

    pub(super) fn folded(mut self) -> Self {
        let mut folded = Self::default();
        self.clean();
        for (first, last) in self.0 {
            folded.add_folded(first, last);
        }
        folded
    }

    pub(super) fn clean(&mut self) {
        self.0.sort_unstable();
        let mut merged = Self::default();
        for (first, last) in self.0.drain(..) {
            merged.add(first, last);
        }
        *self = merged;
    }

    pub(super) fn negated(mut self) -> Self {
        self.clean();
        let mut outside = Self::default();
        let mut next = 0;
        for (first, last) in self.0 {
            if next < first {
                outside.0.push((next, first - 1));
            }
            next = last + 1;
        }
        if next <= MAX {
            outside.0.push((next, MAX));
        }
        outside
    }

    pub(super) fn hir(mut self) -> Hir {
        self.clean();
        let mut class = ClassUnicode::empty();
        let mut push = |first: u32, last: u32| {
            if let (Some(first), Some(last)) = (char::from_u32(first), char::from_u32(last)) {
                class.push(ClassUnicodeRange::new(first, last));
            }
        };
        for (first, last) in self.0 {
            if last < 0xd800 || first > 0xdfff {
                push(first, last);
                continue;
            }
            if first < 0xd800 {
                push(first, 0xd7ff);
            }
            if last > 0xdfff {
                push(0xe000, last);
            }
        }
        Hir::class(Class::Unicode(class))
    }
}

/// `\d`, `\s`, `\w`, which Go keeps to ASCII; `\s` has no vertical tab.
pub(super) fn perl(letter: u8) -> Option<Set> {
    Some(Set::of(match letter.to_ascii_lowercase() {
        b'd' => &[(0x30, 0x39)],
        b's' => &[(0x09, 0x0a), (0x0c, 0x0d), (0x20, 0x20)],
        b'w' => &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)],
        _ => return None,
    }))
}

/// `[:name:]`.
pub(super) fn posix(name: &str) -> Option<Set> {
    Some(Set::of(match name {
        "alnum" => &[(0x30, 0x39), (0x41, 0x5a), (0x61, 0x7a)],
        "alpha" => &[(0x41, 0x5a), (0x61, 0x7a)],
        "ascii" => &[(0x00, 0x7f)],
        "blank" => &[(0x09, 0x09), (0x20, 0x20)],
        "cntrl" => &[(0x00, 0x1f), (0x7f, 0x7f)],
        "digit" => &[(0x30, 0x39)],
        "graph" => &[(0x21, 0x7e)],
        "lower" => &[(0x61, 0x7a)],
        "print" => &[(0x20, 0x7e)],
        "punct" => &[(0x21, 0x2f), (0x3a, 0x40), (0x5b, 0x60), (0x7b, 0x7e)],
        "space" => &[(0x09, 0x0d), (0x20, 0x20)],
        "upper" => &[(0x41, 0x5a)],
        "word" => &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)],
        "xdigit" => &[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)],
        _ => return None,
    }))
}
