//! Sends one fragment and takes its frames.
use std::sync::Arc;

use futures::StreamExt;

use crate::error::Result;
use crate::logql::answer::{LogAnswer, LogStats, LogValue};
use crate::logql::fragment::{Ask, Reply, decode_frame, encode_request};
use crate::memory::{self, Charge};
use crate::scatter::{Completeness, Item, QueryContext, Scatter};

/// What the fragments of a query cost and which shards answered.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) stats: LogStats,
    pub(super) completeness: Completeness,
}

impl Account {
    /// Adds another fragment of the same query. A shard that any fragment misses is missing from the answer.
    pub(super) fn add(&mut self, other: Account) {
        let (a, b) = (&mut self.stats, other.stats);
        a.bytes_processed += b.bytes_processed;
        a.lines_processed += b.lines_processed;
        a.structured_metadata_bytes += b.structured_metadata_bytes;
        a.post_filter_lines += b.post_filter_lines;
        a.shards = a.shards.max(b.shards);
        self.completeness.add_all(other.completeness);
    }

    pub(super) fn answer(mut self, value: LogValue, held: Charge) -> LogAnswer {
        self.stats.entries_returned = match &value {
            LogValue::Streams(streams) => streams.iter().map(|s| s.entries.len() as u64).sum(),
            LogValue::Vector(samples) => samples.len() as u64,
            LogValue::Matrix(series) => series.iter().map(|s| s.points.len() as u64).sum(),
            LogValue::Scalar(..) => 1,
        };
        let warnings = self.completeness.warnings();
        LogAnswer { value, stats: self.stats, warnings, completeness: self.completeness, held: Arc::new(held) }
    }
}

/// Sends `what` to all shards and gives every reply but the costs to `each`, in order of arrival.
pub(super) async fn ask(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    what: Ask,
    mut each: impl FnMut(Reply) -> Result<()>,
) -> Result<Account> {
    let mut account = Account::default();
    let mut items = scatter.scatter(ctx, encode_request(what));
    while let Some(item) = items.next().await {
        match item? {
            Item::Frame(frame) => {
                let _decoding = memory::decoding(&ctx.memory, frame.len())?;
                match decode_frame(frame)? {
                    Reply::Cost(cost) => {
                        account.stats.bytes_processed = account.stats.bytes_processed.saturating_add(cost.bytes);
                        account.stats.lines_processed = account.stats.lines_processed.saturating_add(cost.lines);
                        account.stats.structured_metadata_bytes =
                            account.stats.structured_metadata_bytes.saturating_add(cost.structured_metadata_bytes);
                        account.stats.post_filter_lines =
                            account.stats.post_filter_lines.saturating_add(cost.post_filter_lines);
                    }
                    reply => each(reply)?,
                }
            }
            Item::ShardDone(answer) => {
                account.stats.shards += u64::from(answer.error.is_none());
                account.completeness.add(answer);
            }
        }
    }
    Ok(account)
}
