//! What a receiver says of samples that it refused.
//!
//! Takes a status and the start of a text; gives what was refused, how much of it, and what became of the rest. Never
//! hands a text on to a sender: what he is told is put together of the phrases below and of counts, because receivers
//! name the receivers behind them, and labels, in what they say.
//!
//! Read in the sources of these:
//!
//! * Thanos 0.42.4, `pkg/receive/writer_errors.go`, `handler.go`: 409. Every reason is `add 3 samples: out of order sample`,
//!   several are `2 errors: .. ; ..`, and each may stand behind `forwarding request to endpoint ..: writing locally: ` or
//!   `.. rpc error: code = AlreadyExists desc = ` (0.31: `store locally for endpoint ..: ` too). What is not named was stored. The same reason
//!   of the same endpoint stands there once, however often it was given, and with a replication factor above one each
//!   replica gives its own: counts of several endpoints are no count of samples.
//! * Prometheus 3.9.1 (module 0.309.1), `storage/remote/write_handler.go`, for 1.0: 400 with the first error alone, and
//!   nothing of the write is stored. The errors are those of `storage/interface.go`, on which Thanos' and Mimir's rest.
//! * Mimir, `pkg/util/globalerror/user.go`, `pkg/ingester/push.go`: 400 with the first error alone, in which
//!   `(err-mimir-..)` says which; the rest is stored. That an exemplar is named first says nothing of the samples.
//! * VictoriaMetrics, `app/vminsert/promremotewrite`: refuses no sample that it could read. What it answers with 400 is
//!   a write that it could not.

use std::fmt;

use super::words;
use crate::model::Totals;

/// Samples, or exemplars, that a receiver refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    how_many: HowMany,
    told: Vec<Told>,
    /// In the receiver's own words, for operators alone.
    words: String,
    /// The receivers may have been given the write before within this request, and stored it.
    pub again: bool,
}

/// How much of what was sent was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HowMany {
    /// No sample: exemplars alone.
    Exemplars,
    /// As many samples as are counted.
    Counted,
    /// At most as many: receivers that stand for each other counted the same samples.
    AtMostCounted,
    /// All of the write.
    Whole,
    /// The text does not say.
    Unknown,
}

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictClass {
    OutOfOrder,
    /// Another value for a time that has one.
    Duplicate,
    TooOld,
    TooFarAhead,
    /// Too old, or too far ahead.
    OutOfBounds,
    Labels,
    /// One of the receiver's, for this tenant.
    Limit,
    Exemplars,
    /// A text that nobody knows.
    Other,
}

/// One phrase of a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    phrase: &'static str,
    class: ConflictClass,
    count: Option<Count>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    number: u64,
    of: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Samples,
    Exemplars,
    Series,
}

/// What a conflict makes of the samples that were sent. The three numbers are all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amounts {
    pub stored: u64,
    pub refused: Vec<(ConflictClass, u64)>,
    pub unknown: u64,
}

use ConflictClass::{Duplicate, Exemplars, Labels, Limit, OutOfBounds, OutOfOrder, TooFarAhead, TooOld};

/// Of the errors that the TSDB of Prometheus, and what is built on it, have. A phrase that begins with another comes
/// before it.
const PHRASES: [(&str, ConflictClass); 15] = [
    ("out of order sample", OutOfOrder),
    ("duplicate sample for timestamp", Duplicate),
    ("too old sample", TooOld),
    ("out of bounds: timestamp is too far in the future", TooFarAhead),
    ("out of bounds", OutOfBounds),
    ("out of order exemplar", Exemplars),
    ("duplicate exemplar", Exemplars),
    (
        "label length for exemplar exceeds maximum of 128 UTF-8 characters",
        Exemplars,
    ),
    ("out of order labels", Labels),
    ("label set contains duplicate label names", Labels),
    ("label set contains a label with empty name or value", Labels),
    // Thanos' limits: 413, and 429 for the first of them.
    ("tenant is above active series limit", Limit),
    ("write request too large", Limit),
    ("too many timeseries", Limit),
    ("too many samples", Limit),
];

const MIMIR: &str = "err-mimir-";

/// Mimir's, which never change by its own word, each with all that begin with it. Whole writes that are too large are no
/// conflicts.
const MIMIR_PHRASES: [(&str, ConflictClass); 19] = [
    ("err-mimir-sample-out-of-order", OutOfOrder),
    ("err-mimir-sample-duplicate-timestamp", Duplicate),
    ("err-mimir-sample-timestamp-too-old", TooOld),
    ("err-mimir-too-far-in-past", TooOld),
    ("err-mimir-too-far-in-future", TooFarAhead),
    ("err-mimir-exemplar-", Exemplars),
    ("err-mimir-missing-metric-name", Labels),
    ("err-mimir-metric-name-invalid", Labels),
    ("err-mimir-label-invalid", Labels),
    ("err-mimir-label-value-invalid", Labels),
    ("err-mimir-duplicate-label-names", Labels),
    ("err-mimir-labels-not-sorted", Labels),
    ("err-mimir-label-name-too-long", Limit),
    ("err-mimir-label-value-too-long", Limit),
    ("err-mimir-max-label-names-per-", Limit),
    ("err-mimir-max-series-per-", Limit),
    ("err-mimir-max-active-series", Limit),
    ("err-mimir-max-native-histogram-buckets", Limit),
    ("err-mimir-tenant-max-", Limit),
];

impl Conflict {
    /// `None` where a status other than 409 comes with a text that nobody knows: it may say that the write is no write.
    pub(super) fn read(status: u16, text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        let reading = Reading::of(&text);
        if reading.told.is_empty() && status != 409 {
            return None;
        }
        Some(Self {
            how_many: reading.how_many(status, &text),
            told: reading.told,
            words: words::line(&text, words::MOST),
            again: false,
        })
    }

    pub fn how_many(&self) -> HowMany {
        self.how_many
    }

    /// Of several the first of the samples': exemplars come last.
    pub fn class(&self) -> ConflictClass {
        let of_samples = self.told.iter().find(|told| told.class != Exemplars);
        let any = of_samples.or(self.told.first());
        any.map_or(ConflictClass::Other, |told| told.class)
    }

    /// What became of `sent` samples.
    pub fn amounts(&self, sent: u64) -> Amounts {
        let counted = self.counted();
        match self.how_many {
            HowMany::Exemplars => Amounts {
                stored: sent,
                ..Amounts::default()
            },
            HowMany::Whole => Amounts {
                refused: vec![(self.class(), sent)],
                ..Amounts::default()
            },
            HowMany::Counted if counted <= sent => Amounts {
                stored: sent - counted,
                refused: self.by_class(),
                unknown: 0,
            },
            HowMany::AtMostCounted => Amounts {
                stored: sent.saturating_sub(counted),
                unknown: counted.min(sent),
                ..Amounts::default()
            },
            // More than were sent is no count either.
            HowMany::Counted | HowMany::Unknown => Amounts {
                unknown: sent,
                ..Amounts::default()
            },
        }
    }

    /// Exemplars that were refused, as far as they are counted.
    pub fn exemplars(&self) -> u64 {
        self.sum(Unit::Exemplars)
    }

    /// Whether a receiver that has stored all of `sent` would refuse exactly this if it is sent it again: it takes the
    /// newest sample of each series without a word, and calls the others old. Where the first attempt stored less, or
    /// somebody else wrote to the series since, the numbers differ.
    pub fn is_of_a_second_time(&self, sent: &Totals) -> bool {
        let is_counted = matches!(self.how_many, HowMany::Counted | HowMany::AtMostCounted);
        let is_old = |told: &Told| matches!(told.class, OutOfOrder | TooOld | OutOfBounds | Exemplars);
        let not_newest = sent.all_samples().checked_sub(sent.series);
        is_counted && self.told.iter().all(is_old) && not_newest == Some(self.counted())
    }

    /// What a sender may hear: phrases and counts, and nothing else of what the receiver said.
    pub fn phrases(&self) -> String {
        let counts_are_true = self.how_many != HowMany::AtMostCounted;
        let all: Vec<String> = self.told.iter().map(|told| told.shown(counts_are_true)).collect();
        all.join(", ")
    }

    /// Samples that are counted as refused.
    pub fn counted(&self) -> u64 {
        self.sum(Unit::Samples)
    }

    fn sum(&self, unit: Unit) -> u64 {
        let counts = self.told.iter().filter_map(|told| told.count);
        let numbers = counts.filter(|count| count.of == unit).map(|count| count.number);
        numbers.fold(0, u64::saturating_add)
    }

    fn by_class(&self) -> Vec<(ConflictClass, u64)> {
        let counts = self.told.iter().filter_map(|told| Some((told.class, told.count?)));
        let of_samples = counts.filter(|(_, count)| count.of == Unit::Samples);
        of_samples.map(|(class, count)| (class, count.number)).collect()
    }
}

impl fmt::Display for Conflict {
    /// For operators: in the receiver's own words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused samples ({}): {}", self.class().word(), self.words)
    }
}

impl ConflictClass {
    /// As a sender reads it.
    pub fn word(self) -> &'static str {
        match self {
            OutOfOrder => "out of order",
            Duplicate => "duplicate",
            TooOld => "too old",
            TooFarAhead => "too far ahead",
            OutOfBounds => "too old or too far ahead",
            Labels => "labels",
            Limit => "a limit of the receiver",
            Exemplars => "exemplars",
            Self::Other => "other",
        }
    }
}

impl Told {
    fn shown(&self, count_is_true: bool) -> String {
        match self.count.filter(|_| count_is_true) {
            Some(Count { number, of }) => format!("{number} {}: {}", of.word(), self.phrase),
            None => self.phrase.trim_end_matches('-').to_owned(),
        }
    }
}

impl Unit {
    const ALL: [Self; 3] = [Self::Samples, Self::Exemplars, Self::Series];

    fn word(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Exemplars => "exemplars",
            Self::Series => "series",
        }
    }
}

/// What is found in a text.
#[derive(Default)]
struct Reading<'t> {
    told: Vec<Told>,
    /// Something was said that is not known here.
    has_more: bool,
    /// Receivers behind the one that answered.
    endpoints: Vec<&'t str>,
    /// One of them, or several, gave the same reason with two counts.
    has_twice: bool,
}

impl<'t> Reading<'t> {
    fn of(text: &'t str) -> Self {
        let mut reading = Self::default();
        // No counted reason has this mark in it.
        for said in text.trim().split("; ") {
            match counted(said).or_else(|| known(said)) {
                Some(told) => reading.add(told),
                None => reading.has_more = true,
            }
            reading.add_endpoints(said);
        }
        reading
    }

    fn add(&mut self, told: Told) {
        let unit = told.count.map(|count| count.of);
        let same = |other: &&mut Told| other.phrase == told.phrase && other.count.map(|count| count.of) == unit;
        match self.told.iter_mut().find(same) {
            None => self.told.push(told),
            Some(Told { count: Some(sum), .. }) => {
                self.has_twice = true;
                let more = told.count.map_or(0, |count| count.number);
                sum.number = sum.number.saturating_add(more);
            }
            Some(_) => {}
        }
    }

    fn add_endpoints(&mut self, said: &'t str) {
        for rest in said.split(" endpoint ").skip(1) {
            let rest = rest.strip_prefix("addr: ").unwrap_or(rest);
            let name = rest.split([' ', ',']).next().unwrap_or(rest).trim_end_matches(':');
            if !self.endpoints.contains(&name) {
                self.endpoints.push(name);
            }
        }
    }

    fn how_many(&self, status: u16, text: &str) -> HowMany {
        if status == 400 && is_prometheus(text) {
            return HowMany::Whole;
        }
        if status == 413 {
            return HowMany::Whole;
        }
        let unit = |told: &Told| told.count.map(|count| count.of);
        let is_countable = |told: &Told| matches!(unit(told), Some(Unit::Samples | Unit::Exemplars));
        // Go's `http.Error` ends a text with a line feed: one without it broke off, or was cut.
        if self.has_more || !text.ends_with('\n') || !self.told.iter().all(is_countable) {
            return HowMany::Unknown;
        }
        if self.told.iter().all(|told| unit(told) == Some(Unit::Exemplars)) {
            return HowMany::Exemplars;
        }
        match self.endpoints.len() > 1 || self.has_twice {
            true => HowMany::AtMostCounted,
            false => HowMany::Counted,
        }
    }
}

/// Prometheus' one error begins with the phrase; for 2.0, where the rest is stored, it has `for series` behind.
fn is_prometheus(text: &str) -> bool {
    let begins = |(phrase, _): &(&str, ConflictClass)| text.starts_with(phrase);
    PHRASES.iter().any(begins) && !text.contains(" for series ")
}

/// `.. add 3 samples: out of order sample`, to the end.
fn counted(said: &str) -> Option<Told> {
    let (_, rest) = said.rsplit_once("add ")?;
    let (number, rest) = rest.split_once(' ')?;
    let (unit, rest) = rest.split_once(": ")?;
    let of = Unit::ALL.into_iter().find(|known| known.word() == unit)?;
    let (phrase, class) = PHRASES.into_iter().find(|(phrase, _)| *phrase == rest)?;
    let number = number.parse().ok()?;
    Some(Told {
        phrase,
        class,
        count: Some(Count { number, of }),
    })
}

/// A phrase anywhere in it.
fn known(said: &str) -> Option<Told> {
    let table = match said.contains(MIMIR) {
        true => &MIMIR_PHRASES[..],
        false => &PHRASES[..],
    };
    let (phrase, class) = table.iter().copied().find(|(phrase, _)| said.contains(phrase))?;
    Some(Told {
        phrase,
        class,
        count: None,
    })
}

#[cfg(test)]
mod tests;
