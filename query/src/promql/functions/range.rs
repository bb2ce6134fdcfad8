//! The functions of one series over a window of time, by number, and the windows of a grid of steps.
use super::extended::Extension;
use super::{is_absent, over_time, rate};

/// A function of the samples of one series in a window. On the wire: never reuse a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RangeFn {
    /// The newest sample, unless it is a stale marker: an instant selector.
    Instant = 1,
    /// Its timestamp in seconds.
    InstantTimestamp = 2,
    Rate = 3,
    Increase = 4,
    Delta = 5,
    Irate = 6,
    Idelta = 7,
    Deriv = 8,
    PredictLinear = 9,
    Resets = 10,
    Changes = 11,
    Avg = 12,
    Count = 13,
    First = 14,
    Last = 15,
    Mad = 16,
    Max = 17,
    Min = 18,
    Present = 19,
    Quantile = 20,
    Stddev = 21,
    Stdvar = 22,
    Sum = 23,
    TsOfFirst = 24,
    TsOfLast = 25,
    TsOfMax = 26,
    TsOfMin = 27,
    Smoothing = 28,
    /// The newest sample's start timestamp in seconds, 0 if it has none.
    StartTimestamp = 29,
    /// As [`RangeFn::InstantTimestamp`], of an info metric: histograms are an error.
    InfoTimestamp = 30,
}

use RangeFn::*;

/// Function names and numbers; the instant functions have no call of their own.
const NAMES: [(&str, RangeFn); 26] = [
    ("rate", Rate),
    ("increase", Increase),
    ("delta", Delta),
    ("irate", Irate),
    ("idelta", Idelta),
    ("deriv", Deriv),
    ("predict_linear", PredictLinear),
    ("resets", Resets),
    ("changes", Changes),
    ("avg_over_time", Avg),
    ("count_over_time", Count),
    ("first_over_time", First),
    ("last_over_time", Last),
    ("mad_over_time", Mad),
    ("max_over_time", Max),
    ("min_over_time", Min),
    ("present_over_time", Present),
    ("quantile_over_time", Quantile),
    ("stddev_over_time", Stddev),
    ("stdvar_over_time", Stdvar),
    ("sum_over_time", Sum),
    ("ts_of_first_over_time", TsOfFirst),
    ("ts_of_last_over_time", TsOfLast),
    ("ts_of_max_over_time", TsOfMax),
    ("ts_of_min_over_time", TsOfMin),
    ("double_exponential_smoothing", Smoothing),
];

/// Functions of the newest sample.
const INSTANT: [RangeFn; 4] = [Instant, InstantTimestamp, StartTimestamp, InfoTimestamp];

/// The samples a kernel sees end at `end_ms` and begin after `end_ms - range_ms`; the step asks for `eval_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub end_ms: i64,
    pub range_ms: i64,
    /// The time of the step, before `offset` and `@`.
    pub eval_ms: i64,
}

impl RangeFn {
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(n, _)| *n == name).map(|(_, f)| *f)
    }

    /// The name by which it is called over a range; empty for the instant functions.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, f)| *f == self).map_or("", |(n, _)| n)
    }

    pub fn from_u32(number: u32) -> Option<Self> {
        let called = NAMES.iter().map(|(_, f)| *f);
        INSTANT.into_iter().chain(called).find(|f| *f as u32 == number)
    }

    /// Scalar parameters, in the order of [`RangeFn::eval`]'s `params`.
    pub fn params_count(self) -> usize {
        match self {
            PredictLinear | Quantile => 1,
            Smoothing => 2,
            _ => 0,
        }
    }

    /// Whether the result still carries the metric's name.
    pub fn keeps_name(self) -> bool {
        matches!(self, Instant | First | Last)
    }

    /// Whether Prometheus wonders aloud if the input is a counter.
    pub fn wants_counter(self) -> bool {
        matches!(self, Rate | Increase)
    }

    pub fn wants_stale_markers(self) -> bool {
        INSTANT.contains(&self)
    }

    /// Whether start timestamps of the samples matter.
    pub fn uses_starts(self) -> bool {
        matches!(self, Rate | Increase | Irate | Resets | StartTimestamp)
    }

    /// The result over the samples of one window, `None` where there is none. `ts` and `vs` are equally long, `ts` rises;
    /// stale markers are only among them for the instant functions.
    pub fn eval(self, ts: &[i64], vs: &[f64], window: &Window, params: &[f64]) -> Option<f64> {
        let last = ts.len().checked_sub(1)?;
        let param = |i: usize| params.get(i).copied().unwrap_or(f64::NAN);
        let seconds = |i: usize| ts[i] as f64 / 1000.0;
        Some(match self {
            Instant | InstantTimestamp | StartTimestamp | InfoTimestamp if is_absent(vs[last]) => return None,
            Instant | Last => vs[last],
            InstantTimestamp | InfoTimestamp | TsOfLast => seconds(last),
            // Whatever has start timestamps is evaluated in `native`.
            StartTimestamp => 0.0,
            Rate => return rate::extrapolated(ts, vs, window, true, true),
            Increase => return rate::extrapolated(ts, vs, window, true, false),
            Delta => return rate::extrapolated(ts, vs, window, false, false),
            Irate => return rate::instant(ts, vs, true),
            Idelta => return rate::instant(ts, vs, false),
            Deriv | PredictLinear if last == 0 => return None,
            Deriv => rate::regression(ts, vs, ts[0]).0,
            PredictLinear => {
                let (slope, intercept) = rate::regression(ts, vs, window.eval_ms);
                slope * param(0) + intercept
            }
            Resets => over_time::resets(vs),
            Changes => over_time::changes(vs),
            Avg => over_time::avg(vs),
            Count => vs.len() as f64,
            First => vs[0],
            Mad => over_time::mad(vs),
            Max => over_time::max(vs),
            Min => over_time::min(vs),
            Present => 1.0,
            Quantile => over_time::quantile(param(0), &mut vs.to_vec()),
            Stddev => over_time::variance(vs).sqrt(),
            Stdvar => over_time::variance(vs),
            Sum => over_time::sum(vs),
            TsOfFirst => seconds(0),
            TsOfMax => seconds(over_time::last_max_index(vs)),
            TsOfMin => seconds(over_time::last_min_index(vs)),
            Smoothing => return over_time::double_exponential_smoothing(vs, param(0), param(1)),
        })
    }
}

/// The windows of a function over a grid of steps: the window of step `i` ends at `first_end_ms + i * end_step_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    pub first_end_ms: i64,
    /// 0 where `@` fixes the window.
    pub end_step_ms: i64,
    pub count: usize,
    pub range_ms: i64,
    /// Time of the first step, before `offset` and `@`.
    pub first_eval_ms: i64,
    pub eval_step_ms: i64,
    pub extension: Extension,
    /// How far an extended range looks beyond its edges.
    pub lookback_ms: i64,
}

impl Windows {
    pub fn at(&self, step: usize) -> Window {
        let step = step as i64;
        Window {
            end_ms: self.first_end_ms.saturating_add(self.end_step_ms.saturating_mul(step)),
            range_ms: self.range_ms,
            eval_ms: self.first_eval_ms.saturating_add(self.eval_step_ms.saturating_mul(step)),
        }
    }

    /// First and last millisecond that any window covers.
    pub fn span_ms(&self) -> (i64, i64) {
        let last = self.at(self.count.saturating_sub(1)).end_ms;
        let first = self.first_end_ms.saturating_sub(self.range_ms).saturating_add(1);
        (first.saturating_sub(self.before_ms()), last.saturating_add(self.after_ms()))
    }

    /// The samples that a window sees, beyond its edges too: those with `after < time <= end`.
    pub fn reach(&self, window: &Window) -> (i64, i64) {
        let after = window.end_ms.saturating_sub(window.range_ms).saturating_sub(self.before_ms());
        (after, window.end_ms.saturating_add(self.after_ms()))
    }

    fn before_ms(&self) -> i64 {
        if self.extension == Extension::None { 0 } else { self.lookback_ms }
    }

    fn after_ms(&self) -> i64 {
        if self.extension == Extension::Smoothed { self.lookback_ms } else { 0 }
    }
}

/// Removes stale markers from a series.
pub fn drop_stale(ts: &mut Vec<i64>, vs: &mut Vec<f64>) {
    if !vs.iter().any(|v| is_absent(*v)) {
        return;
    }
    let keep: Vec<bool> = vs.iter().map(|v| !is_absent(*v)).collect();
    let mut i = 0;
    ts.retain(|_| {
        i += 1;
        keep[i - 1]
    });
    vs.retain(|v| !is_absent(*v));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique() {
        for f in INSTANT {
            assert_eq!((RangeFn::from_u32(f as u32), f.name()), (Some(f), ""));
        }
        for (name, f) in NAMES {
            assert_eq!(RangeFn::from_name(name), Some(f));
            assert_eq!(RangeFn::from_u32(f as u32), Some(f));
        }
        assert_eq!(RangeFn::from_u32(99), None);
    }
}
