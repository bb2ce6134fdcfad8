//! The columnar engine of log entries and spans.
//!
//! A [`RowsHead`] takes applied parts, a [`RowsView`] is what readers see: heads and sealed [`Block`]s, merged and
//! deduplicated by natural key. Rows are kept in *granules*, one compressed column an attribute, with statistics and
//! filters that let readers skip them. Byte tables: `docs/formats/rows-block.md`.
mod attr_names;
mod block;
mod column;
mod config;
mod count;
mod error;
mod filter;
mod format;
mod freeze;
mod granule;
mod head;
mod label_index;
mod measure;
mod merge;
mod piece;
mod region;
mod row;
mod run;
mod scan;
mod select;
mod stream;
mod stream_table;
mod tail;
mod traces;
mod view;
mod write;

pub(crate) use block::decode_tables;
pub use block::{Block, BlockSummary, compact, contents, recount, seal, seal_counted, verify};
pub(crate) use column::decode_columns;
pub use config::HeadConfig;
pub use count::CountRows;
pub use error::{Error, Result};
pub use freeze::{FreezeJob, Frozen};
pub use head::{HeadStats, HeadView, RowsHead};
pub use row::{AttrRef, Row, RowBatch, TraceRows, ValueRef};
pub use scan::{AttrCondition, AttrTest, RowOrder, RowScan, ScanStats, StreamSelector};
pub use stream::{SelectionStats, StreamInfo, StreamRef, StreamStats};
pub use view::{RowsView, Scan, TraceScan};
