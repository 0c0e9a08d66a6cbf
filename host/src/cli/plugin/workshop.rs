//! The gateway's sandbox without a gateway: its engine, its compiling child and its bounds.
//!
//! Takes bounds, gives plugins loaded as a gateway loads them, kept compiled where its bounds say. Never relaxes a bound.

use std::sync::Arc;

use tokio::runtime::Runtime;

use super::arguments::{Configured, Confines};
use super::outcome::Wrong;
use super::subject::Subject;
use crate::chain::{Chain, Context, PolicyWatch, Samples};
use crate::config::{Mode, OnFailure, Owner, PluginSource, Policy, Sandbox, WrittenAt};
use crate::memory::Memory;
use crate::sandbox::{Compiler, Engine, LoadError, Plugin};
use crate::telemetry::Metrics;

pub struct Workshop {
    engine: Arc<Engine>,
    memory: Arc<Memory>,
    runtime: Runtime,
}

impl Workshop {
    /// # Errors
    /// If the system gives no sandbox.
    pub fn open(limits: &Confines) -> Result<Self, Wrong> {
        Self::with(limits, Engine::new)
    }

    /// One that compiles everything anew, for whoever is told what that takes.
    ///
    /// # Errors
    /// As [`Workshop::open`].
    pub fn compiling(limits: &Confines) -> Result<Self, Wrong> {
        let mut limits = limits.clone();
        limits.sandbox.cache_dir = None;
        Self::open(&limits)
    }

    /// One whose plugins count their instructions.
    ///
    /// # Errors
    /// As [`Workshop::open`].
    pub fn counting(limits: &Confines) -> Result<Self, Wrong> {
        Self::with(limits, Engine::counting)
    }

    fn with<E: ToString>(
        limits: &Confines,
        engine: impl FnOnce(&Sandbox, Compiler, &Arc<Memory>, Arc<Metrics>) -> Result<Arc<Engine>, E>,
    ) -> Result<Self, Wrong> {
        let program = std::env::current_exe();
        let compiler = Compiler {
            program: program.map_err(|error| format!("cannot find this program, which compiles plugins: {error}"))?,
            args: vec!["compile".into()],
        };
        let metrics = Arc::new(Metrics::new());
        let memory = Memory::new(limits.memory, Arc::clone(&metrics));
        Ok(Self {
            runtime: runtime()?,
            engine: engine(&limits.sandbox, compiler, &memory, metrics).map_err(|error| error.to_string())?,
            memory,
        })
    }

    /// Compiled and checked against the contract.
    ///
    /// # Errors
    /// Why the gateway would refuse it.
    pub fn load(&self, source: &PluginSource) -> Result<Arc<Plugin>, LoadError> {
        self.runtime.block_on(self.engine.load(source))
    }

    /// `plugin` with settings, for one tenant.
    pub fn subject(&self, plugin: Arc<Plugin>, context: Configured) -> Subject {
        Subject::new(Arc::clone(&self.engine), plugin, context)
    }

    /// What a gateway would say of a tenant with this one policy: everything it does before it takes one into use.
    ///
    /// # Errors
    /// Why it would refuse it.
    pub fn try_out(&self, source: &Arc<PluginSource>, context: &Configured) -> Result<(), String> {
        let policies = [Policy {
            name: source.name.clone(),
            plugin: Arc::clone(source),
            settings: context.settings.clone(),
            on_failure: OnFailure::RefuseSeries,
            mode: Mode::Enforce,
            owner: Owner::Tenant,
            written_at: WrittenAt::default(),
        }];
        let place = Context {
            tenant: context.tenant.clone(),
            upstreams: context.upstreams.clone(),
        };
        let watch = PolicyWatch::new(&self.memory).map_err(|error| error.to_string())?;
        let samples = Arc::new(Samples::new(&watch));
        let built = Chain::build_with(&self.engine, &place, &policies, 1, &samples);
        self.runtime
            .block_on(built)
            .map(drop)
            .map_err(|error| error.fault.to_string())
    }
}

/// For what is waited for: the compiling child, and the threads of plugins.
///
/// # Errors
/// If the system gives no threads.
pub fn runtime() -> Result<Runtime, Wrong> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("cannot start: {error}"))
}
