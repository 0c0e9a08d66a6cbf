//! Token buckets: the rates that policies charge writes against.
//!
//! Takes a list of withdrawals and the time; gives all the tokens asked for or none. Buckets are kept apart from the
//! policies that name them, so that neither a reload nor a new plugin instance refills those of a tenant that stays.
//! Never reads a clock.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::chain::Charge;

/// Buckets one tenant may have at once. A standard `limits` policy needs four; a plugin that makes up names (one per
/// series, say) would otherwise turn charges into a leak.
pub const MAX_BUCKETS_PER_TENANT: usize = 64;

/// Longest advice given. A bucket that never refills would otherwise say "never" in seconds.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Longest bucket name, in bytes: names are kept outside the sandbox's memory bound.
pub const MAX_BUCKET_NAME_LENGTH: usize = 128;

/// A full bucket that nobody charged for this long is forgotten: making it anew gives the same bucket.
const IDLE_AFTER: Duration = Duration::from_secs(600);

/// Any bucket that nobody charged for this long is forgotten, full or not: its policy no longer names it, and one that
/// refills slowly or never would hold one of the tenant's few places for ever.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Longest that one who is told to wait is told to wait for others, who were told before. Those who do not wait for as long
/// as they are told push on what others are told, and must not push it far.
const LONGEST_FOR_OTHERS: Duration = Duration::from_secs(5);

/// Tokens that may be missing by rounding, so that a sender who waits exactly as long as it was told passes.
const ROUNDING: f64 = 1e-6;

/// One withdrawal that a write has to make before it is forwarded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Withdrawal<'a> {
    /// The policy's name within the tenant's chain. Two policies with one bucket name have two buckets.
    pub policy: &'a str,
    pub bucket: &'a str,
    pub tokens: u64,
    /// Refill. 0 never refills.
    pub per_second: f64,
    /// Most tokens the bucket holds.
    pub burst: u64,
}

impl<'a> From<&'a Charge> for Withdrawal<'a> {
    fn from(charge: &'a Charge) -> Self {
        Self {
            policy: &charge.policy,
            bucket: &charge.bucket,
            tokens: charge.tokens,
            per_second: charge.per_second,
            burst: charge.burst,
        }
    }
}

/// A bucket had too little.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bucket {bucket:?} of policy {policy:?} is empty")]
pub struct EmptyBucket {
    pub policy: String,
    pub bucket: String,
    /// Until the bucket holds what was asked for, and had time to pay those who were told to wait before, as far as that is
    /// not much longer. At most [`MAX_RETRY_AFTER`].
    pub retry_after: Duration,
}

/// Why a list of charges was not made. Nothing was charged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChargeError {
    #[error(transparent)]
    Empty(#[from] EmptyBucket),
    /// The rate is no finite number or below zero: the plugin's fault.
    #[error("bucket {bucket:?} of policy {policy:?} has no usable rate")]
    Rate { policy: String, bucket: String },
    /// The plugin's fault too.
    #[error("policy {policy:?} names a bucket with more than {MAX_BUCKET_NAME_LENGTH} bytes")]
    NameTooLong { policy: String },
    /// The plugin's fault too.
    #[error("policy {policy:?} asks for more than {MAX_BUCKETS_PER_TENANT} buckets")]
    TooManyBuckets { policy: String },
}

impl ChargeError {
    /// A plugin's fault is for ever.
    fn wait(&self) -> Duration {
        match self {
            Self::Empty(empty) => empty.retry_after,
            Self::Rate { .. } | Self::NameTooLong { .. } | Self::TooManyBuckets { .. } => Duration::MAX,
        }
    }
}

/// A bucket as operators see it.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketLevel {
    pub policy: String,
    pub bucket: String,
    /// Between 0 and `burst`.
    pub tokens: f64,
    pub per_second: f64,
    pub burst: f64,
}

/// One tenant's buckets.
#[derive(Debug, Default)]
pub struct Buckets(Mutex<ByName>);

#[derive(Debug, Clone, Default)]
struct ByName {
    buckets: HashMap<Name, Bucket>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    policy: String,
    bucket: String,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Between 0 and `burst`.
    tokens: f64,
    per_second: f64,
    burst: f64,
    filled_at: Instant,
    charged_at: Instant,
    /// When all who were told to wait could be paid, one after the other.
    told_until: Instant,
}

impl Buckets {
    /// Makes all of `charges`, in order, or none: what the first ones took is given back when a later one is refused,
    /// so that a write refused by its tenant's wide limit does not eat its narrow one.
    ///
    /// A charge above its bucket's burst takes the whole burst, so that a big write waits for a full bucket rather
    /// than being refused for ever. A burst of 0 therefore lets everything pass that costs nothing and refuses the
    /// rest.
    ///
    /// # Errors
    /// [`ChargeError::Empty`] for the bucket that takes the longest to hold enough; the others are the plugin's faults.
    pub fn charge(&self, charges: &[Withdrawal<'_>], now: Instant) -> Result<(), ChargeError> {
        if charges.is_empty() {
            return Ok(());
        }
        self.locked().charge(charges, now)
    }

    /// What [`Buckets::charge`] would say. Nothing is taken.
    ///
    /// # Errors
    /// As [`Buckets::charge`].
    pub fn would_charge(&self, charges: &[Withdrawal<'_>], now: Instant) -> Result<(), ChargeError> {
        let mut copy = self.locked().clone();
        copy.charge(charges, now)
    }

    /// Forgets full buckets that were not charged for ten minutes.
    pub fn forget_idle(&self, now: Instant) {
        self.locked().forget_idle(now);
    }

    /// What is in each now, by policy and bucket.
    pub fn levels(&self, now: Instant) -> Vec<BucketLevel> {
        let all = self.locked().clone().buckets;
        let level = |(name, mut bucket): (Name, Bucket)| {
            bucket.refill(now);
            BucketLevel {
                policy: name.policy,
                bucket: name.bucket,
                tokens: bucket.tokens,
                per_second: bucket.per_second,
                burst: bucket.burst,
            }
        };
        let mut levels: Vec<BucketLevel> = all.into_iter().map(level).collect();
        levels.sort_by(|a, b| (&a.policy, &a.bucket).cmp(&(&b.policy, &b.bucket)));
        levels
    }

    pub fn len(&self) -> usize {
        self.locked().buckets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nothing here panics while it holds the lock, and a count that is off by one write is better than a dead process.
    fn locked(&self) -> MutexGuard<'_, ByName> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ByName {
    fn charge(&mut self, charges: &[Withdrawal<'_>], now: Instant) -> Result<(), ChargeError> {
        // What is wrong in itself is found before anything is taken or made.
        if let Some(bad) = charges.iter().find(|c| c.bucket.len() > MAX_BUCKET_NAME_LENGTH) {
            return Err(ChargeError::NameTooLong {
                policy: bad.policy.to_owned(),
            });
        }
        if let Some(bad) = charges.iter().find(|c| !c.per_second.is_finite() || c.per_second < 0.0) {
            return Err(ChargeError::Rate {
                policy: bad.policy.to_owned(),
                bucket: bad.bucket.to_owned(),
            });
        }
        let mut taken: Vec<(Name, f64)> = Vec::with_capacity(charges.len());
        let mut refused: Option<ChargeError> = None;
        for charge in charges {
            match self.take(charge, now) {
                Ok(withdrawal) => taken.push(withdrawal),
                // Whoever waits for this one alone would come back to be told of the next.
                Err(refusal) if refused.as_ref().is_none_or(|refused| refused.wait() < refusal.wait()) => {
                    refused = Some(refusal);
                }
                Err(_) => {}
            }
        }
        let Some(refused) = refused else {
            return Ok(());
        };
        for (name, tokens) in taken {
            if let Some(bucket) = self.buckets.get_mut(&name) {
                bucket.tokens = (bucket.tokens + tokens).min(bucket.burst);
            }
        }
        Err(refused)
    }

    fn take(&mut self, charge: &Withdrawal<'_>, now: Instant) -> Result<(Name, f64), ChargeError> {
        let name = Name {
            policy: charge.policy.to_owned(),
            bucket: charge.bucket.to_owned(),
        };
        if !self.buckets.contains_key(&name) && self.buckets.len() >= MAX_BUCKETS_PER_TENANT {
            self.forget_idle(now);
            if self.buckets.len() >= MAX_BUCKETS_PER_TENANT {
                return Err(ChargeError::TooManyBuckets { policy: name.policy });
            }
        }
        let bucket = self
            .buckets
            .entry(name.clone())
            .or_insert_with(|| Bucket::full(charge, now));
        bucket.set_rate(charge, now);
        match bucket.take(charge.tokens, now) {
            Ok(tokens) => Ok((name, tokens)),
            Err(retry_after) => Err(ChargeError::Empty(EmptyBucket {
                policy: name.policy,
                bucket: name.bucket,
                retry_after,
            })),
        }
    }

    fn forget_idle(&mut self, now: Instant) {
        self.buckets.retain(|_, bucket| {
            bucket.refill(now);
            let idle = now.saturating_duration_since(bucket.charged_at);
            idle < IDLE_AFTER || (bucket.tokens < bucket.burst && idle < ABANDONED_AFTER)
        });
    }
}

impl Bucket {
    fn full(charge: &Withdrawal<'_>, now: Instant) -> Self {
        let burst = charge.burst as f64;
        Self {
            tokens: burst,
            per_second: charge.per_second,
            burst,
            filled_at: now,
            charged_at: now,
            told_until: now,
        }
    }

    /// The time up to now is paid at the old rate, the time from now on at the new one; what is in the bucket stays,
    /// as far as it fits. A larger burst therefore starts with what was there and fills at the refill rate.
    fn set_rate(&mut self, charge: &Withdrawal<'_>, now: Instant) {
        self.refill(now);
        self.per_second = charge.per_second;
        self.burst = charge.burst as f64;
        self.tokens = self.tokens.min(self.burst);
    }

    fn refill(&mut self, now: Instant) {
        // Threads may bring times in another order than they read them: an older time refills nothing.
        let elapsed = now.saturating_duration_since(self.filled_at);
        self.tokens = elapsed
            .as_secs_f64()
            .mul_add(self.per_second, self.tokens)
            .min(self.burst);
        self.filled_at = self.filled_at.max(now);
    }

    fn take(&mut self, tokens: u64, now: Instant) -> Result<f64, Duration> {
        self.charged_at = self.charged_at.max(now);
        if tokens > 0 && self.burst <= 0.0 {
            return Err(MAX_RETRY_AFTER);
        }
        let wanted = (tokens as f64).min(self.burst);
        if wanted <= self.tokens + ROUNDING {
            self.tokens = (self.tokens - wanted).max(0.0);
            return Ok(wanted);
        }
        let own = self.time_for(wanted - self.tokens);
        let told = match self.told_until.saturating_duration_since(now) {
            Duration::ZERO => own,
            others => own.max((others + self.time_for(wanted)).min(LONGEST_FOR_OTHERS)),
        };
        self.told_until = self.told_until.max(now + told);
        Err(told)
    }

    /// How long it takes to fill so much.
    fn time_for(&self, tokens: f64) -> Duration {
        // Division by 0 gives infinity, which the bound takes care of.
        let seconds = (tokens / self.per_second).min(MAX_RETRY_AFTER.as_secs_f64());
        // A nanosecond on top, for the conversion rounds to the nearest and not up.
        (Duration::from_secs_f64(seconds) + Duration::from_nanos(1)).min(MAX_RETRY_AFTER)
    }
}

#[cfg(test)]
mod tests;
