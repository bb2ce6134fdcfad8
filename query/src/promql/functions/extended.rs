//! Ranges that reach beyond their edges: `anchored` (the sample before the range counts) and `smoothed` (values at the
//! edges are interpolated).
use super::over_time;
use super::range::{RangeFn, Window};

/// How a range selector treats its edges. On the wire: never reuse a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Extension {
    #[default]
    None = 0,
    /// Begins with the last sample at or before the range.
    Anchored = 1,
    /// Values at both edges are interpolated from the samples around them.
    Smoothed = 2,
}

impl Extension {
    pub fn from_u32(number: u32) -> Option<Self> {
        [Self::None, Self::Anchored, Self::Smoothed].into_iter().find(|e| *e as u32 == number)
    }

    /// By the modifiers of a selector, of which there is at most one.
    pub fn of(anchored: bool, smoothed: bool) -> Self {
        match (anchored, smoothed) {
            (true, _) => Self::Anchored,
            (_, true) => Self::Smoothed,
            _ => Self::None,
        }
    }

    /// Names of the functions that such a range is for, sorted.
    pub fn functions(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Anchored => &["changes", "delta", "increase", "rate", "resets"],
            Self::Smoothed => &["delta", "increase", "rate"],
        }
    }
}

/// A function over the samples of a range and those around it. `None` where there is no result.
pub(super) fn eval(f: RangeFn, extension: Extension, ts: &[i64], vs: &[f64], window: &Window) -> Option<f64> {
    let smoothed = extension == Extension::Smoothed;
    match f {
        RangeFn::Rate => change(ts, vs, window, smoothed, true).map(|v| v / (window.range_ms as f64 / 1000.0)),
        RangeFn::Increase => change(ts, vs, window, smoothed, true),
        RangeFn::Delta => change(ts, vs, window, smoothed, false),
        RangeFn::Changes => from_anchor(ts, vs, window).map(over_time::changes),
        RangeFn::Resets => from_anchor(ts, vs, window).map(over_time::resets),
        RangeFn::Instant => smoothed_instant(ts, vs, window.end_ms),
        _ => None,
    }
}

/// The values from the last sample at or before the range on, if there is one inside.
fn from_anchor<'a>(ts: &[i64], vs: &'a [f64], window: &Window) -> Option<&'a [f64]> {
    let inside = ts.partition_point(|t| *t <= window.end_ms - window.range_ms);
    (inside < ts.len()).then(|| &vs[inside.saturating_sub(1)..])
}

/// The value of the line through two samples at `t`; a counter that fell began anew at 0.
fn interpolate(a: (i64, f64), b: (i64, f64), t: i64, is_counter: bool) -> f64 {
    let from = if is_counter && b.1 < a.1 { 0.0 } else { a.1 };
    from + (b.1 - from) * (t - a.0) as f64 / (b.0 - a.0) as f64
}

/// Prometheus' `extendedRate`, before it is made per second.
fn change(ts: &[i64], vs: &[f64], window: &Window, smoothed: bool, is_counter: bool) -> Option<f64> {
    let mut last = ts.len().checked_sub(1)?;
    let (start, end) = (window.end_ms - window.range_ms, window.end_ms);
    let mut first = ts[..last].partition_point(|t| *t <= start).saturating_sub(1);
    if smoothed {
        last = ts[..last].partition_point(|t| *t < end);
    }
    if ts[last] <= start || (smoothed && ts[first] > end) {
        return None;
    }
    let sample = |i: usize| (ts[i], vs[i]);
    let left = if smoothed && ts[first] < start {
        interpolate(sample(first), sample(first + 1), start, is_counter)
    } else {
        vs[first]
    };
    let right = if smoothed && last > 0 && ts[last] > end {
        interpolate(sample(last - 1), sample(last), end, is_counter)
    } else {
        vs[last]
    };
    let mut result = right - left;
    if is_counter {
        let mut stop = last + 1;
        if ts[first] <= start {
            first += 1;
        }
        if ts[last] >= end {
            stop -= 1;
        }
        result += resets_correction(left, right, vs.get(first..stop).unwrap_or_default());
    }
    Some(result)
}

fn resets_correction(left: f64, right: f64, inside: &[f64]) -> f64 {
    let (mut correction, mut previous) = (0.0, left);
    for v in inside.iter().copied().chain(std::iter::once(right)) {
        if v < previous {
            correction += previous;
        }
        previous = v;
    }
    correction
}

/// The samples of a range with values at both of its edges; nothing if there is no sample inside. `ts` and `vs` are
/// equally long and reach beyond the edges. After Prometheus' `extendFloats`.
pub(in crate::promql) fn extend(ts: &[i64], vs: &[f64], window: &Window, smoothed: bool) -> (Vec<i64>, Vec<f64>) {
    let (start, end) = (window.end_ms.saturating_sub(window.range_ms), window.end_ms);
    let Some(mut last) = ts.len().checked_sub(1) else { return Default::default() };
    let first = ts[..last].partition_point(|t| *t <= start).saturating_sub(1);
    if smoothed {
        last = ts[..last].partition_point(|t| *t < end);
    }
    if ts[last] <= start {
        return Default::default();
    }
    let sample = |i: usize| (ts[i], vs[i]);
    let is_left = smoothed && ts[first] < start && first + 1 < ts.len();
    let left = if is_left { interpolate(sample(first), sample(first + 1), start, false) } else { vs[first] };
    let is_right = smoothed && last > 0 && ts[last] > end;
    let right = if is_right { interpolate(sample(last - 1), sample(last), end, false) } else { vs[last] };
    let from = if ts[first] <= start { first + 1 } else { first };
    let to = if ts[last] >= end { last } else { last + 1 };
    let inside = from..to.max(from);
    let (mut times, mut values) = (vec![start], vec![left]);
    times.extend(ts.get(inside.clone()).unwrap_or_default());
    values.extend(vs.get(inside).unwrap_or_default());
    times.push(end);
    values.push(right);
    (times, values)
}

/// The value at `t`: a sample's, one between two samples, or the last one's.
fn smoothed_instant(ts: &[i64], vs: &[f64], t: i64) -> Option<f64> {
    let next = ts.partition_point(|s| *s < t);
    match (next.checked_sub(1), ts.get(next)) {
        (_, Some(time)) if *time == t => Some(vs[next]),
        (Some(before), Some(_)) => Some(interpolate((ts[before], vs[before]), (ts[next], vs[next]), t, false)),
        (Some(before), None) => Some(vs[before]),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { end_ms: 60_000, range_ms: 60_000, eval_ms: 60_000 };

    #[test]
    fn edges() {
        let (ts, vs) = ([-15_000, 15_000, 45_000, 75_000], [1.0, 3.0, 5.0, 7.0]);
        let of = |f, e, n: usize| eval(f, e, &ts[..n], &vs[..n], &WINDOW);
        assert_eq!(of(RangeFn::Increase, Extension::Anchored, 3), Some(4.0));
        assert_eq!(of(RangeFn::Increase, Extension::Smoothed, 4), Some(4.0));
        assert_eq!(of(RangeFn::Changes, Extension::Anchored, 3), Some(2.0));
        assert_eq!(of(RangeFn::Instant, Extension::Smoothed, 4), Some(6.0));
        assert_eq!(of(RangeFn::Increase, Extension::Anchored, 1), None);
    }

    #[test]
    fn ranges_get_values_at_their_edges() {
        let (ts, vs) = ([-15_000, 15_000, 45_000, 75_000], [1.0, 3.0, 5.0, 7.0]);
        let smoothed = extend(&ts, &vs, &WINDOW, true);
        assert_eq!(smoothed, (vec![0, 15_000, 45_000, 60_000], vec![2.0, 3.0, 5.0, 6.0]));
        let anchored = extend(&ts[..3], &vs[..3], &WINDOW, false);
        assert_eq!(anchored, (vec![0, 15_000, 45_000, 60_000], vec![1.0, 3.0, 5.0, 5.0]));
        assert!(extend(&ts[..1], &vs[..1], &WINDOW, false).0.is_empty());
    }

    #[test]
    fn resets_count() {
        let got = eval(RangeFn::Increase, Extension::Anchored, &[0, 20_000, 40_000], &[10.0, 2.0, 5.0], &WINDOW);
        assert_eq!(got, Some(5.0));
    }
}
