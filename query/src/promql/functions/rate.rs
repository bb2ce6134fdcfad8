//! Rates of change: `rate`, `increase`, `delta`, `irate`, `idelta`, `deriv`, `predict_linear`.
use super::kahan::Sum;
use super::range::Window;

/// `rate`, `increase` and `delta`: the change over the window, extrapolated towards its edges.
///
/// `None` with fewer than two samples. Agrees with Prometheus' `extrapolatedRate` without start timestamps.
pub fn extrapolated(ts: &[i64], vs: &[f64], window: &Window, is_counter: bool, per_second: bool) -> Option<f64> {
    let (first, last) = (*ts.first()?, *ts.last()?);
    if ts.len() < 2 {
        return None;
    }
    let mut result = vs[vs.len() - 1] - vs[0];
    if is_counter {
        for pair in vs.windows(2) {
            if pair[1] < pair[0] {
                result += pair[0];
            }
        }
    }
    let mut to_start = (first - (window.end_ms - window.range_ms)) as f64 / 1000.0;
    let mut to_end = (window.end_ms - last) as f64 / 1000.0;
    let sampled = (last - first) as f64 / 1000.0;
    let spacing = sampled / (ts.len() - 1) as f64;
    let threshold = spacing * 1.1;
    if to_start >= threshold {
        to_start = spacing / 2.0;
    }
    if is_counter && result > 0.0 && vs[0] >= 0.0 {
        // A counter was zero once: do not extrapolate to before that.
        let to_zero = sampled * (vs[0] / result);
        to_start = if to_zero < to_start { to_zero } else { to_start };
    }
    if to_end >= threshold {
        to_end = spacing / 2.0;
    }
    let mut factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
    if per_second {
        factor /= window.range_ms as f64 / 1000.0;
    }
    Some(result * factor)
}

/// `irate` and `idelta`: from the last two samples only.
pub fn instant(ts: &[i64], vs: &[f64], is_rate: bool) -> Option<f64> {
    let n = ts.len();
    if n < 2 {
        return None;
    }
    let interval = ts[n - 1] - ts[n - 2];
    if interval == 0 {
        return None;
    }
    let (previous, current) = (vs[n - 2], vs[n - 1]);
    let is_reset = is_rate && current < previous;
    let change = if is_reset { current } else { current - previous };
    Some(if is_rate { change / (interval as f64 / 1000.0) } else { change })
}

/// Slope per second and value at `intercept_ms` of the least-squares line. At least one sample.
pub fn regression(ts: &[i64], vs: &[f64], intercept_ms: i64) -> (f64, f64) {
    if vs.iter().all(|v| *v == vs[0]) {
        return if vs[0].is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, vs[0]) };
    }
    let n = vs.len() as f64;
    let [mut x_sum, mut y_sum, mut xy_sum, mut xx_sum] = [Sum::default(); 4];
    for (t, y) in ts.iter().zip(vs) {
        let x = (t - intercept_ms) as f64 / 1000.0;
        x_sum.add(x);
        y_sum.add(*y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    let plain = |s: Sum| s.sum + s.compensation;
    let (x, y, xy, xx) = (plain(x_sum), plain(y_sum), plain(xy_sum), plain(xx_sum));
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { end_ms: 60_000, range_ms: 60_000, eval_ms: 60_000 };

    #[test]
    fn extrapolates_to_close_edges_and_counts_resets() {
        let ts = [15_000, 30_000, 45_000, 60_000];
        let rate = |vs: &[f64], counter| extrapolated(&ts, vs, &WINDOW, counter, true).unwrap();
        assert!((rate(&[15.0, 30.0, 45.0, 60.0], true) - 1.0).abs() < 1e-12);
        // 45 s were sampled, 15 s are extrapolated; after the reset to 10 the counter grew by 10 + 25.
        assert!((rate(&[1000.0, 1010.0, 10.0, 35.0], true) - 45.0 / 45.0).abs() < 1e-12);
        assert!((rate(&[60.0, 45.0, 30.0, 15.0], false) + 1.0).abs() < 1e-12);
        assert_eq!(extrapolated(&ts[..1], &[1.0], &WINDOW, true, true), None);
    }

    #[test]
    fn instant_rates_use_two_samples() {
        assert_eq!(instant(&[0, 10_000, 20_000], &[9.0, 1.0, 3.0], true), Some(0.2));
        assert_eq!(instant(&[0, 10_000], &[9.0, 1.0], true), Some(0.1));
        assert_eq!(instant(&[0, 10_000], &[9.0, 1.0], false), Some(-8.0));
    }

    #[test]
    fn regression_of_a_line() {
        let (slope, at) = regression(&[0, 1000, 2000], &[1.0, 3.0, 5.0], 2000);
        assert!((slope - 2.0).abs() < 1e-12 && (at - 5.0).abs() < 1e-12);
        assert_eq!(regression(&[0, 1000], &[4.0, 4.0], 0), (0.0, 4.0));
    }
}
