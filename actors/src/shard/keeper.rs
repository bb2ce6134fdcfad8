//! The task beside a replica that decides when to seal, and tells raft what a durable manifest allows it to forget.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, warn};
use trine_store::entry::SealReason;

use super::handle::{ShardHandle, SubmitError};
use crate::budget::Budget;

/// When to seal; pure, so that it can be tested without a shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SealPolicy {
    head_bytes_max: u64,
    /// A head of so many bytes is sealed while the node's heads are over their soft share.
    pressed_bytes_min: u64,
    head_age_max: Duration,
}

/// Bounds of what a head may grow to before it is sealed for its bytes.
const HEAD_BYTES_LEAST: u64 = 1 << 20;
const HEAD_BYTES_MOST: u64 = 64 << 20;

impl SealPolicy {
    /// For a node whose `shards` heads may have `heads_soft` bytes together before it is pressed.
    pub(crate) fn new(heads_soft: u64, shards: u32, head_age_max: Duration) -> Self {
        let share = heads_soft / u64::from(shards.max(1));
        let head_bytes_max = share.clamp(HEAD_BYTES_LEAST, HEAD_BYTES_MOST);
        // Half a share at most: heads that are all smaller are no reason to be pressed.
        Self { head_bytes_max, pressed_bytes_min: (head_bytes_max / 4).min(share / 2), head_age_max }
    }

    /// `age` since the head's first fact was seen; `pressed` when the node's heads are over their soft share.
    pub(super) fn decide(&self, head_bytes: u64, facts: u64, age: Duration, pressed: bool) -> Option<SealReason> {
        if facts == 0 {
            None
        } else if head_bytes >= self.head_bytes_max || (pressed && head_bytes >= self.pressed_bytes_min) {
            Some(SealReason::HeadBytes)
        } else if age >= self.head_age_max {
            Some(SealReason::HeadAge)
        } else {
            None
        }
    }
}

/// How often the keeper looks at its shard.
const TICK: Duration = Duration::from_millis(250);
/// How long a seal may take before the keeper complains and looks again.
const SEAL_TIMEOUT: Duration = Duration::from_secs(120);

/// Runs until `stop` changes.
pub(super) async fn keep(
    handle: ShardHandle,
    policy: SealPolicy,
    budget: Arc<Budget>,
    mut log_pressure: watch::Receiver<Vec<u64>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut sealed = handle.sealed.clone();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut first_fact: Option<Instant> = None;
    // The seal in progress: the loop goes on meanwhile, since what it makes durable must be forgotten.
    let mut sealing: Option<JoinHandle<()>> = None;
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            changed = sealed.changed() => {
                if changed.is_err() { return }
                let index = *sealed.borrow_and_update();
                forget(&handle, index).await;
                continue;
            }
            _ = ticks.tick() => {}
        }
        sealing = sealing.filter(|task| !task.is_finished());
        if !handle.group.status().is_leader || sealing.is_some() {
            first_fact = None;
            continue;
        }
        let facts = handle.observed().head_facts.load(Ordering::Relaxed);
        let head_bytes = handle.observed().head_bytes.load(Ordering::Relaxed);
        first_fact = if facts == 0 { None } else { first_fact.or_else(|| Some(Instant::now())) };
        let age = first_fact.map_or(Duration::ZERO, |at| at.elapsed());
        let pressed = budget.heads_bytes() > budget.shares.heads_soft;
        let holds_log_back = log_pressure.borrow_and_update().contains(&handle.replica);
        let reason = policy.decide(head_bytes, facts, age, pressed).or(holds_log_back.then_some(SealReason::LogBytes));
        if let Some(reason) = reason {
            first_fact = None;
            let handle = handle.clone();
            sealing = Some(tokio::spawn(async move {
                match handle.seal(reason, SEAL_TIMEOUT).await {
                    Ok(()) => debug!(shard = handle.shard, ?reason, "sealed by the keeper"),
                    Err(SubmitError::NotLeader { .. }) => {}
                    Err(error) => warn!(shard = handle.shard, %error, ?reason, "seal did not finish"),
                }
            }));
        }
    }
}

/// The log up to `index` is in durable blocks: raft may offer the manifest as its snapshot and purge.
async fn forget(handle: &ShardHandle, index: u64) {
    if let Err(error) = handle.group.snapshot_taken().await {
        warn!(shard = handle.shard, %error, "raft did not take the snapshot");
        return;
    }
    if let Err(error) = handle.group.purge_through(index).await {
        warn!(shard = handle.shard, %error, "raft did not purge its log");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_by_bytes_age_or_pressure_and_never_an_empty_head() {
        let s = Duration::from_secs;
        let p = SealPolicy::new(16 << 20, 4, s(10));
        let (max, pressed) = (4 << 20, 1 << 20);
        assert_eq!(p.decide(1 << 30, 0, s(100), true), None);
        assert_eq!(p.decide(max, 1, s(0), false), Some(SealReason::HeadBytes));
        assert_eq!(p.decide(max - 1, 1, s(0), false), None);
        assert_eq!(p.decide(pressed, 1, s(0), true), Some(SealReason::HeadBytes));
        assert_eq!(p.decide(pressed - 1, 1, s(0), true), None);
        assert_eq!(p.decide(pressed - 1, 1, s(10), false), Some(SealReason::HeadAge));
    }

    #[test]
    fn whatever_the_number_of_shards_a_pressed_node_finds_a_head_to_seal() {
        for (heads_soft, shards) in [(200 << 20, 1), (200 << 20, 16), (200 << 20, 4096), (25 << 20, 256), (8 << 30, 3)]
        {
            let p = SealPolicy::new(heads_soft, shards, Duration::MAX);
            // The least that the biggest of that many heads has when all together are over.
            let biggest = heads_soft / u64::from(shards) + 1;
            assert_eq!(
                p.decide(biggest, 1, Duration::ZERO, true),
                Some(SealReason::HeadBytes),
                "{heads_soft} {shards}"
            );
        }
    }
}
