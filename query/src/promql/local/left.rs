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
    samples_max: u64,
    reply_bytes: AtomicU64,
}

impl Left {
    pub(super) fn new(request: &Request, limits: &FragmentLimits) -> Self {
        let reply_bytes = AtomicU64::new(limits.reply_bytes_max);
        let samples_max = request.samples_max.min(limits.samples_max);
        Self { samples: AtomicU64::new(samples_max), samples_max, reply_bytes }
    }

    /// Whether the groups of one aggregation may hold so many values: as many as samples may be read, whatever other shards hold at
    /// that moment, so that a question is always answered or never. Errors: [`crate::Error::Limit`].
    pub(super) fn values(&self, count: u64) -> Result<()> {
        if count > self.samples_max { Err(too_many_samples()) } else { Ok(()) }
    }

    /// Takes samples that are read. Errors: [`crate::Error::Limit`].
    pub(super) fn samples(&self, count: u64) -> Result<()> {
        take(&self.samples, count)
    }

    /// Samples are going to be read again.
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
