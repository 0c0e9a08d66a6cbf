//! Where each series lies, proved or known.
//!
//! Takes a decoded body of any content, gives [`Scanned`]: the body, the extent of every valid series in it and the
//! count of everything received. Whoever remembers the series it met before frames the body first and is asked about
//! each: what it knows, to the bit, needs no proof. Never takes its word for it: what is known is shown as a
//! [`ProvedHash`], which can be had only of a series that was proved, and compared here ([`Question::met`]).

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;

use super::LIGHT_ELEMENTS;
use super::identity::{HashKey, ProvedHash, SeriesHash};
use super::series::{ScanError, ScanLimits, Scanned, Series};
use super::text::Foresight;
use super::v1;
use super::v2::{self, Measured};
use crate::model::Protocol;

/// Proves every series of `body`.
///
/// # Errors
/// See [`ScanError`]; a series that is invalid by itself is no error but among [`Scanned::rejected`].
pub fn scan(protocol: Protocol, body: impl Into<Bytes>, limits: &ScanLimits) -> Result<Scanned, ScanError> {
    match protocol {
        Protocol::V1 => v1::scan(body.into(), limits),
        Protocol::V2 => v2::scan(body.into(), limits),
    }
}

/// Finds the series of `body`. Cheap where a series ends in plain samples, as nearly all do: what lies before them
/// seems to be its labels. Everything else is proved here and now.
///
/// # Errors
/// See [`ScanError`].
pub fn frame(protocol: Protocol, body: impl Into<Bytes>, limits: &ScanLimits) -> Result<Framed, ScanError> {
    match protocol {
        Protocol::V1 => Ok(Framed::new(v1::frame(body.into(), limits)?, limits.clone(), false)),
        Protocol::V2 => frame_measured(v2::measure(body.into(), limits)?),
    }
}

/// As [`frame`], where that is light work. None where it is more: the body is not canonical, or has more than
/// [`LIGHT_ELEMENTS`] elements, whatever its size.
///
/// # Errors
/// See [`ScanError`].
pub fn frame_light(protocol: Protocol, body: &Bytes, limits: &ScanLimits) -> Result<Option<Framed>, ScanError> {
    match protocol {
        Protocol::V1 => {
            let seeming = v1::frame_within(body, limits, LIGHT_ELEMENTS as u64)?;
            Ok(seeming.map(|seeming| Framed::new(seeming, limits.clone(), false)))
        }
        Protocol::V2 => measure_light(body, limits)?.map(frame_measured).transpose(),
    }
}

/// Finds out what a body of 2.0 takes as it will be framed, before it takes it.
///
/// # Errors
/// See [`ScanError`].
pub fn measure(body: Bytes, limits: &ScanLimits) -> Result<Measured, ScanError> {
    v2::measure(body, limits)
}

/// Calls the series of a body of 2.0 by their hashes and writes none out, where that is light work and likely to suffice by what
/// the tenant's last ones needed. None otherwise: it has to be measured.
///
/// What needs its bytes all the same has them written ([`Scanned::body`]).
pub fn name(body: &Bytes, limits: &ScanLimits, key: &HashKey, foresight: &Arc<Foresight>) -> Option<Measured> {
    v2::name(body, limits, key, foresight)
}

/// As [`measure`], where that is light work, and to frame it then is too. None where it is more.
///
/// # Errors
/// See [`ScanError`].
pub fn measure_light(body: &Bytes, limits: &ScanLimits) -> Result<Option<Measured>, ScanError> {
    v2::measure_light(body, limits)
}

/// As [`frame`], of a body of 2.0.
///
/// # Errors
/// See [`ScanError`].
pub fn frame_measured(measured: Measured) -> Result<Framed, ScanError> {
    let (came_as, limits) = (measured.body().clone(), measured.limits().clone());
    let (seeming, hashes) = v2::frame(measured)?;
    let framed = match hashes {
        Some(hashes) => Framed::called(seeming, hashes, limits, false),
        None => Framed::new(seeming, limits, false),
    };
    Ok(Framed {
        came_as: Some(came_as),
        ..framed
    })
}

/// A body whose series lie where they seem to. Of most of them no label was looked at yet.
#[derive(Debug)]
pub struct Framed {
    seeming: Scanned,
    /// The body of 2.0 that it was written out of.
    came_as: Option<Bytes>,
    limits: ScanLimits,
    /// They are where they seem to be, whatever is known of them.
    is_proved: bool,
    /// Of as many series as were asked about.
    hashes: Vec<SeriesHash>,
    answered: usize,
    /// Places of those among the answered that are not known.
    unknown: Vec<usize>,
}

/// What [`Framed::prove`] came to.
#[derive(Debug)]
pub enum Proof {
    /// The series lie where they seemed to.
    AsFramed(Recognised),
    /// They do not: the body is not canonical, or a label's value looked like a sample.
    Otherwise(Refuted),
}

/// A body whose series do not lie where they seemed to.
#[derive(Debug)]
pub struct Refuted(Framed);

/// A write whose every series is canonical, each called by its hash.
#[derive(Debug)]
pub struct Recognised {
    scanned: Scanned,
    hashes: Vec<SeriesHash>,
    unknown: Vec<usize>,
}

impl Framed {
    fn new(seeming: Scanned, limits: ScanLimits, is_proved: bool) -> Self {
        let hashes = Vec::with_capacity(seeming.series().len());
        Self::called(seeming, hashes, limits, is_proved)
    }

    fn called(seeming: Scanned, hashes: Vec<SeriesHash>, limits: ScanLimits, is_proved: bool) -> Self {
        Self {
            hashes,
            seeming,
            came_as: None,
            limits,
            is_proved,
            answered: 0,
            unknown: Vec::new(),
        }
    }

    /// In the order they came. The labels are what they seem to be.
    pub fn series(&self) -> &[Series] {
        self.seeming.series()
    }

    /// Asks which of the next `most` series are known.
    pub fn ask(&mut self, key: &HashKey, most: usize) -> Asked<'_> {
        let next = &self.seeming.series()[self.hashes.len()..];
        let next = &next[..most.min(next.len())];
        if !next.is_empty() {
            let body = self.seeming.body();
            let hashes = next.iter().map(|series| key.hash(&body[series.labels_range()]));
            self.hashes.extend(hashes);
        }
        self.asked()
    }

    /// One series of these labels and this hash, for tests of what is asked about it.
    #[cfg(test)]
    pub(crate) fn made_up(labels: &[u8], hash: SeriesHash) -> Self {
        let mut framed = Self::new(
            Scanned::made_up(labels),
            ScanLimits {
                max_series: 1,
                ..ScanLimits::NONE
            },
            true,
        );
        framed.hashes.push(hash);
        framed
    }

    pub(crate) fn asked(&mut self) -> Asked<'_> {
        Asked {
            seeming: &self.seeming,
            hashes: &self.hashes,
            answered: &mut self.answered,
            unknown: &mut self.unknown,
        }
    }

    /// How many of those that were asked about are not known.
    pub fn unknown(&self) -> usize {
        self.unknown.len()
    }

    /// Proves the series that are not known, and those that nobody was asked about.
    pub fn prove(mut self, key: &HashKey) -> Proof {
        if self.answered < self.series().len() {
            self.ask(key, usize::MAX).answer(usize::MAX, |_| None);
        }
        let is_proved = |&at: &usize| v1::proves_labels(self.seeming.body(), &self.seeming.series()[at]);
        if self.is_proved || self.unknown.iter().all(is_proved) {
            return Proof::AsFramed(Recognised {
                scanned: self.seeming,
                hashes: self.hashes,
                unknown: self.unknown,
            });
        }
        Proof::Otherwise(Refuted(self))
    }
}

impl Refuted {
    /// Proves all of it, written anew if it has to be. Places, number and bytes may all be other ones; which of the series
    /// are known has to be asked again.
    ///
    /// # Errors
    /// See [`ScanError`].
    pub fn scan(self) -> Result<Framed, ScanError> {
        let Framed {
            seeming,
            came_as,
            limits,
            ..
        } = self.0;
        let body = came_as.unwrap_or_else(|| seeming.body().clone());
        let protocol = seeming.protocol();
        // A body of 2.0 is written out again in its place.
        drop(seeming);
        let scanned = scan(protocol, body, &limits)?;
        Ok(Framed::new(scanned, limits, true))
    }
}

/// Some series of a framed body, to be answered in order.
pub struct Asked<'a> {
    seeming: &'a Scanned,
    hashes: &'a [SeriesHash],
    answered: &'a mut usize,
    unknown: &'a mut Vec<usize>,
}

/// Whether this series is known? `'q` is this question's alone.
pub struct Question<'q> {
    hash: SeriesHash,
    at: usize,
    seeming: &'q Scanned,
}

/// That the series a question is about is known. Nothing else can be made of it: it answers no other question.
pub struct Met<'q>(PhantomData<Cell<&'q ()>>);

impl<'q> Question<'q> {
    #[inline(always)]
    pub fn hash(&self) -> SeriesHash {
        self.hash
    }

    /// The label bytes it seems to have been sent with.
    pub fn sent(&self) -> &'q [u8] {
        self.seeming.label_bytes(&self.seeming.series()[self.at])
    }

    /// The answer, if `known` is this series.
    #[inline(always)]
    pub fn met(&self, known: &ProvedHash) -> Option<Met<'q>> {
        known.is_of(self.hash).then_some(Met(PhantomData))
    }
}

impl<'a> Asked<'a> {
    /// Questions without an answer.
    pub fn left(&self) -> usize {
        self.hashes.len() - *self.answered
    }

    /// Answers the next `most` questions: with [`Question::met`] those about series that are known.
    #[inline(always)]
    pub fn answer(&mut self, most: usize, mut known: impl for<'q> FnMut(Question<'q>) -> Option<Met<'q>>) {
        let first = *self.answered;
        let next = first + self.left().min(most);
        for (i, &hash) in self.hashes[first..next].iter().enumerate() {
            let question = Question {
                hash,
                at: first + i,
                seeming: self.seeming,
            };
            if known(question).is_none() {
                self.unknown.push(first + i);
            }
        }
        *self.answered = next;
    }
}

impl Recognised {
    pub fn scanned(&self) -> &Scanned {
        &self.scanned
    }

    /// Places of the series that were not known, ascending.
    pub fn unknown(&self) -> &[usize] {
        &self.unknown
    }

    /// What the series at this place is called from now on.
    pub fn hash(&self, at: usize) -> ProvedHash {
        ProvedHash::proved(self.hashes[at])
    }

    pub fn into_scanned(self) -> Scanned {
        self.scanned
    }
}
