//! `query` and `query_range`.
use std::num::{IntErrorKind, ParseIntError};
use std::sync::Arc;
use std::time::{Duration, Instant};

use trine_query::promql::{self, Answer, InstantQuery, RangeQuery, Stats, StepCounts};
use trine_query::scatter::QueryContext;

use super::render;
use super::slow::Watched;
use crate::call::{Call, Outcome, STATS};
use crate::error::ApiError;
use crate::params::Params;
use crate::time::{bad_parameter, prom_time_ms, seconds_or_duration_ms};

/// Most points of one series of a range query.
const POINTS_MAX: i64 = 11_000;

/// A time parameter, or `default` when it is absent.
pub(super) fn time_param(params: &Params, name: &str, default: Option<i64>) -> Result<i64, ApiError> {
    let text = match (params.get(name), default) {
        (None, Some(default)) => return Ok(default),
        (text, _) => text.unwrap_or_default(),
    };
    let bad = || {
        // Prometheus says so of those that may be absent.
        let what = if default.is_some() { format!("invalid time value for '{name}': ") } else { String::new() };
        bad_parameter(name, format!("{what}cannot parse {text:?} to a valid timestamp"))
    };
    prom_time_ms(text).ok_or_else(bad)
}

fn duration_param(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    params.get(name).map(|text| duration_of(name, text)).transpose()
}

fn duration_of(name: &str, text: &str) -> Result<i64, ApiError> {
    let bad = || {
        let is_number = text.parse::<f64>().is_ok_and(|seconds| !seconds.is_nan());
        let why = if is_number { ". It overflows int64" } else { "" };
        bad_parameter(name, format!("cannot parse {text:?} to a valid duration{why}"))
    };
    seconds_or_duration_ms(text).ok_or_else(bad)
}

/// `limit`: absent or 0 is no limit.
pub(super) fn limit_param(params: &Params) -> Result<usize, ApiError> {
    let Some(text) = params.get("limit") else { return Ok(0) };
    let limit: i64 = text.parse().map_err(|e: ParseIntError| {
        let why = match e.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        bad_parameter("limit", format!("strconv.Atoi: parsing {text:?}: {why}"))
    })?;
    usize::try_from(limit).map_err(|_| bad_parameter("limit", "limit must be non-negative"))
}

/// The text of the query; that there is none is its parser's to say.
fn query_param(params: &Params) -> String {
    params.get("query").unwrap_or_default().to_owned()
}

fn lookback_param(call: &Call) -> Result<i64, ApiError> {
    let Some(text) = call.params.get("lookback_delta") else { return Ok(call.api.config().lookback_ms) };
    let bad = || format!("error parsing lookback delta duration: cannot parse {text:?} to a valid duration");
    let ms = seconds_or_duration_ms(text).ok_or_else(|| ApiError::BadRequest(bad()))?;
    // What is not positive stands for the server's own.
    Ok(if ms > 0 { ms } else { call.api.config().lookback_ms })
}

/// A parse error is the fault of the `query` parameter.
pub(super) fn query_error(error: trine_query::Error) -> ApiError {
    match error {
        trine_query::Error::Parse { message } => bad_parameter("query", message),
        other => other.into(),
    }
}

/// `/api/v1/query`. Of several bad parameters that is named which Prometheus looks at first.
pub(super) async fn instant(call: Call) -> Outcome {
    let started = Instant::now();
    let p = &call.params;
    let limit = limit_param(p)?;
    let time_ms = time_param(p, "time", Some(call.api.now_ms()))?;
    let timeout_ms = duration_param(p, "timeout")?;
    let query = InstantQuery { query: query_param(p), time_ms, lookback_ms: lookback_param(&call)?, limit };
    let ctx = call.context(timeout_ms);
    let config = call.api.config();
    let mut watched = Watched::instant(&ctx.tenant, &query, started, config.slow_query_ms);
    let found = promql::instant_within(&call.scatter(), &ctx, &query, config.query_samples_max).await;
    let answer = found.map_err(query_error)?;
    watched.answered(&answer.stats);
    respond(&call, &ctx, answer, (started, Grid { start_ms: query.time_ms, step_ms: 0 }))
}

/// `/api/v1/query_range`.
pub(super) async fn range(call: Call) -> Outcome {
    let started = Instant::now();
    let (query, timeout_ms) = range_query(&call)?;
    let ctx = call.context(timeout_ms);
    let config = call.api.config();
    let mut watched = Watched::range(&ctx.tenant, &query, started, config.slow_query_ms);
    let found = promql::range_within(&call.scatter(), &ctx, &query, config.query_samples_max).await;
    let answer = found.map_err(query_error)?;
    watched.answered(&answer.stats);
    respond(&call, &ctx, answer, (started, Grid { start_ms: query.start_ms, step_ms: query.step_ms }))
}

/// The query and its timeout in ms.
fn range_query(call: &Call) -> Result<(RangeQuery, Option<i64>), ApiError> {
    let p = &call.params;
    let limit = limit_param(p)?;
    let start_ms = time_param(p, "start", None)?;
    let end_ms = time_param(p, "end", None)?;
    if end_ms < start_ms {
        return Err(bad_parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms = step_param(p.get("step").unwrap_or_default(), end_ms.saturating_sub(start_ms))?;
    let timeout_ms = duration_param(p, "timeout")?;
    let lookback_ms = lookback_param(call)?;
    Ok((RangeQuery { query: query_param(p), start_ms, end_ms, step_ms, lookback_ms, limit }, timeout_ms))
}

/// The step of a range of `range_ms`.
fn step_param(text: &str, range_ms: i64) -> Result<i64, ApiError> {
    let step_ms = duration_of("step", text)?;
    // Less than a millisecond is a step, too, though not one that a range can have.
    let is_short = step_ms == 0 && text.parse::<f64>().is_ok_and(|seconds| seconds > 0.0);
    if step_ms <= 0 && !is_short {
        let text = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(bad_parameter("step", text));
    }
    if range_ms / step_ms.max(1) > POINTS_MAX || is_short && range_ms > 0 {
        let text = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
        return Err(ApiError::BadRequest(text.to_owned()));
    }
    Ok(step_ms.max(1))
}

/// Times of the steps of an answer.
#[derive(Clone, Copy)]
struct Grid {
    start_ms: i64,
    /// 0 for an instant query.
    step_ms: i64,
}

fn respond(call: &Call, ctx: &QueryContext, answer: Answer, (started, grid): (Instant, Grid)) -> Outcome {
    let asked = call.params.get(STATS).filter(|value| !value.is_empty());
    let stats = asked.map(|value| stats_json(&answer, started.elapsed(), (value == "all").then_some(grid)));
    let mut warnings = answer.warnings;
    warnings.extend(asked.and_then(stats_warning));
    if answer.truncated && !warnings.iter().any(|w| w == render::TRUNCATED) {
        warnings.push(render::TRUNCATED.to_owned());
    }
    let mut held = Arc::into_inner(answer.held).unwrap_or_else(|| ctx.memory.open());
    let mut writer = render::open(&ctx.memory);
    render::result(&mut writer, answer.value, &mut held, stats.as_deref())?;
    render::close(writer, &warnings, &answer.infos, &answer.completeness)
}

/// Any value gives statistics; Prometheus is about to refuse what it does not know.
fn stats_warning(value: &str) -> Option<String> {
    (!matches!(value, "true" | "all")).then(|| {
        format!(
            "value {value:?} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\""
        )
    })
}

/// Times in s. Preparing a query is to plan it and to fetch what the shards make of it; nothing waits in a queue here before that, and
/// results come sorted out of the evaluation. With `grid`, samples by step, too.
fn stats_json(answer: &Answer, took: Duration, grid: Option<Grid>) -> String {
    let Stats { samples_peak: peak, phases, .. } = answer.stats;
    let prepare = (phases.plan + phases.fetch).as_secs_f64();
    let (inner, total) = (phases.evaluate.as_secs_f64(), took.as_secs_f64());
    let none = StepCounts::default();
    let counts = answer.step_counts.as_ref().unwrap_or(&none);
    let (queryable, read) = (counts.queryable_sum(), counts.read_sum());
    let (of_queryable, of_read) = match grid {
        Some(grid) => (
            format!("\"totalQueryableSamplesPerStep\":{},", per_step(&counts.queryable, grid)),
            format!("\"samplesReadPerStep\":{},", per_step(&counts.read, grid)),
        ),
        None => Default::default(),
    };
    format!(
        "{{\"timings\":{{\"evalTotalTime\":{},\"resultSortTime\":0,\"queryPreparationTime\":{prepare},\"innerEvalTime\":{inner},\"execQueueTime\":0,\"execTotalTime\":{total}}},\"samples\":{{{of_queryable}\"totalQueryableSamples\":{queryable},{of_read}\"samplesRead\":{read},\"peakSamples\":{peak}}}}}",
        prepare + inner,
    )
}

/// `[[time in s,samples],…]`.
fn per_step(counts: &[u64], grid: Grid) -> String {
    let at = |step: usize| grid.start_ms.saturating_add(grid.step_ms.saturating_mul(step as i64)) as f64 / 1000.0;
    let steps: Vec<String> = counts.iter().enumerate().map(|(step, count)| format!("[{},{count}]", at(step))).collect();
    format!("[{}]", steps.join(","))
}
