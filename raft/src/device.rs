//! What a log store needs of a disk: streams of opaque records and small marks, in one write order.
//!
//! Implemented above this crate over the node's write-ahead log; this crate knows no file.

use std::fmt;
use std::io;
use std::ops::Range;

use bytes::Bytes;

/// Called once the write it came with is fsynced or failed; runs on the writer's thread and must be quick.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Small values a stream keeps beside its records; only the newest of each counts.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// The replica's vote.
    Vote = 1,
    /// The last position known to be committed.
    Committed = 2,
    /// The last purged position.
    Purged = 3,
}

/// The records a stream holds: `first_index..next_index`; empty when equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Index of the first readable record.
    pub first_index: u64,
    /// Index that the next record will have.
    pub next_index: u64,
}

/// Streams of records with one write order: what is queued later is never durable earlier.
pub trait LogDevice: Send + Sync + fmt::Debug + 'static {
    /// The records of `stream`; a stream never written to is empty at 0.
    fn bounds(&self, stream: u64) -> Bounds;

    /// The newest value of `mark`, from memory.
    fn mark(&self, stream: u64, mark: Mark) -> Option<Bytes>;

    /// Appends `records` from `first_index` on. They are readable on return; `done` comes after their fsync.
    fn append(&self, stream: u64, first_index: u64, records: Vec<Bytes>, done: Done);

    /// Replaces `mark`. Without `done` it is written with the next batch and no fsync is awaited.
    fn set_mark(&self, stream: u64, mark: Mark, value: Bytes, done: Option<Done>);

    /// Drops the records from `index` on.
    fn truncate_from(&self, stream: u64, index: u64, done: Done);

    /// Drops the records up to and including `index` and sets [`Mark::Purged`] to `mark`. `index` may lie beyond the
    /// end: then the stream is empty and its next index is `index + 1`.
    fn purge_through(&self, stream: u64, index: u64, mark: Bytes, done: Done);

    /// A prefix of `range` of at most `bytes_max` bytes, but at least one record if there is any.
    fn read(&self, stream: u64, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Bytes>>;

    /// Forgets the stream: records and marks.
    fn remove_stream(&self, stream: u64, done: Done);
}
