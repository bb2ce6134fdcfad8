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
