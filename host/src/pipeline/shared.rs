//! What all generations share.
//!
//! Takes the configuration the process began with, gives what outlives every reload and belongs to no one tenant. What
//! belongs to one is in its account.

use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::tap::Tap;
use crate::auth::VerifiedPasswords;
use crate::chain::PolicyWatch;
use crate::config::Config;
use crate::forward::Upstreams;
use crate::judge::MemoClock;
use crate::judge::memo::Memos;
use crate::limits::{InFlight, Turns};
use crate::memory::Memory;
use crate::refusals::LastRefusals;
use crate::sandbox::{Compiler, Engine, EngineError};
use crate::telemetry::{AccessLog, Metrics, Throttles};
use crate::traces::Tracer;
use crate::wire::{HashKey, NoRandomness};

/// One per process.
pub struct Shared {
    pub metrics: Arc<Metrics>,
    pub memory: Arc<Memory>,
    pub memos: Arc<Memos>,
    /// What policies are watched with.
    pub watch: Arc<PolicyWatch>,
    pub engine: Arc<Engine>,
    pub upstreams: Arc<Upstreams>,
    pub in_flight: Arc<InFlight>,
    pub turns: Turns,
    pub verified: VerifiedPasswords,
    pub hash_key: Arc<HashKey>,
    pub clock: MemoClock,
    pub tap: Arc<Tap>,
    /// Set once, at the start, if there is one.
    pub access_log: OnceLock<AccessLog>,
    pub tracer: Arc<Tracer>,
    pub requests: AtomicU64,
    /// Which requests that proved no tenant are told, by network and reason.
    pub strangers: Throttles<(IpAddr, &'static str)>,
    pub refused: Arc<LastRefusals>,
}

/// One line for one reason and network in this time, and as many of them.
const TELL_EVERY: Duration = Duration::from_secs(60);
const MAX_STRANGERS: usize = 256;

/// What the system does not give, without which no generation can be built.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    #[error("cannot find this program, which compiles plugins: {0}")]
    Program(std::io::Error),
}

impl Shared {
    /// # Errors
    /// See [`SharedError`].
    pub fn new(config: &Config) -> Result<Arc<Self>, SharedError> {
        let compiler = Compiler {
            program: std::env::current_exe().map_err(SharedError::Program)?,
            args: vec!["compile".into()],
        };
        let metrics = Arc::new(Metrics::new());
        let memory_limit = config.memory_limit();
        let memory = Memory::new(memory_limit, Arc::clone(&metrics));
        let max_requests = config.remote_write.max_concurrent_requests;
        let in_flight = InFlight::new(
            Arc::clone(&metrics),
            Arc::clone(&memory),
            config.max_in_flight_size(memory_limit),
            max_requests,
        );
        Ok(Arc::new(Self {
            memos: Memos::new(&memory, &metrics),
            watch: PolicyWatch::new(&memory)?,
            engine: Engine::new(&config.sandbox, compiler, &memory, Arc::clone(&metrics))?,
            memory,
            upstreams: Upstreams::new(Arc::clone(&metrics), max_sends(config)),
            turns: Turns::new(Arc::clone(&in_flight)),
            in_flight,
            verified: VerifiedPasswords::new(),
            hash_key: Arc::new(HashKey::random()?),
            clock: MemoClock::start(),
            tap: Arc::default(),
            access_log: OnceLock::new(),
            tracer: Tracer::new(Arc::clone(&metrics)),
            requests: AtomicU64::new(0),
            strangers: Throttles::new(1, TELL_EVERY, MAX_STRANGERS),
            refused: Arc::default(),
            metrics,
        }))
    }

    /// Takes up what a new configuration says of them all.
    pub fn set_limits(&self, config: &Config) {
        let memory_limit = config.memory_limit();
        let max_requests = config.remote_write.max_concurrent_requests;
        self.memory.set_limit(memory_limit);
        self.in_flight
            .set_limits(config.max_in_flight_size(memory_limit), max_requests);
        self.upstreams.set_max_sends(max_sends(config));
    }
}

/// How many requests to all upstreams there may be at once: each write sends one to each upstream of its tenant at most. A
/// single upstream has nobody to leave any to.
fn max_sends(config: &Config) -> usize {
    if config.upstreams.len() <= 1 {
        return usize::MAX;
    }
    let of_tenants = config.tenants.values().map(|tenant| tenant.upstreams.len());
    let of_a_write = of_tenants.max().unwrap_or(1).max(1);
    config.remote_write.max_concurrent_requests.saturating_mul(of_a_write)
}
