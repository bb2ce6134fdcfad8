//! `histogram_quantile`, `histogram_fraction` and `histogram_quantiles` over classic buckets and native histograms.
use hashbrown::{HashMap, HashSet};
use trine_store::model::Labels;

use super::{Evaluator, Series, retain_present};
use crate::error::Result;
use crate::promql::ast::Span;
use crate::promql::functions::buckets::{self, Bucket, Forced};
use crate::promql::functions::{ABSENT, is_absent};
use crate::promql::histogram::{Histogram, NanObservations};
use crate::promql::labels;
use crate::promql::numbers::{format_general, parse_number};
use crate::promql::parser::METRIC_NAME;
use crate::promql::plan::{Grid, Node};

/// The label with a bucket's upper bound.
const BOUND: &str = "le";
/// What it weighs to know that a native histogram meets a classic one at a step.
const BOTH_BYTES: u64 = 64;

/// A classic histogram: its labels without the bound, and its buckets as positions of series.
struct Classic {
    labels: Labels,
    buckets: Vec<(f64, usize)>,
}

impl Classic {
    fn at(&self, series: &[Series], step: usize) -> Vec<Bucket> {
        let bucket =
            |(upper_bound, i): &(f64, usize)| Bucket { upper_bound: *upper_bound, count: series[*i].values[step] };
        self.buckets.iter().map(bucket).filter(|b| !is_absent(b.count)).collect()
    }
}

/// The histograms among the series of a vector.
struct Histograms {
    classics: Vec<Classic>,
    /// Positions of series with native histograms.
    natives: Vec<usize>,
    /// (labels, step) where there are both: neither counts.
    both: HashSet<(Labels, usize)>,
}

impl Evaluator {
    fn histograms(&mut self, series: &[Series], span: Span) -> Result<Histograms> {
        self.hold_groups(series)?;
        let mut positions: HashMap<Labels, usize> = HashMap::new();
        let mut out = Histograms { classics: Vec::new(), natives: Vec::new(), both: HashSet::new() };
        for (i, s) in series.iter().enumerate() {
            if s.histograms.has_any() {
                out.natives.push(i);
            }
            if s.values.iter().all(|v| is_absent(*v)) {
                continue;
            }
            let text = s.labels.get(BOUND).unwrap_or_default();
            let Some(bound) = parse_number(text) else {
                let metric = s.labels.get(METRIC_NAME).unwrap_or_default();
                self.annotations.bad_bucket_label(metric, text, span);
                continue;
            };
            let key = labels::keep(&s.labels, |name| name != BOUND);
            let next = out.classics.len();
            let position = *positions.entry(key.clone()).or_insert(next);
            if position == next {
                out.classics.push(Classic { labels: key, buckets: Vec::new() });
            }
            out.classics[position].buckets.push((bound, i));
        }
        for native in &out.natives {
            let native = &series[*native];
            let Some(classic) = positions.get(&native.labels).map(|i| &out.classics[*i]) else { continue };
            for (step, _) in native.histograms.iter() {
                if classic.buckets.iter().any(|(_, i)| !is_absent(series[*i].values[step])) {
                    let metric = native.labels.get(METRIC_NAME).unwrap_or_default();
                    self.annotations.mixed_classic_native(metric, span);
                    self.held.add(BOTH_BYTES)?;
                    out.both.insert((native.labels.clone(), step));
                }
            }
        }
        Ok(out)
    }

    /// One number of each histogram at each step, by a function for each kind; its annotations are about `span`.
    fn of_each(
        &mut self,
        histograms: &Histograms,
        series: &[Series],
        grid: &Grid,
        span: Span,
        native: impl Fn(usize, &Histogram) -> (f64, Option<NanObservations>),
        classic: impl Fn(usize, Vec<Bucket>) -> (f64, Option<Forced>),
    ) -> Result<Vec<Series>> {
        let count = histograms.classics.len() + histograms.natives.len();
        self.hold_columns(count, grid)?;
        let mut out = Vec::with_capacity(count);
        let is_both = |labels: &Labels, step: usize| {
            !histograms.both.is_empty() && histograms.both.contains(&(labels.clone(), step))
        };
        for s in histograms.natives.iter().map(|i| &series[*i]) {
            self.stop.check()?;
            let metric = s.labels.get(METRIC_NAME).unwrap_or_default();
            let mut values = vec![ABSENT; grid.count];
            for (step, h) in s.histograms.iter().filter(|(step, _)| !is_both(&s.labels, *step)) {
                let (value, nan) = native(step, h);
                if let Some(nan) = nan {
                    self.annotations.nan_observations(nan, metric, span);
                }
                values[step] = value;
            }
            out.push(Series::of(s.labels.clone(), true, values));
        }
        for c in &histograms.classics {
            self.stop.check()?;
            let metric = c.labels.get(METRIC_NAME).unwrap_or_default();
            let mut values = vec![ABSENT; grid.count];
            for (step, cell) in values.iter_mut().enumerate() {
                let present = c.at(series, step);
                if present.is_empty() || is_both(&c.labels, step) {
                    continue;
                }
                let (value, forced) = classic(step, present);
                if let Some(forced) = forced {
                    self.annotations.forced_monotonicity(metric, forced, grid.at(step), span);
                }
                *cell = value;
            }
            out.push(Series::of(c.labels.clone(), true, values));
        }
        retain_present(&mut out);
        super::merge_same_labels(out)
    }

    pub(super) fn histogram_quantile(&mut self, args: &[Node], spans: &[Span], grid: &Grid) -> Result<Vec<Series>> {
        let q = self.scalar(&args[0], grid)?;
        let series = self.vector(&args[1], grid)?;
        self.judge(&q, spans[0]);
        let histograms = self.histograms(&series, spans[1])?;
        self.quantiles_of(&histograms, &series, &q, spans[1], grid)
    }

    fn judge(&mut self, q: &[f64], span: Span) {
        for q in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.annotations.invalid_quantile(*q, span);
        }
    }

    fn quantiles_of(
        &mut self,
        histograms: &Histograms,
        series: &[Series],
        q: &[f64],
        span: Span,
        grid: &Grid,
    ) -> Result<Vec<Series>> {
        let native = |step: usize, h: &Histogram| h.quantile(q[step]);
        let classic = |step: usize, buckets: Vec<Bucket>| buckets::quantile(q[step], buckets);
        self.of_each(histograms, series, grid, span, native, classic)
    }

    pub(super) fn histogram_quantiles(&mut self, args: &[Node], spans: &[Span], grid: &Grid) -> Result<Vec<Series>> {
        let series = self.vector(&args[0], grid)?;
        let label = self.texts(&args[1..2], grid)?.remove(0);
        let histograms = self.histograms(&series, spans[0])?;
        let mut out = Vec::new();
        for (arg, span) in args.iter().zip(spans).skip(2) {
            let q = self.scalar(arg, grid)?;
            self.judge(&q, *span);
            let all = self.quantiles_of(&histograms, &series, &q, spans[0], grid)?;
            for s in all {
                self.by_quantile(&s, &label, &q, grid, &mut out)?;
            }
        }
        super::merge_same_labels(out)
    }

    /// A quantile that changes from step to step makes a series of each of its values.
    fn by_quantile(&mut self, s: &Series, label: &str, q: &[f64], grid: &Grid, out: &mut Vec<Series>) -> Result<()> {
        let mut positions: HashMap<u64, usize> = HashMap::new();
        for (step, value) in s.values.iter().enumerate().filter(|(_, v)| !is_absent(**v)) {
            let next = out.len();
            let position = *positions.entry(q[step].to_bits()).or_insert(next);
            if position == next {
                self.stop.check()?;
                self.charge(grid.count as u64)?;
                self.hold_columns(1, grid)?;
                self.hold(s.labels.as_bytes().len() as u64)?;
                let labels = labels::set(&s.labels, label, &open_metrics_float(q[step]));
                out.push(Series::empty(labels, true, grid.count));
            }
            out[position].values[step] = *value;
        }
        Ok(())
    }

    pub(super) fn histogram_fraction(&mut self, args: &[Node], spans: &[Span], grid: &Grid) -> Result<Vec<Series>> {
        let lower = self.scalar(&args[0], grid)?;
        let upper = self.scalar(&args[1], grid)?;
        let series = self.vector(&args[2], grid)?;
        let histograms = self.histograms(&series, spans[2])?;
        let native = |step: usize, h: &Histogram| h.fraction(lower[step], upper[step]);
        let classic = |step: usize, b: Vec<Bucket>| (buckets::fraction(lower[step], upper[step], b), None);
        self.of_each(&histograms, &series, grid, spans[2], native, classic)
    }
}

/// A float as OpenMetrics writes it: always with a point or an exponent.
fn open_metrics_float(value: f64) -> String {
    let text = format_general(value);
    if value.is_finite() && !text.contains(['.', 'e']) { text + ".0" } else { text }
}
