//! What is asked of a policy beside its service: what it judges, to see whether it is pure, and what it would do.
//!
//! Takes questions, runs them on instances as `member` does; books what was found out. Never costs a write anything.

use super::{Member, Missed};
use crate::chain::purity::Impurity;
use crate::chain::shadow::Difference;
use crate::config::Mode;
use crate::sandbox::{Engine, Fault, Instance};

impl Member {
    /// Asks what it judges under its settings. A policy that fails here never runs.
    ///
    /// # Errors
    /// Whatever the plugin did instead.
    pub fn learn_scope(&self, engine: &Engine) -> Result<(), Fault> {
        let said = self.ask_aside(engine, |instance| instance.judges(engine.call_allowance()))?;
        self.info.scope.get_or_init(|| said & self.info.exported);
        Ok(())
    }

    /// Runs `judge` for the gateway's own good: neither a call that is counted nor one that could lead to quarantine.
    ///
    /// # Errors
    /// Whatever the plugin did instead.
    pub fn ask_aside<R>(
        &self,
        engine: &Engine,
        judge: impl FnOnce(&mut Instance) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        self.run(engine, self.id, engine.warm().take(self.id), judge)
    }

    /// The same on another instance than those that serve.
    ///
    /// # Errors
    /// Whatever the plugin did instead.
    pub fn ask_again<R>(
        &self,
        engine: &Engine,
        judge: impl FnOnce(&mut Instance) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let instances = self.purity.instances;
        self.run(engine, instances, engine.warm().take(instances), judge)
    }

    /// The same on an instance that nobody has called, which is gone afterwards.
    ///
    /// # Errors
    /// Whatever the plugin did instead.
    pub fn ask_a_fresh_one<R>(
        &self,
        engine: &Engine,
        judge: impl FnOnce(&mut Instance) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        judge(&mut self.start(engine)?)
    }

    /// Asks it nothing more: it gave two answers about one series.
    pub fn is_impure(&self, impurity: Impurity) {
        let (tenant, policy) = (&*self.labels.0, &*self.labels.1);
        self.purity.counted.inc();
        let (series, [first, second]) = (impurity.metric.clone(), impurity.said.clone());
        if self.purity.found.set(impurity).is_ok() {
            tracing::warn!(
                tenant,
                policy,
                series,
                first,
                second,
                "a policy gave two answers about one series, and is not asked any more: a verdict must depend on the settings \
                 and the labels alone"
            );
            self.samples.watch().alarm();
        }
    }

    /// Notes that it failed on so many series or writes where its word does not count: it may rest for that, and nobody else
    /// notices.
    pub fn failed_in_shadow(&self, missed: Missed, count: u64) {
        let answer = match missed {
            // Where its word counts for some, what it fails on may be a series' fault.
            Missed::InDoubt(fault) => {
                if self.info.mode == Mode::Shadow {
                    self.failed(&fault);
                }
                fault.to_string()
            }
            Missed::Failed(fault) => fault.to_string(),
            Missed::Quarantined { .. } => "keeps failing, and rests".to_owned(),
            Missed::Impure => "gave two answers about one series, and is not asked any more".to_owned(),
        };
        self.shadow.note(Difference::Fail, count, || (String::new(), answer));
    }
}
