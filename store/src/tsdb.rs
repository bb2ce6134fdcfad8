//! The time-series engine.

/// Readers' view of the metrics of one shard: heads being sealed, the open head, sealed blocks.
#[derive(Clone, Debug, Default)]
pub struct MetricsView {}
