//! Parameters of Loki's query endpoints.
use trine_query::logql::Direction;

use crate::call::Call;
use crate::error::ApiError;
use crate::time::{loki_time_ns, prom_duration_ms, seconds_or_duration_ms};

const NS: i64 = 1_000_000_000;
/// Range of a query that names no start.
const SINCE_NS: i64 = 3600 * NS;
/// Lines of a query that names no limit.
const LIMIT: usize = 100;
/// Most points of one series.
const POINTS_MAX: i64 = 11_000;

fn bad(text: impl Into<String>) -> ApiError {
    ApiError::BadRequest(text.into())
}

/// A time, or `default` when it is absent.
pub(super) fn time(call: &Call, name: &str, default_ns: i64) -> Result<i64, ApiError> {
    match call.params.get(name) {
        None => Ok(default_ns),
        Some(text) => loki_time_ns(text).ok_or_else(|| bad(format!("parsing time {text:?} as RFC 3339: cannot parse"))),
    }
}

/// `start`, `end` or `since`, in ns.
pub(super) fn range(call: &Call) -> Result<(i64, i64), ApiError> {
    let now_ns = call.api.now_ns();
    let since_ns = match call.params.get("since") {
        None => SINCE_NS,
        Some(text) => prom_duration_ms(text)
            .map(|ms| ms.saturating_mul(1_000_000))
            .ok_or_else(|| bad(format!("not a valid duration string: {text:?}")))?,
    };
    let end_ns = time(call, "end", now_ns)?;
    let start_ns = time(call, "start", end_ns.min(now_ns).saturating_sub(since_ns))?;
    if end_ns < start_ns {
        return Err(bad("end timestamp must not be before or equal to start time"));
    }
    Ok((start_ns, end_ns))
}

/// `direction`, backward by default.
pub(super) fn direction(call: &Call) -> Result<Direction, ApiError> {
    match call.params.get("direction") {
        None => Ok(Direction::Backward),
        Some(text) if text.eq_ignore_ascii_case("forward") => Ok(Direction::Forward),
        Some(text) if text.eq_ignore_ascii_case("backward") => Ok(Direction::Backward),
        Some(text) => Err(bad(format!("invalid direction '{text}'"))),
    }
}

/// `limit`, positive.
pub(super) fn limit(call: &Call, names: &[&str], default: usize) -> Result<usize, ApiError> {
    let Some(text) = call.params.get_any(names) else { return Ok(default) };
    let n: i64 = text.parse().map_err(|_| bad(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))?;
    usize::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| bad("limit must be a positive value"))
}

/// `limit` of a log query.
pub(super) fn line_limit(call: &Call) -> Result<usize, ApiError> {
    limit(call, &["limit"], LIMIT)
}

/// `step` in ms; its default makes about 250 points.
pub(super) fn step_ms(call: &Call, start_ns: i64, end_ns: i64) -> Result<i64, ApiError> {
    let range_ns = end_ns.saturating_sub(start_ns);
    let Some(text) = call.params.get("step") else { return Ok((range_ns / NS / 250).max(1) * 1000) };
    let ms = seconds_or_duration_ms(text).ok_or_else(|| bad(format!("cannot parse {text:?} to a valid duration")))?;
    if ms <= 0 {
        return Err(bad("zero or negative query resolution step widths are not accepted. Try a positive integer"));
    }
    if range_ns / 1_000_000 / ms > POINTS_MAX {
        return Err(bad(
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
        ));
    }
    Ok(ms)
}

/// `interval` in ns, 0 for none.
pub(super) fn interval_ns(call: &Call) -> Result<i64, ApiError> {
    let Some(text) = call.params.get("interval") else { return Ok(0) };
    let ms = seconds_or_duration_ms(text).ok_or_else(|| bad(format!("cannot parse {text:?} to a valid duration")))?;
    if ms < 0 {
        return Err(bad("interval must be >= 0"));
    }
    Ok(ms.saturating_mul(1_000_000))
}

/// Whether the client reads indexed labels, structured metadata and parsed labels apart.
pub(super) fn categorize(call: &Call) -> bool {
    call.header("x-loki-response-encoding-flags").split(',').any(|flag| flag.trim() == "categorize-labels")
}

/// Refuses ranges beyond the configured limit.
pub(super) fn check_range(call: &Call, start_ns: i64, end_ns: i64) -> Result<(), ApiError> {
    let max_ms = call.api.config().log_query_range_ms_max;
    let range_ms = end_ns.saturating_sub(start_ns) / 1_000_000;
    if max_ms > 0 && range_ms > max_ms {
        return Err(bad(format!(
            "the query time range exceeds the limit (query length: {}, limit: {})",
            hours_text(range_ms),
            hours_text(max_ms)
        )));
    }
    Ok(())
}

/// Go's text of whole seconds: `721h0m0s`.
fn hours_text(ms: i64) -> String {
    let s = ms / 1000;
    format!("{}h{}m{}s", s / 3600, s / 60 % 60, s % 60)
}
