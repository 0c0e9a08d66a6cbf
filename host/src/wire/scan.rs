//! Where each series lies, proved.
//!
//! Takes a decoded body of any content, gives [`Scanned`]: the body, the extent of every valid series in it and the
//! count of everything received. A canonical body is taken as it is, by a walk that allocates nothing per series; any
//! other legal protobuf is written anew in canonical form first and then walked the same way, so that what later
//! stages and receivers read cannot differ from what was judged. Never interprets a float sample.

use std::ops::Range;

use bytes::Bytes;

use super::{canonical, rewrite};
use crate::model::Totals;

/// What a scan refuses before it spends memory on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Series in one write, valid or not.
    pub max_series: u64,
}

/// A write whose every series is canonical. Only [`scan`] and [`Framed::prove`] make one.
///
/// Canonical means: labels first, each a name and a value, neither empty, both UTF-8, names ascending by bytes and
/// each once, `__name__` among them; then samples, exemplars and histograms in this order; every field known, in its
/// shortest form and in ascending order; every histogram consistent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    body: Bytes,
    series: Vec<Series>,
    valid: Totals,
    totals: Totals,
    rejected: Vec<Rejected>,
    metadata: u64,
    is_as_sent: bool,
}

/// Where one series lies in its body. Offsets in bytes, counts of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// The tag: the series with its tag and length is `start..end`.
    pub start: u32,
    pub labels_start: u32,
    /// Samples, exemplars and histograms follow.
    pub labels_end: u32,
    pub end: u32,
    pub samples: u32,
    pub histograms: u32,
    pub exemplars: u32,
}

/// The series that were received and are not among the scanned ones, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    pub reason: InvalidSeries,
    pub totals: Totals,
}

/// Why a series is refused while the rest of its write goes on (docs/protocol.md, "Series").
///
/// The text is for the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum InvalidSeries {
    #[error("a label name or value is not UTF-8")]
    InvalidUtf8,
    #[error("a label has no name")]
    EmptyLabelName,
    #[error("a label name occurs twice")]
    DuplicateLabel,
    #[error("the label __name__ is missing or empty")]
    MissingMetricName,
    #[error("a native histogram is inconsistent")]
    InvalidHistogram,
}

impl InvalidSeries {
    pub const ALL: [Self; 5] = [
        Self::InvalidUtf8,
        Self::EmptyLabelName,
        Self::DuplicateLabel,
        Self::MissingMetricName,
        Self::InvalidHistogram,
    ];

    /// The word for the `reason` label of a metric.
    pub fn word(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => "invalid_utf8",
            Self::EmptyLabelName => "empty_label_name",
            Self::DuplicateLabel => "duplicate_label",
            Self::MissingMetricName => "missing_metric_name",
            Self::InvalidHistogram => "invalid_histogram",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// No protobuf, or a known field with another wire type than the specification gives it.
    #[error("the body is not a remote-write 1.0 message: {what}")]
    Malformed { what: &'static str },
    #[error("the write has more than {limit} series")]
    TooManySeries { limit: u64 },
    #[error("the write has more than {limit} native histograms")]
    TooManyHistograms { limit: u64 },
    #[error("a series has more than {limit} labels")]
    TooManyLabels { limit: usize },
    /// Offsets are 32 bits wide.
    #[error("a body of {length} bytes is too long")]
    TooLong { length: u64 },
    /// The rewriting of a non-canonical body did not come out canonical: a bug here, not the sender's fault.
    #[error("the body could not be brought into canonical form")]
    NotRewritten,
}

/// A body whose series lie where they seem to. Of most of them no label was looked at yet.
///
/// What [`Framed::prove`] is not told to look at must be known: label bytes that a scan proved earlier, to the bit.
#[derive(Debug)]
pub struct Framed {
    seeming: Scanned,
    max_series: u64,
}

/// Finds the series of `body`. Cheap where a series ends in plain samples, as nearly all do: what lies before them
/// seems to be its labels. Everything else is proved here and now.
///
/// # Errors
/// See [`ScanError`].
pub fn frame(body: impl Into<Bytes>, limits: &Limits) -> Result<Framed, ScanError> {
    let body = body.into();
    let seeming = match walk(&body, limits, canonical::Labels::Seem)? {
        Some(found) => Scanned::as_found(body, found),
        None => rewritten(&body, limits)?,
    };
    Ok(Framed {
        seeming,
        max_series: limits.max_series,
    })
}

/// What [`Framed::prove`] came to.
#[derive(Debug)]
pub enum Proof {
    /// The series lie where they seemed to.
    AsFramed(Scanned),
    /// They do not: the body was not canonical and is written anew, or a label's value looked like a sample. Places,
    /// number and bytes may all be other ones.
    Otherwise(Scanned),
}

impl Framed {
    /// In the order they came. The labels are what they seem to be.
    pub fn series(&self) -> &[Series] {
        self.seeming.series()
    }

    pub fn body(&self) -> &Bytes {
        self.seeming.body()
    }

    /// Proves the series at `unknown`, which the caller has not met before. The others are taken at his word.
    ///
    /// # Errors
    /// See [`ScanError`].
    pub fn prove(self, unknown: &[usize]) -> Result<Proof, ScanError> {
        let body = self.seeming.body();
        let proved = |&at: &usize| {
            let series = self.seeming.series.get(at)?;
            let found = canonical::walk_labels(body.get(..series.end as usize)?, series.labels_start as usize)?;
            (found == series.labels_end as usize).then_some(())
        };
        if unknown.iter().all(|at| proved(at).is_some()) {
            return Ok(Proof::AsFramed(self.seeming));
        }
        let limits = Limits {
            max_series: self.max_series,
        };
        scan(self.seeming.body, &limits).map(Proof::Otherwise)
    }
}

/// Proves every series of `body`.
///
/// # Errors
/// See [`ScanError`]; a series that is invalid by itself is no error but among [`Scanned::rejected`].
pub fn scan(body: impl Into<Bytes>, limits: &Limits) -> Result<Scanned, ScanError> {
    let body = body.into();
    match walk(&body, limits, canonical::Labels::Proved)? {
        Some(found) => Ok(Scanned::as_found(body, found)),
        None => rewritten(&body, limits),
    }
}

/// The same write in canonical form.
fn rewritten(body: &[u8], limits: &Limits) -> Result<Scanned, ScanError> {
    let rewritten = rewrite::rewrite(body, limits)?;
    let mut found = walk(&rewritten.body, limits, canonical::Labels::Proved)?.ok_or(ScanError::NotRewritten)?;
    found.rejected.merge(&rewritten.rejected);
    found.metadata += rewritten.metadata;
    Ok(Scanned::new(rewritten.body.into(), found, false))
}

fn walk(body: &[u8], limits: &Limits, labels: canonical::Labels) -> Result<Option<canonical::Found>, ScanError> {
    if u32::try_from(body.len()).is_err() {
        return Err(ScanError::TooLong {
            length: body.len() as u64,
        });
    }
    canonical::walk(body, limits, labels)
}

impl Scanned {
    fn as_found(body: Bytes, found: canonical::Found) -> Self {
        let is_as_sent = found.metadata == 0 && found.rejected.is_empty();
        Self::new(body, found, is_as_sent)
    }

    fn new(body: Bytes, found: canonical::Found, is_as_sent: bool) -> Self {
        let rejected = found.rejected.list();
        let mut totals = found.totals;
        rejected.iter().for_each(|rejected| totals += rejected.totals);
        Self {
            body,
            series: found.series,
            valid: found.totals,
            totals,
            rejected,
            metadata: found.metadata,
            is_as_sent,
        }
    }

    /// The canonical bytes. Metadata may lie between the series.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The valid series in the order they came.
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// The labels of one of these series, as [`labels`](super::labels::labels) reads them.
    pub fn label_bytes(&self, series: &Series) -> &[u8] {
        self.body.get(series.labels_range()).unwrap_or_default()
    }

    /// Of the valid series.
    pub fn valid(&self) -> Totals {
        self.valid
    }

    /// Everything received, rejected series included.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// At most one entry for each reason.
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// Metadata entries received. They are counted and never forwarded: Thanos discards them.
    pub fn metadata(&self) -> u64 {
        self.metadata
    }

    /// Whether the body came canonical, with series only and all of them valid. If every series is kept, the
    /// sender's compressed bytes say just what was judged and may go on as they are.
    pub fn is_as_sent(&self) -> bool {
        self.is_as_sent
    }
}

impl Series {
    /// The whole field, tag and length included.
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub fn labels_range(&self) -> Range<usize> {
        self.labels_start as usize..self.labels_end as usize
    }

    /// What follows the labels: samples, exemplars, histograms.
    pub fn tail_range(&self) -> Range<usize> {
        self.labels_end as usize..self.end as usize
    }

    pub fn totals(&self) -> Totals {
        Totals {
            series: 1,
            samples: self.samples.into(),
            histograms: self.histograms.into(),
            exemplars: self.exemplars.into(),
        }
    }
}

/// Rejected series, counted by reason while walking.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rejects([Totals; InvalidSeries::ALL.len()]);

impl Rejects {
    pub(super) fn add(&mut self, reason: InvalidSeries, totals: Totals) {
        if let Some(sum) = self.0.get_mut(reason as usize) {
            *sum += totals;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|totals| totals.series == 0)
    }

    fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }

    fn list(&self) -> Vec<Rejected> {
        let all = InvalidSeries::ALL.into_iter().zip(self.0);
        all.filter(|(_, totals)| totals.series > 0)
            .map(|(reason, totals)| Rejected { reason, totals })
            .collect()
    }
}
