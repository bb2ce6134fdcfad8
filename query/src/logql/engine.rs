//! The calls that `api` makes: parse, plan, ask, merge.
use std::sync::Arc;

use trine_store::index::Matcher;
use trine_store::model::Labels;

use super::answer::{IndexStats, LogAnswer, LogInstant, LogQuery, Metadata, Volume, VolumeQuery};
use crate::error::{Error, Result};
use crate::scatter::{QueryContext, Scatter};

/// Evaluates a log or metric query over a range.
pub async fn query_range(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, query: &LogQuery) -> Result<LogAnswer> {
    let _ = (scatter, ctx);
    Err(Error::Unsupported { what: query.query.clone() })
}

/// Evaluates a metric query at one time; a log query is [`Error::Execution`].
pub async fn instant(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, query: &LogInstant) -> Result<LogAnswer> {
    let _ = (scatter, ctx);
    Err(Error::Unsupported { what: query.query.clone() })
}

/// Names of the stream labels of streams with entries in `start_ns..end_ns`, sorted; of those that `selector` matches.
pub async fn labels(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    selector: Option<&str>,
    start_ns: i64,
    end_ns: i64,
) -> Result<Metadata<Vec<String>>> {
    let _ = (scatter, ctx, selector, start_ns, end_ns);
    Err(Error::Unsupported { what: "labels".to_owned() })
}

/// Values of one stream label, sorted.
pub async fn label_values(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    name: &str,
    selector: Option<&str>,
    start_ns: i64,
    end_ns: i64,
) -> Result<Metadata<Vec<String>>> {
    let _ = (scatter, ctx, name, selector, start_ns, end_ns);
    Err(Error::Unsupported { what: "label values".to_owned() })
}

/// Label sets of the streams that any of `sets` matches, sorted; all streams when there are no sets.
pub async fn series(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    sets: &[Vec<Matcher>],
    start_ns: i64,
    end_ns: i64,
) -> Result<Metadata<Vec<Labels>>> {
    let _ = (scatter, ctx, sets, start_ns, end_ns);
    Err(Error::Unsupported { what: "series".to_owned() })
}

/// Totals over the streams of `selector`.
pub async fn index_stats(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    selector: &str,
    start_ns: i64,
    end_ns: i64,
) -> Result<Metadata<IndexStats>> {
    let _ = (scatter, ctx, selector, start_ns, end_ns);
    Err(Error::Unsupported { what: "index stats".to_owned() })
}

/// Bytes of lines by group, largest first, then by labels.
pub async fn index_volume(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    query: &VolumeQuery,
) -> Result<Metadata<Vec<Volume>>> {
    let _ = (scatter, ctx);
    Err(Error::Unsupported { what: query.query.clone() })
}
