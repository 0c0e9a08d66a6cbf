//! One plugin with settings, asked directly.
//!
//! Takes series and writes, gives what the plugin said, by any of its exports and on any instance, and what it printed. Each
//! call is bounded as the gateway bounds it. Never asks again by itself: a fault is what is looked for.

use std::sync::Arc;

use super::arguments::Configured;
use super::said::{self, Said};
use crate::chain::{BATCH_BYTES, FIRST_SERIES, Opinion, Write, checked_decision, streams_told, told};
use crate::model::Label;
use crate::sandbox::types::{self, Inputs, Scope};
use crate::sandbox::{Arguments, Engine, Fault, Instance, Line, Plugin, Share, Start};

pub type LabelList = Vec<Label>;

/// By which of its exports a plugin is asked about series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As the gateway does: packed if it can be.
    Usual,
    Plain,
}

pub struct Subject {
    engine: Arc<Engine>,
    pub plugin: Arc<Plugin>,
    pub context: Configured,
    share: Arc<Share>,
    /// As decisions name it.
    name: Arc<str>,
}

impl Subject {
    pub fn new(engine: Arc<Engine>, plugin: Arc<Plugin>, context: Configured) -> Self {
        let share = Arc::new(Share::listening(context.tenant.as_str(), "plugin"));
        let name = Arc::from("plugin");
        Self {
            engine,
            plugin,
            context,
            share,
            name,
        }
    }

    /// A fresh instance that has taken its settings.
    ///
    /// # Errors
    /// What the plugin did instead.
    pub fn start(&self) -> Result<Instance, Fault> {
        let upstreams: Vec<&str> = self.context.upstreams.iter().map(String::as_str).collect();
        Instance::start(Start {
            plugin: &self.plugin,
            settings: &self.context.settings,
            context: &types::Context {
                tenant: self.context.tenant.as_str(),
                upstreams: &upstreams,
            },
            share: &self.share,
            memory_limit: self.engine.memory_limit(),
            held: self.engine.hold_instance(),
            allowance: self.engine.start_allowance(),
            slot: self.engine.slot().ok_or(Fault::NoRoom)?,
        })
    }

    /// All of `series` in one call, which the caller keeps within a call's bounds; see [`calls`].
    ///
    /// # Errors
    /// What the plugin did instead of a verdict for each.
    pub fn ask<L: AsRef<[Label]>>(
        &self,
        instance: &mut Instance,
        series: &[L],
        form: Form,
    ) -> Result<Vec<Said>, Fault> {
        let mut asked = Arguments::reused();
        let put = asked.ask_for(series.iter(), |labels, push| {
            for label in labels.as_ref() {
                push(label.name.as_bytes());
                push(label.value.as_bytes());
            }
        });
        put.map_err(|error| Fault::Invalid(error.to_string()))?;
        let allowance = self.engine.call_allowance();
        let verdicts = match form {
            Form::Usual => instance.relabel(&asked, allowance),
            Form::Plain => instance.relabel_plain(&asked, allowance),
        }?;
        asked.reuse();
        let (asked, got) = (series.len(), verdicts.len());
        if asked != got {
            return Err(Fault::WrongLength { asked, got });
        }
        let said = verdicts.into_iter().zip(series);
        Ok(said.map(|(verdict, sent)| said::of(verdict, sent.as_ref())).collect())
    }

    /// One series of a fresh instance that is asked nothing else.
    ///
    /// # Errors
    /// As [`Subject::ask`].
    pub fn ask_alone(&self, series: &LabelList) -> Result<Said, Fault> {
        let said = self.ask(&mut self.start()?, std::slice::from_ref(series), Form::Usual)?;
        said.into_iter().next().ok_or(Fault::WrongLength { asked: 1, got: 0 })
    }

    /// About a write, told as the gateway would tell it but for what is left out.
    ///
    /// # Errors
    /// What the plugin did instead, or why its decision cannot be carried out.
    pub fn decide(&self, instance: &mut Instance, write: &Write) -> Result<Opinion, Fault> {
        let streams = streams_told(write);
        let write = told(&self.context.tenant, write, &streams);
        let decision = instance.admit(&write, self.engine.call_allowance())?;
        checked_decision(decision, &self.name)
    }

    /// What of a write the decisions depend on, as the plugin says.
    ///
    /// # Errors
    /// What it did instead.
    pub fn inputs(&self, instance: &mut Instance) -> Result<Inputs, Fault> {
        instance.admission_inputs(self.engine.call_allowance())
    }

    /// What the gateway asks the plugin about under its settings: of what it exports, all that it does not say it has no word
    /// about.
    ///
    /// # Errors
    /// What it did instead of saying it.
    pub fn scope(&self, instance: &mut Instance) -> Result<Scope, Fault> {
        Ok(instance.judges(self.engine.call_allowance())? & self.plugin.scope())
    }

    /// What was printed since the last time.
    pub fn printed(&self) -> Vec<Line> {
        self.share.heard()
    }
}

/// `series` in pieces that one call may hold, of at most `most` each, and of no more than the gateway begins with: how many
/// more a plugin is asked about at once it finds out by what they take.
pub fn calls<L: AsRef<[Label]>>(series: &[L], most: usize) -> impl Iterator<Item = &[L]> {
    let most = most.clamp(1, FIRST_SERIES);
    let mut rest = series;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |one: &&L| {
            bytes += size(one.as_ref());
            bytes <= BATCH_BYTES
        };
        let count = rest.iter().take(most).take_while(fits).count().max(1);
        let (now, later) = rest.split_at_checked(count)?;
        rest = later;
        Some(now)
    })
}

/// About as many bytes as its labels take in a write.
pub fn size(labels: &[Label]) -> usize {
    const AROUND: usize = 8;
    labels
        .iter()
        .map(|label| label.name.len() + label.value.len() + AROUND)
        .sum()
}
