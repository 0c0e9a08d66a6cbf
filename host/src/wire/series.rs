//! One write, whatever its protocol: where its series lie, what they hold, what was refused of it.
//!
//! Takes what a walk found, gives the words in which the rest of the house speaks of a write. Never walks a byte.

use std::ops::Range;

use bytes::Bytes;

use super::shown::Shown;
use super::text::{LabelRow, Text, Unwritten, WrittenText};
use super::v2::extras::Extras;
use crate::model::{Protocol, Totals};

/// What a scan refuses before it spends memory on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanLimits {
    /// Series in one write, valid or not.
    pub max_series: u64,
    /// Bytes of a write of 2.0 once its symbols stand where they are referred to. What a body decodes to was held against
    /// it before.
    pub max_decoded_size: u64,
}

impl ScanLimits {
    /// For bodies that were let in before.
    pub const NONE: Self = Self {
        max_series: u64::MAX,
        max_decoded_size: u64::MAX,
    };
}

/// A write whose every series is canonical. Only [`scan`](super::scan::scan) and
/// [`Framed::prove`](super::scan::Framed::prove) let one out of this room: a frame holds one whose series only seem so.
///
/// Canonical means: labels first, each a name and a value, neither empty, both UTF-8, names ascending by bytes and
/// each once, `__name__` among them; then samples, exemplars and histograms in this order; every field known, in its
/// shortest form and in ascending order; every histogram consistent.
///
/// A body of 2.0 is written out as such a one, or will be where somebody asks for its bytes ([`Scanned::body`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    protocol: Protocol,
    text: Text,
    series: Vec<Series>,
    valid: Totals,
    totals: Totals,
    rejected: Vec<Rejected>,
    metadata: u64,
    is_as_sent: bool,
    extras: Option<Box<Extras>>,
}

/// Where one series lies in its body. Offsets in bytes, counts of its parts. Made only where a body is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// The tag: the series with its tag and length is `start..end`.
    pub(super) start: u32,
    pub(super) labels_start: u32,
    /// Samples, exemplars and histograms follow.
    pub(super) labels_end: u32,
    pub(super) end: u32,
    pub(super) samples: u32,
    pub(super) histograms: u32,
    pub(super) exemplars: u32,
}

/// The series that were received and are not among the scanned ones, by reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    pub reason: InvalidSeries,
    pub totals: Totals,
    pub first: Shown,
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
    #[error("the body is not a message of the remote write that its media type names: {what}")]
    Malformed { what: &'static str },
    #[error("the write has more than {limit} series")]
    TooManySeries { limit: u64 },
    #[error("the write has more than {limit} native histograms")]
    TooManyHistograms { limit: u64 },
    #[error("a series has more than {limit} labels")]
    TooManyLabels { limit: usize },
    #[error("the write has more than {limit} symbols")]
    TooManySymbols { limit: u64 },
    /// A reference takes a byte, whatever it refers to.
    #[error("with its symbols in place of references the write is larger than max_decoded_size of {limit} bytes")]
    WrittenTooLarge { limit: u64 },
    /// Offsets are 32 bits wide.
    #[error("a body of {length} bytes is too long")]
    TooLong { length: u64 },
    /// The rewriting of a non-canonical body did not come out canonical: a bug here, not the sender's fault.
    #[error("the body could not be brought into canonical form")]
    NotRewritten,
}

impl Scanned {
    /// Of a body that came canonical.
    pub(super) fn as_found(protocol: Protocol, body: Bytes, found: Walked) -> Self {
        let is_as_sent = found.metadata == 0 && found.rejected.is_empty();
        Self::new(protocol, Text::written(body, Vec::new()), found, is_as_sent)
    }

    /// Of a body that was written anew.
    pub(super) fn rewritten(protocol: Protocol, body: Bytes, found: Walked) -> Self {
        Self::new(protocol, Text::written(body, Vec::new()), found, false)
    }

    fn new(protocol: Protocol, text: Text, found: Walked, is_as_sent: bool) -> Self {
        let rejected = found.rejected.0;
        let mut totals = found.totals;
        rejected.iter().for_each(|rejected| totals += rejected.totals);
        Self {
            protocol,
            text,
            series: found.series,
            valid: found.totals,
            totals,
            rejected,
            metadata: found.metadata,
            is_as_sent,
            extras: None,
        }
    }

    /// Of a body of 2.0, canonical or not, written out as `body`, in which labels lie before as well where these say so.
    pub(super) fn transcoded(
        body: Bytes,
        found: Walked,
        is_canonical: bool,
        extras: Option<Box<Extras>>,
        rows: Vec<LabelRow>,
    ) -> Self {
        let is_as_sent = is_canonical && found.rejected.is_empty();
        let scanned = Self::new(Protocol::V2, Text::written(body, rows), found, is_as_sent);
        Self { extras, ..scanned }
    }

    /// Of a body of 2.0 that may go on as it came and says nothing of its series besides. Its series would lie there, were it
    /// written out, in so many bytes.
    pub(super) fn unwritten(unwritten: Unwritten, length: usize, found: Walked) -> Self {
        Self::new(Protocol::V2, Text::unwritten(unwritten, length), found, true)
    }

    #[cfg(test)]
    pub(super) fn without_rows(self) -> Self {
        let text = Text::written(self.body().clone(), Vec::new());
        Self { text, ..self }
    }

    /// One series that is nothing but these labels.
    #[cfg(test)]
    pub(super) fn made_up(labels: &[u8]) -> Self {
        let series = Series {
            start: 0,
            labels_start: 0,
            labels_end: labels.len() as u32,
            end: labels.len() as u32,
            samples: 0,
            histograms: 0,
            exemplars: 0,
        };
        let found = Walked {
            series: vec![series],
            totals: series.totals(),
            rejected: Rejects::default(),
            metadata: 0,
        };
        Self::as_found(Protocol::V1, Bytes::copy_from_slice(labels), found)
    }

    /// What it came as. Its body is canonical, and of 1.0, whatever that was.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The canonical bytes. Metadata may lie between the series. Of a body of 2.0 they may have to be written first, which is
    /// light work then.
    #[inline]
    pub fn body(&self) -> &Bytes {
        &self.text.get().body
    }

    /// How many bytes those are. Writes nothing.
    pub fn length(&self) -> usize {
        self.text.length()
    }

    pub(super) fn into_written(self) -> WrittenText {
        self.text.get().clone()
    }

    /// The valid series in the order they came.
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// The labels of one of these series, as [`labels`](super::v1::labels::labels) reads them.
    ///
    /// # Panics
    /// If it is none of these and lies elsewhere.
    pub fn label_bytes(&self, series: &Series) -> &[u8] {
        &self.body()[series.labels_range()]
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

    /// Metadata entries received; of 2.0, series with any. They belong to no verdict: who wants them is `forward`'s to know.
    pub fn metadata(&self) -> u64 {
        self.metadata
    }

    /// What a 2.0 write says of its series besides: metadata and start timestamps. None where it says nothing.
    pub fn extras(&self) -> Option<&Extras> {
        self.extras.as_deref()
    }

    /// Whether it was written out of a body of 2.0 and knows of labels that lie before as well: see
    /// [`encode_copied`](super::encode_copied).
    pub fn is_copied(&self) -> bool {
        !self.rows().is_empty()
    }

    /// In the order they lie in the body. Empty where series came as they are, where one was written otherwise, and where no
    /// label comes twice.
    pub(super) fn rows(&self) -> &[LabelRow] {
        &self.text.get().rows
    }

    /// Whether the body came canonical, with series only and all of them valid. If every series is kept, the
    /// sender's compressed bytes say just what was judged and may go on as they are to who takes its protocol.
    pub fn is_as_sent(&self) -> bool {
        self.is_as_sent
    }
}

impl Series {
    /// A tag, and the longest length of what has offsets of 32 bits.
    pub(super) const MOST_HEADER: u64 = 6;

    /// The whole field, tag and length included.
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub fn labels_range(&self) -> Range<usize> {
        self.labels_start as usize..self.labels_end as usize
    }

    /// The same series behind so many bytes.
    pub(super) fn moved(self, by: usize) -> Self {
        let by = by as u32;
        Self {
            start: self.start + by,
            labels_start: self.labels_start + by,
            labels_end: self.labels_end + by,
            end: self.end + by,
            ..self
        }
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

/// What is to be written lies outside of the body, or was never in it: a bug here, and nothing that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a series does not lie in its body")]
pub struct Torn;

/// What becomes of a series that goes on. Those that do not are left out.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    Keep(&'a Series),
    /// With these labels in place of its own.
    Edit(&'a Series, Patch<'a>),
}

impl<'a> Piece<'a> {
    pub fn series(&self) -> &'a Series {
        match self {
            Self::Keep(series) | Self::Edit(series, _) => series,
        }
    }
}

/// Label bytes ([`encode_labels`](super::v1::labels::encode_labels)) by what they have in common with those that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patch<'a> {
    /// How many of the sent bytes come first.
    pub first: u16,
    pub middle: &'a [u8],
    /// How many of the sent bytes come last.
    pub last: u16,
}

impl<'a> Patch<'a> {
    /// Nothing in common.
    pub fn whole(label_bytes: &'a [u8]) -> Self {
        Self {
            first: 0,
            middle: label_bytes,
            last: 0,
        }
    }

    /// Of the label bytes, in bytes.
    pub(super) fn length(&self) -> usize {
        usize::from(self.first) + self.middle.len() + usize::from(self.last)
    }
}

/// What a walk over a body found.
pub(super) struct Walked {
    pub(super) series: Vec<Series>,
    /// Of `series`.
    pub(super) totals: Totals,
    pub(super) rejected: Rejects,
    pub(super) metadata: u64,
}

/// Rejected series, counted by reason while walking: in the order of the reasons.
#[derive(Debug, Clone, Default)]
pub(super) struct Rejects(Vec<Rejected>);

impl Rejects {
    /// `first` shows it, and is asked if it is the first for this reason.
    #[cold]
    pub(super) fn add(&mut self, reason: InvalidSeries, totals: Totals, first: impl FnOnce() -> Shown) {
        match self.0.binary_search_by_key(&reason, |rejected| rejected.reason) {
            Ok(at) => self.0[at].totals += totals,
            Err(at) => {
                let first = first();
                self.0.insert(at, Rejected { reason, totals, first });
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn merge(&mut self, other: Self) {
        for Rejected { reason, totals, first } in other.0 {
            self.add(reason, totals, || first);
        }
    }
}
