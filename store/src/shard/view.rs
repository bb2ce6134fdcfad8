//! What a reader sees of a shard: immutable, taken by `Arc`, never through the shard's mailbox.
use crate::rows::RowsView;
use crate::tsdb::MetricsView;

/// A consistent cut of one shard across the three signals.
#[derive(Clone, Debug, Default)]
pub struct ShardView {
    pub shard: u32,
    /// Log index of the last applied entry that this view contains.
    pub position: u64,
    pub metrics: MetricsView,
    pub logs: RowsView,
    pub traces: RowsView,
}

impl ShardView {
    /// Names of the blocks that are in quarantine: what they hold is missing here.
    pub fn lost(&self) -> Vec<&str> {
        let metrics = self.metrics.blocks.iter().filter(|b| b.is_lost()).map(|b| b.name());
        let rows = self.logs.blocks.iter().chain(&self.traces.blocks);
        metrics.chain(rows.filter(|b| b.is_lost()).map(|b| b.name())).collect()
    }

    /// The same with all that has expired or was deleted and is still there.
    pub fn without_limits(&self) -> Self {
        let (metrics, logs) = (self.metrics.without_limits(), self.logs.without_limits());
        Self { shard: self.shard, position: self.position, metrics, logs, traces: self.traces.without_limits() }
    }

    /// The same without the blocks in quarantine, for an answer that says so.
    pub fn without_lost(&self) -> Self {
        let mut view = self.clone();
        view.metrics.blocks.retain(|b| !b.is_lost());
        view.logs.blocks.retain(|b| !b.is_lost());
        view.traces.blocks.retain(|b| !b.is_lost());
        view
    }
}
