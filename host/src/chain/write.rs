//! A write as policies are told of it, and what they decide.
//!
//! Takes what is known of a write once its series are judged; gives the words in which a chain answers: charges, routes,
//! or a refusal. Never asks a policy, and never knows which upstreams there are.

use std::sync::Arc;

use crate::model::{Protocol, Totals};
use crate::sandbox::types::Inputs;

/// What policies are told of a write. The tenant is the chain's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Write {
    /// What the credential proved; empty for a bearer token.
    pub subject: String,
    pub protocol: Protocol,
    pub compressed_bytes: u64,
    pub decoded_bytes: u64,
    /// Series of this tenant seen lately, this write included.
    pub active_series: u64,
    /// Those of them that this write brought.
    pub new_series: u64,
    /// What is left after relabelling; an empty name is the default stream.
    pub streams: Vec<(Arc<str>, Totals)>,
}

impl Write {
    /// Zeroes what is not among `inputs`.
    pub fn mask(&mut self, inputs: Inputs) {
        let number = |input, number: &mut u64| {
            if !inputs.contains(input) {
                *number = 0;
            }
        };
        number(Inputs::COMPRESSED_BYTES, &mut self.compressed_bytes);
        number(Inputs::DECODED_BYTES, &mut self.decoded_bytes);
        number(Inputs::ACTIVE_SERIES, &mut self.active_series);
        number(Inputs::NEW_SERIES, &mut self.new_series);
        if !inputs.contains(Inputs::TOTALS) {
            self.streams
                .iter_mut()
                .for_each(|(_, totals)| *totals = Totals::default());
        }
    }
}

/// What the chain makes of a write. Cheap to copy: it is remembered and given again.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    Admit(Arc<Terms>),
    /// The first policy that said no. Its reason is fit to be shown to the sender.
    Reject {
        policy: Arc<str>,
        reason: Arc<str>,
    },
}

/// What a write is admitted under.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Terms {
    /// In the order of the chain.
    pub charges: Vec<Charge>,
    /// Stream name to upstream name, each stream once; where policies disagree, the later one has its way,
    /// and the last are the operator's.
    pub routes: Vec<Route>,
}

/// Stream name to upstream name.
pub type Route = (Arc<str>, Arc<str>);

/// Tokens to take from a bucket of this policy's.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    /// Its name: buckets of different policies are different ones.
    pub policy: Arc<str>,
    pub bucket: String,
    pub tokens: u64,
    /// Finite and not negative.
    pub per_second: f64,
    pub burst: u64,
}
