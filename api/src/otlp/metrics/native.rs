//! Native histograms of OTLP's exponential histograms, and of explicit ones where that is asked for.
use std::collections::BTreeMap;

use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{ExponentialHistogramDataPoint, HistogramDataPoint};
use trine_store::model::STALE_NAN_BITS;

use super::{NO_RECORDED_VALUE, ms_of};
use crate::prom::histogram::{CUSTOM, Histogram, SCHEMA_MAX, Side, coarser};

/// Coarsest resolution that native histograms have.
const SCHEMA_MIN: i64 = -4;
/// Observations nearer to zero are counted there, as Prometheus takes it.
const ZERO_THRESHOLD: f64 = 1e-128;
/// Most buckets of a side.
const BUCKETS_MAX: usize = 4096;

/// Why a point has no native histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("cannot convert exponential to native histogram. Scale must be >= {SCHEMA_MIN}, was {0}")]
    Scale(i32),
    #[error("{0} buckets, at most {BUCKETS_MAX}")]
    Buckets(usize),
}

/// The histogram of an exponential point.
pub(super) fn of_exponential(p: &ExponentialHistogramDataPoint) -> Result<Histogram, Fault> {
    let scale = i64::from(p.scale);
    if scale < SCHEMA_MIN {
        return Err(Fault::Scale(p.scale));
    }
    let steps = u32::try_from(scale - SCHEMA_MAX).unwrap_or(0);
    let h = Histogram {
        schema: scale.min(SCHEMA_MAX),
        zero_threshold: ZERO_THRESHOLD,
        zero_int: p.zero_count,
        positive: side_of(p.positive.as_ref(), steps)?,
        negative: side_of(p.negative.as_ref(), steps)?,
        time_ms: ms_of(p.time_unix_nano),
        ..Histogram::default()
    };
    Ok(with_values(h, p.flags, p.count, p.sum))
}

/// A bucket of OTLP begins where one of Prometheus ends: theirs is one further.
fn side_of(buckets: Option<&Buckets>, steps: u32) -> Result<Side, Fault> {
    let Some(buckets) = buckets else { return Ok(Side::default()) };
    if buckets.bucket_counts.len() > BUCKETS_MAX {
        return Err(Fault::Buckets(buckets.bucket_counts.len()));
    }
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    for (at, count) in (0i64..).zip(&buckets.bucket_counts).filter(|(_, count)| **count > 0) {
        let index = coarser(i64::from(buckets.offset) + at + 1, steps);
        let bucket = counts.entry(index).or_insert(0);
        *bucket = bucket.saturating_add(i64::try_from(*count).unwrap_or(i64::MAX));
    }
    Ok(Side::of_index(&counts))
}

/// The histogram of a point with bounds of its own.
pub(super) fn of_explicit(p: &HistogramDataPoint) -> Result<Histogram, Fault> {
    if p.bucket_counts.len() > BUCKETS_MAX {
        return Err(Fault::Buckets(p.bucket_counts.len()));
    }
    let filled = (0i64..).zip(&p.bucket_counts).filter(|(_, count)| **count > 0);
    let counts = filled.map(|(at, count)| (at, i64::try_from(*count).unwrap_or(i64::MAX))).collect();
    let h = Histogram {
        schema: CUSTOM,
        positive: Side::of_index(&counts),
        custom: p.explicit_bounds.clone(),
        time_ms: ms_of(p.time_unix_nano),
        ..Histogram::default()
    };
    Ok(with_values(h, p.flags, p.count, p.sum))
}

fn with_values(h: Histogram, flags: u32, count: u64, sum: Option<f64>) -> Histogram {
    if flags & NO_RECORDED_VALUE != 0 {
        let (schema, custom, time_ms) = (h.schema, h.custom, h.time_ms);
        return Histogram { schema, custom, time_ms, sum: f64::from_bits(STALE_NAN_BITS), ..Histogram::default() };
    }
    Histogram { count_int: count, sum: sum.unwrap_or(0.0), ..h }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(scale: i32, offset: i32, counts: &[u64]) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            scale,
            count: counts.iter().sum(),
            sum: Some(1.5),
            positive: Some(Buckets { offset, bucket_counts: counts.to_vec() }),
            time_unix_nano: 1_000_000,
            ..ExponentialHistogramDataPoint::default()
        }
    }

    #[test]
    fn buckets_move_by_one_and_are_merged_when_too_fine() {
        for (p, schema, spans, counts) in [
            (point(0, 0, &[1, 2, 0, 4]), 0, vec![(1, 4)], vec![1, 2, 0, 4]),
            (point(-4, -3, &[1, 0, 0, 0, 2]), -4, vec![(-2, 1), (3, 1)], vec![1, 2]),
            // Indexes 2 and 3 of scale 9 are index 1 of scale 8, 4 is index 2.
            (point(9, 2, &[1, 2, 3]), 8, vec![(2, 2)], vec![3, 3]),
        ] {
            let h = of_exponential(&p).unwrap();
            assert_eq!((h.schema, h.positive.spans.clone(), h.positive.absolute()), (schema, spans, counts));
            assert!(crate::prom::histogram::blob(&h).is_ok());
        }
        assert_eq!(of_exponential(&point(-5, 0, &[])).unwrap_err(), Fault::Scale(-5));
    }

    #[test]
    fn bounds_of_their_own_are_kept() {
        let p = HistogramDataPoint {
            count: 6,
            explicit_bounds: vec![0.5, 10.0],
            bucket_counts: vec![0, 2, 4],
            ..HistogramDataPoint::default()
        };
        let h = of_explicit(&p).unwrap();
        assert_eq!(
            (&h.positive.spans[..], h.positive.absolute(), &h.custom[..]),
            (&[(1, 2)][..], vec![2, 4], &[0.5, 10.0][..])
        );
        assert!(crate::prom::histogram::blob(&h).is_ok());
        let ended = of_explicit(&HistogramDataPoint { flags: 1, ..p }).unwrap();
        assert!(ended.is_stale() && ended.positive.spans.is_empty());
    }
}
