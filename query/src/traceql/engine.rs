//! Asks the shards, merges their frames, and gives the answers that `api` words.
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::scatter::{QueryContext, Scatter};
use crate::traceql::model::{SearchAnswer, SearchRequest, TagScope, TagValuesAnswer, TagsAnswer, TraceAnswer};

/// All spans of one trace; none when no shard knows it.
pub async fn trace_by_id(_scatter: &Arc<dyn Scatter>, _ctx: &QueryContext, _id: [u8; 16]) -> Result<TraceAnswer> {
    Err(Error::Unsupported { what: "trace by id".to_owned() })
}

/// Traces that match, newest first.
pub async fn search(_scatter: &Arc<dyn Scatter>, _ctx: &QueryContext, _request: &SearchRequest) -> Result<SearchAnswer> {
    Err(Error::Unsupported { what: "search".to_owned() })
}

/// Tag names by scope. `query` filters leniently, `limit` is per scope, 0 for none.
pub async fn tags(
    _scatter: &Arc<dyn Scatter>,
    _ctx: &QueryContext,
    _scope: TagScope,
    _query: &str,
    _start_ns: i64,
    _end_ns: i64,
    _limit: usize,
) -> Result<TagsAnswer> {
    Err(Error::Unsupported { what: "tags".to_owned() })
}

/// Tag names of all scopes in one list; intrinsics only when asked for.
pub async fn tags_v1(
    _scatter: &Arc<dyn Scatter>,
    _ctx: &QueryContext,
    _scope: TagScope,
    _start_ns: i64,
    _end_ns: i64,
    _limit: usize,
) -> Result<TagsAnswer> {
    Err(Error::Unsupported { what: "tags".to_owned() })
}

/// Values of the tag that `tag`, a TraceQL identifier, names.
pub async fn tag_values(
    _scatter: &Arc<dyn Scatter>,
    _ctx: &QueryContext,
    _tag: &str,
    _query: &str,
    _start_ns: i64,
    _end_ns: i64,
    _limit: usize,
) -> Result<TagValuesAnswer> {
    Err(Error::Unsupported { what: "tag values".to_owned() })
}

/// Values of the attribute called `tag` in any scope, as the first version of the API has it.
pub async fn tag_values_v1(
    _scatter: &Arc<dyn Scatter>,
    _ctx: &QueryContext,
    _tag: &str,
    _start_ns: i64,
    _end_ns: i64,
    _limit: usize,
) -> Result<TagValuesAnswer> {
    Err(Error::Unsupported { what: "tag values".to_owned() })
}
