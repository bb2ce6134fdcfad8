//! `labels`, `label/<name>/values`, `series`, `metadata`.
use trine_query::promql::{self, Metadata};
use trine_query::scatter::QueryContext;
use trine_store::index::Matcher;

use super::query::{limit_param, time_param};
use super::render::{close, metadata_warnings, open, push_labels};
use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::json::{push_json_list, push_json_str};
use crate::params::Params;
use crate::time::{TIME_MS_MAX, TIME_MS_MIN, bad_parameter};

/// Selectors of a request.
const SELECTORS_MAX: usize = 1000;

/// `match[]`: each set needs a matcher that an absent label does not match.
pub(super) fn match_sets(params: &Params) -> Result<Vec<Vec<Matcher>>, ApiError> {
    params
        .distinct("match[]", SELECTORS_MAX)?
        .into_iter()
        .map(|text| {
            let bad = |text: &str| ApiError::BadRequest(text.to_owned());
            let empty = || bad("match[] must contain at least one non-empty matcher");
            let set = promql::parse_selector(text).map_err(|e| {
                let e = e.to_string();
                // What the grammar allows here, unlike in an expression.
                if e.ends_with("vector selector must contain at least one non-empty matcher") {
                    empty()
                } else {
                    bad(&e)
                }
            })?;
            if set.iter().all(Matcher::matches_empty) {
                return Err(empty());
            }
            Ok(set)
        })
        .collect()
}

pub(super) fn time_range(params: &Params) -> Result<(i64, i64), ApiError> {
    let start_ms = time_param(params, "start", Some(TIME_MS_MIN))?;
    let end_ms = time_param(params, "end", Some(TIME_MS_MAX))?;
    Ok((start_ms, end_ms))
}

fn strings(ctx: &QueryContext, answer: &Metadata<Vec<String>>) -> Outcome {
    let warnings = metadata_warnings(answer.truncated, &answer.completeness);
    let mut writer = open(&ctx.memory);
    writer.list(&answer.value, |out, text| push_json_str(out, text))?;
    close(writer, &warnings, &[], &answer.completeness)
}

/// `/api/v1/labels`.
pub(super) async fn labels(call: Call) -> Outcome {
    let limit = limit_param(&call.params)?;
    let (start_ms, end_ms) = time_range(&call.params)?;
    let sets = match_sets(&call.params)?;
    let ctx = call.context(None);
    let answer = promql::label_names(&call.scatter(), &ctx, &sets, start_ms, end_ms, limit).await?;
    strings(&ctx, &answer)
}

/// `/api/v1/label/<name>/values`.
pub(super) async fn label_values(call: Call) -> Outcome {
    let name = unescape_name(call.path("name"));
    if name.is_empty() {
        return Err(ApiError::BadRequest(format!("invalid label name: {:?}", call.path("name"))));
    }
    let limit = limit_param(&call.params)?;
    let (start_ms, end_ms) = time_range(&call.params)?;
    let sets = match_sets(&call.params)?;
    let ctx = call.context(None);
    let answer = promql::label_values(&call.scatter(), &ctx, &name, &sets, start_ms, end_ms, limit).await?;
    strings(&ctx, &answer)
}

/// `/api/v1/series`.
pub(super) async fn series(call: Call) -> Outcome {
    if call.params.all("match[]").next().is_none() {
        return Err(ApiError::BadRequest("no match[] parameter provided".to_owned()));
    }
    let limit = limit_param(&call.params)?;
    let (start_ms, end_ms) = time_range(&call.params)?;
    let sets = match_sets(&call.params).map_err(|e| bad_parameter("match[]", e))?;
    let ctx = call.context(None);
    let answer = promql::series(&call.scatter(), &ctx, &sets, start_ms, end_ms, limit).await?;
    let mut writer = open(&ctx.memory);
    writer.list(&answer.value, push_labels)?;
    close(writer, &metadata_warnings(answer.truncated, &answer.completeness), &[], &answer.completeness)
}

fn count_param(params: &Params, name: &str) -> Result<Option<usize>, ApiError> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let n: i64 = text.parse().map_err(|_| ApiError::BadRequest(format!("{name} must be a number")))?;
    Ok(usize::try_from(n).ok())
}

/// A metric type by its number in remote write.
pub(super) fn type_name(metric_type: u8) -> &'static str {
    const TYPES: [&str; 8] =
        ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];
    TYPES.get(usize::from(metric_type)).copied().unwrap_or(TYPES[0])
}

/// `/api/v1/metadata`.
pub(super) async fn metadata(call: Call) -> Outcome {
    let limit = count_param(&call.params, "limit")?;
    let per_metric = count_param(&call.params, "limit_per_metric")?.filter(|n| *n > 0).unwrap_or(usize::MAX);
    let metric = call.params.get("metric");
    let ctx = call.context(None);
    let answer = promql::metric_metadata(&call.scatter(), &ctx, metric, 0).await?;
    let mut writer = open(&ctx.memory);
    writer.text().push('{');
    for (i, family) in answer.value.chunk_by(|a, b| a.family == b.family).take(limit.unwrap_or(usize::MAX)).enumerate()
    {
        writer.settle()?;
        let data = writer.text();
        if i > 0 {
            data.push(',');
        }
        push_json_str(data, &family[0].family);
        data.push(':');
        push_json_list(data, family.iter().take(per_metric), |out, m| {
            out.push_str("{\"type\":\"");
            out.push_str(type_name(m.metric_type));
            out.push_str("\",\"help\":");
            push_json_str(out, &m.help);
            out.push_str(",\"unit\":");
            push_json_str(out, &m.unit);
            out.push('}');
        });
    }
    writer.text().push('}');
    close(writer, &answer.completeness.warnings(), &[], &answer.completeness)
}

/// Undoes the values escaping of a label name (`U__` in front, `_2e_` for `.`, `__` for `_`); other names are as they are.
fn unescape_name(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::new();
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let decoded = rest.split_once('_').and_then(|(hex, after)| {
            let c = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32)?;
            Some((c, after))
        });
        let Some((c, after)) = decoded else { return name.to_owned() };
        out.push(c);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_reach_the_right_label() {
        for (name, label) in [
            ("job", "job"),
            ("U__http_2e_method", "http.method"),
            ("U__a__b", "a_b"),
            ("U__bad_zz_", "U__bad_zz_"),
            ("http.method", "http.method"),
            ("U___1F600_", "\u{1F600}"),
        ] {
            assert_eq!(unescape_name(name), label, "{name}");
        }
    }
}
