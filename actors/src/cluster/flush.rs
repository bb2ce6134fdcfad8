//! Sealing every shard of the cluster at once.
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::future::join_all;

use super::Cluster;
use crate::rpc::{LATE, proto, refusal};

/// How long a flush waits for a node: it writes and syncs blocks.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(90);
/// Between two rounds of a flush.
const FLUSH_PAUSE: Duration = Duration::from_millis(100);
/// Without a shard sealed for so long, what hinders it is told: an election would be over by then.
const FLUSH_PATIENCE: Duration = Duration::from_secs(10);

/// What a flush did.
#[derive(Clone, Debug, Default)]
pub struct Flushed {
    pub shards_sealed: u32,
    pub errors: Vec<String>,
}

impl Cluster {
    /// Seals every shard of the cluster and waits until all blocks are durable on their leaders. A node that is down does
    /// not matter as long as its shards are led by others; what moves meanwhile is asked for again.
    pub async fn flush(&self) -> Flushed {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        let mut left: BTreeSet<u32> = self.shared.meta().shards.keys().copied().collect();
        let (mut flushed, mut hindrances) = (Flushed::default(), Hindrances::default());
        let (mut attempt, mut progress) = (0, Instant::now());
        while !left.is_empty() && Instant::now() < deadline && progress.elapsed() < FLUSH_PATIENCE {
            if attempt > 0 {
                tokio::time::sleep(FLUSH_PAUSE).await;
            }
            attempt += 1;
            let mut by_node: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
            for shard in &left {
                by_node.entry(self.shared.leader_of(*shard, attempt).unwrap_or(0)).or_default().push(*shard);
            }
            by_node.remove(&0);
            let asks = by_node.into_iter().map(|(node, shards)| self.flush_node(node, shards, deadline));
            for (name, result) in join_all(asks).await {
                let sealed = hindrances.note(name, result);
                for shard in sealed {
                    flushed.shards_sealed += u32::from(left.remove(&shard));
                    progress = Instant::now();
                }
            }
        }
        flushed.errors = hindrances.tell(&left);
        flushed
    }

    async fn flush_node(
        &self,
        node: u64,
        shards: Vec<u32>,
        deadline: Instant,
    ) -> (String, Result<proto::FlushReply, String>) {
        let ask = async {
            let mut client = self.shared.peers.client(node)?;
            let ask = client.flush(proto::FlushRequest { to: self.shared.peers.to(node), shards });
            let reply = tokio::time::timeout(deadline.saturating_duration_since(Instant::now()), ask).await;
            let reply = reply.map_err(|_| LATE.to_owned())?;
            reply.map(tonic::Response::into_inner).map_err(|status| refusal(&status))
        };
        (self.shared.node_name(node), ask.await)
    }
}

/// What each node last said of the shards that it did not seal.
#[derive(Debug, Default)]
struct Hindrances(BTreeMap<String, Vec<String>>);

impl Hindrances {
    /// Takes a node's answer; gives the shards that it sealed.
    fn note(&mut self, node: String, result: Result<proto::FlushReply, String>) -> Vec<u32> {
        let (sealed, errors) = match result {
            Ok(reply) => (reply.shards_sealed, reply.errors),
            Err(reason) => (Vec::new(), vec![reason]),
        };
        if errors.is_empty() {
            self.0.remove(&node)
        } else {
            self.0.insert(node, errors)
        };
        sealed
    }

    /// Which shards were not sealed, and why; nothing when all were.
    fn tell(&self, left: &BTreeSet<u32>) -> Vec<String> {
        if left.is_empty() {
            return Vec::new();
        }
        let mut told = vec![format!("not sealed: {}", shards_text(left.iter().copied()))];
        told.extend(self.0.iter().map(|(node, errors)| format!("{node}: {}", errors.join("; "))));
        if self.0.is_empty() {
            told.push("no node says that it leads them".to_owned());
        }
        told
    }
}

/// `shard 3`, or `shards 3, 4`.
fn shards_text(shards: impl Iterator<Item = u32>) -> String {
    let all: Vec<String> = shards.map(|s| s.to_string()).collect();
    format!("shard{} {}", if all.len() == 1 { "" } else { "s" }, all.join(", "))
}

/// What a node could not seal, one line a reason.
pub(crate) fn grouped(reasons: impl IntoIterator<Item = (u32, String)>) -> Vec<String> {
    let mut by_reason: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for (shard, reason) in reasons {
        by_reason.entry(reason).or_default().insert(shard);
    }
    by_reason.into_iter().map(|(reason, shards)| format!("{}: {reason}", shards_text(shards.into_iter()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_told_once_and_what_got_over_is_not() {
        let mut hindrances = Hindrances::default();
        let errors = grouped([(3, "its disk is full".to_owned()), (0, "its disk is full".to_owned())]);
        let refused = proto::FlushReply { shards_sealed: vec![1], errors };
        assert_eq!(hindrances.note("n1".into(), Ok(refused)), [1]);
        hindrances.note("n2".into(), Err("does not answer".into()));
        hindrances.note("n3".into(), Err("does not answer".into()));
        hindrances.note("n3".into(), Ok(proto::FlushReply { shards_sealed: vec![2], errors: Vec::new() }));
        let left = BTreeSet::from([0, 3]);
        let wanted = ["not sealed: shards 0, 3", "n1: shards 0, 3: its disk is full", "n2: does not answer"];
        assert_eq!(hindrances.tell(&left), wanted);
        assert!(hindrances.tell(&BTreeSet::new()).is_empty());
        let unknown = Hindrances::default().tell(&BTreeSet::from([7]));
        assert_eq!(unknown, ["not sealed: shard 7", "no node says that it leads them"]);
    }
}
