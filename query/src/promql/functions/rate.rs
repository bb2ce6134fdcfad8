//! Rates of change: `rate`, `increase`, `delta`, `irate`, `idelta`, `deriv`, `predict_linear`.
use super::edges::Edges;
use super::kahan::Sum;
use super::range::Window;

/// `rate`, `increase` and `delta`: the change over the window, extrapolated towards its edges.
///
/// `None` with fewer than two samples. Agrees with Prometheus' `extrapolatedRate` without start timestamps.
pub fn extrapolated(ts: &[i64], vs: &[f64], window: &Window, is_counter: bool, per_second: bool) -> Option<f64> {
    let edges = Edges::of(ts, (window.end_ms - window.range_ms, window.end_ms), per_second)?;
    Some(edges.extrapolate(Drops::of(vs, is_counter).change(vs, 0), vs[0], is_counter))
}

/// Where the values of a series fall, which is where a counter was reset. Windows over it that move forward see each
/// fall once, whatever their length.
#[derive(Clone, Debug)]
pub struct Drops {
    /// Rising positions of values that are less than the one before.
    at: Vec<usize>,
    /// The first of `at` that lies behind the start of the window.
    next: usize,
}

impl Drops {
    /// Of the values of a whole series. What is no counter has no resets.
    pub fn of(vs: &[f64], is_counter: bool) -> Self {
        let mut at = Vec::new();
        if is_counter && !vs.is_sorted() {
            at.extend(vs.windows(2).zip(1..).filter(|(pair, _)| pair[1] < pair[0]).map(|(_, position)| position));
        }
        Self { at, next: 0 }
    }

    /// By how much the values `vs` of a window rise, resets made up for; the first of them, of which there must be one, is the
    /// series' sample `start`, which never falls.
    #[inline]
    pub fn change(&mut self, vs: &[f64], start: usize) -> f64 {
        let mut change = vs[vs.len() - 1] - vs[0];
        while self.at.get(self.next).is_some_and(|at| *at <= start) {
            self.next += 1;
        }
        for at in self.at[self.next..].iter().take_while(|at| **at < start + vs.len()) {
            change += vs[at - start - 1];
        }
        change
    }
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
    use proptest::prelude::*;

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

    proptest! {
        /// One pass over a series gives what each window alone gives, to the bit.
        #[test]
        fn sliding_windows_are_each_as_if_alone(
            vs in prop::collection::vec(prop_oneof![8 => 0.0f64..100.0, 1 => Just(f64::NAN)], 0..60),
            starts in prop::collection::vec(0usize..60, 1..20),
            len in 0usize..20,
            is_counter: bool,
        ) {
            let ts: Vec<i64> = (0..vs.len() as i64).map(|i| i * 15_000).collect();
            let mut starts = starts;
            starts.sort_unstable();
            let mut drops = Drops::of(&vs, is_counter);
            for start in starts.into_iter().map(|start| start.min(vs.len())) {
                let samples = start..(start + len).min(vs.len());
                let (ts, vs) = (&ts[samples.clone()], &vs[samples]);
                let alone = extrapolated(ts, vs, &WINDOW, is_counter, true);
                prop_assert_eq!(alone.is_some(), vs.len() > 1);
                if let Some(edges) = Edges::of(ts, (WINDOW.end_ms - WINDOW.range_ms, WINDOW.end_ms), true) {
                    let slid = edges.extrapolate(drops.change(vs, start), vs[0], is_counter);
                    prop_assert_eq!(Some(slid.to_bits()), alone.map(f64::to_bits));
                }
            }
        }
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
