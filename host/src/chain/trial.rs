//! A policy tried before its chain may serve.
//!
//! Takes one policy of a chain that is being built; starts it, asks what it judges and what its decisions depend on, and has it
//! judge plain series and a plain write; then what the tenant sent lately, twice. Gives what it did wrong. Never lets a chain
//! serve that fails here.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::admission;
use super::member::{Function, Member, Missed};
use super::members::Members;
use super::purity::Impurity;
use super::relabel;
use super::twice;
use super::write::Write;
use crate::model::{Protocol, Totals};
use crate::sandbox::{Fault, Instance, Job, LoadError, Rank, Step};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildFault {
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Including the plugin's own word on its settings.
    #[error("does not take its settings: {0}")]
    Configure(Fault),
    #[error("does not say what it judges: {0}")]
    Scope(Fault),
    #[error("does not say what its decisions depend on: {0}")]
    Inputs(Fault),
    #[error("does not judge a plain batch: {0}")]
    Golden(Fault),
    /// Asked again on another instance, in another order, it said something else.
    #[error(
        "is not pure: of one series of {} it said `{}` and then `{}`; a verdict must depend on the settings and the labels alone",
        .0.metric,
        .0.said[0],
        .0.said[1]
    )]
    Impure(Box<Impurity>),
    #[error(
        "is not pure: another instance of it decides otherwise about the same write; a decision must depend on the settings and the write alone"
    )]
    ImpureAboutWrites,
    /// The host's fault.
    #[error("could not be tried: an instance of it {0}")]
    NoRoom(Fault),
    #[error("could not be tried: too many plugin calls are waiting")]
    Overloaded,
}

impl BuildFault {
    /// There was no room to try it, or no processor to compile it.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Load(error) => error.may_pass(),
            Self::Overloaded | Self::NoRoom(_) => true,
            Self::Configure(_)
            | Self::Scope(_)
            | Self::Inputs(_)
            | Self::Golden(_)
            | Self::Impure(_)
            | Self::ImpureAboutWrites => false,
        }
    }

    fn of(fault: Fault, in_what: impl FnOnce(Fault) -> Self) -> Self {
        match fault {
            Fault::NoRoom | Fault::NoMemory => Self::NoRoom(fault),
            fault => in_what(fault),
        }
    }
}

/// Tries the policy at `place`.
///
/// # Errors
/// What it did wrong.
pub async fn try_out(members: &Arc<Members>, place: usize) -> Result<(), BuildFault> {
    let (reply, answer) = oneshot::channel();
    let job = Box::new(Trial {
        members: members.clone(),
        place,
        reply: Some(reply),
    });
    let submitted = members.engine.threads().submit(&members.tenant, Rank::Begins, job);
    submitted.map_err(|_| BuildFault::Overloaded)?;
    answer.await.unwrap_or(Err(BuildFault::Overloaded))
}

struct Trial {
    members: Arc<Members>,
    place: usize,
    reply: Option<oneshot::Sender<Result<(), BuildFault>>>,
}

impl Job for Trial {
    fn step(&mut self) -> Step {
        if let Some(reply) = self.reply.take().filter(|reply| !reply.is_closed()) {
            let _ = reply.send(run(&self.members, &self.members.all[self.place]));
        }
        Step::Done
    }
}

fn run(members: &Members, member: &Member) -> Result<(), BuildFault> {
    let engine = &*members.engine;
    let golden = |missed| match missed {
        Missed::Failed(fault) | Missed::InDoubt(fault) => BuildFault::of(fault, BuildFault::Golden),
        // Nobody asked it before.
        Missed::Quarantined { .. } | Missed::Impure => BuildFault::Overloaded,
    };
    let started = member.warm_up(engine);
    started.map_err(|fault| BuildFault::of(fault, BuildFault::Configure))?;
    let learnt = member.learn_scope(engine);
    learnt.map_err(|fault| BuildFault::of(fault, BuildFault::Scope))?;
    if member.info.judges_writes() {
        let learnt = member.learn_inputs(engine);
        learnt.map_err(|fault| BuildFault::of(fault, BuildFault::Inputs))?;
    }
    if member.info.judges_series() {
        relabel::try_out(members, member).map_err(golden)?;
        let impurity = twice::try_twice(members, member);
        if let Some(impurity) = impurity.map_err(BuildFault::NoRoom)? {
            return Err(BuildFault::Impure(Box::new(impurity)));
        }
    }
    if member.info.judges_writes() {
        let mut write = golden_write();
        write.mask(member.inputs());
        let streams = admission::streams(&write);
        let write = admission::told(&members.tenant, &write, &streams);
        let allowance = engine.call_allowance();
        let asked = |instance: &mut Instance| admission::ask(instance, &write, allowance, member);
        let opinion = member.call(engine, Function::Admit, asked).map_err(golden)?;
        match member.ask_a_fresh_one(engine, asked) {
            Ok(other) if other != opinion => return Err(BuildFault::ImpureAboutWrites),
            Err(fault @ (Fault::NoRoom | Fault::NoMemory)) => return Err(BuildFault::NoRoom(fault)),
            _ => {}
        }
    }
    Ok(())
}

fn golden_write() -> Write {
    let totals = Totals {
        series: 500,
        samples: 500,
        histograms: 0,
        exemplars: 0,
    };
    Write {
        subject: String::new(),
        protocol: Protocol::V1,
        compressed_bytes: 20_000,
        decoded_bytes: 100_000,
        active_series: 1000,
        new_series: 0,
        streams: vec![(Arc::from(""), totals)],
    }
}
