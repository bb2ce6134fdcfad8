//! Quantiles and fractions of classic histograms: cumulative counts by upper bound.

/// A classic bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub upper_bound: f64,
    /// Observations at or below the bound.
    pub count: f64,
}

/// How far counts had to be changed so that they never fall with a rising bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forced {
    pub min_bucket: f64,
    pub max_bucket: f64,
    pub max_diff: f64,
}

/// Relative difference of counts that is only noise of floating point.
const TOLERANCE: f64 = 1e-12;

/// Sorts and merges buckets of the same bound; `None` unless the last bound is infinite.
fn prepare(buckets: &mut Vec<Bucket>) -> Option<()> {
    buckets.sort_by(|a, b| a.upper_bound.partial_cmp(&b.upper_bound).unwrap_or(std::cmp::Ordering::Equal));
    if buckets.last()?.upper_bound != f64::INFINITY {
        return None;
    }
    buckets.dedup_by(|next, kept| {
        let same = next.upper_bound == kept.upper_bound;
        if same {
            kept.count += next.count;
        }
        same
    });
    Some(())
}

/// Prometheus' `almost.Equal`.
fn almost_equal(a: f64, b: f64, epsilon: f64) -> bool {
    if a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let diff = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < epsilon * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < epsilon
}

fn force_monotonic(buckets: &mut [Bucket]) -> Option<Forced> {
    let mut forced: Option<Forced> = None;
    let mut previous = buckets[0].count;
    for bucket in &mut buckets[1..] {
        let current = bucket.count;
        if current == previous {
            continue;
        }
        if almost_equal(previous, current, TOLERANCE) {
            bucket.count = previous;
        } else if current < previous {
            bucket.count = previous;
            let f = forced.get_or_insert(Forced {
                min_bucket: f64::INFINITY,
                max_bucket: f64::NEG_INFINITY,
                max_diff: 0.0,
            });
            f.min_bucket = f.min_bucket.min(bucket.upper_bound);
            f.max_bucket = f.max_bucket.max(bucket.upper_bound);
            f.max_diff = f.max_diff.max(previous - current);
        } else {
            previous = current;
        }
    }
    forced
}

/// The `q`-quantile by linear interpolation within a bucket, as Prometheus' `BucketQuantile`.
pub fn quantile(q: f64, mut buckets: Vec<Bucket>) -> (f64, Option<Forced>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if prepare(&mut buckets).is_none() {
        return (f64::NAN, None);
    }
    let forced = force_monotonic(&mut buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, forced);
    }
    let mut rank = q * observations;
    // Not a partition point: with a NaN count no bucket is found, as in Prometheus.
    let b = first_where(last, |i| buckets[i].count >= rank);
    let value = if b == last {
        buckets[last - 1].upper_bound
    } else if b == 0 && buckets[0].upper_bound <= 0.0 {
        buckets[0].upper_bound
    } else {
        let (mut start, mut count) = (0.0, buckets[b].count);
        if b > 0 {
            start = buckets[b - 1].upper_bound;
            count -= buckets[b - 1].count;
            rank -= buckets[b - 1].count;
        }
        start + (buckets[b].upper_bound - start) * (rank / count)
    };
    (value, forced)
}

/// Go's `sort.Search`.
fn first_where(n: usize, is: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = (low + high) / 2;
        if is(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// The fraction of observations between `lower` and `upper`, as Prometheus' `BucketFraction`.
pub fn fraction(lower: f64, upper: f64, mut buckets: Vec<Bucket>) -> f64 {
    if prepare(&mut buckets).is_none() {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank = |v: f64| rank_of(v, &buckets).filter(|r| *r <= count).unwrap_or(count);
    (rank(upper) - rank(lower)) / count
}

/// Observations at or below `v`, if a bucket tells.
fn rank_of(v: f64, buckets: &[Bucket]) -> Option<f64> {
    let mut rank = 0.0;
    let mut lower = if buckets[0].upper_bound <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    for bucket in buckets {
        if lower >= v {
            return Some(rank);
        }
        if bucket.upper_bound > v {
            let is_open = lower == f64::NEG_INFINITY;
            let inside = (bucket.count - rank) * (v - lower) / (bucket.upper_bound - lower);
            return Some(if is_open { bucket.count } else { rank + inside });
        }
        rank = bucket.count;
        lower = bucket.upper_bound;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|(upper_bound, count)| Bucket { upper_bound: *upper_bound, count: *count }).collect()
    }

    #[test]
    fn quantiles() {
        let b = || of(&[(f64::INFINITY, 4.0), (0.1, 1.0), (0.2, 3.0)]);
        assert!((quantile(0.5, b()).0 - 0.15).abs() < 1e-12);
        assert_eq!(quantile(1.0, b()).0, 0.2);
        assert!(quantile(0.5, of(&[(1.0, 1.0)])).0.is_nan());
        let (_, forced) = quantile(0.5, of(&[(1.0, 5.0), (2.0, 3.0), (f64::INFINITY, 6.0)]));
        assert_eq!(forced, Some(Forced { min_bucket: 2.0, max_bucket: 2.0, max_diff: 2.0 }));
    }

    #[test]
    fn fractions() {
        let b = || of(&[(1.0, 2.0), (2.0, 4.0), (f64::INFINITY, 4.0)]);
        assert!((fraction(0.5, 1.5, b()) - 0.5).abs() < 1e-12);
        assert_eq!(fraction(2.0, 1.0, b()), 0.0);
        assert_eq!(fraction(0.0, f64::INFINITY, b()), 1.0);
    }
}
