//! Engines that keep one shard's metrics, logs and traces on disk.
//!
//! Start at [`model`] for what is kept and [`part`] for how a write travels. [`tsdb`] is the time-series engine, [`rows`]
//! the columnar engine that serves log entries and spans, [`wal`] the one write-ahead log of a node. Nothing here awaits,
//! reads a clock or opens a socket: callers pass `now_ms`.
pub mod codec;
pub mod entry;
pub(crate) mod faults;
#[doc(hidden)]
pub mod fuzz;
pub mod index;
pub mod inspect;
pub mod limits;
pub mod memory;
pub mod model;
pub mod part;
pub mod re2;
pub mod read_at;
mod retry;
pub mod rows;
pub mod shard;
pub mod tsdb;
pub mod wal;
