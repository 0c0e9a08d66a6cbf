//! Judging a write: memo first, the chain for what the memo does not know, host checks on everything.
//!
//! Takes a [`Framed`] body, has those of its series proved that were never met before, gives [`Judged`]: the body with
//! the fate of each series. A `Judged` can be made only here, so nothing reaches encoding that was not judged. Never
//! forwards, never charges.
//!
//! Long because a verdict's way through memo, chain and host checks is read in one piece.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use crate::chain::{Batch, CallError, Chain, Decision, Outcome, Write};
use crate::config;
use crate::model::{Label, TenantId};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::TenantLabels;
use crate::wire::labels::encode_labels;
use crate::wire::{AsIs, Framed, HashKey, Proof, ProvedHash, Recognised, ScanError, Scanned, heavy};

pub mod law;
pub mod memo;
mod tally;
pub mod verdict;

use law::{Checked, HostChecks};
use memo::{Bounds, Found, Memo, NewSeries, NewVerdict, TICK_SECONDS};
use verdict::{DropId, Edits, Fate, StreamId, Verdict};

pub use tally::Tally;
use tally::tally;

/// Streams one tenant's policies may name: each may become a request of its own.
pub const MAX_STREAMS: usize = 64;
/// Drop reasons counted apart per tenant; later ones are counted as `other`.
pub const MAX_DROP_REASONS: usize = 200;
const MAX_DROP_REASON_BYTES: usize = 64;
/// Memo bytes per series that may be active: an entry (58) and the labels of an edited one (about 300).
const MEMO_BYTES_PER_SERIES: u64 = 384;
/// A tenant with a tiny series limit still remembers what it drops.
const MIN_MEMO_BYTES: u64 = 4 << 20;
/// No tenant's memo grows past this, whatever its series limit: 64-bit counts, but one machine's memory.
const MAX_MEMO_BYTES: u64 = 1 << 30;
/// Host checks of this many series take about 50 us, then others get the thread.
const CHECKS_PER_TURN: usize = 64;
/// Looking this many series up takes about 300 us, then others get the thread; twice what Prometheus sends at once.
const LOOK_UPS_PER_TURN: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("policies named more than {MAX_STREAMS} streams")]
    TooManyStreams,
}

impl JudgeError {
    /// The metric's `reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Call(CallError::Failed { .. }) => "policy_failed",
            Self::Call(CallError::Quarantined { .. }) => "policy_quarantined",
            Self::Call(CallError::Overloaded | CallError::Lost) => "policy_overloaded",
            Self::TooManyStreams => "policy_streams",
        }
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
pub struct Clock(Instant);

impl Clock {
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
    checks: HostChecks,
    memo: Arc<Memo>,
    key: Arc<HashKey>,
    clock: Clock,
    generation: u16,
    memo_budget: usize,
    max_active_series: u64,
    words: RwLock<Words>,
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

impl Recalled {
    pub fn scanned(&self) -> &Scanned {
        self.series.scanned()
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

    pub fn new_series(&self) -> u64 {
        self.new.len()
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
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let budget = tenant.limits.max_active_series.saturating_mul(MEMO_BYTES_PER_SERIES);
        let labels = TenantLabels {
            tenant: tenant.id.to_string(),
        };
        Self {
            tenant: tenant.id.clone(),
            chain,
            checks: HostChecks::new(tenant),
            memo,
            key,
            clock,
            generation,
            memo_budget: budget.clamp(MIN_MEMO_BYTES, MAX_MEMO_BYTES) as usize,
            max_active_series: tenant.limits.max_active_series,
            words: RwLock::new(Words::default()),
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
    /// Where the body is none. See [`ScanError`].
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
    /// Where a policy failed and its `on_failure` is `retry`. Nothing was decided then.
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
        let tally = tally(&scanned, &fates);
        Ok(Judged {
            scanned,
            fates,
            edits,
            new,
            tally,
        })
    }

    /// Asks the policies that judge whole writes.
    ///
    /// # Errors
    /// Where a policy failed and its `on_failure` is `retry`.
    pub async fn admit(&self, write: Write) -> Result<Arc<Decision>, JudgeError> {
        Ok(self.chain.admit(write).await?)
    }

    /// Takes an admitted write's new series into the active set. Those for which other writes have left no room since
    /// are refused after all.
    pub fn admitted(&self, judged: &mut Judged) {
        let over = self
            .memo
            .activate(&judged.new, self.clock.tick(), self.max_active_series);
        if over.is_empty() {
            return;
        }
        let scanned = &judged.scanned;
        for (series, fate) in scanned.series().iter().zip(&mut judged.fates) {
            if over.contains(&self.key.hash(scanned.label_bytes(series))) {
                *fate = Fate::OverActiveSeries;
            }
        }
        judged.tally = tally(scanned, &judged.fates);
    }

    pub fn stream_name(&self, id: StreamId) -> Arc<str> {
        let words = self.words.read().unwrap_or_else(PoisonError::into_inner);
        words
            .streams
            .get(usize::from(id))
            .cloned()
            .unwrap_or_else(|| Arc::from(""))
    }

    /// Policy name and reason of a drop.
    pub fn drop_words(&self, id: DropId) -> (Arc<str>, Arc<str>) {
        let words = self.words.read().unwrap_or_else(PoisonError::into_inner);
        match words.drops.get(usize::from(id)) {
            Some((policy, reason)) => (self.policy_name(*policy), Arc::clone(reason)),
            None => (Arc::from(""), Arc::from("other")),
        }
    }

    pub fn policy_name(&self, index: usize) -> Arc<str> {
        self.chain
            .policies()
            .nth(index)
            .map_or_else(|| Arc::from(""), |policy| Arc::clone(&policy.name))
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
        let relabelled = self
            .chain
            .relabel(Batch {
                body: body.clone(),
                labels: ranges,
            })
            .await?;
        let bounds = self.bounds();
        let (new, edits) = (&mut memory.new, &mut memory.edits);
        new.reserve(distinct.len());
        let mut fates = Vec::with_capacity(distinct.len());
        let mut outcomes = relabelled.outcomes.into_iter();
        for (turn, some) in distinct.chunks(CHECKS_PER_TURN).enumerate() {
            if turn > 0 {
                tokio::task::yield_now().await;
            }
            let verdicts = some.iter().zip(&mut outcomes).map(|(&i, outcome)| {
                let sent = &body[scanned.series()[i].labels_range()];
                Ok(NewVerdict {
                    hash: series.hash(i),
                    sent,
                    verdict: self.host_check(sent, outcome)?,
                })
            });
            let verdicts = verdicts.collect::<Result<Vec<_>, JudgeError>>()?;
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
            memory.fates[i] = fates.get(place).copied().unwrap_or(Fate::OverActiveSeries);
        }
        Ok(())
    }

    fn host_check(&self, sent: &[u8], outcome: Outcome) -> Result<Verdict, JudgeError> {
        let (edited, stream) = match outcome {
            Outcome::Drop { policy, reason } => {
                return Ok(Verdict::Drop {
                    reason: self.drop_id(policy, &reason),
                });
            }
            Outcome::Keep { stream } => (None, stream),
            Outcome::Edit { labels, stream } => (Some(labels), stream),
        };
        let stream = match stream {
            Some(name) => self.stream_id(&name)?,
            None => 0,
        };
        let checked = match edited {
            None => self.checks.check_sent(sent),
            Some(labels) => match self.checks.check_edited(labels) {
                Ok(labels) => Checked::Labels(labels),
                Err(refusal) => Checked::Refused(refusal),
            },
        };
        Ok(match checked {
            Checked::AsSent => Verdict::Keep { stream },
            Checked::Refused(refusal) => Verdict::Reject {
                refusal: refusal.code(),
            },
            Checked::Labels(labels) => {
                let bytes = encode(&labels);
                // A plugin that returns what it was given has kept the series.
                match bytes == sent {
                    true => Verdict::Keep { stream },
                    false => Verdict::Edit { labels: bytes, stream },
                }
            }
        })
    }

    fn stream_id(&self, name: &str) -> Result<StreamId, JudgeError> {
        let known = |words: &Words| words.streams.iter().position(|stream| **stream == *name);
        if let Some(id) = known(&self.words.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(id as StreamId);
        }
        let mut words = self.words.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = known(&words) {
            return Ok(id as StreamId);
        }
        if words.streams.len() >= MAX_STREAMS {
            return Err(JudgeError::TooManyStreams);
        }
        words.streams.push(Arc::from(name));
        Ok((words.streams.len() - 1) as StreamId)
    }

    fn drop_id(&self, policy: usize, reason: &str) -> DropId {
        let reason = bounded(reason);
        let known = |words: &Words, reason: &str| {
            words
                .drops
                .iter()
                .position(|(by, why)| *by == policy && **why == *reason)
        };
        if let Some(id) = known(&self.words.read().unwrap_or_else(PoisonError::into_inner), reason) {
            return id as DropId;
        }
        let mut words = self.words.write().unwrap_or_else(PoisonError::into_inner);
        // `other` is added past the bound, once per policy, so a flood of reasons hides no policy.
        let reason = if words.drops.len() < MAX_DROP_REASONS {
            reason
        } else {
            "other"
        };
        known(&words, reason).unwrap_or_else(|| {
            words.drops.push((policy, Arc::from(reason)));
            words.drops.len() - 1
        }) as DropId
    }
}

fn encode(labels: &[Label]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_labels(
        labels.iter().map(|label| (label.name.as_str(), label.value.as_str())),
        &mut bytes,
    );
    bytes
}

fn bounded(reason: &str) -> &str {
    match reason
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .take_while(|end| *end <= MAX_DROP_REASON_BYTES)
        .last()
    {
        Some(end) => &reason[..end],
        None => "unnamed",
    }
}

/// The streams and drop reasons that this generation's verdicts stand for.
struct Words {
    streams: Vec<Arc<str>>,
    drops: Vec<(usize, Arc<str>)>,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            streams: vec![Arc::from("")],
            drops: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_reason_is_cut_at_a_character_within_64_bytes() {
        assert_eq!(bounded("go_runtime"), "go_runtime");
        assert_eq!(bounded(&"é".repeat(40)), "é".repeat(32));
        assert_eq!(bounded(&"a".repeat(64)), "a".repeat(64));
        assert_eq!(bounded(&"a".repeat(65)), "a".repeat(64));
        assert_eq!(bounded(""), "unnamed");
    }
}
