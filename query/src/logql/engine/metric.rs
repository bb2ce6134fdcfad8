//! Metric queries on the asking node: asks for every range aggregation at once, then evaluates what is above them.
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use regex::Regex;
use trine_store::index::MatchOp;
use trine_store::model::Labels;

use super::aggregate::aggregate;
use super::ask::{Account, ask};
use super::binary::binary;
use super::series::{Collector, Series, by_pairs};
use crate::error::{Error, Result};
use crate::logql::ast::{AggregateOp, MetricExpr, RangeExpr, RangeOp};
use crate::logql::fragment::{Ask, MetricAsk, Reply, corrupt};
use crate::logql::pipeline::{Filter, Pipeline, Wanted};
use crate::logql::plan::{Grid, RangePlan, StateKind};
use crate::logql::state::SeriesState;
use crate::scatter::{QueryContext, Scatter};

/// Most states that the asking node holds for one fragment: series times steps, and raw samples.
const CELLS_MAX: usize = 1 << 24;

#[derive(Clone, Debug)]
pub(super) enum Evaluated {
    Scalar(f64),
    Series(Vec<Series>),
}

/// Evaluates `expr` at every step of `grid`.
pub(super) async fn evaluate(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    expr: &MetricExpr,
    grid: Grid,
) -> Result<(Evaluated, Account)> {
    let mut leaves = Vec::new();
    plan_leaves(expr, &mut leaves)?;
    let asked = leaves.iter().map(|leaf| ask_leaf(scatter, ctx, leaf, grid));
    let mut account = Account::default();
    let mut answers = Vec::with_capacity(leaves.len());
    for (series, cost) in try_join_all(asked).await? {
        answers.push(series);
        account.add(cost);
    }
    let mut answers = answers.into_iter();
    let evaluated = evaluate_above(expr, &grid, &mut answers)?;
    Ok((evaluated, account))
}

/// A range aggregation to ask for, with the text that shards parse.
struct Leaf {
    text: String,
    plan: RangePlan,
}

/// Collects the leaves in the order in which [`evaluate_above`] meets them, and refuses what is not evaluated.
fn plan_leaves(expr: &MetricExpr, out: &mut Vec<Leaf>) -> Result<()> {
    if let Some(plan) = RangePlan::of(expr)? {
        Pipeline::compile(&plan.range.log.stages, Wanted::All)?;
        for filter in plan.range.unwrap.iter().flat_map(|u| &u.filters) {
            Filter::compile(filter)?;
        }
        out.push(Leaf { text: expr.to_string(), plan });
        return Ok(());
    }
    match expr {
        MetricExpr::Aggregate { op: AggregateOp::ApproxTopK, .. } => {
            Err(Error::Unsupported { what: "approx_topk".to_owned() })
        }
        MetricExpr::Aggregate { expr, .. } | MetricExpr::LabelReplace { expr, .. } => plan_leaves(expr, out),
        MetricExpr::Binary(b) => {
            plan_leaves(&b.lhs, out)?;
            plan_leaves(&b.rhs, out)
        }
        MetricExpr::Range(_) | MetricExpr::Literal(_) | MetricExpr::Vector(_) => Ok(()),
    }
}

async fn ask_leaf(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    leaf: &Leaf,
    grid: Grid,
) -> Result<(Vec<Series>, Account)> {
    let mut states: HashMap<Bytes, SeriesState> = HashMap::new();
    let mut cells = 0usize;
    let kind = leaf.plan.kind;
    let request = MetricAsk {
        query: leaf.text.clone(),
        start_ns: grid.start_ns,
        step_ns: grid.step_ns,
        steps: grid.steps as u32,
    };
    let account = ask(scatter, ctx, Ask::Metric(request), |reply| {
        let Reply::Series(list) = reply else {
            return Err(corrupt("LogQL reply", "not series"));
        };
        for part in list.series {
            cells += if kind == StateKind::Samples { part.values.len() } else { 0 };
            let state = states.entry(part.labels.clone()).or_insert_with(|| {
                cells += grid.steps;
                SeriesState::new(kind, grid.steps)
            });
            if cells > CELLS_MAX {
                return Err(Error::Limit {
                    message: format!(
                        "the query needs more than {CELLS_MAX} intermediate values; consider reducing query cardinality by \
                         adding more specific stream selectors, reducing the time range, or aggregating results"
                    ),
                });
            }
            state.merge(&part)?;
        }
        Ok(())
    })
    .await?;
    let mut series = Vec::with_capacity(states.len());
    for (labels, state) in states {
        let labels = Labels::decode(&labels).map_err(|e| corrupt("LogQL series", &e.to_string()))?;
        series.push(Series { labels, values: state.finish(&leaf.plan.range, &grid) });
    }
    // Order of arrival must not show: sums of doubles and rankings depend on it.
    series.sort_by(|a, b| by_pairs(&a.labels, &b.labels));
    if leaf.plan.range.op == RangeOp::Absent {
        series = absent(&leaf.plan.range, &series, grid.steps);
    }
    Ok((series, account))
}

/// 1 at every step without samples, with the labels that the selector fixes.
fn absent(range: &RangeExpr, present: &[Series], steps: usize) -> Vec<Series> {
    let matchers = &range.log.matchers;
    let fixed = matchers
        .iter()
        .filter(|m| m.op == MatchOp::Eq && matchers.iter().filter(|o| o.name == m.name).count() == 1)
        .map(|m| (m.name.as_str(), m.value.as_str()));
    let labels = Labels::from_pairs(fixed).unwrap_or_else(|_| Labels::empty());
    let value = |step: usize| present.iter().all(|s| s.values[step].is_none()).then_some(1.0);
    let values: Vec<_> = (0..steps).map(value).collect();
    if values.iter().all(Option::is_none) { Vec::new() } else { vec![Series { labels, values }] }
}

fn evaluate_above(
    expr: &MetricExpr,
    grid: &Grid,
    answers: &mut impl Iterator<Item = Vec<Series>>,
) -> Result<Evaluated> {
    if RangePlan::of(expr)?.is_some() {
        return Ok(Evaluated::Series(answers.next().unwrap_or_default()));
    }
    match expr {
        MetricExpr::Aggregate { op, k, grouping, expr } => {
            let input = vector(evaluate_above(expr, grid, answers)?, op.as_str())?;
            aggregate(*op, *k, grouping.as_ref(), input).map(Evaluated::Series)
        }
        MetricExpr::Binary(b) => {
            let lhs = evaluate_above(&b.lhs, grid, answers)?;
            let rhs = evaluate_above(&b.rhs, grid, answers)?;
            binary(b, lhs, rhs, grid.steps)
        }
        MetricExpr::LabelReplace { expr, dst, replacement, src, regex } => {
            let input = vector(evaluate_above(expr, grid, answers)?, "label_replace")?;
            label_replace(input, dst, replacement, src, regex, grid.steps).map(Evaluated::Series)
        }
        MetricExpr::Literal(value) => Ok(Evaluated::Scalar(*value)),
        MetricExpr::Vector(value) => Ok(Evaluated::Series(vec![Series::constant(*value, grid.steps)])),
        MetricExpr::Range(_) => Err(Error::Unsupported { what: expr.to_string() }),
    }
}

fn vector(evaluated: Evaluated, function: &str) -> Result<Vec<Series>> {
    match evaluated {
        Evaluated::Series(series) => Ok(series),
        Evaluated::Scalar(_) => Err(Error::Unsupported { what: format!("{function} of a number") }),
    }
}

fn label_replace(
    input: Vec<Series>,
    dst: &str,
    replacement: &str,
    src: &str,
    pattern: &str,
    steps: usize,
) -> Result<Vec<Series>> {
    let regex = Regex::new(&format!("^(?s:{pattern})$"))
        .map_err(|e| Error::Parse { message: format!("parse error : invalid regex in label_replace: {e}") })?;
    let mut out = Collector::new(steps);
    for series in input {
        let labels = match regex.captures(series.labels.get(src).unwrap_or("")) {
            None => series.labels,
            Some(captures) => {
                let mut value = String::new();
                captures.expand(replacement, &mut value);
                let others = series.labels.iter().filter(|(n, _)| *n != dst);
                Labels::from_pairs(others.chain([(dst, value.as_str())]))
                    .map_err(|e| Error::Execution { message: e.to_string() })?
            }
        };
        let at = out.position(labels);
        for (step, value) in series.values.into_iter().enumerate() {
            if let Some(value) = value {
                out.put(at, step, value)?;
            }
        }
    }
    Ok(out.finish())
}
