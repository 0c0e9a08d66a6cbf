//! From the body of a 2.0 write to what it takes to know it.
//!
//! Takes a compressed body, gives the decoded one with its size as 1.0, which a few references can make many times that of
//! what came: whoever asks for memory asks for it then, before any of it is taken. Goes on by itself as far as that is
//! light work. Never writes anything out.

use bytes::Bytes;

use super::recall::{Body, RecallError};
use crate::sandbox::{Effort, Work};
use crate::wire::{self, LIGHT_BYTES, Measured, ScanLimits, snappy};

/// A body on its way.
pub(super) struct Measure {
    /// None where it is over.
    stage: Option<Stage>,
}

enum Stage {
    Compressed(Body),
    /// And nobody tried yet whether it is light to measure.
    Decoded(Bytes, ScanLimits),
    Unmeasured(Bytes, ScanLimits),
    Done(Measured),
}

impl Measure {
    pub(super) fn new(body: Body) -> Self {
        Self {
            stage: Some(Stage::Compressed(body)),
        }
    }
}

impl Work for Measure {
    type Done = Result<Measured, RecallError>;

    fn go_on(&mut self, effort: Effort) -> Option<Self::Done> {
        loop {
            if effort == Effort::Light && !self.stage.as_ref()?.is_light() {
                return None;
            }
            match self.stage.take()?.next() {
                Ok(Stage::Done(measured)) => return Some(Ok(measured)),
                Ok(next) => self.stage = Some(next),
                Err(error) => return Some(Err(error)),
            }
            if effort == Effort::Full {
                return None;
            }
        }
    }
}

impl Stage {
    fn is_light(&self) -> bool {
        match self {
            Self::Compressed(body) => body.decoded_size < LIGHT_BYTES,
            Self::Decoded(..) | Self::Done(_) => true,
            Self::Unmeasured(..) => false,
        }
    }

    fn next(self) -> Result<Self, RecallError> {
        Ok(match self {
            Self::Compressed(body) => {
                let decoded = snappy::decode(&body.compressed, body.decoded_size as u64)?;
                Self::Decoded(decoded, body.limits)
            }
            Self::Decoded(body, limits) => match wire::measure_light(&body, &limits)? {
                Some(measured) => Self::Done(measured),
                None => Self::Unmeasured(body, limits),
            },
            Self::Unmeasured(body, limits) => Self::Done(wire::measure(body, &limits)?),
            Self::Done(measured) => Self::Done(measured),
        })
    }
}
