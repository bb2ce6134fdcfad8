//! The node's memory budget and how it is shared out (P6).
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
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
    /// Open and sealing heads of all shards before a replay waits: it leaves room to shards that serve already.
    pub heads_replay: u64,
    /// Answers over sealed data, by segment of their steps.
    pub segments: u64,
    /// Log entries on their way from the disk into heads while replicas are opened.
    pub replay: u64,
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
            // Two seconds of all that a node can take: whoever is further behind is served from the disk.
            wal_cache: (budget_bytes / 16).min(64 << 20),
            block_cache: (budget_bytes / 16).min(512 << 20),
            segments: (budget_bytes / 64).min(64 << 20),
            heads_replay: budget_bytes / 10 * 3,
            replay: budget_bytes / 64,
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
    /// Jobs that run now and make heads smaller.
    shrinking: AtomicU64,
    /// One of them has ended.
    shrunk: Notify,
}

/// A job that makes heads smaller, until it is dropped.
#[derive(Debug)]
pub(crate) struct Shrinking(Arc<Budget>);

impl Drop for Shrinking {
    fn drop(&mut self) {
        self.0.shrinking.fetch_sub(1, Ordering::AcqRel);
        self.0.shrunk.notify_waiters();
    }
}

/// How long applied entries wait for a job that makes heads smaller while none runs: whoever leads looks more often whether
/// to seal. Beyond that the log goes on: nothing here could make room.
const SHRINKING_PATIENCE: Duration = Duration::from_millis(300);

/// One query may hold this part of what all may: a second one always finds room.
const QUERY_PART: u64 = 2;
/// Semaphore permits are 32-bit: one permit stands for this many bytes.
const PERMIT_BYTES: u64 = 64;

impl Budget {
    pub fn new(budget_bytes: u64) -> Self {
        let shares = Shares::of(budget_bytes);
        let permits = usize::try_from(shares.inflight / PERMIT_BYTES).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let queries = QueryMemory::new(shares.query, shares.query / QUERY_PART);
        Self {
            shares,
            queries,
            inflight: Arc::new(Semaphore::new(permits)),
            heads_bytes: AtomicU64::new(0),
            shrinking: AtomicU64::new(0),
            shrunk: Notify::new(),
        }
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

    /// Marks a job that makes heads smaller: compressing a tail, or writing a sealed head.
    pub(crate) fn shrinking(self: &Arc<Self>) -> Shrinking {
        self.shrinking.fetch_add(1, Ordering::AcqRel);
        Shrinking(self.clone())
    }

    /// Waits, while heads have `bytes_max` or more, for jobs that run and make heads smaller. What the log holds must be applied
    /// some time, but need not be faster than heads can be compressed and sealed: so a replay stays within the budget.
    pub(crate) async fn heads_may_grow(&self, bytes_max: u64) {
        while self.heads_bytes() >= bytes_max {
            let mut shrunk = std::pin::pin!(self.shrunk.notified());
            // From here on no end of a job is missed.
            shrunk.as_mut().enable();
            if self.heads_bytes() < bytes_max {
                return;
            }
            if self.shrinking.load(Ordering::Acquire) > 0 {
                shrunk.await;
            } else if tokio::time::timeout(SHRINKING_PATIENCE, shrunk).await.is_err()
                && self.shrinking.load(Ordering::Acquire) == 0
            {
                return;
            }
        }
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

    #[tokio::test(start_paused = true)]
    async fn entries_wait_for_room_while_something_makes_it() {
        let b = Arc::new(Budget::new(16 << 20));
        let max = b.shares.heads_hard;
        b.heads_may_grow(max).await;
        b.heads_changed(0, max);
        let (first, second) = (b.shrinking(), b.shrinking());
        let mut waiting = std::pin::pin!(b.heads_may_grow(max));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(first);
        assert!(futures::poll!(waiting.as_mut()).is_pending(), "one job goes on and there is no room yet");
        b.heads_changed(1, 0);
        drop(second);
        waiting.await;

        // Nobody makes room: a while later the log goes on all the same.
        b.heads_changed(0, 1);
        let before = tokio::time::Instant::now();
        b.heads_may_grow(max).await;
        assert_eq!(before.elapsed(), SHRINKING_PATIENCE);
    }
}
