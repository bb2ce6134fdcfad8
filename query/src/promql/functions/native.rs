//! Functions of ranges with native histograms or start timestamps among the samples.
//!
//! Series of plain floats never come here: [`super::range`] has the batch path for them.
mod change;
mod extended;
mod over_time;
mod rate;

use std::sync::Arc;

use super::extended::Extension;
use super::is_absent;
use super::range::{RangeFn, Window, Windows};
use crate::promql::histogram::{Histogram, HistogramColumn, Outcome};
pub(in crate::promql) use over_time::Running;

/// What a function has to say of a series besides its result; worded where the query's text is known. On the wire: never
/// reuse a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Note {
    MixedFloatsHistograms = 1,
    NotCounter = 2,
    NotGauge = 3,
    MixedExponentialCustom = 4,
    /// Histograms were left out of a range that has floats, too.
    IgnoredInMixedRange = 5,
    ReconciledAddition = 6,
    ReconciledSubtraction = 7,
    ReconciledAggregation = 8,
    ResetsCollideInAggregation = 9,
    /// A start timestamp lies before the previous sample, and is not that one's.
    StartOverlap = 10,
    IgnoredInMin = 11,
    IgnoredInMax = 12,
    /// `info()` met an info metric with histograms.
    HistogramInfoMetric = 13,
}

impl Note {
    pub fn from_u32(number: u32) -> Option<Self> {
        use Note::*;
        let all = [
            MixedFloatsHistograms,
            NotCounter,
            NotGauge,
            MixedExponentialCustom,
            IgnoredInMixedRange,
            ReconciledAddition,
            ReconciledSubtraction,
            ReconciledAggregation,
            ResetsCollideInAggregation,
            StartOverlap,
            IgnoredInMin,
            IgnoredInMax,
            HistogramInfoMetric,
        ];
        all.into_iter().find(|n| *n as u32 == number)
    }
}

/// The notes of one series, each with how often it arose.
#[derive(Clone, Debug, Default)]
pub struct Notes(Vec<(Note, u64)>);

impl Notes {
    pub fn add(&mut self, note: Note) {
        match self.0.iter_mut().find(|(n, _)| *n == note) {
            Some((_, count)) => *count += 1,
            None => self.0.push((note, 1)),
        }
    }

    pub fn drain(&mut self) -> impl Iterator<Item = (Note, u64)> + '_ {
        self.0.drain(..)
    }

    fn reconciled(&mut self, outcome: Outcome, note: Note) {
        if outcome.bounds_reconciled {
            self.add(note);
        }
    }
}

/// Samples of one series: floats in one pair of columns, histograms in another. Both rise in time, and no time is in both.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    pub times_ms: Vec<i64>,
    pub values: Vec<f64>,
    /// Start timestamps of the floats in ms, 0 for none; empty unless they were asked for and are there.
    pub starts_ms: Vec<i64>,
    pub histogram_times_ms: Vec<i64>,
    pub histograms: Vec<Arc<Histogram>>,
    /// As long as `histograms` if start timestamps were asked for.
    pub histogram_starts_ms: Vec<i64>,
}

impl Samples {
    /// There is nothing but floats without start timestamps.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.histograms.is_empty() && self.starts_ms.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.times_ms.is_empty() && self.histograms.is_empty()
    }

    pub fn clear(&mut self) {
        self.times_ms.clear();
        self.values.clear();
        self.starts_ms.clear();
        self.histogram_times_ms.clear();
        self.histograms.clear();
        self.histogram_starts_ms.clear();
    }

    /// Samples for limits and statistics.
    pub fn weight(&self) -> u64 {
        self.times_ms.len() as u64 + self.histograms.iter().map(|h| h.weight()).sum::<u64>()
    }

    /// Removes stale markers.
    pub fn drop_stale(&mut self) {
        if self.starts_ms.is_empty() {
            super::range::drop_stale(&mut self.times_ms, &mut self.values);
        } else if self.values.iter().any(|v| is_absent(*v)) {
            let keep: Vec<bool> = self.values.iter().map(|v| !is_absent(*v)).collect();
            retain(&mut self.times_ms, &keep);
            retain(&mut self.starts_ms, &keep);
            retain(&mut self.values, &keep);
        }
        if self.histograms.iter().any(|h| h.is_stale()) {
            let keep: Vec<bool> = self.histograms.iter().map(|h| !h.is_stale()).collect();
            retain(&mut self.histogram_times_ms, &keep);
            retain(&mut self.histograms, &keep);
            if !self.histogram_starts_ms.is_empty() {
                retain(&mut self.histogram_starts_ms, &keep);
            }
        }
    }

    /// The samples with `after < time <= end`, by two pairs of positions that only move forward.
    fn window(&self, at: &mut [usize; 4], after: i64, end: i64) -> Points<'_> {
        let [from, to, histogram_from, histogram_to] = at;
        advance(&self.times_ms, from, to, after, end);
        advance(&self.histogram_times_ms, histogram_from, histogram_to, after, end);
        let (floats, histograms) = (*from..*to, *histogram_from..*histogram_to);
        Points {
            ts: &self.times_ms[floats.clone()],
            vs: &self.values[floats.clone()],
            starts: self.starts_ms.get(floats).unwrap_or_default(),
            hts: &self.histogram_times_ms[histograms.clone()],
            hs: &self.histograms[histograms.clone()],
            hstarts: self.histogram_starts_ms.get(histograms).unwrap_or_default(),
        }
    }
}

fn retain<T>(all: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    all.retain(|_| keep.next().copied().unwrap_or(true));
}

fn advance(times: &[i64], from: &mut usize, to: &mut usize, after: i64, end: i64) {
    while *to < times.len() && times[*to] <= end {
        *to += 1;
    }
    while *from < *to && times[*from] <= after {
        *from += 1;
    }
}

/// The samples of one window.
#[derive(Clone, Copy, Debug)]
struct Points<'a> {
    ts: &'a [i64],
    vs: &'a [f64],
    /// Empty, or as long as the samples.
    starts: &'a [i64],
    hts: &'a [i64],
    hs: &'a [Arc<Histogram>],
    hstarts: &'a [i64],
}

/// A sample of either kind.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

#[derive(Clone, Copy, Debug)]
struct Point<'a> {
    time_ms: i64,
    /// 0 if unknown.
    start_ms: i64,
    value: Value<'a>,
}

impl<'a> Points<'a> {
    fn float(&self, i: usize) -> Point<'a> {
        let start_ms = self.starts.get(i).copied().unwrap_or(0);
        Point { time_ms: self.ts[i], start_ms, value: Value::Float(self.vs[i]) }
    }

    fn histogram(&self, i: usize) -> Point<'a> {
        let start_ms = self.hstarts.get(i).copied().unwrap_or(0);
        Point { time_ms: self.hts[i], start_ms, value: Value::Histogram(&self.hs[i]) }
    }

    fn len(&self) -> usize {
        self.ts.len() + self.hs.len()
    }

    /// All samples by time.
    fn merged(&self) -> Vec<Point<'a>> {
        let floats = (0..self.ts.len()).map(|i| self.float(i));
        let histograms = (0..self.hs.len()).map(|i| self.histogram(i));
        let mut out: Vec<Point<'a>> = floats.chain(histograms).collect();
        if !self.ts.is_empty() && !self.hs.is_empty() {
            out.sort_by_key(|p| p.time_ms);
        }
        out
    }

    fn first(&self) -> Option<Point<'a>> {
        match (self.ts.first(), self.hts.first()) {
            (Some(t), Some(h)) if h < t => Some(self.histogram(0)),
            (Some(_), _) => Some(self.float(0)),
            (None, Some(_)) => Some(self.histogram(0)),
            (None, None) => None,
        }
    }

    fn last(&self) -> Option<Point<'a>> {
        match (self.ts.last(), self.hts.last()) {
            (Some(t), Some(h)) if h > t => Some(self.histogram(self.hs.len() - 1)),
            (Some(_), _) => Some(self.float(self.ts.len() - 1)),
            (None, Some(_)) => Some(self.histogram(self.hs.len() - 1)),
            (None, None) => None,
        }
    }
}

/// The result at one step.
#[derive(Clone, Debug)]
pub(super) enum Out {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Out {
    fn of(histogram: Histogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}

impl From<Value<'_>> for Out {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Float(v) => Self::Float(v),
            Value::Histogram(h) => Self::Histogram(h.clone()),
        }
    }
}

/// The results of a series on a grid.
#[derive(Clone, Debug, Default)]
pub(in crate::promql) struct Column {
    pub(in crate::promql) values: Vec<f64>,
    pub(in crate::promql) histograms: HistogramColumn,
}

impl Column {
    pub(in crate::promql) fn has_any(&self) -> bool {
        self.values.iter().any(|v| !is_absent(*v)) || self.histograms.has_any()
    }

    pub(in crate::promql) fn has_floats(&self) -> bool {
        self.values.iter().any(|v| !is_absent(*v))
    }
}

/// Evaluates `function` at every step over one series of any samples, of which stale markers remain only for the instant
/// functions. `params(step)` gives its parameters.
pub(in crate::promql) fn eval_steps<'p>(
    function: RangeFn,
    samples: &Samples,
    windows: &Windows,
    params: impl Fn(usize) -> &'p [f64],
    notes: &mut Notes,
) -> Column {
    let mut out = Column { values: Vec::with_capacity(windows.count), histograms: HistogramColumn::default() };
    let mut at = [0; 4];
    for step in 0..windows.count {
        let window = windows.at(step);
        let (after, end) = windows.reach(&window);
        let points = samples.window(&mut at, after, end);
        let result = match windows.extension {
            Extension::None => eval(function, &points, &window, params(step), notes),
            Extension::Anchored | Extension::Smoothed => {
                extended::eval(function, windows.extension, &points, &window, notes)
            }
        };
        match result {
            None => out.values.push(super::ABSENT),
            Some(Out::Float(v)) => out.values.push(v),
            Some(Out::Histogram(h)) => {
                out.values.push(super::ABSENT);
                out.histograms.set(windows.count, step, h);
            }
        }
    }
    out
}

fn eval(f: RangeFn, points: &Points<'_>, window: &Window, params: &[f64], notes: &mut Notes) -> Option<Out> {
    use RangeFn::*;
    let seconds = |ms: i64| ms as f64 / 1000.0;
    match f {
        Instant | InstantTimestamp | StartTimestamp | InfoTimestamp => {
            let last = points.last()?;
            match last.value {
                Value::Float(v) if is_absent(v) => return None,
                Value::Histogram(h) if h.is_stale() => return None,
                Value::Histogram(_) if f == InfoTimestamp => {
                    notes.add(Note::HistogramInfoMetric);
                    return None;
                }
                Value::Float(_) | Value::Histogram(_) => {}
            }
            Some(match f {
                Instant => last.value.into(),
                StartTimestamp => Out::Float(seconds(last.start_ms)),
                _ => Out::Float(seconds(last.time_ms)),
            })
        }
        Rate => rate::extrapolated(points, window, (true, true), notes),
        Increase => rate::extrapolated(points, window, (true, false), notes),
        Delta => rate::extrapolated(points, window, (false, false), notes),
        Irate => rate::instant(points, true, notes),
        Idelta => rate::instant(points, false, notes),
        Resets => change::resets(&points.merged()),
        Changes => change::changes(&points.merged()),
        Avg => over_time::avg(points, notes),
        Sum => over_time::sum(points, notes),
        Count => (points.len() > 0).then(|| Out::Float(points.len() as f64)),
        Present => (points.len() > 0).then_some(Out::Float(1.0)),
        First => points.first().map(|p| p.value.into()),
        Last => points.last().map(|p| p.value.into()),
        TsOfFirst => points.first().map(|p| Out::Float(seconds(p.time_ms))),
        TsOfLast => points.last().map(|p| Out::Float(seconds(p.time_ms))),
        Deriv | PredictLinear | Smoothing | Mad | Max | Min | Quantile | Stddev | Stdvar | TsOfMax | TsOfMin => {
            if points.ts.is_empty() {
                return None;
            }
            if !points.hs.is_empty() {
                notes.add(Note::IgnoredInMixedRange);
            }
            f.eval(points.ts, points.vs, window, params).map(Out::Float)
        }
    }
}
