//! The node's memory budget and how it is shared out (P6).
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trine_query::memory::QueryMemory;

/// Shares of the budget, in bytes. One place, so that they add up.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// Parts between their decoding and their acknowledgement.
    pub inflight: u64,
    /// Open heads of all shards before they are sealed.
    pub heads_soft: u64,
    /// Open and sealing heads of all shards before writes are refused.
    pub heads_hard: u64,
    /// Recent log records kept in memory for replication and apply.
    pub wal_cache: u64,
    /// Decoded pieces of blocks' indexes.
    pub block_cache: u64,
    /// What running queries hold: what they read, group, sort and answer.
    pub query: u64,
}

impl Shares {
    /// Of a node's whole budget.
    pub fn of(budget_bytes: u64) -> Self {
        Self {
            inflight: budget_bytes / 16,
            heads_soft: budget_bytes / 5,
            heads_hard: budget_bytes / 5 * 2,
            wal_cache: (budget_bytes / 16).min(256 << 20),
            block_cache: (budget_bytes / 16).min(512 << 20),
            query: budget_bytes / 5,
        }
    }
}

/// The running account of a node.
#[derive(Debug)]
pub struct Budget {
    pub shares: Shares,
    /// The account of all queries on the node.
    pub queries: QueryMemory,
    inflight: Arc<Semaphore>,
    heads_bytes: AtomicU64,
}

/// One query may hold this part of what all may: a second one always finds room.
const QUERY_PART: u64 = 2;
/// Semaphore permits are 32-bit: one permit stands for this many bytes.
const PERMIT_BYTES: u64 = 64;

impl Budget {
    pub fn new(budget_bytes: u64) -> Self {
        let shares = Shares::of(budget_bytes);
        let permits = usize::try_from(shares.inflight / PERMIT_BYTES).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let queries = QueryMemory::new(shares.query, shares.query / QUERY_PART);
        Self { shares, queries, inflight: Arc::new(Semaphore::new(permits)), heads_bytes: AtomicU64::new(0) }
    }

    /// Room for a part of that many bytes until the permit is dropped; `None` when the bound is reached.
    pub fn try_inflight(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(bytes as u64 / PERMIT_BYTES + 1).ok()?;
        self.inflight.clone().try_acquire_many_owned(permits).ok()
    }

    /// Replaces a shard's share of the heads' account.
    pub fn heads_changed(&self, before: u64, after: u64) {
        // Two adds and not a store: shards report independently.
        self.heads_bytes.fetch_add(after, Ordering::Relaxed);
        self.heads_bytes.fetch_sub(before, Ordering::Relaxed);
    }

    pub fn heads_bytes(&self) -> u64 {
        self.heads_bytes.load(Ordering::Relaxed)
    }

    /// Whether heads leave room for more writes.
    pub fn heads_have_room(&self) -> bool {
        self.heads_bytes() < self.shares.heads_hard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_beyond_the_bound_and_frees_on_drop() {
        let b = Budget::new(16 << 20);
        let held = b.try_inflight(900 << 10).expect("room");
        assert!(b.try_inflight(900 << 10).is_none());
        drop(held);
        assert!(b.try_inflight(900 << 10).is_some());
        b.heads_changed(0, b.shares.heads_hard);
        assert!(!b.heads_have_room());
        b.heads_changed(b.shares.heads_hard, 1);
        assert!(b.heads_have_room());
    }
}
