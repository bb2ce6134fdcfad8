//! How far opening a log is, for whoever waits for it.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Shared with the log that is being opened: see [`WalConfig::progress`](super::WalConfig::progress).
#[derive(Clone, Debug, Default)]
pub struct OpenProgress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    read: AtomicU64,
    total: AtomicU64,
}

impl OpenProgress {
    /// Bytes of segment files read, and to read; both 0 before the directory has been listed.
    pub fn bytes(&self) -> (u64, u64) {
        (self.0.read.load(Relaxed), self.0.total.load(Relaxed))
    }

    pub(super) fn begin(&self, total: u64) {
        self.0.read.store(0, Relaxed);
        self.0.total.store(total, Relaxed);
    }

    pub(super) fn read(&self, bytes: u64) {
        self.0.read.fetch_add(bytes, Relaxed);
    }
}
