//! The columnar engine of log entries and spans.

/// Readers' view of the rows of one signal of one shard: heads being sealed, the open head, sealed blocks.
#[derive(Clone, Debug, Default)]
pub struct RowsView {}
