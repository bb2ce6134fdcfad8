//! What a write-ahead log can be told, with the defaults beside the docs.
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::OpenProgress;

/// Settings of a [`Wal`](super::Wal). Only `node` reads files; it passes plain values down.
#[derive(Clone, Debug)]
pub struct WalConfig {
    /// Length of a segment file in bytes, 64 KiB to 2 GiB. Larger: fewer rotations, coarser reclaim.
    pub segment_bytes: u64,
    /// Emptied segments kept for reuse; more are deleted.
    pub spare_segments_max: usize,
    /// Most bytes written by one positioned write. What is queued beyond it goes into the next batch.
    pub batch_bytes_max: usize,
    /// Largest record or mark value in bytes; a larger one is refused with `InvalidInput`.
    pub record_bytes_max: usize,
    /// Payload bytes of synced entries kept in memory for reads, over all streams. Unsynced ones are always kept.
    pub cache_bytes: usize,
    /// Bytes of segments in use beyond which [`Wal::laggards`](super::Wal::laggards) names streams.
    pub retain_bytes_soft: u64,
    /// How long a mark without a callback may wait for a batch to ride with before it is written by itself.
    pub idle_flush: Duration,
    /// Told once when a write or an fsync failed. The log takes nothing more: end the process.
    pub on_fatal: OnFatal,
    /// Says how far the open is.
    pub progress: OpenProgress,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            spare_segments_max: 4,
            batch_bytes_max: 8 << 20,
            record_bytes_max: 16 << 20,
            cache_bytes: 32 << 20,
            retain_bytes_soft: 1 << 30,
            idle_flush: Duration::from_secs(1),
            on_fatal: OnFatal::default(),
            progress: OpenProgress::default(),
        }
    }
}

impl WalConfig {
    /// Refuses settings that the format or the writer cannot serve.
    pub(super) fn validate(&self) -> io::Result<()> {
        let refuse = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        if !(64 << 10..=2 << 30).contains(&self.segment_bytes) || !self.segment_bytes.is_multiple_of(4096) {
            return refuse(format!(
                "segment_bytes {} is not a multiple of 4096 between 64 KiB and 2 GiB",
                self.segment_bytes
            ));
        }
        if self.record_bytes_max == 0 || self.record_bytes_max > 1 << 30 {
            return refuse(format!("record_bytes_max {} is not between 1 byte and 1 GiB", self.record_bytes_max));
        }
        if self.batch_bytes_max == 0 {
            return refuse("batch_bytes_max is 0".into());
        }
        Ok(())
    }
}

/// A callback for the failure that ends the log; does nothing by default.
#[derive(Clone, Default)]
pub struct OnFatal(Option<Arc<Callback>>);

type Callback = dyn Fn(&io::Error) + Send + Sync;

impl OnFatal {
    pub fn new(call: impl Fn(&io::Error) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(call)))
    }

    pub(super) fn call(&self, error: &io::Error) {
        if let Some(call) = &self.0 {
            call(error);
        }
    }
}

impl fmt::Debug for OnFatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "OnFatal(set)" } else { "OnFatal(unset)" })
    }
}
