//! Deleting series: a request is recorded in the metadata, then applied by every shard. Who took it waits for that; should it end
//! before, the metadata's leader brings it to its end.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tracing::{info, warn};
use trine_store::limits::DeleteSeries;

use super::Cluster;
use super::shared::Shared;
use crate::meta::Command;
use crate::rpc::proto;

/// How long whoever asks waits for all shards.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two rounds over the shards that are left.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the metadata's leader looks for requests that are not done.
const FINISH_TICK: Duration = Duration::from_secs(5);
/// Longest encoding of a request: it has to fit an entry of a log.
const BYTES_MAX: usize = 64 << 10;

/// Why series were not deleted, or not yet.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeleteError {
    /// Nothing was recorded, and repeating it cannot help.
    #[error("{0}")]
    Refused(String),
    /// Nothing is known to be recorded.
    #[error("the request to delete series was not recorded: {0}")]
    NotRecorded(String),
    /// It will be carried out.
    #[error("the request to delete series is recorded and not applied by every shard yet: {0}")]
    NotYet(String),
}

impl Cluster {
    /// Deletes samples of series; returns once no query sees them any more. Series that are written later are seen.
    pub async fn delete_series(&self, mut delete: DeleteSeries) -> Result<(), DeleteError> {
        delete.id = rand::random();
        let mut bytes = Vec::new();
        delete.encode(&mut bytes);
        if delete.matchers.len() > DeleteSeries::MATCHERS_MAX || bytes.len() > BYTES_MAX {
            let (count, most) = (delete.matchers.len(), DeleteSeries::MATCHERS_MAX);
            return Err(DeleteError::Refused(format!(
                "{count} matchers in {} bytes; a request may have {most} in {BYTES_MAX}",
                bytes.len()
            )));
        }
        let deadline = Instant::now() + PATIENCE;
        let command = Command::RequestDelete { id: delete.id, delete: bytes.clone() };
        loop {
            match self.shared.meta_submit(&command).await {
                Ok(_) => break,
                Err(reason) if Instant::now() >= deadline => return Err(DeleteError::NotRecorded(reason)),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        finish_one(&self.shared, delete.id, &bytes, deadline).await.map_err(DeleteError::NotYet)
    }
}

/// Brings recorded requests to their end while this node leads the metadata. Runs until it is aborted.
pub(super) async fn finish(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(FINISH_TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !shared.meta.get().is_some_and(|meta| meta.group.status().is_leader) {
            continue;
        }
        let requests = shared.meta().deletes.clone();
        for (id, delete) in requests {
            if let Err(reason) = finish_one(&shared, id, &delete, Instant::now() + PATIENCE).await {
                warn!(id, reason, "a request to delete series is not done yet");
            }
        }
    }
}

/// Has every shard apply a request, and forgets it. Shards know one that is repeated.
async fn finish_one(shared: &Arc<Shared>, id: u64, delete: &[u8], deadline: Instant) -> Result<(), String> {
    let mut left: BTreeSet<u32> = shared.meta().shards.keys().copied().collect();
    let mut reasons = Vec::new();
    let mut attempt = 0;
    while !left.is_empty() {
        if attempt > 0 {
            if Instant::now() >= deadline {
                return Err(format!("shards {left:?}: {}", reasons.join("; ")));
            }
            tokio::time::sleep(PAUSE).await;
        }
        attempt += 1;
        let mut by_node: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for shard in &left {
            by_node.entry(shared.leader_of(*shard, attempt).unwrap_or(0)).or_default().push(*shard);
        }
        let asks = by_node.into_iter().map(|(node, shards)| ask(shared, node, shards, delete, deadline));
        reasons.clear();
        for result in join_all(asks).await {
            match result {
                Ok(reply) => {
                    left.retain(|shard| !reply.shards_done.contains(shard));
                    reasons.extend(reply.errors);
                }
                Err(reason) => reasons.push(reason),
            }
        }
    }
    info!(id, "every shard has applied a request to delete series");
    // Should this fail, it is asked for again and does nothing.
    shared.meta_submit(&Command::FinishDelete { id }).await.map(drop)
}

async fn ask(
    shared: &Shared,
    node: u64,
    shards: Vec<u32>,
    delete: &[u8],
    deadline: Instant,
) -> Result<proto::DeleteReply, String> {
    let name = shared.node_name(node);
    let mut client = shared.peers.client(node).map_err(|e| format!("{name}: {e}"))?;
    let request = proto::DeleteRequest { to: shared.peers.to(node), shards, delete: delete.to_vec().into() };
    let reply = tokio::time::timeout(deadline.saturating_duration_since(Instant::now()), client.delete(request)).await;
    let reply = reply.map_err(|_| format!("{name}: no answer in time"))?;
    reply.map(tonic::Response::into_inner).map_err(|s| format!("{name}: {}", s.message()))
}
