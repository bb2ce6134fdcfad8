//! What is said of shards that gave no answer: who was asked last, and why that brought nothing.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use trine_query::scatter::ShardAnswer;

/// How long a shard without a leader is waited for.
const LEADER_PATIENCE: Duration = Duration::from_secs(8);
/// This part of a query's time is kept to answer without the shards that are given up.
const KEPT: u32 = 10;

/// When shards that do not answer are given up: in time for the rest of the answer.
pub(super) fn give_up(started: Instant, deadline: Instant) -> Instant {
    let kept = deadline.saturating_duration_since(started) / KEPT;
    (started + LEADER_PATIENCE).min(deadline.checked_sub(kept).unwrap_or(deadline))
}

/// The reason where a node says that it does not lead the shard, by the leader that it names.
pub(super) fn not_leading(leader: Option<u64>) -> String {
    if leader.is_some() { "its leader is changing" } else { NO_LEADER }.to_owned()
}

const NO_LEADER: &str = "no leader";

/// The last failure of each shard that has not answered.
#[derive(Debug, Default)]
pub(super) struct Missed(BTreeMap<u32, (String, String)>);

impl Missed {
    /// `node` was asked for the shard in vain. Without one nobody could be asked: then what the last one said stays.
    pub(super) fn note(&mut self, shard: u32, node: Option<&str>, reason: String) {
        if let Some(node) = node {
            self.0.insert(shard, (node.to_owned(), reason));
        }
    }

    /// The account of a shard that is given up; `me` is the node that asks.
    pub(super) fn account(&mut self, shard: u32, me: &str) -> ShardAnswer {
        let last = self.0.remove(&shard);
        let (node, reason) = last.unwrap_or_else(|| (me.to_owned(), NO_LEADER.to_owned()));
        ShardAnswer { shard, node, error: Some(reason), ..ShardAnswer::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_given_up_while_the_rest_can_be_answered() {
        let now = Instant::now();
        for (timeout_ms, waits_ms) in [(0, 0), (1_000, 900), (3_000, 2_700), (10_000, 8_000), (120_000, 8_000)] {
            let until = give_up(now, now + Duration::from_millis(timeout_ms));
            assert_eq!(until - now, Duration::from_millis(waits_ms), "{timeout_ms} ms");
        }
        assert!(give_up(now, now.checked_sub(Duration::from_secs(1)).unwrap()) < now);
    }

    #[test]
    fn a_shard_is_named_with_the_node_that_was_asked_last_and_its_reason() {
        let mut missed = Missed::default();
        missed.note(3, Some("n4"), "does not answer".into());
        missed.note(3, Some("n2"), not_leading(None));
        missed.note(3, None, "no leader is known".into());
        let said = |answer: ShardAnswer| answer.account().unwrap();
        assert_eq!(said(missed.account(3, "n1")), "shard 3 is missing from this answer (node n2): no leader");
        assert_eq!(said(missed.account(5, "n1")), "shard 5 is missing from this answer (node n1): no leader");
    }
}
