//! What would become of many series, in as few words as two configurations can be compared by.
//!
//! Takes what serves a tenant and series, gives the fate of each and where its stream goes. Asks as `explain` does, many at
//! once and without the steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::chain::{Batch, Decision, Write};
use crate::judge::{Blame, Ruling};
use crate::model::{Label, Protocol, Refusal, Totals};
use crate::respond::Failure;
use crate::route;
use crate::tenant::Generation;
use crate::wire::{ScanLimits, Scanned, scan, write_series};

/// Series of one question to a chain: a few calls of a plugin.
const AT_ONCE: usize = 2048;

/// All that a capture comes to.
pub struct Weighed {
    /// In the order of the series.
    pub rulings: Vec<Ruling>,
    /// By stream that any series is in; or why a write of them is refused as a whole.
    pub upstreams: Result<BTreeMap<Arc<str>, String>, Failure>,
}

/// Weighs each of `series`, which have their labels in order.
///
/// # Errors
/// What a write of them would fail with, if that is not for the policies that judge writes.
pub async fn weigh(generation: &Generation, series: &[Vec<Label>]) -> Result<Weighed, Failure> {
    let mut rulings = Vec::with_capacity(series.len());
    for some in series.chunks(AT_ONCE) {
        rulings.extend(weigh_some(generation, some).await?);
    }
    let mut streams: BTreeMap<Arc<str>, Totals> = BTreeMap::new();
    for ruling in &rulings {
        if let Ruling::Keep { stream, .. } | Ruling::Edit { stream, .. } = ruling {
            let totals = streams.entry(stream.clone()).or_default();
            (totals.series, totals.samples) = (1, 1);
        }
    }
    let upstreams = upstreams(generation, streams).await;
    Ok(Weighed { rulings, upstreams })
}

async fn weigh_some(generation: &Generation, series: &[Vec<Label>]) -> Result<Vec<Ruling>, Failure> {
    let named: Vec<bool> = series.iter().map(|labels| has_name(labels)).collect();
    let scanned = proved(
        series
            .iter()
            .zip(&named)
            .filter(|(_, named)| **named)
            .map(|(labels, _)| &**labels),
    )?;
    let mut judged = generation.weigh(batch_of(&scanned)).await?.into_iter();
    let nameless = || Ruling::Refuse {
        refusal: Refusal::MissingMetricName,
        blame: Blame::default(),
    };
    let ruling = |named: &bool| match named {
        true => judged.next().ok_or(Failure::Bug("a series was left without a verdict")),
        false => Ok(nameless()),
    };
    named.iter().map(ruling).collect()
}

/// Where streams go. How much a write may hold, and at which rate, is left out of it: a capture is no write.
async fn upstreams(
    generation: &Generation,
    streams: BTreeMap<Arc<str>, Totals>,
) -> Result<BTreeMap<Arc<str>, String>, Failure> {
    let write = Write {
        streams: streams.into_iter().collect(),
        ..Write::default()
    };
    let names: Vec<Arc<str>> = write.streams.iter().map(|(name, _)| name.clone()).collect();
    let terms = match generation.admit_watched(write).await.0? {
        Decision::Admit(terms) => terms,
        Decision::Reject { reason, .. } => {
            let text = reason.to_string();
            return Err(Failure::Refused { text });
        }
    };
    let upstreams = &generation.config().upstreams;
    let routes = route::route(&names, &terms.routes, upstreams)?;
    let to = |at: usize| routes.upstream_of(at).and_then(|at| upstreams.get(at)).cloned();
    let all = names.into_iter().enumerate();
    Ok(all.filter_map(|(at, name)| Some((name, to(at)?))).collect())
}

fn has_name(labels: &[Label]) -> bool {
    labels.iter().any(|label| label.name == "__name__")
}

/// The series as the body of one write, each with one sample, proved as any write is.
pub(super) fn proved<'l>(series: impl Iterator<Item = &'l [Label]>) -> Result<Scanned, Failure> {
    let (mut body, mut max_series) = (Vec::new(), 0);
    for labels in series {
        let pairs = labels.iter().map(|label| (&*label.name, &*label.value));
        write_series(&mut body, pairs, std::iter::once((0.0, 0)));
        max_series += 1;
    }
    Ok(scan(
        Protocol::V1,
        body,
        &ScanLimits {
            max_series,
            ..ScanLimits::NONE
        },
    )?)
}

/// All that are series, as policies are asked about them.
pub(super) fn batch_of(scanned: &Scanned) -> Batch {
    let ranges = scanned.series().iter().map(|series| series.labels_range());
    Batch {
        body: scanned.body().clone(),
        labels: ranges.map(|range| range.start as u32..range.end as u32).collect(),
    }
}
