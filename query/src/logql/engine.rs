//! The calls that `api` makes: parse, plan, ask, merge.
mod aggregate;
mod ask;
mod binary;
mod logs;
mod metric;
mod series;
#[cfg(test)]
mod store_tests;
mod streams;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::metric::Evaluated;
use super::SERIES_MAX;
use super::answer::{LogAnswer, LogInstant, LogQuery, LogValue, MatrixSeries, VectorSample};
use super::ast::{Expr, MetricExpr};
use super::parser::parse;
use super::plan::Grid;
use crate::error::{Error, Result};
use crate::memory::Charge;
use crate::scatter::{QueryContext, Scatter};

pub use self::streams::{index_stats, index_volume, label_values, labels, series};

/// Most points of a series in a range query.
const STEPS_MAX: i64 = 11_000;
const NS_PER_MS: i64 = 1_000_000;

/// Evaluates a log or metric query over a range.
pub async fn query_range(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, query: &LogQuery) -> Result<LogAnswer> {
    match parse(&query.query)? {
        Expr::Log(log) => logs::query(scatter, ctx, query, &log).await,
        Expr::Metric(expr) => {
            let grid = range_grid(query)?;
            let (evaluated, mut held, cost) = metric::evaluate(scatter, ctx, &expr, grid).await?;
            let value = LogValue::Matrix(matrix(evaluated, &grid, &mut held)?);
            Ok(cost.answer(value, held))
        }
    }
}

/// Evaluates a metric query at one time; a log query is [`Error::Execution`].
pub async fn instant(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, query: &LogInstant) -> Result<LogAnswer> {
    let expr = match parse(&query.query)? {
        Expr::Metric(expr) => expr,
        Expr::Log(_) => {
            return Err(Error::Execution {
                message: "log queries are not supported as an instant query type, please change your query to a range \
                          query type"
                    .to_owned(),
            });
        }
    };
    let grid = Grid { start_ns: query.time_ns, step_ns: NS_PER_MS, steps: 1 };
    let (evaluated, held, cost) = metric::evaluate(scatter, ctx, &expr, grid).await?;
    let time_ms = query.time_ns.div_euclid(NS_PER_MS);
    let value = match evaluated {
        Evaluated::Scalar(value) => LogValue::Scalar(time_ms, value),
        Evaluated::Series(series) => {
            let mut samples: Vec<VectorSample> = series
                .into_iter()
                .filter_map(|s| {
                    Some(VectorSample { value: s.values.first().copied().flatten()?, labels: s.labels, time_ms })
                })
                .collect();
            check_series(samples.len())?;
            if !is_ordered(&expr) {
                samples.sort_by(|a, b| series::by_pairs(&a.labels, &b.labels));
            }
            LogValue::Vector(samples)
        }
    };
    Ok(cost.answer(value, held))
}

/// Whether the expression itself orders its samples.
fn is_ordered(expr: &MetricExpr) -> bool {
    use super::ast::AggregateOp::{BottomK, Sort, SortDesc, TopK};
    matches!(expr, MetricExpr::Aggregate { op: TopK | BottomK | Sort | SortDesc, .. })
}

fn range_grid(query: &LogQuery) -> Result<Grid> {
    if query.step_ms <= 0 {
        return Err(Error::Execution {
            message: "zero or negative query resolution step widths are not accepted".to_owned(),
        });
    }
    let step_ns = query.step_ms.saturating_mul(NS_PER_MS);
    let span_ns = query.end_ns.saturating_sub(query.start_ns);
    if span_ns < 0 {
        return Err(Error::Execution { message: "end timestamp must not be before or equal to start time".to_owned() });
    }
    let steps = span_ns / step_ns;
    if steps > STEPS_MAX {
        return Err(Error::Limit {
            message:
                "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step \
                      parameter"
                    .to_owned(),
        });
    }
    Ok(Grid { start_ns: query.start_ns, step_ns, steps: steps as usize + 1 })
}

/// The series as the answer lists them; `held` is their charge before and after.
fn matrix(evaluated: Evaluated, grid: &Grid, held: &mut Charge) -> Result<Vec<MatrixSeries>> {
    let time_ms = |step: usize| grid.time_ns(step).div_euclid(NS_PER_MS);
    let series = match evaluated {
        Evaluated::Scalar(value) => vec![series::Series::constant(value, grid.steps)],
        Evaluated::Series(series) => series,
    };
    check_series(series.len())?;
    let mut out: Vec<MatrixSeries> = Vec::with_capacity(series.len());
    for s in series {
        let count = s.values.iter().flatten().count();
        if count > 0 {
            held.add((count * size_of::<(i64, f64)>()) as u64)?;
            let mut points = Vec::with_capacity(count);
            points.extend(s.values.iter().enumerate().filter_map(|(i, v)| Some((time_ms(i), (*v)?))));
            out.push(MatrixSeries { labels: s.labels, points });
        }
        held.sub(size_of_val(s.values.as_slice()) as u64);
    }
    out.sort_by(|a, b| series::by_pairs(&a.labels, &b.labels));
    Ok(out)
}

fn check_series(count: usize) -> Result<()> {
    if count <= SERIES_MAX {
        return Ok(());
    }
    Err(Error::Limit {
        message: format!(
            "maximum number of series ({SERIES_MAX}) reached for a single query; consider reducing query cardinality by \
             adding more specific stream selectors, reducing the time range, or aggregating results with functions like \
             sum(), count() or topk()"
        ),
    })
}
