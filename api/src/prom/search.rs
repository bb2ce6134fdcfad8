//! `search/metric_names`, `search/label_names` and `search/label_values`: what there is that is like some words.
//!
//! The shards say what there is; this node chooses among it. What a filter leaves out has been looked up all the same, and is
//! charged to the query until the answer is written.
mod choose;
mod jaro_winkler;
mod lines;
mod request;
mod subsequence;
mod terms;

use trine_query::promql::{self, FamilyMetadata, Metadata};
use trine_query::scatter::QueryContext;
use trine_query::stop::{Stop, off_thread};

use self::choose::{Chosen, Hit, Order, choose};
use self::request::bool_param;
pub(crate) use self::request::{LIMIT_MAX, SearchRequest};
use super::series::type_name;
use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::json::push_json_str;
use crate::number::push_float;
use crate::time::bad_parameter;

/// Text times words up to which the choice is made on the thread that serves the request.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// `/api/v1/search/metric_names`.
pub(super) async fn metric_names(call: Call) -> Outcome {
    let request = SearchRequest::parse(&call.params, call.api.now_ms())?;
    let include_metadata = bool_param(&call.params, "include_metadata", false)?;
    let ctx = call.context(None);
    let mut found = values(&call, &ctx, "__name__", request).await?;
    let families = if include_metadata { families(&call, &ctx, &mut found).await? } else { None };
    let families = families.as_ref().map_or(&[][..], |families| &families.value);
    found.respond(&ctx, |out, name, score| {
        push_text(out, "name", name, score);
        if let Some(family) = family_of(families, name) {
            push_family(out, family);
        }
        out.push('}');
    })
}

/// `/api/v1/search/label_names`.
pub(super) async fn label_names(call: Call) -> Outcome {
    let request = SearchRequest::parse(&call.params, call.api.now_ms())?;
    let ctx = call.context(None);
    let (start_ms, end_ms) = request.range_ms;
    let limit = request.lookup_limit();
    let names = promql::label_names(&call.scatter(), &ctx, &request.sets, start_ms, end_ms, limit).await?;
    find(&ctx, names, request).await?.respond(&ctx, |out, name, score| {
        push_text(out, "name", name, score);
        out.push('}');
    })
}

/// `/api/v1/search/label_values`.
pub(super) async fn label_values(call: Call) -> Outcome {
    let request = SearchRequest::parse(&call.params, call.api.now_ms())?;
    let label = call.params.get("label").ok_or_else(|| bad_parameter("label", "the name of a label is needed"))?;
    let ctx = call.context(None);
    values(&call, &ctx, label, request).await?.respond(&ctx, |out, value, score| {
        push_text(out, "value", value, score);
        out.push('}');
    })
}

async fn values(call: &Call, ctx: &QueryContext, label: &str, request: SearchRequest) -> Result<Found, ApiError> {
    let (start_ms, end_ms) = request.range_ms;
    let limit = request.lookup_limit();
    let names = promql::label_values(&call.scatter(), ctx, label, &request.sets, start_ms, end_ms, limit).await?;
    find(ctx, names, request).await
}

/// What there is, and what of it is shown.
struct Found {
    names: Metadata<Vec<String>>,
    chosen: Chosen,
    batch: usize,
    include_score: bool,
}

/// Chooses among `names`: on a thread of its own where that may take long.
async fn find(ctx: &QueryContext, names: Metadata<Vec<String>>, request: SearchRequest) -> Result<Found, ApiError> {
    let SearchRequest { mut terms, order, limit, batch, include_score, .. } = request;
    let bytes = names.value.iter().map(String::len).sum::<usize>().saturating_mul(terms.count());
    let stop = Stop::at(ctx.deadline);
    let _cancels = stop.on_drop();
    let job = move || {
        let mut chosen = choose(&names.value, &mut terms, order, limit, || stop.check())?;
        chosen.has_more |= names.truncated;
        Ok(Found { names, chosen, batch, include_score })
    };
    Ok(if bytes <= INLINE_BYTES_MAX { job()? } else { off_thread(job).await? })
}

impl Found {
    fn respond(&self, ctx: &QueryContext, push: impl Fn(&mut String, &str, Option<f64>)) -> Outcome {
        let Chosen { hits, has_more } = &self.chosen;
        let push = |out: &mut String, hit: &Hit| {
            push(out, &self.names.value[hit.at], self.include_score.then_some(hit.score));
        };
        lines::respond(&ctx.memory, hits, self.batch, *has_more, &self.names.completeness, push)
    }
}

/// The metadata of all families, or of the only metric that is shown; `None` where nothing is.
async fn families(
    call: &Call,
    ctx: &QueryContext,
    found: &mut Found,
) -> Result<Option<Metadata<Vec<FamilyMetadata>>>, ApiError> {
    let only = match found.chosen.hits.as_slice() {
        [] => return Ok(None),
        [hit] => Some(found.names.value[hit.at].as_str()),
        _ => None,
    };
    let families = promql::metric_metadata(&call.scatter(), ctx, only, 0).await?;
    found.names.completeness.add_all(families.completeness.clone());
    Ok(Some(families))
}

/// Of what is known of a family, which ascends, the first that has a type.
fn family_of<'a>(families: &'a [FamilyMetadata], name: &str) -> Option<&'a FamilyMetadata> {
    let known = &families[families.partition_point(|f| f.family.as_str() < name)..];
    let mut known = known.iter().take_while(|f| f.family == name).peekable();
    let first = known.peek().copied();
    known.find(|f| f.metric_type != 0).or(first)
}

/// The beginning of an object.
fn push_text(out: &mut String, key: &str, text: &str, score: Option<f64>) {
    out.push_str("{\"");
    out.push_str(key);
    out.push_str("\":");
    push_json_str(out, text);
    if let Some(score) = score {
        out.push_str(",\"score\":");
        push_float(out, score);
    }
}

/// What is not known of it is left out.
fn push_family(out: &mut String, family: &FamilyMetadata) {
    for (key, text) in [("type", type_name(family.metric_type)), ("help", &family.help), ("unit", &family.unit)] {
        if !text.is_empty() {
            out.push_str(",\"");
            out.push_str(key);
            out.push_str("\":");
            push_json_str(out, text);
        }
    }
}

impl SearchRequest {
    /// Names that are needed of the shards: where all match and ascend, no more than are shown.
    fn lookup_limit(&self) -> usize {
        if self.terms.count() == 0 && self.order != Order::Descending { self.limit } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_with_a_type_is_better_than_one_without() {
        let family = |family: &str, metric_type, help: &str| FamilyMetadata {
            family: family.to_owned(),
            metric_type,
            help: help.to_owned(),
            unit: String::new(),
        };
        let families = [family("a", 0, "x"), family("b", 0, "y"), family("b", 2, "z"), family("d", 1, "")];
        let help_of = |name| family_of(&families, name).map(|f| f.help.as_str());
        assert_eq!(["", "a", "b", "c", "d", "e"].map(help_of), [None, Some("x"), Some("z"), None, Some(""), None]);
        let mut out = String::new();
        push_text(&mut out, "name", "a\"b", Some(0.5));
        push_family(&mut out, &families[2]);
        assert_eq!(out, r#"{"name":"a\"b","score":0.5,"type":"gauge","help":"z""#);
    }
}
