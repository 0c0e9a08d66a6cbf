//! From the body of a 2.0 write to what it takes to know it.
//!
//! Takes a compressed body, gives the decoded one with its size as 1.0, which a few references can make many times that of
//! what came: whoever asks for memory asks for it then, before any of it is taken. Goes on by itself as far as that is
//! light work. Never writes anything out.

use std::sync::Arc;

use bytes::Bytes;

use super::knowledge::Knowledge;
use super::recall::{Body, RecallError};
use crate::sandbox::{Effort, Work};
use crate::wire::{self, LIGHT_BYTES, Measured, ScanLimits, snappy};

/// A body on its way.
pub(super) struct Measure {
    knowledge: Arc<Knowledge>,
    /// None where it is over.
    stage: Option<Stage>,
}

enum Stage {
    Compressed(Body),
    /// And nobody tried yet whether it is light to name or to measure.
    Decoded(Bytes, ScanLimits),
    Unmeasured(Bytes, ScanLimits),
    Done(Measured),
}

impl Measure {
    pub(super) fn new(knowledge: Arc<Knowledge>, body: Body) -> Self {
        Self {
            knowledge,
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
            match self.stage.take()?.next(&self.knowledge) {
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

    fn next(self, knowledge: &Knowledge) -> Result<Self, RecallError> {
        Ok(match self {
            Self::Compressed(body) => {
                let decoded = snappy::decode(&body.compressed, body.decoded_size as u64)?;
                Self::Decoded(decoded, body.limits)
            }
            Self::Decoded(body, limits) => {
                let named = wire::name(&body, &limits, &knowledge.key, &knowledge.foresight);
                let light = named.map_or_else(|| wire::measure_light(&body, &limits), |named| Ok(Some(named)));
                light?.map_or(Self::Unmeasured(body, limits), Self::Done)
            }
            Self::Unmeasured(body, limits) => Self::Done(wire::measure(body, &limits)?),
            Self::Done(measured) => Self::Done(measured),
        })
    }
}
