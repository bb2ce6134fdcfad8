//! Labels, series, statistics and volumes.
use trine_query::logql::{self, Metadata, VolumeBy, VolumeQuery};
use trine_query::scatter::QueryContext;

use super::{params, render};
use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::json::{push_json_list, push_json_map, push_json_str};
use crate::reply;
use crate::writer::Writer;

/// Groups of a volume query that names no limit.
const VOLUME_LIMIT: usize = 100;
/// Selectors of a request, by either name.
const SELECTORS_MAX: usize = 1000;
/// Most labels whose values are counted for `detected_labels`.
const DETECTED_LABELS_MAX: usize = 100;

/// Which version of the API is answered: they differ in the envelope.
fn strings(ctx: &QueryContext, answer: &Metadata<Vec<String>>, legacy: bool) -> Outcome {
    let mut writer = if legacy { Writer::new(&ctx.memory) } else { render::open(ctx) };
    if legacy {
        writer.text().push_str("{\"values\":");
    }
    writer.list(&answer.value, |out, text| push_json_str(out, text))?;
    if !legacy {
        return render::close(writer, &answer.completeness);
    }
    writer.text().push('}');
    Ok(reply::complete(writer.respond("application/json; charset=UTF-8")?, &answer.completeness))
}

/// `query`, unless it is absent or selects everything.
fn selector(call: &Call) -> Option<&str> {
    call.params.get("query").filter(|q| q.trim() != "{}")
}

async fn names(call: Call, legacy: bool) -> Outcome {
    let (start_ns, end_ns) = params::range(&call)?;
    let ctx = call.context(None);
    let answer = logql::labels(&call.scatter(), &ctx, selector(&call), start_ns, end_ns).await?;
    strings(&ctx, &answer, legacy)
}

async fn values(call: Call, legacy: bool) -> Outcome {
    let (start_ns, end_ns) = params::range(&call)?;
    let name = call.path("name").to_owned();
    let ctx = call.context(None);
    let answer = logql::label_values(&call.scatter(), &ctx, &name, selector(&call), start_ns, end_ns).await?;
    strings(&ctx, &answer, legacy)
}

/// `/loki/api/v1/labels`.
pub(super) async fn labels(call: Call) -> Outcome {
    names(call, false).await
}

/// `/api/prom/label`.
pub(super) async fn labels_legacy(call: Call) -> Outcome {
    names(call, true).await
}

/// `/loki/api/v1/label/{name}/values`.
pub(super) async fn label_values(call: Call) -> Outcome {
    values(call, false).await
}

/// `/api/prom/label/{name}/values`.
pub(super) async fn label_values_legacy(call: Call) -> Outcome {
    values(call, true).await
}

/// `/loki/api/v1/series`: the union of the selectors, or all streams.
pub(super) async fn series(call: Call) -> Outcome {
    let (start_ns, end_ns) = params::range(&call)?;
    let mut texts = call.params.distinct("match", SELECTORS_MAX)?;
    texts.extend(call.params.distinct("match[]", SELECTORS_MAX)?);
    let mut sets = Vec::new();
    if !texts.iter().all(|t| t.trim() == "{}") {
        for text in texts {
            sets.push(logql::parse_selector(text)?);
        }
    }
    let ctx = call.context(None);
    let answer = logql::series(&call.scatter(), &ctx, &sets, start_ns, end_ns).await?;
    let mut writer = render::open(&ctx);
    writer.list(&answer.value, |out, labels| push_json_map(out, labels.iter()))?;
    render::close(writer, &answer.completeness)
}

/// `/loki/api/v1/index/stats`: not wrapped.
pub(super) async fn index_stats(call: Call) -> Outcome {
    let (start_ns, end_ns) = params::range(&call)?;
    let query = call.params.required("query")?;
    let answer = logql::index_stats(&call.scatter(), &call.context(None), query, start_ns, end_ns).await?;
    let s = answer.value;
    let body = format!(
        "{{\"streams\":{},\"chunks\":{},\"bytes\":{},\"entries\":{}}}",
        s.streams, s.chunks, s.bytes, s.entries
    );
    Ok(reply::complete(reply::json_utf8(body), &answer.completeness))
}

/// `/loki/api/v1/index/volume`.
pub(super) async fn volume(call: Call) -> Outcome {
    volumes(call, false).await
}

/// `/loki/api/v1/index/volume_range`.
pub(super) async fn volume_range(call: Call) -> Outcome {
    volumes(call, true).await
}

async fn volumes(call: Call, over_time: bool) -> Outcome {
    let (start_ns, end_ns) = params::range(&call)?;
    let by = match call.params.get("aggregateBy") {
        None | Some("series") => VolumeBy::Series,
        Some("labels") => VolumeBy::Labels,
        Some(_) => return Err(ApiError::BadRequest("invalid aggregation option".to_owned())),
    };
    let limit = match call.params.get("limit") {
        None | Some("0") => VOLUME_LIMIT,
        Some(_) => params::limit(&call, &["limit"], VOLUME_LIMIT)?,
    };
    let targets = call.params.get("targetLabels").unwrap_or_default();
    let query = VolumeQuery {
        query: call.params.required("query")?.to_owned(),
        start_ns,
        end_ns,
        limit,
        target_labels: targets.split(',').filter(|t| !t.is_empty()).map(str::to_owned).collect(),
        by,
        step_ms: if over_time { Some(params::step_ms(&call, start_ns, end_ns)?) } else { None },
    };
    let ctx = call.context(None);
    let answer = logql::index_volume(&call.scatter(), &ctx, &query).await?;
    // As the contract has it: a matrix whose every series has one point is a vector.
    let matrix = over_time && answer.value.iter().any(|v| v.points.len() != 1);
    let mut writer = render::open(&ctx);
    render::volumes(&mut writer, &answer.value, matrix)?;
    render::close(writer, &answer.completeness)
}

/// `/loki/api/v1/detected_labels`: not wrapped; labels that only number things are hidden.
pub(super) async fn detected_labels(call: Call) -> Outcome {
    let (start_ns, end_ns) = params::range(&call)?;
    let (scatter, ctx) = (call.scatter(), call.context(None));
    let names = logql::labels(&scatter, &ctx, selector(&call), start_ns, end_ns).await?;
    let mut detected: Vec<(String, usize)> = Vec::new();
    for name in names.value.into_iter().take(DETECTED_LABELS_MAX) {
        let values = logql::label_values(&scatter, &ctx, &name, selector(&call), start_ns, end_ns).await?.value;
        if is_telling(&name, &values) {
            detected.push((name, values.len()));
        }
    }
    let mut body = String::from("{\"detectedLabels\":");
    push_json_list(&mut body, &detected, |out, (name, cardinality)| {
        out.push_str("{\"label\":");
        push_json_str(out, name);
        out.push_str(&format!(",\"cardinality\":{cardinality}}}"));
    });
    body.push('}');
    Ok(reply::complete(reply::json_utf8(body), &names.completeness))
}

/// Whether a label says more than ids do.
fn is_telling(name: &str, values: &[String]) -> bool {
    const KEPT: [&str; 4] = ["cluster", "namespace", "instance", "pod"];
    let boolean = values.iter().all(|v| v == "0" || v == "1");
    let id = |v: &String| v.parse::<f64>().is_ok() || is_uuid(v);
    !values.is_empty() && (KEPT.contains(&name) || boolean || !values.iter().all(id))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_only_number_are_hidden() {
        let of =
            |name: &str, values: &[&str]| is_telling(name, &values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
        assert!(of("app", &["a", "1"]));
        assert!(!of("shard", &["1", "2"]));
        assert!(of("flag", &["0", "1"]));
        assert!(!of("id", &["5a8c37bd-2f6c-4eb2-ae1e-49babcc67643"]));
        assert!(of("pod", &["5"]));
    }
}
