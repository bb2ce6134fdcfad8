//! One node of a cluster, from boot to stop.
mod boot;
mod shared;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use trine_query::scatter::Scatter;
use trine_store::model::Slot;
use trine_store::shard::PartOutcome;

use crate::config::ClusterConfig;
use crate::error::{Error, WriteError};
use crate::meta::MetaState;
use crate::router::Router;
use crate::rpc::proto;
use crate::scatter::ClusterScatter;

pub(crate) use shared::remember;
pub use shared::{Shared, resident_bytes};

/// How long admin calls wait for a node.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a flush waits for a node: it writes and syncs blocks.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(90);

/// A running node; cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
    tasks: Arc<tokio::sync::Mutex<Vec<JoinHandle<()>>>>,
}

/// What a flush did.
#[derive(Clone, Debug, Default)]
pub struct Flushed {
    pub shards_sealed: u32,
    pub errors: Vec<String>,
}

/// A node as the admin API shows it.
#[derive(Clone, Debug)]
pub struct NodeView {
    pub record: crate::meta::NodeRecord,
    pub alive: bool,
    /// `Err` says why the node did not answer.
    pub status: Result<proto::StatusReply, String>,
}

impl Cluster {
    /// Opens the data directory, listens, gossips; goes on joining or creating a cluster in the background. Call
    /// [`Self::ready`] to see how far it is.
    pub async fn start(config: ClusterConfig) -> Result<Self, Error> {
        boot::start(config).await
    }

    /// Writes the parts of one request: see [`Router::write`].
    pub async fn write(&self, parts: Vec<(u32, Bytes)>) -> Result<Vec<PartOutcome>, WriteError> {
        Router::new(self.shared.clone()).write(parts).await
    }

    pub fn scatter(&self) -> Arc<dyn Scatter> {
        Arc::new(ClusterScatter::new(self.shared.clone()))
    }

    /// The shard of a slot; 0 before the node belongs to a cluster.
    pub fn shard_of(&self, slot: Slot) -> u32 {
        self.shared.meta().shard_of(slot)
    }

    /// `Err` says why this node cannot serve yet.
    pub fn ready(&self) -> Result<(), String> {
        self.shared.ready()
    }

    pub fn meta(&self) -> Arc<MetaState> {
        self.shared.meta()
    }

    pub fn node_id(&self) -> u64 {
        self.shared.node_id()
    }

    pub fn config(&self) -> &ClusterConfig {
        &self.shared.config
    }

    /// Counters of the write-ahead log.
    pub fn wal_stats(&self) -> trine_store::wal::WalStats {
        self.shared.wal.stats()
    }

    /// Bytes in heads that are not sealed yet.
    pub fn heads_bytes(&self) -> u64 {
        self.shared.budget.heads_bytes()
    }

    /// This node's own status.
    pub fn own_status(&self) -> proto::StatusReply {
        self.shared.status()
    }

    /// Every node of the cluster with its status, asked at once.
    pub async fn nodes(&self) -> Vec<NodeView> {
        let (meta, live, me) = (self.shared.meta(), self.shared.live(), self.shared.node_id());
        let asks = meta.nodes.values().map(|record| {
            let alive = record.id == me || live.contains_key(&record.id);
            async move {
                let status = if record.id == me { Ok(self.shared.status()) } else { self.ask_status(record.id).await };
                NodeView { record: record.clone(), alive, status }
            }
        });
        join_all(asks).await
    }

    async fn ask_status(&self, node: u64) -> Result<proto::StatusReply, String> {
        let mut client = self.shared.peers.client(node)?;
        let ask = client.status(proto::StatusRequest { to: self.shared.peers.to(node) });
        let reply = tokio::time::timeout(ADMIN_TIMEOUT, ask).await.map_err(|_| "no answer in time".to_owned())?;
        reply.map(tonic::Response::into_inner).map_err(|s| s.message().to_owned())
    }

    /// Seals every shard of the cluster and waits until all blocks are durable.
    pub async fn flush(&self) -> Flushed {
        let meta = self.shared.meta();
        let asks = meta.nodes.keys().map(|&node| async move {
            let mut client = self.shared.peers.client(node)?;
            let ask = client.flush(proto::FlushRequest { to: self.shared.peers.to(node) });
            let reply = tokio::time::timeout(FLUSH_TIMEOUT, ask).await.map_err(|_| "no answer in time".to_owned())?;
            reply.map(tonic::Response::into_inner).map_err(|s| s.message().to_owned())
        });
        let mut flushed = Flushed::default();
        let results: BTreeMap<u64, Result<proto::FlushReply, String>> =
            meta.nodes.keys().copied().zip(join_all(asks).await).collect();
        for (node, result) in results {
            match result {
                Ok(reply) => {
                    flushed.shards_sealed += reply.shards_sealed;
                    flushed.errors.extend(reply.errors);
                }
                Err(reason) => flushed.errors.push(format!("node {}: {reason}", self.shared.node_name(node))),
            }
        }
        flushed
    }

    /// Refuses new work, hands over leaders, closes replicas, raft and the log. Nothing acknowledged is lost either way.
    pub async fn stop(&self) {
        self.shared.stopping.send_replace(true);
        if let Some(gossip) = self.shared.gossip.get() {
            gossip.announce(&self.shared.cluster_id(), false);
        }
        let tasks = std::mem::take(&mut *self.tasks.lock().await);
        for task in tasks {
            if let Err(error) = task.await
                && !error.is_cancelled()
            {
                tracing::warn!(%error, "a task ended badly");
            }
        }
        if let Some(multi) = self.shared.multi.get() {
            multi.stop().await;
        }
        if let Some(gossip) = self.shared.gossip.get() {
            gossip.stop();
        }
    }

    /// Turns true when the node begins to stop.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.shared.stopping.subscribe()
    }
}
