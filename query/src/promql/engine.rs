//! Runs a query: parse, plan, fetch, evaluate.
use std::sync::Arc;
use std::time::Instant;

use trine_store::model::Labels;

use super::annotations::Annotations;
use super::ast::{Expr, ValueType};
use super::eval::{self, Counts, Evaluator, Series, Val, drop_names};
use super::fetch::{self, RawSeries, Replies};
use super::functions::is_absent;
use super::functions::native::Note;
use super::plan::{self, Grid, InfoPlan, Plan, SelectPlan};
use super::value::{Answer, MatrixSeries, Phases, Stats, Value, VectorSample};
use super::{SAMPLES_MAX, labels, parser};
use crate::error::{Error, Result};
use crate::memory::Charge;
use crate::scatter::{Completeness, QueryContext, Scatter};
use crate::stop::{Stop, off_thread};

/// What is evaluated at once, on the thread that waits for it: most queries of alerts and panels, for which another thread
/// would only be a detour. Bounds of the query's text, its steps, and what was fetched for it.
const LIGHT_TEXT_BYTES: usize = 512;
const LIGHT_STEPS: usize = 2_000;
const LIGHT_FETCHED_BYTES: u64 = 64 << 10;

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

/// Evaluates a query at one time. It may read and hold [`SAMPLES_MAX`] samples.
pub async fn instant(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, query: &InstantQuery) -> Result<Answer> {
    instant_within(scatter, ctx, query, SAMPLES_MAX).await
}

/// As [`instant`] with another bound. Errors: [`Error::Limit`] for a query that needs more.
pub async fn instant_within(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    query: &InstantQuery,
    samples_max: u64,
) -> Result<Answer> {
    let (time_ms, lookback_ms) = (query.time_ms, query.lookback_ms);
    let request = plan::Request { start_ms: time_ms, end_ms: time_ms, step_ms: 0, lookback_ms, samples_max };
    let started = Instant::now();
    let expr = parser::parse(&query.query)?;
    run(scatter, ctx, &query.query, &expr, (request, started), query.limit).await
}

/// Evaluates a query over a grid of times; the result is a matrix. It may read and hold [`SAMPLES_MAX`] samples.
/// Errors: [`Error::Parse`] also for a query that is neither scalar nor instant vector.
pub async fn range(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, query: &RangeQuery) -> Result<Answer> {
    range_within(scatter, ctx, query, SAMPLES_MAX).await
}

/// As [`range`] with another bound. Errors: [`Error::Limit`] for a query that needs more.
pub async fn range_within(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    query: &RangeQuery,
    samples_max: u64,
) -> Result<Answer> {
    let started = Instant::now();
    let expr = parser::parse(&query.query)?;
    let value_type = expr.value_type();
    if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
        let message = format!(
            "invalid expression type {:?} for range query, must be Scalar or instant Vector",
            value_type.to_string()
        );
        return Err(Error::Parse { message });
    }
    let RangeQuery { start_ms, end_ms, lookback_ms, .. } = *query;
    let request = plan::Request { start_ms, end_ms, step_ms: query.step_ms.max(1), lookback_ms, samples_max };
    run(scatter, ctx, &query.query, &expr, (request, started), query.limit).await
}

async fn run(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    text: &str,
    expr: &Expr,
    (request, started): (plan::Request, Instant),
    limit: usize,
) -> Result<Answer> {
    let plan = plan::plan(expr, &request)?;
    let samples_max = request.samples_max;
    if plan.grid.count as u64 > samples_max {
        return Err(super::local::too_many_samples());
    }
    let is_range = request.step_ms != 0;
    let planned = Instant::now();
    let replies = fetch::fetch(scatter, ctx, &plan.selects, samples_max).await?;
    let mut fetching = planned.elapsed();
    let stop = Stop::at(ctx.deadline);
    let _waiting = stop.on_drop();
    let fetched_bytes: u64 = replies.data.iter().map(|(_, held)| held.bytes()).sum();
    let is_light = text.len() <= LIGHT_TEXT_BYTES && plan.grid.count <= LIGHT_STEPS && plan.root.is_light();
    let is_light = is_light && fetched_bytes <= LIGHT_FETCHED_BYTES;
    let (infos, text) = (plan.infos.clone(), text.to_owned());
    let mut evaluation = Evaluation::new(plan, (stop, ctx.memory.open()), (is_range, ctx.count_steps), samples_max);
    evaluation.take(replies)?;
    for info in infos {
        let asking = move || evaluation.ask(&info);
        let asked;
        (evaluation, asked) = off_thread(asking).await?;
        let Some(select) = asked else { continue };
        let began = Instant::now();
        let replies = fetch::fetch(scatter, ctx, &[select], evaluation.evaluator.left).await?;
        fetching += began.elapsed();
        evaluation.take(replies)?;
    }
    let finish = move || evaluation.finish(&text, limit);
    let mut answer = if is_light { finish()? } else { off_thread(finish).await? };
    answer.stats.phases =
        Phases { plan: planned - started, fetch: fetching, evaluate: planned.elapsed().saturating_sub(fetching) };
    Ok(answer)
}

/// A plan that is being evaluated.
struct Evaluation {
    plan: Plan,
    evaluator: Evaluator,
    stats: Stats,
    completeness: Completeness,
    samples_max: u64,
}

impl Evaluation {
    /// Nothing is fetched yet.
    fn new(plan: Plan, (stop, held): (Stop, Charge), (is_range, counting): (bool, bool), samples_max: u64) -> Self {
        let evaluator = Evaluator {
            data: Vec::new(),
            selects: plan.selects.clone(),
            infos: Vec::new(),
            annotations: Annotations::default(),
            stop,
            held,
            left: samples_max,
            least_left: samples_max,
            is_range,
            counts: counting.then(|| Counts::new(Vec::new(), &plan.grid)),
        };
        Self { plan, evaluator, stats: Stats::default(), completeness: Completeness::default(), samples_max }
    }

    /// Takes what came back for the next selectors.
    fn take(&mut self, replies: Replies) -> Result<()> {
        let Replies { data, non_counters, notes, stats, counts, completeness } = replies;
        let evaluator = &mut self.evaluator;
        let selects = evaluator.selects.get(evaluator.data.len()..).unwrap_or_default();
        for (select, name) in non_counters {
            if let Some(select) = selects.get(select) {
                evaluator.annotations.possible_non_counter(&name, select.span);
            }
        }
        for ((select, note, metric), count) in notes {
            let Some(select) = selects.get(select) else { continue };
            if note == Note::HistogramInfoMetric {
                let message = format!("this should be an info metric, with float samples: {metric}");
                return Err(Error::Execution { message });
            }
            evaluator.annotations.note(note, &metric, count, select.span, select.expr_span);
        }
        evaluator.data.extend(data.into_iter().map(Some));
        evaluator.left = evaluator.left.saturating_sub(stats.samples_peak);
        evaluator.least_left = evaluator.least_left.min(evaluator.left);
        if let Some(all) = &mut evaluator.counts {
            all.extend(counts);
        }
        self.stats.add_fragment(&stats);
        self.completeness.add_all(completeness);
        Ok(())
    }

    /// Evaluates what an `info()` joins labels to, and says what to ask for then.
    fn ask(mut self, info: &Arc<InfoPlan>) -> Result<(Self, Option<SelectPlan>)> {
        let asked = self.evaluator.info_base(info)?;
        self.evaluator.selects.extend(asked.clone());
        Ok((self, asked))
    }

    /// Evaluates the whole, of which everything is fetched.
    fn finish(self, text: &str, limit: usize) -> Result<Answer> {
        let Self { plan, mut evaluator, mut stats, completeness, samples_max } = self;
        let is_range = evaluator.is_range;
        let value = evaluator.eval(&plan.root, &plan.grid)?;
        stats.samples_peak = samples_max - evaluator.least_left;
        let mut held = evaluator.held;
        let mut value = answer(value, &plan.grid, is_range, &mut held)?;
        let truncated = truncate(&mut value, limit);
        let (mut warnings, infos) = evaluator.annotations.texts(text);
        warnings.extend(completeness.warnings());
        if truncated {
            warnings.push("results truncated due to limit".to_owned());
        }
        let step_counts = evaluator.counts.map(Counts::finish);
        Ok(Answer { value, warnings, infos, stats, step_counts, completeness, truncated, held: Arc::new(held) })
    }
}

/// The value in the answer's shape; `held` is its charge before and after.
fn answer(value: Val, grid: &Grid, is_range: bool, held: &mut Charge) -> Result<Value> {
    let last = |values: &[f64]| values.first().copied().unwrap_or(f64::NAN);
    Ok(match (value, is_range) {
        (Val::Scalar(values), false) => Value::Scalar(grid.start_ms, last(&values)),
        (Val::Scalar(values), true) => matrix(vec![Series::of(Labels::empty(), false, values)], grid, held)?,
        (Val::Text(text), _) => Value::String(grid.start_ms, text),
        (Val::Vector(series), false) => {
            let element = |s: Series| {
                let histogram = s.histograms.get(0).cloned();
                let value = if histogram.is_some() { f64::NAN } else { last(&s.values) };
                VectorSample { labels: s.labels, time_ms: grid.start_ms, value, histogram }
            };
            Value::Vector(drop_names(series)?.into_iter().filter(|s| s.at(0).is_some()).map(element).collect())
        }
        (Val::Vector(series), true) => matrix(drop_names(series)?, grid, held)?,
        (Val::Matrix(series), _) => {
            let mut out = Vec::with_capacity(series.len());
            for RawSeries { labels, samples } in series {
                let bytes = ((samples.times_ms.len() + samples.histograms.len()) * POINT_BYTES) as u64;
                held.add(bytes)?;
                let points = samples.times_ms.into_iter().zip(samples.values).collect();
                let histograms = samples.histogram_times_ms.into_iter().zip(samples.histograms).collect();
                out.push(MatrixSeries { labels, points, histograms });
                held.sub(bytes);
            }
            Value::Matrix(out)
        }
    })
}

/// Bytes of a point of the answer.
const POINT_BYTES: usize = size_of::<(i64, f64)>();

fn matrix(series: Vec<Series>, grid: &Grid, held: &mut Charge) -> Result<Value> {
    let mut out: Vec<MatrixSeries> = Vec::new();
    for s in series {
        let count = s.values.iter().filter(|v| !is_absent(**v)).count();
        let histograms: Vec<_> = s.histograms.iter().map(|(step, h)| (grid.at(step), h.clone())).collect();
        if count == 0 && histograms.is_empty() {
            held.sub(eval::series_bytes(&s));
            continue;
        }
        held.add((count * POINT_BYTES) as u64)?;
        let mut points = Vec::with_capacity(count);
        let present = s.values.iter().enumerate().filter(|(_, v)| !is_absent(**v));
        points.extend(present.map(|(step, v)| (grid.at(step), *v)));
        out.push(MatrixSeries { labels: s.labels, points, histograms });
        held.sub(size_of_val(s.values.as_slice()) as u64);
    }
    out.sort_by(|a, b| labels::compare(&a.labels, &b.labels));
    Ok(Value::Matrix(out))
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
