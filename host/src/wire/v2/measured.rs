//! A body of 2.0 of which it is known what it takes to write it out, or that is written out, or whose series are called by their
//! hashes, if that was light work.
//!
//! Takes a decoded body, gives it with a number of bytes, to be asked for before they are taken, and then its series as 1.0.

use std::sync::Arc;

use bytes::Bytes;

use super::at_once::{WrittenOut, written_out};
use super::measure::{Sizes, sizes};
use super::named::{Named, named};
use super::transcode::{LabelsAre, transcode};
use crate::wire::identity::{HashKey, SeriesHash};
use crate::wire::series::{ScanError, ScanLimits, Scanned};
use crate::wire::text::Foresight;

#[derive(Debug)]
pub struct Measured {
    body: Bytes,
    limits: ScanLimits,
    found: Found,
}

#[derive(Debug)]
enum Found {
    Sizes(Sizes),
    Written(Box<WrittenOut>),
    Named(Box<Named>),
}

/// What the series of `body` are called, where nothing else is needed.
pub(in crate::wire) fn name(
    body: &Bytes,
    limits: &ScanLimits,
    key: &HashKey,
    foresight: &Arc<Foresight>,
) -> Option<Measured> {
    let named = named(body, limits, key, foresight)?;
    Some(Measured {
        body: body.clone(),
        limits: limits.clone(),
        found: Found::Named(Box::new(named)),
    })
}

/// Measures `body`, or writes it out if it is to be done only where that is light work. None where it is more then.
///
/// # Errors
/// Those of [`sizes`].
pub(super) fn measured(body: Bytes, limits: &ScanLimits, only_light: bool) -> Result<Option<Measured>, ScanError> {
    let length = body.len() as u64;
    if u32::try_from(length).is_err() {
        return Err(ScanError::TooLong { length });
    }
    let at_once = only_light.then(|| written_out(&body, limits)).flatten();
    let found = match at_once {
        Some(written) => Found::Written(Box::new(written)),
        None => match sizes(&body, limits, only_light)? {
            Some(sizes) => Found::Sizes(sizes),
            None => return Ok(None),
        },
    };
    Ok(Some(Measured {
        limits: limits.clone(),
        found,
        body,
    }))
}

impl Measured {
    /// Bytes of memory that it takes besides the decoded body until it is judged, at most.
    pub fn size(&self) -> u64 {
        match &self.found {
            Found::Sizes(sizes) => sizes.size(),
            Found::Written(written) => written.size,
            Found::Named(named) => named.size,
        }
    }

    /// Bytes of its series as 1.0, at most.
    pub fn written(&self) -> u64 {
        match &self.found {
            Found::Sizes(sizes) => sizes.written,
            Found::Written(written) => written.scanned.length() as u64,
            Found::Named(named) => named.scanned.length() as u64,
        }
    }

    /// Whether it is framed already: it took that memory, or some of it, which is little then, for its series have less than light
    /// work may have.
    pub fn is_framed(&self) -> bool {
        !matches!(self.found, Found::Sizes(_))
    }

    /// The decoded body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    pub(in crate::wire) fn limits(&self) -> &ScanLimits {
        &self.limits
    }

    /// Whether it is light work to frame it.
    pub fn is_light(&self) -> bool {
        match &self.found {
            Found::Sizes(sizes) => sizes.is_light,
            Found::Written(_) | Found::Named(_) => true,
        }
    }

    /// Its series, with the labels of usual ones taken for what they seem to be, and what they are called, if that is known.
    pub(super) fn frame(self) -> Result<(Scanned, Option<Vec<SeriesHash>>), ScanError> {
        match self.found {
            Found::Sizes(sizes) => Ok((transcode(&self.body, &sizes, &self.limits, LabelsAre::Seeming)?, None)),
            Found::Written(written) => Ok((written.scanned, None)),
            Found::Named(named) => Ok((named.scanned, Some(named.hashes))),
        }
    }

    /// Its series, each proved. It must have been measured only.
    pub(super) fn prove(self) -> Result<Scanned, ScanError> {
        match self.found {
            Found::Sizes(sizes) => transcode(&self.body, &sizes, &self.limits, LabelsAre::Proved),
            Found::Written(_) | Found::Named(_) => Err(ScanError::NotRewritten),
        }
    }
}
