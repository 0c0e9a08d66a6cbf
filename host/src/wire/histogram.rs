//! Native histograms: whether one is what it says it is.
//!
//! Takes the bytes of a `Histogram`, says whether they are canonical and consistent, or writes them anew. The rules
//! are Prometheus' own (`model/histogram`, `Validate`), applied to the fields a receiver reads. They are applied here
//! because Thanos drops an inconsistent histogram and answers 200: the sender would be told that it was stored.

use prost::Message;

use super::scan::ScanError;
use super::v1::histogram::{Count, ZeroCount};
use super::v1::{BucketSpan, Histogram};

/// Longest histogram that is decoded at all; a longer one counts as inconsistent. Decoded, a byte may become eight, and
/// Prometheus' largest have a few hundred buckets.
const MAX_LENGTH: usize = 1 << 20;

/// Schemas of exponential buckets, and the one that stands for custom bounds.
const EXPONENTIAL_SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;
const CUSTOM_BUCKETS_SCHEMA: i32 = -53;
/// Unknown, yes, no, gauge.
const RESET_HINTS: std::ops::RangeInclusive<i32> = 0..=3;

/// The histogram decodes, but no observations can have produced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inconsistent;

/// Whether `bytes` are canonical (None where they are not), and then whether they are consistent.
///
/// Canonical is what comes out when it is decoded and encoded again: histograms are few, so they need no walk of
/// their own.
pub(super) fn check_canonical(bytes: &[u8], scratch: &mut Vec<u8>) -> Option<Result<(), Inconsistent>> {
    if bytes.len() > MAX_LENGTH {
        return Some(Err(Inconsistent));
    }
    let histogram = Histogram::decode(bytes).ok()?;
    scratch.clear();
    histogram.encode(scratch).ok()?;
    (scratch.as_slice() == bytes).then(|| check(&histogram))
}

/// Appends `bytes` in canonical form.
///
/// # Errors
/// `Malformed` outside, `Inconsistent` inside.
pub(super) fn rewrite(bytes: &[u8], out: &mut Vec<u8>) -> Result<Result<(), Inconsistent>, ScanError> {
    let malformed = |_| ScanError::Malformed {
        what: "a histogram cannot be decoded",
    };
    if bytes.len() > MAX_LENGTH {
        return Ok(Err(Inconsistent));
    }
    let histogram = Histogram::decode(bytes).map_err(malformed)?;
    histogram.encode(out).map_err(|_| ScanError::NotRewritten)?;
    // An encoding may exceed what it was decoded from by a byte per packed field.
    if out.len() > MAX_LENGTH {
        return Ok(Err(Inconsistent));
    }
    Ok(check(&histogram))
}

fn check(histogram: &Histogram) -> Result<(), Inconsistent> {
    require(RESET_HINTS.contains(&histogram.reset_hint))?;
    check_layout(histogram)?;
    match histogram.count {
        Some(Count::CountFloat(count)) => check_float_counts(histogram, f64::from_bits(count)),
        Some(Count::CountInt(count)) => check_integer_counts(histogram, count),
        None => check_integer_counts(histogram, 0),
    }
}

/// Spans against buckets and bounds, as the schema wants them.
fn check_layout(histogram: &Histogram) -> Result<(), Inconsistent> {
    // A receiver reads the counts or the deltas by the kind of `count` and ignores the others.
    let (positive, negative) = match histogram.count {
        Some(Count::CountFloat(_)) => (histogram.positive_counts.len(), histogram.negative_counts.len()),
        _ => (histogram.positive_deltas.len(), histogram.negative_deltas.len()),
    };
    if EXPONENTIAL_SCHEMAS.contains(&histogram.schema) {
        require(histogram.custom_values.is_empty())?;
        check_spans(&histogram.negative_spans, negative)?;
        return check_spans(&histogram.positive_spans, positive);
    }
    require(histogram.schema == CUSTOM_BUCKETS_SCHEMA)?;
    require(histogram.negative_spans.is_empty() && negative == 0)?;
    require(f64::from_bits(histogram.zero_threshold) == 0.0)?;
    check_bounds(&histogram.custom_values)?;
    check_spans(&histogram.positive_spans, positive)?;
    // All offsets count here, the first one's too, and there is one more bucket than there are bounds.
    let mut reach = 0;
    for span in &histogram.positive_spans {
        reach += u64::try_from(span.offset).map_err(|_| Inconsistent)? + u64::from(span.length);
    }
    require(reach <= histogram.custom_values.len() as u64 + 1)
}

fn check_spans(spans: &[BucketSpan], buckets: usize) -> Result<(), Inconsistent> {
    // Only the first span may start below zero.
    require(spans.iter().skip(1).all(|span| span.offset >= 0))?;
    let length: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    require(length == buckets as u64)
}

fn check_bounds(bounds: &[u64]) -> Result<(), Inconsistent> {
    let bounds = || bounds.iter().map(|bits| f64::from_bits(*bits));
    require(bounds().all(|bound| !bound.is_nan() && bound != f64::INFINITY))?;
    require(bounds().zip(bounds().skip(1)).all(|(bound, next)| bound < next))
}

/// Integer buckets are deltas, and every observation lies in one, except NaNs: those show in the sum.
fn check_integer_counts(histogram: &Histogram, count: u64) -> Result<(), Inconsistent> {
    let zero_count = match histogram.zero_count {
        Some(ZeroCount::ZeroCountInt(count)) => count,
        // A receiver that reads integers takes a float here for nothing.
        _ => 0,
    };
    let is_custom = histogram.schema == CUSTOM_BUCKETS_SCHEMA;
    require(!is_custom || zero_count == 0)?;
    let negative = sum_of_deltas(&histogram.negative_deltas)?;
    let positive = sum_of_deltas(&histogram.positive_deltas)?;
    let in_buckets = zero_count
        .checked_add(negative)
        .and_then(|sum| sum.checked_add(positive))
        .ok_or(Inconsistent)?;
    if f64::from_bits(histogram.sum).is_nan() {
        require(in_buckets <= count)
    } else {
        require(in_buckets == count)
    }
}

fn sum_of_deltas(deltas: &[i64]) -> Result<u64, Inconsistent> {
    let (mut bucket, mut sum) = (0i64, 0u64);
    for delta in deltas {
        bucket = bucket.checked_add(*delta).ok_or(Inconsistent)?;
        let observations = u64::try_from(bucket).map_err(|_| Inconsistent)?;
        sum = sum.checked_add(observations).ok_or(Inconsistent)?;
    }
    Ok(sum)
}

/// Float buckets are counts by themselves; they need not add up (rates and averages of histograms do not).
fn check_float_counts(histogram: &Histogram, count: f64) -> Result<(), Inconsistent> {
    let zero_count = match histogram.zero_count {
        Some(ZeroCount::ZeroCountFloat(bits)) => f64::from_bits(bits),
        _ => 0.0,
    };
    let is_custom = histogram.schema == CUSTOM_BUCKETS_SCHEMA;
    require(!is_custom || zero_count == 0.0)?;
    let counts = histogram
        .negative_counts
        .iter()
        .chain(&histogram.positive_counts)
        .map(|bits| f64::from_bits(*bits));
    // A NaN is not below zero and passes, as with Prometheus.
    require(![count, zero_count].into_iter().chain(counts).any(|count| count < 0.0))
}

fn require(holds: bool) -> Result<(), Inconsistent> {
    if holds { Ok(()) } else { Err(Inconsistent) }
}
