//! `query`, `query_range`, their first version, and `format_query`.
use std::time::Instant;

use http::StatusCode;
use trine_query::logql::{self, LogAnswer, LogInstant, LogQuery, LogValue};
use trine_query::scatter::QueryContext;

use super::{params, render};
use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::json::{push_json_list, push_json_str};
use crate::reply;
use crate::time::rfc3339_text;
use crate::writer::Writer;

fn query_text(call: &Call) -> Result<String, ApiError> {
    let text = call.params.get("query").unwrap_or_default();
    if text.is_empty() {
        return Err(ApiError::BadRequest("parse error : syntax error: unexpected $end".to_owned()));
    }
    if text.len() > logql::QUERY_BYTES_MAX {
        let text = format!("query length exceeds the limit of {} bytes", logql::QUERY_BYTES_MAX);
        return Err(ApiError::BadRequest(text));
    }
    Ok(text.to_owned())
}

/// `/loki/api/v1/query`.
pub(super) async fn instant(call: Call) -> Outcome {
    let started = Instant::now();
    let query = LogInstant {
        query: query_text(&call)?,
        time_ns: params::time(&call, "time", call.api.now_ns())?,
        limit: params::line_limit(&call)?,
        direction: params::direction(&call)?,
    };
    let ctx = call.context(None);
    let answer = logql::instant(&call.scatter(), &ctx, &query).await?;
    check_series(&call, &answer)?;
    render::answer(&ctx, &answer, params::categorize(&call), started.elapsed())
}

/// `/loki/api/v1/query_range`.
pub(super) async fn range(call: Call) -> Outcome {
    let started = Instant::now();
    let ctx = call.context(None);
    let answer = run_range(&call, &ctx, query_text(&call)?).await?;
    render::answer(&ctx, &answer, params::categorize(&call), started.elapsed())
}

async fn run_range(call: &Call, ctx: &QueryContext, query: String) -> Result<LogAnswer, ApiError> {
    let (start_ns, end_ns) = params::range(call)?;
    params::check_range(call, start_ns, end_ns)?;
    let query = LogQuery {
        step_ms: params::step_ms(call, start_ns, end_ns)?,
        interval_ns: params::interval_ns(call)?,
        limit: params::line_limit(call)?,
        direction: params::direction(call)?,
        query,
        start_ns,
        end_ns,
    };
    let max = call.api.config().log_entries_max;
    if query.limit > max && is_log_query(&query.query) {
        return Err(ApiError::BadRequest(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({} > {max})",
            query.limit
        )));
    }
    let answer = logql::query_range(&call.scatter(), ctx, &query).await?;
    check_series(call, &answer)?;
    Ok(answer)
}

/// Whether the text is a log query; a text that does not parse is left to the engine.
fn is_log_query(text: &str) -> bool {
    matches!(logql::parse(text), Ok(logql::ast::Expr::Log(_)))
}

fn check_series(call: &Call, answer: &LogAnswer) -> Result<(), ApiError> {
    let series = match &answer.value {
        LogValue::Vector(v) => v.len(),
        LogValue::Matrix(m) => m.len(),
        LogValue::Streams(_) | LogValue::Scalar(..) => 0,
    };
    let max = call.api.config().log_series_max;
    if series > max {
        return Err(ApiError::Limit(format!(
            "maximum number of series ({max}) reached for a single query; consider reducing query cardinality by adding more specific stream selectors, reducing the time range, or aggregating results with functions like sum(), count() or topk()"
        )));
    }
    Ok(())
}

/// `/api/prom/query`: log selectors only.
pub(super) async fn legacy(call: Call) -> Outcome {
    let mut query = query_text(&call)?;
    if let Some(regexp) = call.params.get("regexp") {
        query.push_str(&format!(" |~ {regexp:?}"));
    }
    let ctx = call.context(None);
    let answer = run_range(&call, &ctx, query).await?;
    let LogValue::Streams(streams) = &answer.value else {
        return Err(ApiError::BadRequest("legacy endpoints only support streams result type".to_owned()));
    };
    let mut writer = Writer::new(&ctx.memory);
    writer.text().push_str("{\"streams\":");
    writer.list(streams, |out, stream| {
        out.push_str("{\"labels\":");
        push_json_str(out, &stream.labels.to_string());
        out.push_str(",\"entries\":");
        push_json_list(out, &stream.entries, |out, entry| {
            out.push_str("{\"ts\":");
            push_json_str(out, &rfc3339_text(entry.time_ns));
            out.push_str(",\"line\":");
            push_json_str(out, &entry.line);
            out.push('}');
        });
        out.push('}');
    })?;
    writer.text().push_str(",\"stats\":{}}\n");
    Ok(reply::complete(writer.respond("application/json; charset=UTF-8")?, &answer.completeness))
}

/// `/loki/api/v1/format_query`.
pub(super) async fn format(call: Call) -> Outcome {
    let (status, name, text) = match logql::format(call.params.get("query").unwrap_or_default()) {
        Ok(text) => (StatusCode::OK, "success\",\"data", text),
        Err(error) => (StatusCode::BAD_REQUEST, "invalid-query\",\"error", error.to_string()),
    };
    let mut out = format!("{{\"status\":\"{name}\":");
    push_json_str(&mut out, &text);
    out.push('}');
    Ok(reply::with_type(status, "application/json; charset=UTF-8", out))
}
