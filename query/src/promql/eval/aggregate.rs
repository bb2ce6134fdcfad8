//! Aggregations that are computed on the asking node.
use hashbrown::HashMap;
use trine_store::model::Labels;

use super::{Evaluator, Sample, Series, Val, execution, retain_present};
use crate::error::Result;
use crate::memory::labels_bytes;
use crate::promql::aggregate::Cells;
use crate::promql::ast::{AggregateOp, Span};
use crate::promql::fragment::Partial;
use crate::promql::functions::native::Column;
use crate::promql::functions::over_time::quantile;
use crate::promql::functions::{ABSENT, is_absent};
use crate::promql::labels;
use crate::promql::numbers::format_number;
use crate::promql::plan::{AggregateNode, Grid};

/// What the grouping of a series weighs besides its group's labels: its place in the group, the group's list and key.
const MEMBER_BYTES: u64 = 128;
/// Steps of a group between two looks at the clock.
const STEPS_PER_CHECK: usize = 64;

/// The groups of an aggregation: labels, and the positions of their series, in order of first appearance.
pub(super) struct Grouped {
    pub labels: Vec<Labels>,
    pub members: Vec<Vec<usize>>,
}

pub(super) fn group(series: &[Series], without: bool, grouping: &[String]) -> Grouped {
    let mut positions: HashMap<Labels, usize> = HashMap::new();
    let mut out = Grouped { labels: Vec::new(), members: Vec::new() };
    for (i, s) in series.iter().enumerate() {
        let key = labels::group(&s.labels, without, grouping);
        let next = out.labels.len();
        let position = *positions.entry(key.clone()).or_insert(next);
        if position == next {
            out.labels.push(key);
            out.members.push(Vec::new());
        }
        out.members[position].push(i);
    }
    out
}

impl Evaluator {
    pub(super) fn aggregate(&mut self, node: &AggregateNode, grid: &Grid) -> Result<Vec<Series>> {
        let series = self.vector(&node.expr, grid)?;
        self.hold_groups(&series)?;
        let mut out = match node.op {
            AggregateOp::CountValues => self.count_values(node, series, grid)?,
            AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::LimitK | AggregateOp::LimitRatio => {
                self.select_series(node, series, grid)?
            }
            AggregateOp::Quantile => {
                let q = self.param(node, grid)?;
                self.judge_quantile(&q, node);
                self.ignore_histograms(node, &series, node.expr_span);
                self.reduce(node, &series, grid, |step, values| quantile(q[step], values))?
            }
            AggregateOp::Stddev => {
                self.ignore_histograms(node, &series, node.expr_span);
                self.reduce(node, &series, grid, |_, values| variance(values).sqrt())?
            }
            AggregateOp::Stdvar => {
                self.ignore_histograms(node, &series, node.expr_span);
                self.reduce(node, &series, grid, |_, values| variance(values))?
            }
            AggregateOp::Sum
            | AggregateOp::Avg
            | AggregateOp::Count
            | AggregateOp::Min
            | AggregateOp::Max
            | AggregateOp::Group => self.merge_parts(node, &series, grid)?,
        };
        retain_present(&mut out);
        Ok(out)
    }

    pub(super) fn param(&mut self, node: &AggregateNode, grid: &Grid) -> Result<Vec<f64>> {
        match &node.param {
            Some(param) => self.scalar(param, grid),
            None => execution("an aggregation lacks its parameter"),
        }
    }

    fn judge_quantile(&mut self, q: &[f64], node: &AggregateNode) {
        let span = node.param_span;
        if q.iter().any(|q| q.is_nan()) {
            self.annotations.invalid_quantile(f64::NAN, span);
        }
        let max = q.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let min = q.iter().copied().fold(f64::INFINITY, f64::min);
        if max > 1.0 {
            self.annotations.invalid_quantile(max, span);
        }
        if min < 0.0 {
            self.annotations.invalid_quantile(min, span);
        }
    }

    fn count_values(&mut self, node: &AggregateNode, series: Vec<Series>, grid: &Grid) -> Result<Vec<Series>> {
        let label = match node.param.as_ref().map(|p| self.eval(p, grid)).transpose()? {
            Some(Val::Text(label)) => label,
            _ => return execution("count_values needs a label name"),
        };
        if label.is_empty() {
            return execution(format!("invalid label name {label:?}"));
        }
        let mut grouping = node.grouping.clone();
        if !node.without {
            grouping.push(label.clone());
        }
        let mut positions: HashMap<Labels, usize> = HashMap::new();
        let mut out: Vec<Series> = Vec::new();
        for s in &series {
            self.stop.check()?;
            for step in 0..grid.count {
                let text = match s.at(step) {
                    None => continue,
                    Some(Sample::Float(v)) => format_number(v),
                    Some(Sample::Histogram(h)) => h.to_string(),
                };
                let labelled = labels::set(&s.labels, &label, &text);
                let key = labels::group(&labelled, node.without, &grouping);
                let next = out.len();
                let position = *positions.entry(key.clone()).or_insert(next);
                if position == next {
                    self.charge(grid.count as u64)?;
                    self.hold_columns(1, grid)?;
                    self.hold(labels_bytes(&key))?;
                    out.push(Series::empty(key, false, grid.count));
                }
                out[position].drop_name |= s.drop_name;
                let cell = &mut out[position].values[step];
                *cell = if is_absent(*cell) { 1.0 } else { *cell + 1.0 };
            }
        }
        Ok(out)
    }
}

/// Population variance as Prometheus' aggregation computes it (Welford, without compensation).
fn variance(values: &mut [f64]) -> f64 {
    let Some(first) = values.first().copied() else { return f64::NAN };
    let (mut count, mut mean) = (1.0, first);
    let mut sum = if first.is_finite() { 0.0 } else { f64::NAN };
    for v in &values[1..] {
        count += 1.0;
        let delta = v - mean;
        mean += delta / count;
        sum += delta * (v - mean);
    }
    sum / count
}

impl Evaluator {
    /// Charges what grouping `series` takes at most: a group each.
    pub(super) fn hold_groups(&mut self, series: &[Series]) -> Result<()> {
        self.hold(series.iter().map(|s| s.labels.as_bytes().len() as u64 + MEMBER_BYTES).sum())
    }

    /// Applies `f` to the present values of each group at each step, in series order.
    fn reduce(
        &mut self,
        node: &AggregateNode,
        series: &[Series],
        grid: &Grid,
        f: impl Fn(usize, &mut [f64]) -> f64,
    ) -> Result<Vec<Series>> {
        let grouped = group(series, node.without, &node.grouping);
        self.hold_columns(grouped.labels.len(), grid)?;
        let mut values = Vec::new();
        let mut out = Vec::with_capacity(grouped.labels.len());
        for (labels, members) in grouped.labels.into_iter().zip(grouped.members) {
            let mut column = Vec::with_capacity(grid.count);
            for step in 0..grid.count {
                if step % STEPS_PER_CHECK == 0 {
                    self.stop.check()?;
                }
                values.clear();
                values.extend(members.iter().map(|i| series[*i].values[step]).filter(|v| !is_absent(*v)));
                column.push(if values.is_empty() { ABSENT } else { f(step, &mut values) });
            }
            let drop_name = members.iter().any(|i| series[*i].drop_name);
            out.push(Series::of(labels, drop_name, column));
        }
        Ok(out)
    }

    /// The aggregations that merge from parts, by the same cells as beside the data.
    fn merge_parts(&mut self, node: &AggregateNode, series: &[Series], grid: &Grid) -> Result<Vec<Series>> {
        let Some(partial) = Partial::of(node.op) else { return execution("an aggregation without parts") };
        let grouped = group(series, node.without, &node.grouping);
        self.hold_columns(grouped.labels.len(), grid)?;
        self.hold(Cells::bytes(partial, grid.count))?;
        let mut out = Vec::with_capacity(grouped.labels.len());
        for (labels, members) in grouped.labels.into_iter().zip(grouped.members) {
            self.stop.check()?;
            let drop_name = members.iter().any(|i| series[*i].drop_name);
            let members: Vec<&Series> = members.iter().map(|i| &series[*i]).collect();
            let column = self.merged(partial, &members, node, grid)?;
            out.push(Series::from_column(labels, drop_name, column));
        }
        Ok(out)
    }

    /// One group's aggregate at every step.
    fn merged(&mut self, partial: Partial, members: &[&Series], node: &AggregateNode, grid: &Grid) -> Result<Column> {
        let mut cells = Cells::new(partial, grid.count);
        if matches!(partial, Partial::Sum | Partial::Avg) {
            return self.sum_or_avg(partial, cells, members, node.expr_span);
        }
        let counts = matches!(partial, Partial::Count | Partial::Group);
        for s in members {
            if s.histograms.is_empty() || !counts {
                cells.add(&s.values);
                continue;
            }
            // To a count, a histogram is a sample like any other.
            let mut values = s.values.clone();
            s.histograms.iter().for_each(|(step, _)| values[step] = 1.0);
            cells.add(&values);
        }
        if !counts && members.iter().any(|s| s.histograms.has_any()) {
            self.annotations.ignored_in_aggregation(node.op.as_str(), node.expr_span);
        }
        Ok(Column { values: cells.finish(), ..Column::default() })
    }

    /// Says so once if there are histograms that the aggregation has no use for.
    pub(super) fn ignore_histograms(&mut self, node: &AggregateNode, series: &[Series], span: Span) {
        if series.iter().any(|s| s.histograms.has_any()) {
            self.annotations.ignored_in_aggregation(node.op.as_str(), span);
        }
    }
}
