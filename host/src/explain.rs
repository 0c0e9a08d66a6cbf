//! What would become of a series, and why: its way through the chain step by step, to its upstream or to the answer its
//! sender would get.
//!
//! Takes what serves a tenant and one series, gives an [`Explanation`], which is also what the admin API says and what the
//! command line shows. Every step is the one that serves, watched: the scan, the chain's job, the law, the policies that
//! judge writes, the routes, the map from failures to answers. Never remembers, charges or sends anything; a policy that is
//! asked is counted as asked.

use std::sync::Arc;
use std::time::Instant;

use crate::auth::AuthError;
use crate::chain::{Decision, Write};
use crate::judge::{Blame, Ruling};
use crate::limits::Withdrawal;
use crate::model::{Label, Protocol, Refusal};
use crate::respond::{Failure, RefusedSeries, Stored};
use crate::route;
use crate::tenant::Generation;
use crate::wire::{InvalidSeries, Scanned, Shown, snappy};

mod explanation;
mod playground;
mod steps;
mod weighed;

pub use explanation::{
    AskedBudget, AskedCharge, AskedPolicy, AskedRoute, Explained, ExplainedStep, Explanation, ForwardedAs, GivenAnswer,
    Inquiry, LabelChange, text_of,
};
pub use playground::{PlaygroundError, under};
pub use weighed::{Weighed, weigh};
use weighed::{batch_of, proved};

/// Explains series, each as the only one of a write.
pub async fn explain_all(generation: &Generation, series: &[Vec<Label>]) -> Explained {
    let mut explanations = Vec::with_capacity(series.len());
    for labels in series {
        explanations.push(explain(generation, labels).await);
    }
    Explained {
        tenant: generation.config().id.to_string(),
        generation: generation.number(),
        explanations,
    }
}

/// Explains one series as the only one of a write with one sample.
pub async fn explain(generation: &Generation, labels: &[Label]) -> Explanation {
    let config = generation.config();
    let mut told = Explanation {
        series: text_of(labels),
        max_active_series: config.limits.max_active_series,
        ..Explanation::default()
    };
    told.answer = match follow(generation, labels, &mut told).await {
        Ok(stored) => GivenAnswer::stored(&stored),
        Err(failure) => GivenAnswer::failed(&failure, config.over_rate),
    };
    if !config.enabled {
        let tenant = config.id.clone();
        told.answer = GivenAnswer::failed(&AuthError::Disabled { tenant }.into(), config.over_rate);
        told.forwarded = None;
    }
    told
}

/// The series as one write, proved as any write is.
struct Sent {
    scanned: Scanned,
    compressed_bytes: u64,
}

impl Sent {
    fn new(generation: &Generation, labels: &[Label]) -> Result<Self, Failure> {
        let (scanned, mut compressed) = (proved(std::iter::once(labels))?, Vec::new());
        snappy::encode(scanned.body(), &mut compressed)?;
        snappy::decoded_length(&compressed, generation.config().limits.max_decoded_size)?;
        Ok(Self {
            scanned,
            compressed_bytes: compressed.len() as u64,
        })
    }

    fn label_bytes(&self) -> &[u8] {
        let first = self.scanned.series().first();
        first.map_or(&[], |series| self.scanned.label_bytes(series))
    }

    /// Why it can be no series.
    fn invalid(&self) -> RefusedSeries {
        let rejected = self.scanned.rejected().first();
        let reason = rejected.map_or(InvalidSeries::MissingMetricName, |rejected| rejected.reason);
        RefusedSeries {
            reason: reason.word(),
            series: 1,
            why: reason.to_string(),
            first: rejected.map_or_else(Shown::default, |rejected| rejected.first.clone()),
        }
    }

    fn stored(&self, refused: Vec<RefusedSeries>) -> Stored {
        Stored {
            received: self.scanned.totals(),
            refused,
            ..Stored::default()
        }
    }
}

/// What is left to be sent on.
struct Left {
    series: String,
    stream: Arc<str>,
}

/// Goes the way of `Pipeline::process`, and writes down what is met on it.
async fn follow(generation: &Generation, labels: &[Label], told: &mut Explanation) -> Result<Stored, Failure> {
    let sent = Sent::new(generation, labels)?;
    if sent.scanned.series().is_empty() {
        let invalid = sent.invalid();
        told.steps.push(steps::refused_unread(&invalid.why));
        return Ok(sent.stored(vec![invalid]));
    }
    let (ruling, seen) = generation.weigh_watched(batch_of(&sent.scanned)).await;
    let (asked, after) = steps::of_series(generation, labels, &seen, &ruling);
    told.steps = asked;
    let mut ruling = ruling?;
    told.steps.push(steps::of_law(after.as_deref(), &ruling));

    let (active, is_active) = generation.active_series(sent.label_bytes());
    told.active_series = active;
    let mut full = None;
    if let (false, Ruling::Keep { budget, .. } | Ruling::Edit { budget, .. }) = (is_active, &ruling) {
        full = budget.clone().filter(|budget| !generation.has_room(budget));
        let refusal = match full {
            Some(_) => Some(Refusal::OverBudget),
            None => (active >= told.max_active_series).then_some(Refusal::OverActiveSeries),
        };
        told.is_new = refusal.is_none();
        if let Some(refusal) = refusal {
            let blame = Blame::default();
            ruling = Ruling::Refuse { refusal, blame };
        }
    }
    let (left, refused) = match ruling {
        Ruling::Keep { stream, .. } => {
            let series = told.series.clone();
            (Some(Left { series, stream }), None)
        }
        Ruling::Edit { labels, stream, .. } => {
            let series = text_of(&labels);
            (Some(Left { series, stream }), None)
        }
        Ruling::Drop(_) => (None, None),
        Ruling::Refuse { refusal, blame } => {
            let refused = RefusedSeries::of(refusal, &blame, full.as_deref(), sent.label_bytes(), 1);
            (None, Some(refused))
        }
    };
    told.forwarded = admit(generation, &sent, left, told).await?;
    Ok(sent.stored(refused.into_iter().collect()))
}

/// The policies that judge writes, their routes and their charges.
async fn admit(
    generation: &Generation,
    sent: &Sent,
    left: Option<Left>,
    told: &mut Explanation,
) -> Result<Option<ForwardedAs>, Failure> {
    let new_series = u64::from(told.is_new);
    let streams: Vec<Arc<str>> = left.iter().map(|left| left.stream.clone()).collect();
    let write = Write {
        subject: String::new(),
        protocol: Protocol::V1,
        compressed_bytes: sent.compressed_bytes,
        decoded_bytes: sent.scanned.length() as u64,
        active_series: told.active_series + new_series,
        new_series,
        streams: streams
            .iter()
            .map(|stream| (stream.clone(), sent.scanned.totals()))
            .collect(),
    };
    let (decision, seen) = generation.admit_watched(write).await;
    told.steps.extend(steps::of_write(generation, &seen, &decision));
    let terms = match decision? {
        Decision::Admit(terms) => terms,
        Decision::Reject { reason, .. } => {
            let text = reason.to_string();
            return Err(Failure::Refused { text });
        }
    };
    let upstreams = &generation.config().upstreams;
    let routes = route::route(&streams, &terms.routes, upstreams)?;
    let withdrawals: Vec<Withdrawal<'_>> = terms.charges.iter().map(Withdrawal::from).collect();
    generation.would_charge(&withdrawals, Instant::now())?;
    let upstream = routes.upstream_of(0).and_then(|at| upstreams.get(at));
    Ok(left.zip(upstream).map(|(left, upstream)| ForwardedAs {
        series: left.series,
        stream: left.stream.to_string(),
        upstream: upstream.clone(),
    }))
}
