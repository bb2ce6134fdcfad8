//! Metric queries on the asking node: asks for every range aggregation at once, then evaluates what is above them.
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use trine_store::index::MatchOp;
use trine_store::model::Labels;
use trine_store::re2;

use super::aggregate::aggregate;
use super::ask::{Account, ask};
use super::binary::binary;
use super::series::{Collector, Series, Work, by_pairs};
use crate::error::{Error, Result};
use crate::logql::ast::{AggregateOp, MetricExpr, RangeExpr, RangeOp};
use crate::logql::fragment::{Ask, MetricAsk, Reply, SeriesPart, corrupt};
use crate::logql::pipeline::{Filter, Pipeline, Wanted};
use crate::logql::plan::{Grid, RangePlan, StateKind};
use crate::logql::state::{SAMPLE_BYTES, SeriesState};
use crate::memory::{Charge, labels_bytes};
use crate::scatter::{QueryContext, Scatter};
use crate::stop::{Stop, off_thread};

/// Most states that the asking node holds for one fragment: series times steps, and raw samples.
const CELLS_MAX: usize = 1 << 24;

#[derive(Clone, Debug)]
pub(super) enum Evaluated {
    Scalar(f64),
    Series(Vec<Series>),
}

/// Evaluates `expr` at every step of `grid`; the charge is what the result weighs.
pub(super) async fn evaluate(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    expr: &MetricExpr,
    grid: Grid,
) -> Result<(Evaluated, Charge, Account)> {
    let mut leaves = Vec::new();
    plan_leaves(expr, &mut leaves)?;
    let asked = leaves.iter().map(|leaf| ask_leaf(scatter, ctx, leaf, grid));
    let mut account = Account::default();
    let mut answers = Vec::with_capacity(leaves.len());
    for (states, cost) in try_join_all(asked).await? {
        answers.push(states);
        account.add(cost);
    }
    let mut answers = leaves.into_iter().zip(answers).collect::<Vec<_>>().into_iter();
    let mut work = Work { held: ctx.memory.open(), stop: Stop::at(ctx.deadline), grid };
    let _waiting = work.stop.on_drop();
    let expr = expr.clone();
    let above = move || {
        let evaluated = evaluate_above(&expr, &mut answers, &mut work)?;
        Ok((evaluated, work.held))
    };
    let (evaluated, held) = off_thread(above).await?;
    Ok((evaluated, held, account))
}

/// What the shards answered for a leaf: the states by encoded labels, and what they weigh.
struct States {
    by_labels: HashMap<Bytes, SeriesState>,
    held: Charge,
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
) -> Result<(States, Account)> {
    let mut states = States { by_labels: HashMap::new(), held: ctx.memory.open() };
    let mut cells = 0usize;
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
        list.series.iter().try_for_each(|part| states.merge(part, leaf.plan.kind, grid.steps, &mut cells))
    })
    .await?;
    Ok((states, account))
}

impl States {
    fn merge(&mut self, part: &SeriesPart, kind: StateKind, steps: usize, cells: &mut usize) -> Result<()> {
        let is_new = !self.by_labels.contains_key(&part.labels);
        let samples = if kind == StateKind::Samples { part.values.len() } else { 0 };
        *cells += samples + if is_new { steps } else { 0 };
        if *cells > CELLS_MAX {
            return Err(Error::Limit {
                message: format!(
                    "the query needs more than {CELLS_MAX} intermediate values; consider reducing query cardinality by \
                     adding more specific stream selectors, reducing the time range, or aggregating results"
                ),
            });
        }
        self.held.add(samples as u64 * SAMPLE_BYTES)?;
        if is_new {
            self.held.add(SeriesState::weight(kind, steps) + part.labels.len() as u64)?;
            // A copy of the key, since the bytes keep their whole frame.
            self.by_labels.insert(Bytes::copy_from_slice(&part.labels), SeriesState::new(kind, steps));
        }
        match self.by_labels.get_mut(&part.labels) {
            Some(state) => state.merge(part),
            None => Ok(()),
        }
    }

    /// The series of the leaf, in the order of their labels.
    fn finish(self, leaf: &Leaf, work: &mut Work) -> Result<Vec<Series>> {
        work.held.absorb(self.held);
        work.hold_series(self.by_labels.len())?;
        let range = &leaf.plan.range;
        let mut series = Vec::with_capacity(self.by_labels.len());
        for (labels, state) in self.by_labels {
            work.stop.check()?;
            let labels = Labels::decode(&labels).map_err(|e| corrupt("LogQL series", &e.to_string()))?;
            work.hold(labels_bytes(&labels))?;
            series.push(Series { labels, values: state.finish(range, &work.grid) });
        }
        // Order of arrival must not show: sums of doubles and rankings depend on it.
        series.sort_by(|a, b| by_pairs(&a.labels, &b.labels));
        if range.op == RangeOp::Absent {
            work.hold_series(1)?;
            series = absent(range, &series, work.grid.steps);
        }
        Ok(series)
    }
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

/// Evaluates one expression; what it held besides its value is given back.
fn evaluate_above(
    expr: &MetricExpr,
    answers: &mut impl Iterator<Item = (Leaf, States)>,
    work: &mut Work,
) -> Result<Evaluated> {
    work.stop.check()?;
    let before = work.held.bytes();
    let evaluated = evaluate_one(expr, answers, work)?;
    let value = match &evaluated {
        Evaluated::Scalar(_) => 0,
        Evaluated::Series(series) => series.iter().map(Series::weight).sum(),
    };
    work.held.set(before + value)?;
    Ok(evaluated)
}

fn evaluate_one(
    expr: &MetricExpr,
    answers: &mut impl Iterator<Item = (Leaf, States)>,
    work: &mut Work,
) -> Result<Evaluated> {
    if RangePlan::of(expr)?.is_some() {
        let series = answers.next().map(|(leaf, states)| states.finish(&leaf, work)).transpose()?;
        return Ok(Evaluated::Series(series.unwrap_or_default()));
    }
    match expr {
        MetricExpr::Aggregate { op, k, grouping, expr } => {
            let input = vector(evaluate_above(expr, answers, work)?, op.as_str())?;
            aggregate(*op, *k, grouping.as_ref(), input, work).map(Evaluated::Series)
        }
        MetricExpr::Binary(b) => {
            let lhs = evaluate_above(&b.lhs, answers, work)?;
            let rhs = evaluate_above(&b.rhs, answers, work)?;
            binary(b, lhs, rhs, work)
        }
        MetricExpr::LabelReplace { expr, dst, replacement, src, regex } => {
            let input = vector(evaluate_above(expr, answers, work)?, "label_replace")?;
            label_replace(input, dst, replacement, src, regex, work).map(Evaluated::Series)
        }
        MetricExpr::Literal(value) => Ok(Evaluated::Scalar(*value)),
        MetricExpr::Vector(value) => {
            work.hold_series(1)?;
            Ok(Evaluated::Series(vec![Series::constant(*value, work.grid.steps)]))
        }
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
    work: &mut Work,
) -> Result<Vec<Series>> {
    let regex = re2::compile(&format!("^(?s:{pattern})$")).map_err(|e| Error::Parse {
        message: format!("parse error : invalid regex in label_replace: error parsing regexp: {e}"),
    })?;
    let memory = work.held.account().clone();
    let mut out = Collector::new(work);
    for series in input {
        let source = series.labels.get(src).unwrap_or("");
        // Each character of the replacement may stand for the whole text.
        let _expanded = memory.charge(replacement.len() as u64 * (source.len() as u64 + 1))?;
        let labels = match regex.captures(source) {
            None => series.labels,
            Some(captures) => {
                let mut value = String::new();
                captures.expand(replacement, &mut value);
                let others = series.labels.iter().filter(|(n, _)| *n != dst);
                Labels::from_pairs(others.chain([(dst, value.as_str())]))
                    .map_err(|e| Error::Execution { message: e.to_string() })?
            }
        };
        let at = out.position(labels)?;
        for (step, value) in series.values.into_iter().enumerate() {
            if let Some(value) = value {
                out.put(at, step, value)?;
            }
        }
    }
    Ok(out.finish())
}
