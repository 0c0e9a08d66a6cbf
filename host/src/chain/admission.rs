//! A chain's judgement of a write: one job that asks every policy.
//!
//! Takes what is known of a write, gives what to charge and where to send it, or the first refusal, and remembers it in
//! `decisions` where every policy had its say. A policy is told only what it said it depends on. Every number and name
//! a plugin returned is checked. Never charges and never routes: the gateway does, and only to upstreams of the
//! tenant's own list.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::member::Function;
use super::relabel::{MAX_STREAM_LENGTH, check_name};
use super::{CallError, Inner};
use crate::model::{Protocol, Totals};
use crate::sandbox::types as wit;
use crate::sandbox::types::Inputs;
use crate::sandbox::{Fault, Instance, Job, Step, plain};

/// Buckets one policy may charge for one write: a few kinds of limit for each of a few streams.
const MAX_CHARGES: usize = 64;
/// Longest bucket name, in bytes.
const MAX_BUCKET_LENGTH: usize = 128;
/// Routes one policy may return for one write: as many as it may name streams.
const MAX_ROUTES: usize = 65;
/// Longest upstream name looked up, in bytes.
const MAX_UPSTREAM_LENGTH: usize = 128;
/// Longest refusal shown to a sender, in bytes.
const MAX_REFUSAL_LENGTH: usize = 512;

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
    pub(super) fn mask(&mut self, inputs: Inputs) {
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

/// What the chain makes of a write.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    Admit {
        /// In the order of the chain.
        charges: Vec<Charge>,
        /// Stream name to upstream name, each stream once; where policies disagree, the later one has its way,
        /// and the last are the operator's.
        routes: Vec<Route>,
    },
    /// `policy`: its place in the chain. The reason is fit to be shown to the sender.
    Reject { policy: usize, reason: String },
}

/// Stream name to upstream name.
pub type Route = (Arc<str>, Arc<str>);

/// Tokens to take from a bucket of this policy's.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    /// Place in the chain: buckets of different policies are different ones.
    pub policy: usize,
    pub bucket: String,
    pub tokens: u64,
    /// Finite and not negative.
    pub per_second: f64,
    pub burst: u64,
}

pub(super) type Reply = oneshot::Sender<Result<Arc<Decision>, CallError>>;

pub(super) struct AdmitJob {
    chain: Arc<Inner>,
    write: Write,
    reply: Option<Reply>,
}

impl AdmitJob {
    pub(super) fn new(chain: Arc<Inner>, write: Write, reply: Reply) -> Self {
        Self {
            chain,
            write,
            reply: Some(reply),
        }
    }

    fn judge(&mut self) -> Result<Arc<Decision>, CallError> {
        let (decision, cacheable) = self.ask_all()?;
        let decision = Arc::new(decision);
        if cacheable {
            let write = std::mem::take(&mut self.write);
            self.chain.decisions.store(write, &decision);
        }
        Ok(decision)
    }

    /// The decision, and whether it holds for the same write another time: not where a failing policy was left out.
    fn ask_all(&self) -> Result<(Decision, bool), CallError> {
        let allowance = self.chain.engine.call_allowance();
        let (mut charges, mut routes) = (Vec::new(), Routes::default());
        let mut cacheable = self.chain.remembers_decisions();
        for (place, member) in self.chain.members.iter().enumerate() {
            if !member.info.judges_writes {
                continue;
            }
            let mut write = self.write.clone();
            write.mask(member.inputs());
            let streams = streams(&write);
            let write = told(&self.chain, &write, &streams);
            let answer = member.call(&self.chain.engine, Function::Admit, |instance| {
                ask(instance, &write, allowance, place)
            });
            match answer {
                Ok(Answer::Admit {
                    charges: more,
                    routes: later,
                }) => {
                    charges.extend(more);
                    routes.replace(later);
                }
                Ok(Answer::Reject(reason)) => return Ok((Decision::Reject { policy: place, reason }, cacheable)),
                Err(missed) => {
                    self.chain.left_out(place, missed)?;
                    cacheable = false;
                }
            }
        }
        let routes = routes.0;
        Ok((Decision::Admit { charges, routes }, cacheable))
    }
}

impl Job for AdmitJob {
    fn step(&mut self) -> Step {
        if let Some(reply) = self.reply.take().filter(|reply| !reply.is_closed()) {
            let _ = reply.send(self.judge());
        }
        Step::Done
    }
}

#[derive(Default)]
struct Routes(Vec<Route>);

impl Routes {
    fn replace(&mut self, later: Vec<Route>) {
        for (stream, upstream) in later {
            match self.0.iter_mut().find(|(known, _)| *known == stream) {
                Some((_, known)) => *known = upstream,
                None => self.0.push((stream, upstream)),
            }
        }
    }
}

pub(super) enum Answer {
    Admit { charges: Vec<Charge>, routes: Vec<Route> },
    Reject(String),
}

pub(super) fn streams(write: &Write) -> Vec<wit::StreamTotals<'_>> {
    write
        .streams
        .iter()
        .map(|(name, totals)| wit::StreamTotals {
            name,
            totals: wit::Totals {
                series: totals.series,
                samples: totals.samples,
                histograms: totals.histograms,
                exemplars: totals.exemplars,
            },
        })
        .collect()
}

pub(super) fn told<'a>(chain: &'a Inner, write: &'a Write, streams: &'a [wit::StreamTotals<'a>]) -> wit::Write<'a> {
    wit::Write {
        tenant: chain.tenant.as_str(),
        subject: &write.subject,
        protocol: write.protocol.word(),
        compressed_bytes: write.compressed_bytes,
        decoded_bytes: write.decoded_bytes,
        active_series: write.active_series,
        new_series: write.new_series,
        streams,
    }
}

/// Asks one policy and checks its answer.
pub(super) fn ask(
    instance: &mut Instance,
    write: &wit::Write<'_>,
    allowance: Duration,
    place: usize,
) -> Result<Answer, Fault> {
    match instance.admit(write, allowance)? {
        wit::Decision::Reject(reason) => Ok(Answer::Reject(plain(&reason, MAX_REFUSAL_LENGTH))),
        wit::Decision::Admit(wit::Admission { charges, routes }) => Ok(Answer::Admit {
            charges: check_charges(charges, place)?,
            routes: check_routes(routes)?,
        }),
    }
}

fn check_charges(charges: Vec<wit::Charge>, policy: usize) -> Result<Vec<Charge>, Fault> {
    if charges.len() > MAX_CHARGES {
        return Err(Fault::Invalid(format!("{} charges", charges.len())));
    }
    let mut names = HashSet::new();
    for charge in &charges {
        if charge.bucket.is_empty() {
            return Err(Fault::Invalid("a bucket without a name".to_owned()));
        }
        check_name("bucket", &charge.bucket, MAX_BUCKET_LENGTH)?;
        if !names.insert(&*charge.bucket) {
            return Err(Fault::Invalid("the same bucket twice".to_owned()));
        }
        if !charge.per_second.is_finite() || charge.per_second < 0.0 {
            return Err(Fault::Invalid(format!("a rate of {} per second", charge.per_second)));
        }
    }
    let charge = |c: wit::Charge| Charge {
        policy,
        bucket: c.bucket,
        tokens: c.tokens,
        per_second: c.per_second,
        burst: c.burst,
    };
    Ok(charges.into_iter().map(charge).collect())
}

fn check_routes(routes: Vec<(String, String)>) -> Result<Vec<Route>, Fault> {
    if routes.len() > MAX_ROUTES {
        return Err(Fault::Invalid(format!("{} routes", routes.len())));
    }
    let mut seen = HashSet::new();
    for (stream, upstream) in &routes {
        check_name("stream", stream, MAX_STREAM_LENGTH)?;
        check_name("upstream", upstream, MAX_UPSTREAM_LENGTH)?;
        if !seen.insert(&**stream) {
            return Err(Fault::Invalid("the same stream routed twice".to_owned()));
        }
    }
    Ok(routes
        .into_iter()
        .map(|(stream, upstream)| (Arc::from(stream), Arc::from(upstream)))
        .collect())
}
