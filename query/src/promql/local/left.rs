//! What a fragment may still read and send, over all shards of the node.
use std::sync::atomic::{AtomicU64, Ordering};

use super::too_many_samples;
use crate::error::Result;
use crate::fragment::FragmentLimits;
use crate::promql::fragment::Request;

/// Counts down; shared by the threads that work on a fragment.
#[derive(Debug)]
pub(super) struct Left {
    samples: AtomicU64,
    reply_bytes: AtomicU64,
}

impl Left {
    pub(super) fn new(request: &Request, limits: &FragmentLimits) -> Self {
        let reply_bytes = AtomicU64::new(limits.reply_bytes_max);
        Self { samples: AtomicU64::new(request.samples_max.min(limits.samples_max)), reply_bytes }
    }

    /// Takes samples that are read or values that are held. Errors: [`crate::Error::Limit`].
    pub(super) fn samples(&self, count: u64) -> Result<()> {
        take(&self.samples, count)
    }

    /// Values are no longer held.
    pub(super) fn give_back(&self, count: u64) {
        self.samples.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes bytes of a frame. Errors: [`crate::Error::Limit`].
    pub(super) fn reply(&self, bytes: u64) -> Result<()> {
        take(&self.reply_bytes, bytes)
    }
}

fn take(left: &AtomicU64, count: u64) -> Result<()> {
    let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(count));
    taken.map(drop).map_err(|_| too_many_samples())
}
