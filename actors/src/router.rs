//! The way of a write: every part to its shard's leader, here or by gRPC, retried through elections.
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use tracing::debug;
use trine_store::shard::{Conflict, PartOutcome};

use crate::cluster::Shared;
use crate::error::WriteError;
use crate::rpc::proto::{self, part_result};
use crate::shard::SubmitError;

/// How long a write is retried: below the clients' usual 10 s, so that they hear a typed answer.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(8);
/// Between attempts while a shard has no leader.
const RETRY_PAUSE: Duration = Duration::from_millis(40);
/// What a refused client should wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The same when a disk is full: that does not pass in a second.
const RETRY_AFTER_FULL: Duration = Duration::from_secs(10);
/// How long a write waits for a leader to move away from a full disk.
const MOVE_PATIENCE: Duration = Duration::from_secs(3);

/// A part on its way: position in the request, shard, bytes.
type Numbered = (usize, u32, Bytes);

/// Leaders as other nodes have named them; a hint.
#[derive(Debug, Default)]
pub struct LeaderHints(Mutex<HashMap<u32, u64>>);

impl LeaderHints {
    pub fn get(&self, shard: u32) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&shard).copied()
    }

    pub fn set(&self, shard: u32, node: Option<u64>) {
        let mut hints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match node {
            Some(node) if node != 0 => hints.insert(shard, node),
            _ => hints.remove(&shard),
        };
    }
}

/// Hands parts to leaders.
#[derive(Clone)]
pub struct Router {
    shared: Arc<Shared>,
}

impl Router {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// All parts of one request. Ok once each is fsynced on a majority and visible; outcomes in the order of the parts.
    /// On an error some parts may have been applied: repeating the request completes it.
    pub async fn write(&self, parts: Vec<(u32, Bytes)>) -> Result<Vec<PartOutcome>, WriteError> {
        let started = Instant::now();
        let deadline = started + WRITE_DEADLINE;
        let mut outcomes: Vec<Option<PartOutcome>> = vec![None; parts.len()];
        let mut left: Vec<Numbered> =
            parts.into_iter().enumerate().map(|(i, (shard, part))| (i, shard, part)).collect();
        let mut last_reason = String::from("no leader");
        let mut attempt = 0u32;
        while !left.is_empty() {
            if attempt > 0 {
                if Instant::now() + RETRY_PAUSE >= deadline {
                    let shard = left[0].1;
                    return Err(WriteError::Unavailable { shard, reason: last_reason, retry_after: RETRY_AFTER });
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            attempt += 1;
            let mut by_node: BTreeMap<u64, Vec<Numbered>> = BTreeMap::new();
            for numbered in left.drain(..) {
                let node = self.shared.leader_of(numbered.1, attempt);
                by_node.entry(node.unwrap_or(0)).or_default().push(numbered);
            }
            let sends = by_node.into_iter().map(|(node, parts)| self.send(node, parts, deadline));
            for (part, result) in join_all(sends).await.into_iter().flatten() {
                match result {
                    Ok(outcome) => outcomes[part.0] = Some(outcome),
                    Err(SubmitError::Invalid { reason }) => return Err(WriteError::Invalid { reason }),
                    Err(SubmitError::Busy { what }) => {
                        return Err(WriteError::Busy { what: what.to_owned(), retry_after: RETRY_AFTER });
                    }
                    Err(SubmitError::DiskFull { reason }) => {
                        if started.elapsed() >= MOVE_PATIENCE || !self.may_move(part.1) {
                            return Err(WriteError::DiskFull { reason, retry_after: RETRY_AFTER_FULL });
                        }
                        last_reason = reason;
                        left.push(part);
                    }
                    Err(SubmitError::NotLeader { leader_node }) => {
                        self.shared.hints.set(part.1, leader_node);
                        last_reason = "its leader has changed".to_owned();
                        left.push(part);
                    }
                    Err(SubmitError::Unknown { reason }) => {
                        self.shared.hints.set(part.1, None);
                        debug!(shard = part.1, reason, "outcome of a write unknown, repeating it");
                        last_reason = reason;
                        left.push(part);
                    }
                }
            }
        }
        Ok(outcomes.into_iter().map(|o| o.expect("every part has left the loop with an outcome")).collect())
    }

    /// Whether a shard has a replica on a live node with room, so that its leader may move there.
    fn may_move(&self, shard: u32) -> bool {
        let (live, meta) = (self.shared.live(), self.shared.meta());
        let replicas = meta.shards.get(&shard).map(|record| record.replicas.as_slice()).unwrap_or_default();
        replicas.iter().any(|r| live.get(&r.node).is_some_and(|p| p.ready && !p.disk_full))
    }

    async fn send(
        &self,
        node: u64,
        parts: Vec<Numbered>,
        deadline: Instant,
    ) -> Vec<(Numbered, Result<PartOutcome, SubmitError>)> {
        if node == 0 {
            return parts.into_iter().map(|p| (p, Err(SubmitError::NotLeader { leader_node: None }))).collect();
        }
        if node == self.shared.node_id() {
            let submits = parts.into_iter().map(|part| async move {
                let result = self.shared.submit(part.1, part.2.clone()).await;
                (part, result)
            });
            return join_all(submits).await;
        }
        let results = self.send_remote(node, &parts, deadline).await;
        match results {
            Ok(results) => parts.into_iter().zip(results).collect(),
            Err(reason) => {
                let unknown = |p| (p, Err(SubmitError::Unknown { reason: reason.clone() }));
                parts.into_iter().map(unknown).collect()
            }
        }
    }

    async fn send_remote(
        &self,
        node: u64,
        parts: &[Numbered],
        deadline: Instant,
    ) -> Result<Vec<Result<PartOutcome, SubmitError>>, String> {
        let mut client = self.shared.peers.client(node)?;
        let mut request = tonic::Request::new(proto::SubmitRequest {
            to: self.shared.peers.to(node),
            parts: parts
                .iter()
                .map(|(_, shard, part)| proto::ShardPart { shard: *shard, part: part.clone() })
                .collect(),
        });
        let patience = deadline.saturating_duration_since(Instant::now());
        request.set_timeout(patience);
        // A node that hangs must not eat the whole deadline: another try may find a new leader.
        let reply = tokio::time::timeout(patience.min(Duration::from_secs(4)), client.submit(request)).await;
        let reply = reply.map_err(|_| format!("node {node} did not answer in time"))?;
        let reply = reply.map_err(|status| format!("node {node}: {status}"))?.into_inner();
        if reply.results.len() != parts.len() {
            return Err(format!("node {node} answered {} of {} parts", reply.results.len(), parts.len()));
        }
        Ok(reply.results.into_iter().map(from_proto).collect())
    }
}

/// Leader's answer on the wire.
pub(crate) fn to_proto(result: Result<PartOutcome, SubmitError>) -> proto::PartResult {
    use part_result::Result as R;
    let result = match result {
        Ok(o) => R::Outcome(proto::PartOutcome {
            accepted: o.accepted,
            repeated: o.repeated,
            conflicts_count: o.conflicts_count,
            conflicts: o
                .conflicts
                .iter()
                .map(|c| proto::Conflict {
                    series: c.series,
                    time_ms: c.time_ms,
                    existing_bits: c.existing_bits,
                    new_bits: c.new_bits,
                })
                .collect(),
        }),
        Err(SubmitError::NotLeader { leader_node }) => {
            R::NotLeader(proto::NotLeader { leader_node: leader_node.unwrap_or(0) })
        }
        Err(SubmitError::Busy { what }) => R::Busy(what.to_owned()),
        Err(SubmitError::DiskFull { reason }) => R::DiskFull(reason),
        Err(SubmitError::Invalid { reason }) => R::Invalid(reason),
        Err(SubmitError::Unknown { reason }) => R::Unknown(reason),
    };
    proto::PartResult { result: Some(result) }
}

pub(crate) fn from_proto(result: proto::PartResult) -> Result<PartOutcome, SubmitError> {
    use part_result::Result as R;
    match result.result {
        Some(R::Outcome(o)) => Ok(PartOutcome {
            accepted: o.accepted,
            repeated: o.repeated,
            conflicts_count: o.conflicts_count,
            conflicts: o
                .conflicts
                .into_iter()
                .map(|c| Conflict {
                    series: c.series,
                    time_ms: c.time_ms,
                    existing_bits: c.existing_bits,
                    new_bits: c.new_bits,
                })
                .collect(),
        }),
        Some(R::NotLeader(n)) => {
            Err(SubmitError::NotLeader { leader_node: (n.leader_node != 0).then_some(n.leader_node) })
        }
        Some(R::Busy(_)) => Err(SubmitError::Busy { what: "the shard's leader" }),
        Some(R::DiskFull(reason)) => Err(SubmitError::DiskFull { reason }),
        Some(R::Invalid(reason)) => Err(SubmitError::Invalid { reason }),
        Some(R::Unknown(reason)) => Err(SubmitError::Unknown { reason }),
        None => Err(SubmitError::Unknown { reason: "an answer of an unknown kind".into() }),
    }
}
