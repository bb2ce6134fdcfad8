//! Counters of a log, readable at any time without a lock.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Totals since the log was opened, except `segments`, `spares`, `pending_bytes` and `stalled`, which are current.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Calls of fdatasync on segment data.
    pub fsyncs: u64,
    /// Bytes written to segments, headers and padding included.
    pub bytes: u64,
    /// Positioned writes, each followed by one fsync.
    pub batches: u64,
    /// Records written: entries, marks, truncations, purges, removals and rosters.
    pub records: u64,
    /// Nanoseconds spent in fdatasync.
    pub fsync_ns: u64,
    /// Segment files in use.
    pub segments: u64,
    /// Emptied segment files that wait to be reused.
    pub spares: u64,
    /// Segments begun since the open.
    pub rotations: u64,
    /// Bytes of enqueued operations that are not yet synced.
    pub pending_bytes: u64,
    /// Entries that reads took from memory.
    pub reads_cached: u64,
    /// Entries that reads took from disk.
    pub reads_disk: u64,
    /// 1 while the log stands still because the disk has no room for a segment.
    pub stalled: u64,
}

/// The live form of [`WalStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) fsyncs: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) fsync_ns: AtomicU64,
    pub(super) segments: AtomicU64,
    pub(super) spares: AtomicU64,
    pub(super) rotations: AtomicU64,
    pub(super) pending_bytes: AtomicU64,
    pub(super) reads_cached: AtomicU64,
    pub(super) reads_disk: AtomicU64,
    pub(super) stalled: AtomicU64,
}

impl Counters {
    pub(super) fn observe(&self) -> WalStats {
        WalStats {
            fsyncs: self.fsyncs.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            batches: self.batches.load(Relaxed),
            records: self.records.load(Relaxed),
            fsync_ns: self.fsync_ns.load(Relaxed),
            segments: self.segments.load(Relaxed),
            spares: self.spares.load(Relaxed),
            rotations: self.rotations.load(Relaxed),
            pending_bytes: self.pending_bytes.load(Relaxed),
            reads_cached: self.reads_cached.load(Relaxed),
            reads_disk: self.reads_disk.load(Relaxed),
            stalled: self.stalled.load(Relaxed),
        }
    }
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}
