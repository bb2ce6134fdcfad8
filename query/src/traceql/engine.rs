//! Asks the shards, merges their frames, and gives the answers that `api` words.
mod gather;
mod merge;
mod tags;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::scatter::{QueryContext, Scatter};
use crate::traceql::eval::Plan;
use crate::traceql::fragment::{Ask, Bounds, Pair, Search, TagSearch};
use crate::traceql::model::{SearchAnswer, SearchQuery, SearchRequest, TraceAnswer, TraceHit};
use crate::traceql::parser::parse;
use crate::traceql::source::span_bytes;
use crate::traceql::trace::deduplicated;
use crate::traceql::wire;
use crate::traceql::zipkin::untangle;

pub use tags::{INTRINSIC_TAGS, tag_values, tag_values_v1, tags, tags_v1};

/// All spans of one trace; none when no shard knows it. A server span that shares its id with a client span, as Zipkin has
/// it, is given an id of its own below the client's.
pub async fn trace_by_id(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, id: [u8; 16]) -> Result<TraceAnswer> {
    let (mut spans, mut held) = (Vec::new(), ctx.memory.open());
    let gathered = gather::gather(scatter, ctx, Ask::Trace(id.to_vec()), &mut |frame| {
        let more = wire::spans(&frame)?;
        held.add(more.iter().map(span_bytes).sum())?;
        spans.extend(more);
        Ok(())
    })
    .await?;
    let spans = untangle(deduplicated(spans));
    let held = Some(Arc::new(held));
    Ok(TraceAnswer { spans, metrics: gathered.metrics, completeness: gathered.completeness, held })
}

/// Traces that match, newest first. Errors of the query come before any shard is asked: [`Error::Parse`] in Tempo's words,
/// [`Error::Unsupported`] for what is not evaluated.
pub async fn search(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, request: &SearchRequest) -> Result<SearchAnswer> {
    let bounds = Bounds {
        start_ns: request.start_ns,
        end_ns: request.end_ns,
        limit: request.limit as u64,
        spans_per_set: request.spans_per_set as u64,
    };
    let ask = match &request.query {
        SearchQuery::TraceQl(text) => {
            // An empty query matches every trace.
            let text = if text.trim().is_empty() { "{}" } else { text };
            Plan::new(&parse(text)?)?;
            Ask::Search(Search { query: text.to_owned(), bounds })
        }
        SearchQuery::Tags { tags, min_duration_ns, max_duration_ns } => {
            if let (Some(min), Some(max)) = (min_duration_ns, max_duration_ns)
                && max < min
            {
                let message = "invalid maxDuration: must be greater than minDuration".to_owned();
                return Err(Error::Parse { message });
            }
            let tags = tags.iter().map(|(k, v)| Pair { key: k.clone(), value: v.clone() }).collect();
            let (min_duration_ns, max_duration_ns) = (*min_duration_ns, *max_duration_ns);
            Ask::TagSearch(TagSearch { tags, min_duration_ns, max_duration_ns, bounds })
        }
    };
    let (mut hits, mut held) = (Vec::new(), ctx.memory.open());
    let gathered = gather::gather(scatter, ctx, ask, &mut |frame| {
        for message in frame.traces {
            let hit = wire::decode_trace(message)?;
            held.add(hit.weight())?;
            hits.push(hit);
        }
        Ok(())
    })
    .await?;
    let traces = merge::newest(hits, request.limit);
    held.set(traces.iter().map(TraceHit::weight).sum())?;
    let held = Some(Arc::new(held));
    Ok(SearchAnswer { traces, metrics: gathered.metrics, completeness: gathered.completeness, held })
}
