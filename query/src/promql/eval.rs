//! Evaluates a plan over what the shards sent. Pure: no clock but the deadline, no network.
mod aggregate;
mod binary;
mod call;
mod counts;
mod histogram;
mod info;
mod native;
mod range;
mod relabel;
mod sort;
mod topk;

use std::sync::Arc;

use hashbrown::HashMap;
use trine_store::model::Labels;

use super::annotations::Annotations;
use super::fetch::{Fetched, RawSeries};
use super::functions::native::Column;
use super::functions::{ABSENT, is_absent};
use super::histogram::{Histogram, HistogramColumn};
use super::labels;
use super::local::too_many_samples;
use super::plan::{Grid, Node, SelectPlan};
use crate::error::{Error, Result};
use crate::memory::{Charge, labels_bytes};
use crate::stop::Stop;

pub(super) use binary::scalar_binary;
pub(super) use counts::Counts;
pub(super) use info::InfoBase;

/// A series on a grid: at each step a float, or a histogram, or nothing.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub labels: Labels,
    /// The metric's name goes once the whole query is evaluated (Prometheus' delayed name removal).
    pub drop_name: bool,
    /// [`ABSENT`] where there is no float.
    pub values: Vec<f64>,
    pub histograms: HistogramColumn,
}

/// What a series has at one step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sample<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

/// As [`Sample`], computed.
#[derive(Clone, Debug)]
pub(super) enum Computed {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl From<Sample<'_>> for Computed {
    fn from(sample: Sample<'_>) -> Self {
        match sample {
            Sample::Float(v) => Self::Float(v),
            Sample::Histogram(h) => Self::Histogram(h.clone()),
        }
    }
}

impl Series {
    /// A series of floats.
    pub(super) fn of(labels: Labels, drop_name: bool, values: Vec<f64>) -> Self {
        Self { labels, drop_name, values, histograms: HistogramColumn::default() }
    }

    fn from_column(labels: Labels, drop_name: bool, column: Column) -> Self {
        Self { labels, drop_name, values: column.values, histograms: column.histograms }
    }

    /// A series of `count` steps that are yet to be filled.
    fn empty(labels: Labels, drop_name: bool, count: usize) -> Self {
        Self::of(labels, drop_name, vec![ABSENT; count])
    }

    #[inline]
    pub(super) fn at(&self, step: usize) -> Option<Sample<'_>> {
        let value = self.values[step];
        if is_absent(value) { self.histograms.get(step).map(Sample::Histogram) } else { Some(Sample::Float(value)) }
    }

    fn set(&mut self, step: usize, value: Computed) {
        match value {
            Computed::Float(v) => {
                self.values[step] = v;
                self.histograms.remove(step);
            }
            Computed::Histogram(h) => {
                self.values[step] = ABSENT;
                self.histograms.set(self.values.len(), step, h);
            }
        }
    }

    fn remove(&mut self, step: usize) {
        self.values[step] = ABSENT;
        self.histograms.remove(step);
    }

    fn has_any(&self) -> bool {
        self.values.iter().any(|v| !is_absent(*v)) || self.histograms.has_any()
    }
}

/// What a node evaluates to.
#[derive(Clone, Debug)]
pub(super) enum Val {
    Scalar(Vec<f64>),
    Vector(Vec<Series>),
    Text(String),
    /// Only at the root of an instant query.
    Matrix(Vec<RawSeries>),
}

/// What a series weighs besides its labels' bytes and its values.
const SERIES_BYTES: u64 = 128;

/// What a series weighs.
pub(super) fn series_bytes(series: &Series) -> u64 {
    size_of_val(series.values.as_slice()) as u64 + series.histograms.bytes() + labels_bytes(&series.labels)
}

impl Val {
    fn bytes(&self) -> u64 {
        match self {
            Self::Scalar(values) => size_of_val(values.as_slice()) as u64,
            Self::Vector(series) => series.iter().map(series_bytes).sum(),
            Self::Text(text) => text.len() as u64,
            Self::Matrix(series) => series.iter().map(RawSeries::bytes).sum(),
        }
    }
}

pub(super) struct Evaluator {
    /// Of each selector, with what it weighs, until a node takes it.
    pub data: Vec<Option<(Fetched, Charge)>>,
    pub selects: Vec<SelectPlan>,
    /// Of each `info()` of the plan, once its base is evaluated, until its node takes it.
    pub infos: Vec<Option<InfoBase>>,
    pub annotations: Annotations,
    pub stop: Stop,
    /// What the values of the nodes being evaluated weigh.
    pub held: Charge,
    /// Values that may still be held.
    pub left: u64,
    /// The least that `left` has been.
    pub least_left: u64,
    /// A query over a grid, in which no order of a vector matters.
    pub is_range: bool,
    /// Samples by step, where they are asked for.
    pub counts: Option<Counts>,
}

pub(super) fn execution<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Execution { message: message.into() })
}

/// Two results have the same labels at one time.
fn same_labelset<T>() -> Result<T> {
    execution("vector cannot contain metrics with the same labelset")
}

impl Evaluator {
    pub(super) fn eval(&mut self, node: &Node, grid: &Grid) -> Result<Val> {
        self.stop.check()?;
        let (before, held_before) = (self.left, self.held.bytes());
        let value = self.eval_node(node, grid)?;
        // What was fetched is counted already.
        let held = match &value {
            Val::Vector(series) if !matches!(node, Node::Fetched { .. }) => (series.len() * grid.count) as u64,
            _ => 0,
        };
        self.charge(held)?;
        // The operands are gone by now; the result stays.
        self.left = before.saturating_sub(held);
        self.held.set(held_before + value.bytes())?;
        Ok(value)
    }

    /// Charges bytes that are held until the node is evaluated; its value is charged in their place then.
    fn hold(&mut self, bytes: u64) -> Result<()> {
        Ok(self.held.add(bytes)?)
    }

    /// Charges `count` columns of the grid, with labels, before they are made.
    fn hold_columns(&mut self, count: usize, grid: &Grid) -> Result<()> {
        self.hold((count as u64).saturating_mul(grid.count as u64 * size_of::<f64>() as u64 + SERIES_BYTES))
    }

    fn eval_node(&mut self, node: &Node, grid: &Grid) -> Result<Val> {
        match node {
            Node::Number(value) => {
                self.hold_columns(1, grid)?;
                Ok(Val::Scalar(vec![*value; grid.count]))
            }
            Node::Text(text) => Ok(Val::Text(text.clone())),
            Node::Time => {
                self.hold_columns(1, grid)?;
                Ok(Val::Scalar((0..grid.count).map(|i| grid.at(i) as f64 / 1000.0).collect()))
            }
            Node::Fetched { select, drop_name } => self.fetched(*select, *drop_name, grid).map(Val::Vector),
            Node::Ranged { select, call } => self.ranged(*select, call, grid).map(Val::Vector),
            Node::Subquery { inner, inner_grid, call } => {
                self.over_subquery(inner, inner_grid, call, grid).map(Val::Vector)
            }
            Node::RawMatrix { select, windows } => self.raw_matrix(*select, windows),
            Node::SubqueryMatrix { inner, inner_grid } => self.subquery_matrix(inner, inner_grid),
            Node::Absent { expr, labels } => self.absent(expr, labels, grid).map(Val::Vector),
            Node::Info(info) => self.info(*info, grid).map(Val::Vector),
            Node::Negate(inner) => self.negate(inner, grid),
            Node::Binary(binary) => self.binary(binary, grid),
            Node::Aggregate(aggregate) => self.aggregate(aggregate, grid).map(Val::Vector),
            Node::Call { name, args, span, spans } => self.call(name, args, *span, spans, grid),
        }
    }

    /// Counts values that are held until the node is evaluated.
    fn charge(&mut self, values: u64) -> Result<()> {
        self.left = self.left.checked_sub(values).ok_or_else(too_many_samples)?;
        self.least_left = self.least_left.min(self.left);
        Ok(())
    }

    fn vector(&mut self, node: &Node, grid: &Grid) -> Result<Vec<Series>> {
        match self.eval(node, grid)? {
            Val::Vector(series) => Ok(series),
            Val::Scalar(_) | Val::Text(_) | Val::Matrix(_) => execution("expected an instant vector"),
        }
    }

    fn scalar(&mut self, node: &Node, grid: &Grid) -> Result<Vec<f64>> {
        match self.eval(node, grid)? {
            Val::Scalar(values) => Ok(values),
            Val::Vector(_) | Val::Text(_) | Val::Matrix(_) => execution("expected a scalar"),
        }
    }

    fn fetched(&mut self, select: usize, drop_name: bool, grid: &Grid) -> Result<Vec<Series>> {
        let Some((fetched, charge)) = self.data[select].take() else {
            return execution("a selector's replies are missing");
        };
        self.held.absorb(charge);
        self.count_fetched(select);
        let series: Vec<Series> = match fetched {
            Fetched::Vectors(all) => all.into_iter().map(|(l, c)| Series::from_column(l, drop_name, c)).collect(),
            Fetched::Groups { cells, loose } => self.group_loose(select, cells, loose, drop_name)?,
            Fetched::Samples(_) => return execution("a selector's replies are samples"),
        };
        if grid.count == 1 || series.first().is_none_or(|s| s.values.len() != 1) {
            return Ok(series);
        }
        self.hold_columns(series.len(), grid)?;
        let stretch = |s: Series| Series {
            values: vec![s.values[0]; grid.count],
            histograms: s.histograms.stretched(grid.count),
            ..s
        };
        Ok(series.into_iter().map(stretch).collect())
    }

    fn absent(&mut self, expr: &Node, labels: &Labels, grid: &Grid) -> Result<Vec<Series>> {
        let series = self.vector(expr, grid)?;
        self.hold_columns(1, grid)?;
        let is_absent_at = |step: usize| series.iter().all(|s| s.at(step).is_none());
        let values: Vec<f64> = (0..grid.count).map(|i| if is_absent_at(i) { 1.0 } else { ABSENT }).collect();
        let mut out = vec![Series::of(labels.clone(), false, values)];
        retain_present(&mut out);
        Ok(out)
    }

    fn negate(&mut self, inner: &Node, grid: &Grid) -> Result<Val> {
        Ok(match self.eval(inner, grid)? {
            Val::Scalar(values) => Val::Scalar(values.into_iter().map(|v| -v).collect()),
            Val::Vector(mut series) => {
                for s in &mut series {
                    map_present(&mut s.values, |v| -v);
                    s.histograms.map(|h| {
                        let mut negated = h.clone();
                        negated.mul(-1.0);
                        negated
                    });
                    s.drop_name = true;
                }
                Val::Vector(series)
            }
            other @ (Val::Text(_) | Val::Matrix(_)) => other,
        })
    }
}

/// Applies `f` to every present value.
fn map_present(values: &mut [f64], f: impl Fn(f64) -> f64) {
    for v in values.iter_mut().filter(|v| !is_absent(**v)) {
        *v = f(*v);
    }
}

/// Removes series without any value.
fn retain_present(series: &mut Vec<Series>) {
    series.retain(Series::has_any);
}

/// Joins series of equal labels whose values do not overlap; order of first appearance. Errors if they overlap.
pub(super) fn merge_same_labels(series: Vec<Series>) -> Result<Vec<Series>> {
    let mut positions: HashMap<Labels, usize> = HashMap::with_capacity(series.len());
    let mut out: Vec<Series> = Vec::with_capacity(series.len());
    for s in series {
        let next = out.len();
        let position = *positions.entry(s.labels.clone()).or_insert(next);
        if position == next {
            out.push(s);
            continue;
        }
        let kept = &mut out[position];
        for step in 0..s.values.len() {
            match (kept.at(step), s.at(step)) {
                (_, None) => {}
                (None, Some(sample)) => kept.set(step, sample.into()),
                (Some(_), Some(_)) => return same_labelset(),
            }
        }
    }
    Ok(out)
}

/// Removes the names that were to be dropped; series that become equal are joined.
pub(super) fn drop_names(mut series: Vec<Series>) -> Result<Vec<Series>> {
    for s in series.iter_mut().filter(|s| s.drop_name) {
        s.labels = labels::drop_metric(&s.labels);
        s.drop_name = false;
    }
    merge_same_labels(series)
}
