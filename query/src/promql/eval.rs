//! Evaluates a plan over what the shards sent. Pure: no clock but the deadline, no network.
mod aggregate;
mod binary;
mod call;
mod histogram;
mod info;
mod range;
mod relabel;
mod sort;
mod topk;

use hashbrown::HashMap;
use trine_store::model::Labels;

use super::annotations::Annotations;
use super::fetch::{Fetched, RawSeries, SAMPLE_BYTES};
use super::functions::{ABSENT, is_absent};
use super::labels;
use super::local::too_many_samples;
use super::plan::{Grid, Node};
use crate::error::{Error, Result};
use crate::memory::{Charge, labels_bytes};
use crate::stop::Stop;

pub(super) use binary::scalar_binary;

/// A series on a grid: a value or [`ABSENT`] at each step.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub labels: Labels,
    /// The metric's name goes once the whole query is evaluated (Prometheus' delayed name removal).
    pub drop_name: bool,
    pub values: Vec<f64>,
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
    size_of_val(series.values.as_slice()) as u64 + labels_bytes(&series.labels)
}

impl Val {
    fn bytes(&self) -> u64 {
        match self {
            Self::Scalar(values) => size_of_val(values.as_slice()) as u64,
            Self::Vector(series) => series.iter().map(series_bytes).sum(),
            Self::Text(text) => text.len() as u64,
            Self::Matrix(series) => {
                series.iter().map(|s| s.times_ms.len() as u64 * SAMPLE_BYTES + labels_bytes(&s.labels)).sum()
            }
        }
    }
}

pub(super) struct Evaluator {
    /// Of each selector, with what it weighs, until a node takes it.
    pub data: Vec<Option<(Fetched, Charge)>>,
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
            Node::RawMatrix { select } => self.raw_matrix(*select),
            Node::SubqueryMatrix { inner, inner_grid } => self.subquery_matrix(inner, inner_grid),
            Node::Absent { expr, labels } => self.absent(expr, labels, grid).map(Val::Vector),
            Node::Info(info) => self.info(info, grid).map(Val::Vector),
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
        let Some((Fetched::Vectors(series), charge)) = self.data[select].take() else {
            return execution("a selector's replies are missing");
        };
        self.held.absorb(charge);
        if grid.count > 1 && series.first().is_some_and(|(_, values)| values.len() == 1) {
            self.hold_columns(series.len(), grid)?;
        }
        let stretch = |values: Vec<f64>| {
            if values.len() == 1 && grid.count != 1 { vec![values[0]; grid.count] } else { values }
        };
        Ok(series.into_iter().map(|(labels, values)| Series { labels, drop_name, values: stretch(values) }).collect())
    }

    fn absent(&mut self, expr: &Node, labels: &Labels, grid: &Grid) -> Result<Vec<Series>> {
        let series = self.vector(expr, grid)?;
        self.hold_columns(1, grid)?;
        let is_absent_at = |step: usize| series.iter().all(|s| is_absent(s.values[step]));
        let values: Vec<f64> = (0..grid.count).map(|i| if is_absent_at(i) { 1.0 } else { ABSENT }).collect();
        let mut out = vec![Series { labels: labels.clone(), drop_name: false, values }];
        retain_present(&mut out);
        Ok(out)
    }

    fn negate(&mut self, inner: &Node, grid: &Grid) -> Result<Val> {
        Ok(match self.eval(inner, grid)? {
            Val::Scalar(values) => Val::Scalar(values.into_iter().map(|v| -v).collect()),
            Val::Vector(mut series) => {
                for s in &mut series {
                    map_present(&mut s.values, |v| -v);
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
    series.retain(|s| s.values.iter().any(|v| !is_absent(*v)));
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
        for (kept, v) in out[position].values.iter_mut().zip(&s.values) {
            match (is_absent(*kept), is_absent(*v)) {
                (_, true) => {}
                (true, false) => *kept = *v,
                (false, false) => return same_labelset(),
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
