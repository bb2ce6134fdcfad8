//! Runs a fragment over the views of one node's shards.
mod logs;
mod metric;
mod reply;
mod streams;

use std::sync::Arc;

use bytes::Bytes;
use trine_store::shard::ShardView;

use self::reply::Replies;
use super::fragment::{Ask, Cost, Reply, decode_request};
use super::source::LogSource;
use crate::error::Result;
use crate::fragment::{FragmentLimits, Sink};

/// Decodes `payload` and sends the answer's frames to `sink`.
pub fn run(
    payload: &Bytes,
    tenant: &str,
    shards: &[Arc<ShardView>],
    limits: &FragmentLimits,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let sources: Vec<&dyn LogSource> = shards.iter().map(|s| &s.logs as &dyn LogSource).collect();
    run_over(payload, tenant, &sources, limits, sink)
}

/// [`run`] over any sources.
pub(super) fn run_over(
    payload: &Bytes,
    tenant: &str,
    sources: &[&dyn LogSource],
    limits: &FragmentLimits,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let ask = decode_request(payload)?;
    let mut job = Job { tenant, sources, replies: Replies::new(limits, sink), cost: Cost::default() };
    match &ask {
        Ask::Logs(ask) => logs::run(&mut job, ask)?,
        Ask::Metric(ask) => metric::run(&mut job, ask)?,
        Ask::Streams(ask) => streams::run(&mut job, ask)?,
        Ask::Stats(ask) => streams::stats(&mut job, ask)?,
        Ask::Volume(ask) => streams::volume(&mut job, ask)?,
    }
    let cost = job.cost;
    job.replies.send(Reply::Cost(cost))
}

/// One run of a fragment.
struct Job<'a, 's> {
    tenant: &'a str,
    sources: &'a [&'a dyn LogSource],
    replies: Replies<'a, 's>,
    cost: Cost,
}
