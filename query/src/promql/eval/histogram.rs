//! `histogram_quantile`, `histogram_fraction` and `histogram_quantiles` over classic buckets.
use hashbrown::HashMap;
use trine_store::model::Labels;

use super::{Evaluator, Series, retain_present};
use crate::error::Result;
use crate::promql::ast::Span;
use crate::promql::functions::buckets::{self, Bucket};
use crate::promql::functions::{ABSENT, is_absent};
use crate::promql::labels;
use crate::promql::numbers::{format_general, parse_number};
use crate::promql::parser::METRIC_NAME;
use crate::promql::plan::{Grid, Node};

/// The label with a bucket's upper bound.
const BOUND: &str = "le";

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

impl Evaluator {
    fn classics(&mut self, series: &[Series], span: Span) -> Result<Vec<Classic>> {
        self.hold_groups(series)?;
        let mut positions: HashMap<Labels, usize> = HashMap::new();
        let mut out: Vec<Classic> = Vec::new();
        for (i, s) in series.iter().enumerate() {
            let text = s.labels.get(BOUND).unwrap_or_default();
            let Some(bound) = parse_number(text) else {
                let metric = s.labels.get(METRIC_NAME).unwrap_or_default();
                self.annotations.bad_bucket_label(metric, text, span);
                continue;
            };
            let key = labels::keep(&s.labels, |name| name != BOUND);
            let next = out.len();
            let position = *positions.entry(key.clone()).or_insert(next);
            if position == next {
                out.push(Classic { labels: key, buckets: Vec::new() });
            }
            out[position].buckets.push((bound, i));
        }
        Ok(out)
    }

    pub(super) fn histogram_quantile(&mut self, args: &[Node], spans: &[Span], grid: &Grid) -> Result<Vec<Series>> {
        let q = self.scalar(&args[0], grid)?;
        let series = self.vector(&args[1], grid)?;
        self.judge(&q, spans[0]);
        let classics = self.classics(&series, spans[1])?;
        self.quantiles_of(&classics, &series, &q, spans[1], grid)
    }

    fn judge(&mut self, q: &[f64], span: Span) {
        for q in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.annotations.invalid_quantile(*q, span);
        }
    }

    fn quantiles_of(
        &mut self,
        classics: &[Classic],
        series: &[Series],
        q: &[f64],
        span: Span,
        grid: &Grid,
    ) -> Result<Vec<Series>> {
        self.hold_columns(classics.len(), grid)?;
        let mut out = Vec::with_capacity(classics.len());
        for classic in classics {
            self.stop.check()?;
            let mut values = Vec::with_capacity(grid.count);
            for (step, q) in q.iter().enumerate() {
                let present = classic.at(series, step);
                if present.is_empty() {
                    values.push(ABSENT);
                    continue;
                }
                let (value, forced) = buckets::quantile(*q, present);
                if let Some(forced) = forced {
                    let metric = classic.labels.get(METRIC_NAME).unwrap_or_default();
                    self.annotations.forced_monotonicity(metric, forced, grid.at(step), span);
                }
                values.push(value);
            }
            out.push(Series { labels: classic.labels.clone(), drop_name: true, values });
        }
        retain_present(&mut out);
        Ok(out)
    }

    pub(super) fn histogram_quantiles(&mut self, args: &[Node], spans: &[Span], grid: &Grid) -> Result<Vec<Series>> {
        let series = self.vector(&args[0], grid)?;
        let label = self.texts(&args[1..2], grid)?.remove(0);
        let classics = self.classics(&series, spans[0])?;
        let mut out = Vec::new();
        for (arg, span) in args.iter().zip(spans).skip(2) {
            let q = self.scalar(arg, grid)?;
            self.judge(&q, *span);
            let all = self.quantiles_of(&classics, &series, &q, spans[0], grid)?;
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
                out.push(Series { labels, drop_name: true, values: vec![ABSENT; grid.count] });
            }
            out[position].values[step] = *value;
        }
        Ok(())
    }

    pub(super) fn histogram_fraction(&mut self, args: &[Node], spans: &[Span], grid: &Grid) -> Result<Vec<Series>> {
        let lower = self.scalar(&args[0], grid)?;
        let upper = self.scalar(&args[1], grid)?;
        let series = self.vector(&args[2], grid)?;
        let classics = self.classics(&series, spans[2])?;
        self.hold_columns(classics.len(), grid)?;
        let mut out = Vec::with_capacity(classics.len());
        for classic in &classics {
            self.stop.check()?;
            let value = |step: usize| {
                let present = classic.at(&series, step);
                if present.is_empty() { ABSENT } else { buckets::fraction(lower[step], upper[step], present) }
            };
            let values = (0..grid.count).map(value).collect();
            out.push(Series { labels: classic.labels.clone(), drop_name: true, values });
        }
        retain_present(&mut out);
        Ok(out)
    }
}

/// A float as OpenMetrics writes it: always with a point or an exponent.
fn open_metrics_float(value: f64) -> String {
    let text = format_general(value);
    if value.is_finite() && !text.contains(['.', 'e']) { text + ".0" } else { text }
}
