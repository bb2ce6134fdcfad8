//! Scatters one request and takes the frames as they come.
use std::sync::Arc;

use futures::StreamExt;
use prost::Message;

use crate::error::Result;
use crate::fragment::{Fragment, Language};
use crate::memory;
use crate::scatter::{Completeness, Item, QueryContext, Scatter};
use crate::traceql::fragment::{Ask, Frame, Request};
use crate::traceql::model::SearchMetrics;
use crate::traceql::wire::decode_metrics;

/// What all shards said besides their frames' contents.
pub(super) struct Gathered {
    pub(super) metrics: SearchMetrics,
    pub(super) truncated: bool,
    pub(super) completeness: Completeness,
}

/// Sends `ask` to all shards and hands each frame to `take`.
pub(super) async fn gather(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    ask: Ask,
    take: &mut (dyn FnMut(Frame) -> Result<()> + Send),
) -> Result<Gathered> {
    let payload = Request::new(ask).encode_to_vec().into();
    let mut items = scatter.scatter(ctx, Fragment { language: Language::TraceQl, payload });
    let mut gathered =
        Gathered { metrics: SearchMetrics::default(), truncated: false, completeness: Completeness::default() };
    while let Some(item) = items.next().await {
        match item? {
            Item::Frame(bytes) => {
                let _decoding = memory::decoding(&ctx.memory, bytes.len())?;
                let frame = Frame::read(&bytes)?;
                if let Some(metrics) = frame.metrics {
                    gathered.metrics.add(decode_metrics(metrics));
                    gathered.truncated |= metrics.truncated;
                }
                take(frame)?;
            }
            Item::ShardDone(answer) => gathered.completeness.add(answer),
        }
    }
    Ok(gathered)
}
