//! `*_over_time`, `resets`, `changes` and smoothing over the samples of one window, none of them stale or missing.
use super::kahan::{Mean, Sum};

pub fn sum(vs: &[f64]) -> f64 {
    let mut sum = Sum::default();
    vs.iter().for_each(|v| sum.add(*v));
    sum.value()
}

pub fn avg(vs: &[f64]) -> f64 {
    let mut mean = Mean::default();
    vs.iter().for_each(|v| mean.add(*v));
    mean.value()
}

/// Index of the extreme that `better(candidate, best)` picks; a NaN gives way to any number.
fn pick(vs: &[f64], better: impl Fn(f64, f64) -> bool) -> usize {
    let mut best = 0;
    for (i, v) in vs.iter().enumerate() {
        if better(*v, vs[best]) || vs[best].is_nan() {
            best = i;
        }
    }
    best
}

pub fn min(vs: &[f64]) -> f64 {
    vs[pick(vs, |v, best| v < best)]
}

pub fn max(vs: &[f64]) -> f64 {
    vs[pick(vs, |v, best| v > best)]
}

/// Index of the last smallest value.
pub fn last_min_index(vs: &[f64]) -> usize {
    pick(vs, |v, best| v <= best)
}

/// Index of the last largest value.
pub fn last_max_index(vs: &[f64]) -> usize {
    pick(vs, |v, best| v >= best)
}

/// Population variance, after Welford with compensation.
pub fn variance(vs: &[f64]) -> f64 {
    let (mut count, mut mean, mut aux) = (0.0, Sum::default(), Sum::default());
    for v in vs {
        count += 1.0;
        let delta = v - (mean.sum + mean.compensation);
        mean.add(delta / count);
        aux.add(delta * (v - (mean.sum + mean.compensation)));
    }
    (aux.sum + aux.compensation) / count
}

/// The `q`-quantile with linear interpolation; sorts `values`. NaN sorts first.
pub fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => a.total_cmp(b),
    });
    let n = values.len() as f64;
    let rank = q * (n - 1.0);
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(n - 1.0);
    let weight = rank - rank.floor();
    values[lower as usize] * (1.0 - weight) + values[upper as usize] * weight
}

/// Median absolute deviation; NaN if any value is.
pub fn mad(vs: &[f64]) -> f64 {
    if vs.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let mut values = vs.to_vec();
    let median = quantile(0.5, &mut values);
    values.iter_mut().for_each(|v| *v = (*v - median).abs());
    quantile(0.5, &mut values)
}

pub fn resets(vs: &[f64]) -> f64 {
    vs.windows(2).filter(|w| w[1] < w[0]).count() as f64
}

pub fn changes(vs: &[f64]) -> f64 {
    vs.windows(2).filter(|w| w[1] != w[0] && !(w[0].is_nan() && w[1].is_nan())).count() as f64
}

/// Holt's double exponential smoothing; `None` with fewer than two samples.
pub fn double_exponential_smoothing(vs: &[f64], smoothing: f64, trend: f64) -> Option<f64> {
    if vs.len() < 2 {
        return None;
    }
    let (mut s0, mut s1, mut b) = (0.0, vs[0], vs[1] - vs[0]);
    for (i, v) in vs.iter().enumerate().skip(1) {
        if i > 1 {
            b = trend * (s1 - s0) + (1.0 - trend) * b;
        }
        let next = smoothing * v + (1.0 - smoothing) * (s1 + b);
        (s0, s1) = (s1, next);
    }
    Some(s1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_gives_way() {
        assert_eq!(max(&[f64::NAN, 1.0, 3.0]), 3.0);
        assert_eq!(min(&[2.0, f64::NAN, 1.0]), 1.0);
        assert_eq!(last_max_index(&[1.0, 3.0, 3.0]), 2);
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(0.5, &mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(quantile(0.0, &mut [4.0, 1.0]), 1.0);
        assert_eq!(quantile(2.0, &mut [1.0]), f64::INFINITY);
    }

    #[test]
    fn spread() {
        assert!((variance(&[1.0, 2.0, 3.0, 4.0]) - 1.25).abs() < 1e-12);
        assert_eq!(mad(&[4.0, 6.0, 2.0, 1.0, 999.0, 1.0, 2.0]), 1.0);
        assert_eq!((resets(&[1.0, 0.0, 2.0]), changes(&[1.0, 1.0, 2.0])), (1.0, 1.0));
    }
}
