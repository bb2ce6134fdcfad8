//! Tag names and values, in both versions.
use axum::response::Response;
use http::StatusCode;
use trine_query::scatter::Completeness;
use trine_query::traceql::{self, SearchMetrics, TagScope, TagValuesAnswer, TagsAnswer};

use super::accept::{Accept, accept_of};
use super::json::Message;
use super::search::jobs_of;
use super::{params, pb};
use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::json::{push_json_list, push_json_str, push_json_strs};
use crate::reply;

fn limit(call: &Call) -> Result<usize, ApiError> {
    let Some(text) = call.params.get("limit") else { return Ok(0) };
    text.parse().map_err(|_| ApiError::BadRequest(format!("invalid limit: {text:?}")))
}

/// The tag of a path that ends in `/values`.
fn tag_of(call: &Call) -> Result<String, ApiError> {
    let rest = call.path("rest");
    let Some(tag) = rest.strip_suffix("/values") else {
        return Err(ApiError::NotFound("404 page not found".to_owned()));
    };
    // Older Grafana encodes the tag twice.
    let tag = if tag.contains('%') { percent_decode(tag) } else { tag.to_owned() };
    if tag.is_empty() {
        return Err(ApiError::BadRequest("please provide a non-empty tagName".to_owned()));
    }
    Ok(tag)
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// Metrics of a tags answer; jobs are shards.
pub(super) fn metrics_of(metrics: &SearchMetrics, completeness: &Completeness) -> pb::MetadataMetrics {
    let (completed_jobs, total_jobs) = jobs_of(completeness);
    pb::MetadataMetrics {
        inspected_bytes: metrics.inspected_bytes,
        total_jobs,
        completed_jobs,
        ..pb::MetadataMetrics::default()
    }
}

fn push_metrics(out: &mut String, metrics: &pb::MetadataMetrics) {
    let mut m = Message::open(out);
    m.long("inspectedBytes", metrics.inspected_bytes);
    m.int("totalJobs", u64::from(metrics.total_jobs));
    m.int("completedJobs", u64::from(metrics.completed_jobs));
    m.close();
}

/// First version's names: all scopes in one list.
pub(super) fn tags_message(answer: &TagsAnswer) -> pb::SearchTagsResponse {
    let mut tag_names: Vec<String> = answer.scopes.iter().flat_map(|s| s.tags.iter().cloned()).collect();
    tag_names.sort();
    tag_names.dedup();
    pb::SearchTagsResponse { tag_names, metrics: Some(metrics_of(&answer.metrics, &answer.completeness)) }
}

/// Second version's names, by scope.
pub(super) fn tags_v2_message(answer: &TagsAnswer) -> pb::SearchTagsV2Response {
    let scope = |s: &traceql::ScopeTags| pb::SearchTagsV2Scope { name: s.scope.to_owned(), tags: s.tags.clone() };
    pb::SearchTagsV2Response {
        scopes: answer.scopes.iter().map(scope).collect(),
        metrics: Some(metrics_of(&answer.metrics, &answer.completeness)),
    }
}

/// First version's values.
pub(super) fn values_message(answer: &TagValuesAnswer) -> pb::SearchTagValuesResponse {
    pb::SearchTagValuesResponse {
        tag_values: answer.values.iter().map(|v| v.value.clone()).collect(),
        metrics: Some(metrics_of(&answer.metrics, &answer.completeness)),
    }
}

/// Second version's values, typed.
pub(super) fn values_v2_message(answer: &TagValuesAnswer) -> pb::SearchTagValuesV2Response {
    let value = |v: &traceql::TagValue| pb::TagValue { r#type: v.tag_type.as_str().to_owned(), value: v.value.clone() };
    pb::SearchTagValuesV2Response {
        tag_values: answer.values.iter().map(value).collect(),
        metrics: Some(metrics_of(&answer.metrics, &answer.completeness)),
    }
}

fn respond(
    call: &Call,
    completeness: &Completeness,
    message: &impl prost::Message,
    json: impl FnOnce() -> String,
) -> Response {
    let reply = match accept_of(&call.headers) {
        Accept::Protobuf => reply::with_type(StatusCode::OK, "application/protobuf", message.encode_to_vec()),
        Accept::Json => reply::json(json()),
    };
    reply::complete(reply, completeness)
}

/// A document of one list and the metrics.
fn document<T>(
    name: &str,
    items: &[T],
    push: impl Fn(&mut String, &T),
    metrics: Option<&pb::MetadataMetrics>,
) -> String {
    let mut out = String::new();
    let mut m = Message::open(&mut out);
    push_json_list(m.field(name), items, push);
    if let Some(metrics) = metrics {
        push_metrics(m.field("metrics"), metrics);
    }
    m.close();
    out
}

/// `/api/search/tags`.
pub(super) async fn tags(call: Call) -> Outcome {
    let scope = TagScope::parse(call.params.get("scope").unwrap_or_default())?;
    let (start_ns, end_ns) = params::range(&call.params, call.api.config(), call.api.now_ns())?;
    let answer = traceql::tags_v1(&call.scatter(), &call.context(None), scope, start_ns, end_ns, limit(&call)?).await?;
    let message = tags_message(&answer);
    Ok(respond(&call, &answer.completeness, &message, || {
        document("tagNames", &message.tag_names, |out, text| push_json_str(out, text), message.metrics.as_ref())
    }))
}

/// `/api/v2/search/tags`.
pub(super) async fn tags_v2(call: Call) -> Outcome {
    let scope = TagScope::parse(call.params.get("scope").unwrap_or_default())?;
    let (start_ns, end_ns) = params::range(&call.params, call.api.config(), call.api.now_ns())?;
    let query = call.params.get("q").unwrap_or_default();
    params::check_query(query)?;
    let answer =
        traceql::tags(&call.scatter(), &call.context(None), scope, query, start_ns, end_ns, limit(&call)?).await?;
    let message = tags_v2_message(&answer);
    let push_scope = |out: &mut String, s: &pb::SearchTagsV2Scope| {
        let mut m = Message::open(out);
        m.text("name", &s.name);
        push_json_strs(m.field("tags"), s.tags.iter().map(String::as_str));
        m.close();
    };
    Ok(respond(&call, &answer.completeness, &message, || {
        document("scopes", &message.scopes, push_scope, message.metrics.as_ref())
    }))
}

/// `/api/search/tag/{tag}/values`.
pub(super) async fn values(call: Call) -> Outcome {
    let tag = tag_of(&call)?;
    let (start_ns, end_ns) = params::range(&call.params, call.api.config(), call.api.now_ns())?;
    let answer =
        traceql::tag_values_v1(&call.scatter(), &call.context(None), &tag, start_ns, end_ns, limit(&call)?).await?;
    let message = values_message(&answer);
    Ok(respond(&call, &answer.completeness, &message, || {
        document("tagValues", &message.tag_values, |out, text| push_json_str(out, text), None)
    }))
}

/// `/api/v2/search/tag/{tag}/values`.
pub(super) async fn values_v2(call: Call) -> Outcome {
    let tag = tag_of(&call)?;
    let (start_ns, end_ns) = params::range(&call.params, call.api.config(), call.api.now_ns())?;
    let query = call.params.get("q").unwrap_or_default();
    params::check_query(query)?;
    let (scatter, ctx) = (call.scatter(), call.context(None));
    let answer = traceql::tag_values(&scatter, &ctx, &tag, query, start_ns, end_ns, limit(&call)?).await?;
    let message = values_v2_message(&answer);
    let push_value = |out: &mut String, v: &pb::TagValue| {
        let mut m = Message::open(out);
        m.text("type", &v.r#type);
        push_json_str(m.field("value"), &v.value);
        m.close();
    };
    Ok(respond(&call, &answer.completeness, &message, || {
        document("tagValues", &message.tag_values, push_value, message.metrics.as_ref())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_encoded_tags_are_decoded() {
        assert_eq!(percent_decode("span.http%2Emethod"), "span.http.method");
        assert_eq!(percent_decode("a%zz%2"), "a%zz%2");
        assert_eq!(percent_decode("é%"), "é%");
    }
}
