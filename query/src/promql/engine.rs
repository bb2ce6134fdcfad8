//! Runs a query: parse, plan, fetch, evaluate.
use std::sync::Arc;

use trine_store::model::Labels;

use super::annotations::Annotations;
use super::ast::{Expr, ValueType};
use super::eval::{Evaluator, Series, Val, drop_names};
use super::fetch::{self, Fetched, Replies};
use super::functions::is_absent;
use super::plan::{self, Grid, Plan};
use super::value::{Answer, MatrixSeries, Value, VectorSample};
use super::{SAMPLES_MAX, labels, parser};
use crate::error::{Error, Result};
use crate::scatter::{QueryContext, Scatter};

/// A query at one time.
#[derive(Clone, Debug)]
pub struct InstantQuery {
    pub query: String,
    pub time_ms: i64,
    /// [`super::LOOKBACK_MS_DEFAULT`] unless the request says otherwise.
    pub lookback_ms: i64,
    /// Most series to answer; 0 is no limit.
    pub limit: usize,
}

/// A query at `start_ms`, `start_ms + step_ms`, … up to `end_ms`.
#[derive(Clone, Debug)]
pub struct RangeQuery {
    pub query: String,
    pub start_ms: i64,
    pub end_ms: i64,
    /// At least 1.
    pub step_ms: i64,
    pub lookback_ms: i64,
    /// Most series to answer; 0 is no limit.
    pub limit: usize,
}

/// Evaluates a query at one time.
pub async fn instant(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, query: &InstantQuery) -> Result<Answer> {
    let expr = parser::parse(&query.query)?;
    let request =
        plan::Request { start_ms: query.time_ms, end_ms: query.time_ms, step_ms: 0, lookback_ms: query.lookback_ms };
    run(scatter, ctx, &query.query, &expr, request, query.limit).await
}

/// Evaluates a query over a grid of times; the result is a matrix. Errors: [`Error::Parse`] also for a query that is
/// neither scalar nor instant vector.
pub async fn range(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, query: &RangeQuery) -> Result<Answer> {
    let expr = parser::parse(&query.query)?;
    let value_type = expr.value_type();
    if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
        let message = format!(
            "invalid expression type {:?} for range query, must be Scalar or instant Vector",
            value_type.to_string()
        );
        return Err(Error::Parse { message });
    }
    let request = plan::Request {
        start_ms: query.start_ms,
        end_ms: query.end_ms,
        step_ms: query.step_ms.max(1),
        lookback_ms: query.lookback_ms,
    };
    run(scatter, ctx, &query.query, &expr, request, query.limit).await
}

async fn run(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    text: &str,
    expr: &Expr,
    request: plan::Request,
    limit: usize,
) -> Result<Answer> {
    let plan = plan::plan(expr, &request)?;
    if plan.grid.count as u64 > SAMPLES_MAX {
        return Err(super::local::too_many_samples());
    }
    let is_range = request.step_ms != 0;
    let replies = fetch::fetch(scatter, ctx, &plan.selects, SAMPLES_MAX).await?;
    let (deadline, text) = (ctx.deadline, text.to_owned());
    let evaluate = move || evaluate(&plan, replies, &text, deadline, is_range, limit);
    // Evaluation may take long: keep it off the threads that serve requests, where there is a runtime.
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => match runtime.spawn_blocking(evaluate).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Canceled),
        },
        Err(_) => evaluate(),
    }
}

fn evaluate(
    plan: &Plan,
    replies: Replies,
    text: &str,
    deadline: std::time::Instant,
    is_range: bool,
    limit: usize,
) -> Result<Answer> {
    let Replies { data, non_counters, mut stats, completeness } = replies;
    let mut annotations = Annotations::default();
    for (select, name) in non_counters {
        if let Some(select) = plan.selects.get(select) {
            annotations.possible_non_counter(&name, select.span);
        }
    }
    let left = SAMPLES_MAX.saturating_sub(stats.samples_peak);
    let data: Vec<Option<Fetched>> = data.into_iter().map(Some).collect();
    let mut evaluator = Evaluator { data, annotations, deadline, left, least_left: left, is_range };
    let value = evaluator.eval(&plan.root, &plan.grid)?;
    stats.samples_peak = SAMPLES_MAX - evaluator.least_left;
    let mut value = answer(value, &plan.grid, is_range)?;
    let truncated = truncate(&mut value, limit);
    let (mut warnings, infos) = evaluator.annotations.texts(text);
    warnings.extend(completeness.warnings());
    if truncated {
        warnings.push("results truncated due to limit".to_owned());
    }
    Ok(Answer { value, warnings, infos, stats, completeness, truncated })
}

fn answer(value: Val, grid: &Grid, is_range: bool) -> Result<Value> {
    let last = |values: &[f64]| values.first().copied().unwrap_or(f64::NAN);
    Ok(match (value, is_range) {
        (Val::Scalar(values), false) => Value::Scalar(grid.start_ms, last(&values)),
        (Val::Scalar(values), true) => matrix(vec![Series { labels: Labels::empty(), drop_name: false, values }], grid),
        (Val::Text(text), _) => Value::String(grid.start_ms, text),
        (Val::Vector(series), false) => Value::Vector(
            drop_names(series)?
                .into_iter()
                .filter(|s| !is_absent(last(&s.values)))
                .map(|s| VectorSample { labels: s.labels, time_ms: grid.start_ms, value: last(&s.values) })
                .collect(),
        ),
        (Val::Vector(series), true) => matrix(drop_names(series)?, grid),
        (Val::Matrix(series), _) => Value::Matrix(
            series
                .into_iter()
                .map(|s| MatrixSeries { labels: s.labels, points: s.times_ms.into_iter().zip(s.values).collect() })
                .collect(),
        ),
    })
}

fn matrix(series: Vec<Series>, grid: &Grid) -> Value {
    let points = |values: Vec<f64>| -> Vec<(i64, f64)> {
        let present = values.into_iter().enumerate().filter(|(_, v)| !is_absent(*v));
        present.map(|(step, v)| (grid.at(step), v)).collect()
    };
    let mut out: Vec<MatrixSeries> = series
        .into_iter()
        .map(|s| MatrixSeries { labels: s.labels, points: points(s.values) })
        .filter(|s| !s.points.is_empty())
        .collect();
    out.sort_by(|a, b| labels::compare(&a.labels, &b.labels));
    Value::Matrix(out)
}

fn truncate(value: &mut Value, limit: usize) -> bool {
    let count = match value {
        Value::Scalar(..) | Value::String(..) => return false,
        Value::Vector(v) => v.len(),
        Value::Matrix(m) => m.len(),
    };
    if limit == 0 || count <= limit {
        return false;
    }
    match value {
        Value::Vector(v) => v.truncate(limit),
        Value::Matrix(m) => m.truncate(limit),
        Value::Scalar(..) | Value::String(..) => {}
    }
    true
}
