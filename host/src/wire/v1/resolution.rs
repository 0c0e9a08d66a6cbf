//! Native histograms of a finer resolution than receivers store.
//!
//! Takes a histogram of one of the schemas that are reserved above the finest one, gives it with the buckets of that one:
//! each takes the counts of the finer ones that lie in it. As Prometheus' receiver does it (`ReduceResolution`), so that
//! it does not matter through whom a histogram comes. Never loses a count.

use super::message::histogram::Count;
use super::message::{BucketSpan, Histogram};

/// What there may be that is finer than [`FINEST`].
pub(super) const RESERVED_SCHEMAS: std::ops::RangeInclusive<i32> = FINEST + 1..=52;
/// With each schema the buckets are half as wide as with the one before.
const FINEST: i32 = 8;

/// Reduces a histogram of one of [`RESERVED_SCHEMAS`], whose spans are those of its buckets. None where a number leaves
/// its range.
pub(super) fn reduce(histogram: &mut Histogram) -> Option<()> {
    let by = (histogram.schema - FINEST) as u32;
    if let Some(Count::CountFloat(_)) = histogram.count {
        for (spans, counts) in [
            (&mut histogram.negative_spans, &mut histogram.negative_counts),
            (&mut histogram.positive_spans, &mut histogram.positive_counts),
        ] {
            let sum = |a: u64, b: u64| Some((f64::from_bits(a) + f64::from_bits(b)).to_bits());
            (*spans, *counts) = merge(spans, counts, by, sum)?;
        }
    } else {
        for (spans, deltas) in [
            (&mut histogram.negative_spans, &mut histogram.negative_deltas),
            (&mut histogram.positive_spans, &mut histogram.positive_deltas),
        ] {
            let (merged, counts) = merge(spans, &counts(deltas)?, by, i64::checked_add)?;
            (*spans, *deltas) = (merged, self::deltas(&counts)?);
        }
    }
    histogram.schema = FINEST;
    Some(())
}

fn counts(deltas: &[i64]) -> Option<Vec<i64>> {
    let mut count = 0i64;
    let next = |delta: &i64| {
        count = count.checked_add(*delta)?;
        Some(count)
    };
    deltas.iter().map(next).collect()
}

fn deltas(counts: &[i64]) -> Option<Vec<i64>> {
    let mut last = 0i64;
    let next = |count: &i64| count.checked_sub(std::mem::replace(&mut last, *count));
    counts.iter().map(next).collect()
}

/// The buckets of one side, those of which one takes the place added up.
fn merge<T: Copy>(
    spans: &[BucketSpan],
    buckets: &[T],
    by: u32,
    sum: impl Fn(T, T) -> Option<T>,
) -> Option<(Vec<BucketSpan>, Vec<T>)> {
    let (mut merged_spans, mut merged): (Vec<BucketSpan>, Vec<T>) = (Vec::new(), Vec::new());
    let (mut index, mut last) = (0i64, 0i64);
    let mut buckets = buckets.iter();
    for span in spans {
        index += i64::from(span.offset);
        for bucket in buckets.by_ref().take(span.length as usize) {
            let target = ((index - 1) >> by) + 1;
            match (merged.last_mut(), merged_spans.last_mut()) {
                (Some(count), Some(_)) if last == target => *count = sum(*count, *bucket)?,
                (Some(_), Some(span)) if last + 1 == target => {
                    span.length += 1;
                    merged.push(*bucket);
                }
                (before, _) => {
                    let offset = if before.is_some() { target - last - 1 } else { target };
                    let offset = i32::try_from(offset).ok()?;
                    merged_spans.push(BucketSpan { offset, length: 1 });
                    merged.push(*bucket);
                }
            }
            last = target;
            index += 1;
        }
    }
    Some((merged_spans, merged))
}

#[cfg(test)]
mod tests {
    use super::super::message::histogram::ZeroCount;
    use super::*;

    fn spans(spans: &[(i32, u32)]) -> Vec<BucketSpan> {
        let span = |&(offset, length): &(i32, u32)| BucketSpan { offset, length };
        spans.iter().map(span).collect()
    }

    /// Buckets 1, 3, 1, 2 at 0 to 3 and 1, 1 at 7 and 8.
    fn fine(schema: i32) -> Histogram {
        Histogram {
            count: Some(Count::CountInt(9)),
            zero_count: Some(ZeroCount::ZeroCountInt(0)),
            schema,
            positive_spans: spans(&[(0, 4), (0, 0), (3, 2)]),
            positive_deltas: vec![1, 2, -2, 1, -1, 0],
            ..Histogram::default()
        }
    }

    #[test]
    fn two_buckets_are_one_of_the_next_schema() {
        // Bucket n ends at 2^n and takes what lies above the end of the one before: 0; 1 and 2; 3; 7 and 8.
        let mut histogram = fine(9);
        assert_eq!(reduce(&mut histogram), Some(()));
        assert_eq!(histogram.schema, 8);
        assert_eq!(histogram.positive_spans, spans(&[(0, 3), (1, 1)]));
        assert_eq!(histogram.positive_deltas, [1, 3, -2, 0]);
        assert_eq!(histogram.count, Some(Count::CountInt(9)));
    }

    #[test]
    fn float_buckets_are_counts_by_themselves() {
        let bits = |counts: &[f64]| counts.iter().map(|count| count.to_bits()).collect::<Vec<_>>();
        let mut histogram = Histogram {
            count: Some(Count::CountFloat(9f64.to_bits())),
            positive_deltas: vec![],
            positive_counts: bits(&[1.0, 3.0, 1.0, 2.0, 1.0, 1.0]),
            ..fine(9)
        };
        assert_eq!(reduce(&mut histogram), Some(()));
        assert_eq!(histogram.positive_spans, spans(&[(0, 3), (1, 1)]));
        assert_eq!(histogram.positive_counts, bits(&[1.0, 4.0, 2.0, 2.0]));
    }

    #[test]
    fn the_finest_that_is_reserved_and_buckets_below_one_come_out_right() {
        let mut histogram = fine(52);
        assert_eq!(reduce(&mut histogram), Some(()));
        // Of 2^44 buckets one: that which ends at 1, and that after it.
        assert_eq!(histogram.positive_spans, spans(&[(0, 2)]));
        assert_eq!(histogram.positive_deltas, [1, 7]);
        let mut below = Histogram {
            positive_spans: spans(&[(-3, 6)]),
            ..fine(9)
        };
        assert_eq!(reduce(&mut below), Some(()));
        // -3 and -2 are in -1, -1 and 0 in 0, 1 and 2 in 1.
        assert_eq!(below.positive_spans, spans(&[(-1, 3)]));
        assert_eq!(below.positive_deltas, [4, -1, -1]);
    }
}
