//! Quantiles, fractions and the spread of a histogram, after Prometheus' `promql/quantile.go`.
use super::{Bucket, Histogram};
use crate::promql::functions::kahan::Sum;

/// Observations of NaN, which are counted but in no bucket, touched a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NanObservations {
    /// The quantile lies among them.
    Result,
    /// They shift the quantile upwards, as if they were large.
    Skew,
    /// A fraction leaves them out.
    LeftOut,
}

impl Histogram {
    /// A bucket around zero reaches only to the side that has observations.
    fn cut_at_zero(&self, b: &mut Bucket) {
        if self.negative.is_empty() && !self.positive.is_empty() {
            b.lower = 0.0;
        } else if self.positive.is_empty() && !self.negative.is_empty() {
            b.upper = 0.0;
        }
    }

    /// The `q`-quantile: linear within custom and zero buckets, exponential within the others.
    pub fn quantile(&self, q: f64) -> (f64, Option<NanObservations>) {
        if q < 0.0 {
            return (f64::NEG_INFINITY, None);
        }
        if q > 1.0 {
            return (f64::INFINITY, None);
        }
        if self.count == 0.0 || q.is_nan() {
            return (f64::NAN, None);
        }
        // Observations of NaN are in no bucket, so that only counting from below finds a rank.
        let forward = self.sum.is_nan() || q < 0.5;
        let mut rank = if forward { q * self.count } else { (1.0 - q) * self.count };
        let mut buckets = self.buckets();
        if !forward {
            buckets.reverse();
        }
        let mut rest = buckets.into_iter();
        let (mut count, mut bucket) = (0.0, None);
        for b in rest.by_ref() {
            bucket = Some(b);
            if b.count != 0.0 {
                count += b.count;
                if count >= rank {
                    break;
                }
            }
        }
        let empty = Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0 };
        let mut bucket = bucket.unwrap_or(empty);
        if self.is_custom() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return (bucket.upper, None);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return (bucket.lower, None);
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            self.cut_at_zero(&mut bucket);
        }
        count = if count > self.count { self.count } else { count };
        if count < rank {
            let nan = self.sum.is_nan();
            return if nan { (f64::NAN, Some(NanObservations::Result)) } else { (bucket.upper, None) };
        }
        rank = if forward { rank - (count - bucket.count) } else { count - rank };
        let all = count + rest.map(|b| b.count).sum::<f64>();
        let skew = (self.sum.is_nan() && all < self.count).then_some(NanObservations::Skew);
        (self.within(&bucket, rank / bucket.count), skew)
    }

    /// The value at `fraction` of the bucket's observations.
    fn within(&self, b: &Bucket, fraction: f64) -> f64 {
        if self.is_custom() || (b.lower <= 0.0 && b.upper >= 0.0) {
            return b.lower + (b.upper - b.lower) * fraction;
        }
        let (lower, upper) = (b.lower.abs().log2(), b.upper.abs().log2());
        if b.lower > 0.0 {
            (lower + (upper - lower) * fraction).exp2()
        } else {
            -(upper + (lower - upper) * (1.0 - fraction)).exp2()
        }
    }

    /// The fraction of observations between two values.
    pub fn fraction(&self, lower: f64, upper: f64) -> (f64, Option<NanObservations>) {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return (f64::NAN, None);
        }
        if lower >= upper {
            return (0.0, None);
        }
        let buckets = self.buckets();
        let in_buckets: f64 = buckets.iter().map(|b| b.count).sum();
        let nan = self.sum.is_nan();
        let count = if nan { in_buckets } else { self.count };
        let left_out = (nan && in_buckets < self.count).then_some(NanObservations::LeftOut);
        let rank = |v: f64| self.rank_of(v, &buckets).filter(|r| *r <= count).unwrap_or(count);
        ((rank(upper) - rank(lower)) / self.count, left_out)
    }

    /// Observations below `v`, if a bucket tells.
    fn rank_of(&self, v: f64, buckets: &[Bucket]) -> Option<f64> {
        let mut rank = 0.0;
        for bucket in buckets {
            let mut b = *bucket;
            let around_zero = b.lower <= 0.0 && b.upper >= 0.0;
            if around_zero {
                self.cut_at_zero(&mut b);
            }
            if b.lower >= v {
                return Some(rank);
            }
            if b.upper > v {
                let linear = self.is_custom() || around_zero;
                // Nothing is known of where in an endless bucket the observations are.
                let endless = linear && b.lower == f64::NEG_INFINITY;
                return Some(if endless { b.count } else { rank + b.count * b.fraction_below(v, linear) });
            }
            rank += b.count;
        }
        None
    }

    /// Population variance, each observation taken to be in the middle of its bucket.
    pub fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut variance = Sum::default();
        for b in self.buckets().iter().filter(|b| b.count != 0.0) {
            let value = if self.is_custom() {
                (b.upper + b.lower) / 2.0
            } else if b.lower <= 0.0 && b.upper >= 0.0 {
                0.0
            } else {
                (b.upper * b.lower).sqrt().copysign(b.upper)
            };
            let delta = value - mean;
            variance.add(b.count * delta * delta);
        }
        (variance.sum + variance.compensation) / self.count
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::CUSTOM;
    use super::super::tests::of;
    use super::*;

    #[test]
    fn quantiles_interpolate_exponentially() {
        let h = of(&[1.0, 2.0, 1.0]);
        assert!((h.quantile(0.5).0 - 2f64.sqrt()).abs() < 1e-12);
        assert_eq!(h.quantile(1.0).0, 4.0);
        assert_eq!(h.quantile(-1.0).0, f64::NEG_INFINITY);
        assert!(Histogram::default().quantile(0.5).0.is_nan());
        let mirrored = Histogram { negative: h.positive.clone(), positive: Default::default(), sum: -4.0, ..h };
        assert!((mirrored.quantile(0.5).0 + 2f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn nan_observations_are_told_of() {
        let h = Histogram { count: 5.0, sum: f64::NAN, ..of(&[1.0, 2.0, 1.0]) };
        assert_eq!(h.quantile(0.9).1, Some(NanObservations::Result));
        assert_eq!(h.quantile(0.1).1, Some(NanObservations::Skew));
        assert_eq!(h.fraction(f64::NEG_INFINITY, f64::INFINITY), (0.8, Some(NanObservations::LeftOut)));
    }

    #[test]
    fn fractions() {
        let h = of(&[1.0, 2.0, 1.0]);
        assert_eq!(h.fraction(1.0, 2.0).0, 0.5);
        assert_eq!(h.fraction(2.0, 1.0).0, 0.0);
        let custom = Histogram { schema: CUSTOM, custom: Some(Arc::from([1.0, 2.0])), ..of(&[1.0, 2.0, 1.0]) };
        assert_eq!(custom.fraction(0.0, 1.5).0, 0.5);
    }

    #[test]
    fn spread() {
        let h = Histogram { sum: 10.0, ..of(&[1.0, 1.0, 1.0, 1.0]) };
        assert!(h.variance() > 0.0);
    }
}
