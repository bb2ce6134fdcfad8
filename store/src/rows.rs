//! The columnar engine of log entries and spans.
//!
//! A [`RowsHead`] takes applied parts, a [`RowsView`] is what readers see: heads and sealed [`Block`]s, merged and
//! deduplicated by natural key. Rows are kept in *granules*, one compressed column an attribute, with statistics and
//! filters that let readers skip them. Byte tables: `docs/formats/rows-block.md`.
mod block;
mod config;
mod error;
mod freeze;
mod head;
mod label_index;
mod piece;
mod row;
mod scan;
mod stream;
mod stream_table;
mod tail;
mod view;

pub use block::{Block, BlockSummary, seal};
pub use config::HeadConfig;
pub use error::{Error, Result};
pub use freeze::{FreezeJob, Frozen};
pub use head::{HeadStats, HeadView, RowsHead};
pub use row::{AttrRef, Row, RowBatch, TraceRows, ValueRef};
pub use scan::{AttrCondition, AttrTest, RowOrder, RowScan, ScanStats, StreamSelector};
pub use stream::{SelectionStats, StreamInfo, StreamRef, StreamStats};
pub use view::{RowsView, Scan, TraceScan};
