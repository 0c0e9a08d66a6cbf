//! Judging a write: memo first, the chain for what the memo does not know, host checks on everything.
//!
//! Takes a [`Framed`] body, has those of its series proved that were never met before, gives [`Judged`]: the body with
//! the fate of each series. A `Judged` can be made only here, so nothing reaches encoding that was not judged. Then asks
//! the policies that judge whole writes, and gives one answer: [`Admission`]. Never forwards, never charges.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use crate::chain::{Batch, CallError, Chain, Charge, Decision, Route, Settle, Terms, Write};
use crate::config;
use crate::model::{Protocol, TenantId};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::TenantLabels;
use crate::wire::{AsIs, Framed, HashKey, Proof, ProvedHash, Recognised, ScanError, Scanned, Series, heavy};

mod law;
pub mod memo;
mod tally;
pub mod verdict;
mod words;

#[cfg(test)]
mod tests;

use law::Law;
use memo::{Bounds, Found, Memo, NewSeries, NewVerdict, TICK_SECONDS};
use tally::tally;
pub use tally::{Dropped, Refused, Tally};
pub use verdict::Bug;
use verdict::{Edits, Fate, Verdict};
pub use words::{Blame, DropWords};

/// What is known of one series of a write.
const SERIES_BYTES: u64 =
    (size_of::<Series>() + size_of::<ProvedHash>() + size_of::<Fate>() + size_of::<usize>()) as u64;
/// While policies are asked about one, besides its labels: its place among the others, what a policy says, a verdict.
const NEW_SERIES_BYTES: u64 = 128;
/// Memo bytes per series that may be active: an entry (58) and the labels of an edited one (about 300).
const MEMO_BYTES_PER_SERIES: u64 = 384;
/// A tenant with a tiny series limit still remembers what it drops.
const MIN_MEMO_BYTES: u64 = 4 << 20;
/// No tenant's memo grows past this, whatever its series limit: 64-bit counts, but one machine's memory.
const MAX_MEMO_BYTES: u64 = 1 << 30;
/// Storing the verdicts of this many series takes some 50 us under one lock, then others get the thread.
const STORED_PER_TURN: usize = 256;
/// Looking this many series up takes about 300 us, then others get the thread; twice what Prometheus sends at once.
const LOOK_UPS_PER_TURN: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Bug(#[from] Bug),
}

impl JudgeError {
    /// The metric's `reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Call(CallError::Failed { .. }) => "policy_failed",
            Self::Call(CallError::Quarantined { .. }) => "policy_quarantined",
            Self::Call(CallError::Overloaded) => "policy_overloaded",
            Self::Bug(_) | Self::Call(CallError::Lost) => "bug",
        }
    }

    /// It is this program's own fault, and nobody's who wrote or configured anything.
    pub fn is_bug(&self) -> bool {
        matches!(self, Self::Bug(_) | Self::Call(CallError::Lost))
    }

    /// How long the same write would meet the same failure, as far as that is known.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Call(CallError::Quarantined { retry_after, .. }) => *retry_after,
            _ => Duration::from_secs(1),
        }
    }
}

/// Minutes since the process began, for the memo.
#[derive(Debug, Clone, Copy)]
pub struct MemoClock(Instant);

impl MemoClock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn tick(&self) -> u16 {
        (self.0.elapsed().as_secs() / TICK_SECONDS) as u16
    }
}

/// One generation of one tenant's policies, with the memo that outlives it.
pub struct Judge {
    tenant: TenantId,
    chain: Chain,
    law: Arc<Law>,
    /// The law, as the chain applies it.
    settle: Settle<Result<Verdict, Bug>>,
    memo: Arc<Memo>,
    key: Arc<HashKey>,
    clock: MemoClock,
    generation: u16,
    memo_budget: usize,
    max_active_series: u64,
    metrics: Arc<Metrics>,
    hits: Counter,
    misses: Counter,
}

/// A write whose every series is proved, with what is known of each.
pub struct Recalled {
    series: Recognised,
    memory: Memory,
}

#[derive(Default)]
struct Memory {
    fates: Vec<Fate>,
    edits: Edits,
    new: NewSeries,
}

/// A write with the fate of each of its series.
pub struct Judged {
    scanned: Scanned,
    fates: Vec<Fate>,
    edits: Edits,
    new: NewSeries,
    pub tally: Tally,
}

/// Who sent a write, and how: what policies are told of it besides its series.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// What the credential proved; empty for a bearer token.
    pub subject: &'a str,
    pub protocol: Protocol,
    pub compressed_bytes: u64,
}

/// What the policies that judge writes say of one.
#[derive(Debug)]
pub enum Admission {
    Admit(Admitted),
    /// For good. The reason is fit to be shown to the sender.
    Reject {
        reason: Arc<str>,
    },
}

/// What a write is admitted under, and which streams it has.
#[derive(Debug)]
pub struct Admitted {
    streams: Vec<Arc<str>>,
    /// `None` if no policy asks for anything.
    terms: Option<Arc<Terms>>,
}

impl Admitted {
    /// The streams' names, by the numbers that [`Tally::streams`] has them under.
    pub fn streams(&self) -> &[Arc<str>] {
        &self.streams
    }

    pub fn charges(&self) -> &[Charge] {
        self.terms.as_ref().map_or(&[], |terms| &terms.charges)
    }

    pub fn routes(&self) -> &[Route] {
        self.terms.as_ref().map_or(&[], |terms| &terms.routes)
    }
}

impl Recalled {
    pub fn scanned(&self) -> &Scanned {
        self.series.scanned()
    }

    /// Bytes of memory that it takes besides its body until it is judged: of each series its place, hash and fate, of each
    /// that is not known what policies make of it as well.
    pub fn size(&self) -> u64 {
        let scanned = self.scanned();
        let (all, new) = (scanned.series().len() as u64, self.series.unknown().len() as u64);
        let labels = scanned.body().len() as u64 * new / all.max(1);
        all * SERIES_BYTES + new * NEW_SERIES_BYTES + labels
    }
}

impl Judged {
    pub fn scanned(&self) -> &Scanned {
        &self.scanned
    }

    /// In the order of the scanned series.
    pub fn fates(&self) -> &[Fate] {
        &self.fates
    }

    /// The labels of the edited series.
    pub fn edits(&self) -> &Edits {
        &self.edits
    }

    /// Every series is forwarded under the labels it came with.
    pub fn all_kept(&self) -> bool {
        self.tally.edited.series == 0 && self.tally.dropped.is_empty() && self.tally.refused.is_empty()
    }
}

impl Judge {
    pub fn new(
        tenant: &config::Tenant,
        chain: Chain,
        memo: Arc<Memo>,
        generation: u16,
        key: Arc<HashKey>,
        clock: MemoClock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let budget = tenant.limits.max_active_series.saturating_mul(MEMO_BYTES_PER_SERIES);
        let labels = TenantLabels {
            tenant: tenant.id.to_string(),
        };
        let law = Arc::new(Law::new(tenant));
        let applied = law.clone();
        Self {
            tenant: tenant.id.clone(),
            chain,
            law,
            settle: Arc::new(move |sent, outcome| applied.verdict(sent, outcome)),
            memo,
            key,
            clock,
            generation,
            memo_budget: budget.clamp(MIN_MEMO_BYTES, MAX_MEMO_BYTES) as usize,
            max_active_series: tenant.limits.max_active_series,
            hits: metrics.memo_hits.get_or_create_owned(&labels),
            misses: metrics.memo_misses.get_or_create_owned(&labels),
            metrics,
        }
    }

    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Series of this tenant let through lately.
    pub fn active_series(&self) -> u64 {
        self.memo.stats(self.clock.tick()).active_series
    }

    /// Looks every series up, and has those proved that are not known.
    ///
    /// # Errors
    /// If the body is none. See [`ScanError`].
    pub async fn recall(&self, mut framed: Framed) -> Result<Recalled, ScanError> {
        loop {
            let memory = self.look_up(&mut framed).await;
            match heavy(framed.size(), || framed.prove(&self.key))? {
                Proof::AsFramed(series) => return Ok(Recalled { series, memory }),
                // All of it is proved by now: the next round is the last.
                Proof::Otherwise(proved) => framed = proved,
            }
        }
    }

    async fn look_up(&self, framed: &mut Framed) -> Memory {
        let bounds = self.bounds();
        let count = framed.series().len();
        let mut memory = Memory {
            fates: Vec::with_capacity(count),
            ..Memory::default()
        };
        for turn in 0..count.div_ceil(LOOK_UPS_PER_TURN) {
            if turn > 0 {
                tokio::task::yield_now().await;
            }
            let found = &mut Found {
                fates: &mut memory.fates,
                edits: &mut memory.edits,
            };
            let mut asked = framed.ask(&self.key, LOOK_UPS_PER_TURN);
            self.memo.look_up(&mut asked, &bounds, &mut memory.new, found);
        }
        memory
    }

    /// Gives every series its fate.
    ///
    /// # Errors
    /// If a policy failed and its `on_failure` is `retry`. Nothing was decided then.
    pub async fn judge(&self, recalled: Recalled) -> Result<Judged, JudgeError> {
        let Recalled { series, mut memory } = recalled;
        let (all, misses) = (memory.fates.len(), series.unknown().len());
        self.hits.inc_by((all - misses) as u64);
        if misses > 0 {
            self.misses.inc_by(misses as u64);
            self.judge_new(&series, &mut memory).await?;
        }
        let scanned = series.into_scanned();
        let Memory { fates, edits, new } = memory;
        if fates.len() != scanned.series().len() {
            return Err(Bug::NoVerdict.into());
        }
        let tally = tally(&scanned, &fates, self.law.words())?;
        Ok(Judged {
            scanned,
            fates,
            edits,
            new,
            tally,
        })
    }

    /// Asks the policies that judge whole writes. What they ask for is the caller's to route and to charge, and then
    /// [`Judge::admitted`] is to be called.
    ///
    /// # Errors
    /// If a policy failed and its `on_failure` is `retry`.
    pub async fn admit(&self, judged: &Judged, origin: &Origin<'_>) -> Result<Admission, JudgeError> {
        let streams = self.law.words().streams(judged.tally.streams.len())?;
        if !self.chain.judges_writes() {
            return Ok(Admission::Admit(Admitted { streams, terms: None }));
        }
        let new_series = judged.new.len();
        let write = Write {
            subject: origin.subject.to_owned(),
            protocol: origin.protocol,
            compressed_bytes: origin.compressed_bytes,
            decoded_bytes: judged.scanned.body().len() as u64,
            active_series: self.active_series() + new_series,
            new_series,
            streams: streams
                .iter()
                .cloned()
                .zip(judged.tally.streams.iter().copied())
                .collect(),
        };
        Ok(match self.chain.admit(write).await? {
            Decision::Reject { reason, .. } => Admission::Reject { reason },
            Decision::Admit(terms) => Admission::Admit(Admitted {
                streams,
                terms: Some(terms),
            }),
        })
    }

    /// Takes an admitted write's new series into the active set. Those for which other writes have left no room since
    /// are refused after all.
    ///
    /// # Errors
    /// None but a [`Bug`].
    pub fn admitted(&self, judged: &mut Judged) -> Result<(), JudgeError> {
        let over = self
            .memo
            .activate(&judged.new, self.clock.tick(), self.max_active_series);
        if over.is_empty() {
            return Ok(());
        }
        let scanned = &judged.scanned;
        for (series, fate) in scanned.series().iter().zip(&mut judged.fates) {
            if over.contains(&self.key.hash(scanned.label_bytes(series))) {
                *fate = Fate::OverActiveSeries;
            }
        }
        judged.tally = tally(scanned, &judged.fates, self.law.words())?;
        Ok(())
    }

    /// Publishes what the memo holds. Called when metrics are read, not per request.
    pub fn publish(&self) {
        let stats = self.memo.stats(self.clock.tick());
        let labels = TenantLabels {
            tenant: self.tenant.to_string(),
        };
        self.metrics
            .active_series
            .get_or_create(&labels)
            .set(stats.active_series as i64);
        self.metrics
            .memo_entries
            .get_or_create(&labels)
            .set(stats.entries as i64);
        self.metrics.memo_bytes.get_or_create(&labels).set(stats.bytes as i64);
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            generation: self.generation,
            tick: self.clock.tick(),
            max_active_series: self.max_active_series,
        }
    }

    async fn judge_new(&self, series: &Recognised, memory: &mut Memory) -> Result<(), JudgeError> {
        let (scanned, misses) = (series.scanned(), series.unknown());
        // A series that comes twice in one write is judged once: its second verdict could be another one.
        let mut first: HashMap<ProvedHash, usize, AsIs> =
            HashMap::with_capacity_and_hasher(misses.len(), AsIs::default());
        let mut distinct = Vec::with_capacity(misses.len());
        // Of each miss, its place among the distinct ones.
        let places: Vec<usize> = misses
            .iter()
            .map(|&i| {
                *first.entry(series.hash(i)).or_insert_with(|| {
                    distinct.push(i);
                    distinct.len() - 1
                })
            })
            .collect();
        let body = scanned.body();
        let ranges = distinct
            .iter()
            .map(|&i| {
                let range = scanned.series()[i].labels_range();
                range.start as u32..range.end as u32
            })
            .collect();
        let batch = Batch {
            body: body.clone(),
            labels: ranges,
        };
        let relabelled = self.chain.relabel_and(batch, self.settle.clone()).await?;
        let bounds = self.bounds();
        let (new, edits) = (&mut memory.new, &mut memory.edits);
        new.reserve(distinct.len());
        let mut fates = Vec::with_capacity(distinct.len());
        let mut verdicts = relabelled.outcomes.into_iter();
        for (turn, some) in distinct.chunks(STORED_PER_TURN).enumerate() {
            if turn > 0 {
                tokio::task::yield_now().await;
            }
            let verdicts = some.iter().zip(&mut verdicts).map(|(&i, verdict)| {
                Ok(NewVerdict {
                    hash: series.hash(i),
                    sent: &body[scanned.series()[i].labels_range()],
                    verdict: verdict?,
                })
            });
            let verdicts = verdicts.collect::<Result<Vec<_>, Bug>>()?;
            let (cacheable, budget) = (relabelled.cacheable, self.memo_budget);
            self.memo
                .store(&verdicts, cacheable, &bounds, budget, new, |verdict, may_pass| {
                    fates.push(match may_pass {
                        true => edits.fate(verdict),
                        false => Fate::OverActiveSeries,
                    });
                });
        }
        for (&i, &place) in misses.iter().zip(&places) {
            memory.fates[i] = *fates.get(place).ok_or(Bug::NoVerdict)?;
        }
        Ok(())
    }
}
