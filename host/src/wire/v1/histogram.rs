//! Native histograms: whether one is what it says it is.
//!
//! Takes the bytes of a `Histogram`, says whether they are canonical and consistent, or writes them anew. The rules
//! are Prometheus' own (`model/histogram`, `Validate`), applied to the fields a receiver reads, once one that is finer than
//! receivers store is reduced as Prometheus does it (`resolution`). They are applied here because Thanos drops an
//! inconsistent histogram and answers 200: the sender would be told that it was stored.

use prost::Message;

use super::message::histogram::{Count, ZeroCount};
use super::message::{BucketSpan, Histogram};
use super::resolution::{RESERVED_SCHEMAS, reduce};
use crate::wire::series::ScanError;

/// Longest histogram that is decoded at all; a longer one counts as inconsistent. Decoded, a byte may become eight, and
/// Prometheus' largest have a few hundred buckets.
const MAX_LENGTH: usize = 1 << 20;

/// Most histograms in one write. Prometheus sends 2000; sixteen million empty ones fit in 1.5 MiB of snappy, and each
/// costs a tenth of a microsecond to check.
pub(super) const MAX_COUNT: u64 = 100_000;

/// Schemas of exponential buckets, and the one that stands for custom bounds.
const EXPONENTIAL_SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;
const CUSTOM_BUCKETS_SCHEMA: i32 = -53;
/// Unknown, yes, no, gauge.
const RESET_HINTS: std::ops::RangeInclusive<i32> = 0..=3;

/// The histogram decodes, but no observations can have produced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inconsistent;

pub(super) fn too_many() -> ScanError {
    ScanError::TooManyHistograms { limit: MAX_COUNT }
}

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
    // A finer one than receivers store is written anew.
    let is_canonical = scratch.as_slice() == bytes && !RESERVED_SCHEMAS.contains(&histogram.schema);
    is_canonical.then(|| check(&histogram))
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
    let mut histogram = Histogram::decode(bytes).map_err(malformed)?;
    if RESERVED_SCHEMAS.contains(&histogram.schema) && reduced(&mut histogram).is_err() {
        return Ok(Err(Inconsistent));
    }
    histogram.encode(out).map_err(|_| ScanError::NotRewritten)?;
    if out.len() > MAX_LENGTH.min(most_written(bytes.len())) {
        return Ok(Err(Inconsistent));
    }
    Ok(check(&histogram))
}

/// Bytes that one of so many is written in, at most. An encoding may exceed what it was decoded from by a byte for each
/// list, once it is packed. Of fewer and larger counts, if its resolution was reduced, it is mostly shorter; of some that nobody
/// observed, several times as long.
pub(in crate::wire) fn most_written(length: usize) -> usize {
    2 * length + 64
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

/// Merges the buckets of one that is finer than receivers store. That there are as many as its spans say bounds the work.
fn reduced(histogram: &mut Histogram) -> Result<(), Inconsistent> {
    let (positive, negative) = buckets(histogram);
    check_spans(&histogram.negative_spans, negative)?;
    check_spans(&histogram.positive_spans, positive)?;
    reduce(histogram).ok_or(Inconsistent)
}

/// How many there are above zero, and below. A receiver reads the counts or the deltas by the kind of `count` and ignores
/// the others.
fn buckets(histogram: &Histogram) -> (usize, usize) {
    match histogram.count {
        Some(Count::CountFloat(_)) => (histogram.positive_counts.len(), histogram.negative_counts.len()),
        _ => (histogram.positive_deltas.len(), histogram.negative_deltas.len()),
    }
}

/// Spans against buckets and bounds, as the schema wants them.
fn check_layout(histogram: &Histogram) -> Result<(), Inconsistent> {
    let (positive, negative) = buckets(histogram);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    fn spans(spans: &[(i32, u32)]) -> Vec<BucketSpan> {
        spans
            .iter()
            .map(|&(offset, length)| BucketSpan { offset, length })
            .collect()
    }

    /// Buckets 1, 3, 0 above zero, 2 below, 4 in the zero bucket.
    fn integer() -> Histogram {
        Histogram {
            count: Some(Count::CountInt(10)),
            sum: 1.5f64.to_bits(),
            schema: 3,
            zero_threshold: 0.001f64.to_bits(),
            zero_count: Some(ZeroCount::ZeroCountInt(4)),
            negative_spans: spans(&[(-2, 1)]),
            negative_deltas: vec![2],
            positive_spans: spans(&[(-5, 2), (0, 0), (3, 1)]),
            positive_deltas: vec![1, 2, -3],
            timestamp: 1_700_000_000_000,
            ..Histogram::default()
        }
    }

    fn float() -> Histogram {
        Histogram {
            count: Some(Count::CountFloat(0.5f64.to_bits())),
            zero_count: Some(ZeroCount::ZeroCountFloat(0.25f64.to_bits())),
            negative_deltas: vec![],
            negative_counts: bits(&[2.5]),
            positive_deltas: vec![],
            positive_counts: bits(&[1.0, 0.0, f64::NAN]),
            ..integer()
        }
    }

    /// Three buckets between and beyond two bounds.
    fn custom() -> Histogram {
        Histogram {
            count: Some(Count::CountInt(3)),
            schema: -53,
            zero_threshold: 0,
            zero_count: None,
            negative_spans: vec![],
            negative_deltas: vec![],
            positive_spans: spans(&[(1, 2)]),
            positive_deltas: vec![1, 1],
            custom_values: bits(&[-1.0, 2.0]),
            ..integer()
        }
    }

    fn verdict(histogram: &Histogram) -> Result<(), Inconsistent> {
        let bytes = histogram.encode_to_vec();
        let verdict = check_canonical(&bytes, &mut Vec::new()).expect("prost writes the canonical form");
        let mut again = Vec::new();
        assert_eq!(rewrite(&bytes, &mut again), Ok(verdict), "both paths judge alike");
        verdict
    }

    #[track_caller]
    fn assert_refused(base: &Histogram, changes: &[fn(&mut Histogram)]) {
        assert_eq!(verdict(base), Ok(()));
        for (i, change) in changes.iter().enumerate() {
            let mut changed = base.clone();
            change(&mut changed);
            assert_eq!(verdict(&changed), Err(Inconsistent), "change {i}");
        }
    }

    #[test]
    fn an_integer_histogram_must_add_up() {
        assert_refused(
            &integer(),
            &[
                |h| h.count = Some(Count::CountInt(9)),
                |h| h.count = Some(Count::CountInt(11)),
                |h| h.count = None,
                |h| h.zero_count = Some(ZeroCount::ZeroCountFloat(4f64.to_bits())),
                // A bucket below zero, then sums that leave 64 bits.
                |h| h.positive_deltas = vec![1, -2, 5],
                |h| h.positive_deltas = vec![i64::MAX, 1, 0],
                |h| h.positive_deltas = vec![i64::MAX, 0, 0],
            ],
        );
    }

    #[test]
    fn spans_must_name_as_many_buckets_as_there_are() {
        for base in [integer(), float()] {
            assert_refused(
                &base,
                &[
                    |h| h.positive_spans = spans(&[(-5, 2), (3, 2)]),
                    |h| h.positive_spans = spans(&[(-5, 2)]),
                    |h| h.positive_spans = spans(&[(-5, 2), (-1, 1)]),
                    |h| h.positive_spans = spans(&[(0, u32::MAX), (0, u32::MAX)]),
                    |h| h.negative_spans = vec![],
                    |h| h.negative_spans = spans(&[(-2, 2)]),
                    |h| h.schema = -5,
                    |h| h.schema = -53,
                    |h| h.reset_hint = 4,
                    |h| h.reset_hint = -1,
                    |h| h.custom_values = bits(&[1.0]),
                ],
            );
        }
    }

    #[test]
    fn a_float_histogram_counts_nothing_below_zero_and_need_not_add_up() {
        assert_refused(
            &float(),
            &[
                |h| h.count = Some(Count::CountFloat((-0.5f64).to_bits())),
                |h| h.zero_count = Some(ZeroCount::ZeroCountFloat((-0.5f64).to_bits())),
                |h| h.positive_counts = bits(&[1.0, -1.0, 0.0]),
                |h| h.negative_counts = bits(&[f64::NEG_INFINITY]),
                // Deltas are not read where the count is a float.
                |h| (h.positive_counts, h.positive_deltas) = (vec![], vec![1, 2, -3]),
            ],
        );
    }

    #[test]
    fn custom_buckets_lie_between_finite_ascending_bounds() {
        assert_refused(
            &custom(),
            &[
                |h| h.custom_values = bits(&[2.0, 2.0]),
                |h| h.custom_values = bits(&[2.0, 1.0]),
                |h| h.custom_values = bits(&[f64::NAN, 1.0]),
                |h| h.custom_values = bits(&[1.0, f64::INFINITY]),
                |h| h.custom_values = bits(&[1.0]),
                |h| h.positive_spans = spans(&[(2, 2)]),
                |h| h.positive_spans = spans(&[(-1, 2)]),
                |h| h.zero_threshold = 1f64.to_bits(),
                |h| h.negative_spans = spans(&[(0, 0)]),
                |h| h.negative_deltas = vec![0],
                |h| (h.count, h.zero_count) = (Some(Count::CountInt(4)), Some(ZeroCount::ZeroCountInt(1))),
            ],
        );
    }

    #[test]
    fn observations_of_nan_are_counted_and_lie_in_no_bucket() {
        let nan = |count| Histogram {
            sum: f64::NAN.to_bits(),
            count: Some(Count::CountInt(count)),
            ..integer()
        };
        assert_eq!(verdict(&nan(10)), Ok(()));
        assert_eq!(verdict(&nan(12)), Ok(()));
        assert_eq!(verdict(&nan(9)), Err(Inconsistent));
    }

    #[test]
    fn every_schema_of_the_specification_passes() {
        for schema in EXPONENTIAL_SCHEMAS {
            assert_eq!(verdict(&Histogram { schema, ..integer() }), Ok(()));
        }
        // An empty histogram, and the one that marks a series as stale.
        assert_eq!(verdict(&Histogram::default()), Ok(()));
        assert_eq!(
            verdict(&Histogram {
                sum: 0x7ff0_0000_0000_0002,
                ..Histogram::default()
            }),
            Ok(())
        );
    }

    /// What `histogram` is written as.
    fn written(histogram: &Histogram) -> Result<Histogram, Inconsistent> {
        let mut out = Vec::new();
        rewrite(&histogram.encode_to_vec(), &mut out).unwrap()?;
        Ok(Histogram::decode(&*out).unwrap())
    }

    #[test]
    fn one_of_a_reserved_schema_is_written_as_the_finest_that_is_stored_and_is_canonical_then() {
        for fine in [integer(), float()] {
            for schema in RESERVED_SCHEMAS {
                let fine = Histogram { schema, ..fine.clone() };
                assert_eq!(check_canonical(&fine.encode_to_vec(), &mut Vec::new()), None);
                let stored = written(&fine).unwrap();
                assert_eq!(stored.schema, 8);
                assert_eq!(verdict(&stored), Ok(()));
                assert_eq!((stored.count, stored.timestamp), (fine.count, fine.timestamp));
            }
        }
        assert_eq!(
            written(&Histogram {
                schema: 53,
                ..integer()
            }),
            Err(Inconsistent)
        );
        assert_eq!(
            written(&Histogram {
                schema: -5,
                ..integer()
            }),
            Err(Inconsistent)
        );
    }

    #[test]
    fn spans_of_a_finer_one_that_are_not_its_buckets_are_refused_before_any_work() {
        for wrong in [&[(0, 4)][..], &[(0, u32::MAX)], &[(0, 2), (-1, 1)]] {
            let fine = Histogram {
                schema: 9,
                positive_spans: spans(wrong),
                ..integer()
            };
            assert_eq!(written(&fine), Err(Inconsistent), "{wrong:?}");
        }
    }

    #[test]
    fn a_histogram_may_be_as_long_as_the_limit_and_not_longer() {
        // Zeros in deltas and a span for all of them: one byte each, and some around.
        let long = |buckets: usize| Histogram {
            positive_spans: spans(&[(0, buckets as u32)]),
            positive_deltas: vec![0; buckets],
            ..Histogram::default()
        };
        let around = long(MAX_LENGTH / 2).encoded_len() - MAX_LENGTH / 2;
        assert_eq!(verdict(&long(MAX_LENGTH - around)), Ok(()));
        assert_eq!(verdict(&long(MAX_LENGTH - around + 1)), Err(Inconsistent));
    }
}
