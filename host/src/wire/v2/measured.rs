//! A body of 2.0 of which it is known what it takes to write it out, or that is written out, if that was light work.
//!
//! Takes a decoded body, gives it with a number of bytes, to be asked for before they are taken, and then its series as 1.0.

use bytes::Bytes;

use super::at_once::{WrittenOut, written_out};
use super::measure::{Sizes, sizes};
use super::transcode::{LabelsAre, transcode};
use crate::wire::series::{ScanError, ScanLimits, Scanned};

#[derive(Debug)]
pub struct Measured {
    body: Bytes,
    limits: ScanLimits,
    written: Result<WrittenOut, Sizes>,
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
    let written = match at_once {
        Some(written) => Ok(written),
        None => match sizes(&body, limits, only_light)? {
            Some(sizes) => Err(sizes),
            None => return Ok(None),
        },
    };
    Ok(Some(Measured {
        limits: limits.clone(),
        written,
        body,
    }))
}

impl Measured {
    /// Bytes of memory that it takes besides the decoded body until it is judged, at most.
    pub fn size(&self) -> u64 {
        match &self.written {
            Ok(written) => written.size,
            Err(sizes) => sizes.size(),
        }
    }

    /// Bytes of its series as 1.0, at most.
    pub fn written(&self) -> u64 {
        match &self.written {
            Ok(written) => written.scanned.body().len() as u64,
            Err(sizes) => sizes.written,
        }
    }

    /// Whether it took that memory already, which is little then: the series have less than light work may have.
    pub fn is_written(&self) -> bool {
        self.written.is_ok()
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
        self.written.as_ref().map_or_else(|sizes| sizes.is_light, |_| true)
    }

    /// Writes the series out, if that was not done yet: each proved, or, if it is a usual one, with its labels taken for what
    /// they seem to be. What is written already is not proved.
    pub(super) fn write(self, labels: LabelsAre) -> Result<Scanned, ScanError> {
        match self.written {
            Ok(written) if labels == LabelsAre::Seeming => Ok(written.scanned),
            Ok(_) => Err(ScanError::NotRewritten),
            Err(sizes) => transcode(&self.body, &sizes, &self.limits, labels),
        }
    }
}
