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

use super::member::{Function, Member, Missed};
use super::members::{CallError, Members};
use super::shadow::Difference;
use super::witness::{After, Witness};
use super::words::{MAX_STREAM_LENGTH, MAX_STREAMS, check_name};
use super::write::{Charge, Decision, Route, Terms, Write};
use crate::config::Mode;
use crate::model::{TenantId, plain};
use crate::sandbox::types as wit;
use crate::sandbox::{Fault, Instance, Job, Step};

/// Buckets one policy may charge for one write: a few kinds of limit for each of a few streams.
const MAX_CHARGES: usize = 64;
/// Longest bucket name, in bytes.
const MAX_BUCKET_LENGTH: usize = 128;
/// Routes one policy may return for one write: one for each stream, the default one among them.
const MAX_ROUTES: usize = MAX_STREAMS + 1;
/// Longest upstream name looked up, in bytes.
const MAX_UPSTREAM_LENGTH: usize = 128;
/// Longest refusal shown to a sender, in bytes.
const MAX_REFUSAL_LENGTH: usize = 512;

pub type Reply = oneshot::Sender<Result<Decision, CallError>>;

pub struct AdmitJob {
    members: Arc<Members>,
    write: Write,
    witness: Option<Witness>,
    reply: Option<Reply>,
}

impl AdmitJob {
    pub fn new(members: Arc<Members>, write: Write, reply: Reply) -> Self {
        Self {
            members,
            write,
            witness: None,
            reply: Some(reply),
        }
    }

    /// The same job, seen by `witness`.
    pub fn watched(mut self, witness: Witness) -> Self {
        self.witness = Some(witness);
        self
    }

    fn judge(&mut self) -> Result<Decision, CallError> {
        let (decision, cacheable) = self.ask_all()?;
        if cacheable && self.witness.is_none() {
            let write = std::mem::take(&mut self.write);
            self.members.decisions.store(write, &decision);
        }
        Ok(decision)
    }

    /// The decision, and whether it holds for the same write another time: not where a failing policy was left out.
    fn ask_all(&self) -> Result<(Decision, bool), CallError> {
        let allowance = self.members.engine.call_allowance();
        let (mut charges, mut routes) = (Vec::new(), Routes::default());
        let mut cacheable = self.members.remembers_decisions();
        for member in self.members.judging_writes() {
            let mut write = self.write.clone();
            write.mask(member.inputs());
            let streams = streams(&write);
            let write = told(&self.members.tenant, &write, &streams);
            let answer = member.call(&self.members.engine, Function::Admit, |instance| {
                ask(instance, &write, allowance, member)
            });
            let counts = member.info.mode == Mode::Enforce;
            if let Some(witness) = &self.witness {
                match &answer {
                    Ok(Opinion::Admit(terms)) => witness.see(member, After::Admitted(terms.clone()), counts),
                    Ok(Opinion::Reject(reason)) => witness.see(member, After::Rejected(reason.clone()), counts),
                    Err(missed) => witness.failed(member, missed, counts),
                }
            }
            if !counts {
                in_shadow(member, answer);
                continue;
            }
            match answer {
                Ok(Opinion::Admit(terms)) => {
                    charges.extend(terms.charges);
                    routes.replace(terms.routes);
                }
                Ok(Opinion::Reject(reason)) => {
                    let policy = member.info.name.clone();
                    return Ok((Decision::Reject { policy, reason }, cacheable));
                }
                Err(missed) => {
                    self.members.left_out(member, missed)?;
                    cacheable = false;
                }
            }
        }
        let routes = routes.0;
        Ok((Decision::Admit(Arc::new(Terms { charges, routes })), cacheable))
    }
}

/// Notes what a policy says whose word does not count.
fn in_shadow(member: &Member, answer: Result<Opinion, Missed>) {
    member.shadow.asked(1);
    match answer {
        Ok(Opinion::Admit(_)) => {}
        Ok(Opinion::Reject(reason)) => {
            member
                .shadow
                .note(Difference::Reject, 1, || (String::new(), reason.to_string()));
        }
        Err(missed) => member.failed_in_shadow(missed, 1),
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

#[derive(Debug, Clone, PartialEq)]
pub enum Opinion {
    Admit(Terms),
    Reject(Arc<str>),
}

pub fn streams(write: &Write) -> Vec<wit::StreamTotals<'_>> {
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

pub fn told<'a>(tenant: &'a TenantId, write: &'a Write, streams: &'a [wit::StreamTotals<'a>]) -> wit::Write<'a> {
    wit::Write {
        tenant: tenant.as_str(),
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
pub fn ask(
    instance: &mut Instance,
    write: &wit::Write<'_>,
    allowance: Duration,
    member: &Member,
) -> Result<Opinion, Fault> {
    checked(instance.admit(write, allowance)?, &member.info.name)
}

/// What the policy of this name decided, once its every number and name was checked.
///
/// # Errors
/// If it is nothing that can be done.
pub fn checked(decision: wit::Decision, policy: &Arc<str>) -> Result<Opinion, Fault> {
    match decision {
        wit::Decision::Reject(reason) => Ok(Opinion::Reject(Arc::from(plain(&reason, MAX_REFUSAL_LENGTH)))),
        wit::Decision::Admit(wit::Admission { charges, routes }) => Ok(Opinion::Admit(Terms {
            charges: check_charges(charges, policy)?,
            routes: check_routes(routes)?,
        })),
    }
}

fn check_charges(charges: Vec<wit::Charge>, policy: &Arc<str>) -> Result<Vec<Charge>, Fault> {
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
        policy: policy.clone(),
        bucket: c.bucket,
        tokens: c.tokens,
        per_second: c.per_second,
        burst: c.burst,
    };
    Ok(charges.into_iter().map(charge).collect())
}

fn check_routes(routes: Vec<wit::Route>) -> Result<Vec<Route>, Fault> {
    if routes.len() > MAX_ROUTES {
        return Err(Fault::Invalid(format!("{} routes", routes.len())));
    }
    let mut seen = HashSet::new();
    for wit::Route { stream, upstream } in &routes {
        check_name("stream", stream, MAX_STREAM_LENGTH)?;
        check_name("upstream", upstream, MAX_UPSTREAM_LENGTH)?;
        if !seen.insert(&**stream) {
            return Err(Fault::Invalid("the same stream routed twice".to_owned()));
        }
    }
    Ok(routes
        .into_iter()
        .map(|route| (Arc::from(route.stream), Arc::from(route.upstream)))
        .collect())
}
