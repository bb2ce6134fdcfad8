//! The cluster as the API surfaces see it.
mod blocks;
mod healing;
mod ledger;
mod spread;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use trine_actors::Cluster;
use trine_actors::cluster::{DeleteError, NodeView, ScrubView};
use trine_actors::meta::{Claim, ClaimError, META_SHARD, PAIRS_MAX};
use trine_actors::rpc::proto::{ReplicaStatus, ScrubFinding};
use trine_api::admin::model::{
    AdminBlocks, AdminCluster, AdminHealing, AdminLedger, AdminNode, AdminReplica, AdminScrub, AdminScrubFinding,
    AdminScrubNode, AdminShard, AdminSpreads, AdminVerification, FlushReport, RemovedNode,
};
use trine_api::backend::NotRemoved;
use trine_api::{Backend, Election, ReplicaClaim, ShardPart, Troubles, WriteError};
use trine_query::memory::QueryMemory;
use trine_query::scatter::Scatter;
use trine_store::index::Matcher;
use trine_store::limits::DeleteSeries;
use trine_store::model::{Demotion, LabelOfMetric, Labels, SLOTS, Signal, Slot, Spreads, TenantDemotions};
use trine_store::shard::PartOutcome;

/// After this a request whose replica could not be elected may come again: the metadata group has a leader by then.
const ELECTION_PAUSE: Duration = Duration::from_secs(2);

/// How long a request waits for blocks to be rewritten, and when to ask again.
const CLEAN_PATIENCE: Duration = Duration::from_secs(60);
const CLEAN_PAUSE: Duration = Duration::from_secs(10);

/// [`Backend`] over a running [`Cluster`].
pub(crate) struct ClusterBackend {
    cluster: Cluster,
    scatter: Arc<dyn Scatter>,
}

impl ClusterBackend {
    pub(crate) fn new(cluster: Cluster) -> Self {
        let scatter = cluster.scatter();
        Self { cluster, scatter }
    }
}

fn write_error(error: trine_actors::WriteError) -> WriteError {
    use trine_actors::WriteError as E;
    match error {
        E::Busy { retry_after, .. } => WriteError::Busy { retry_after },
        E::Unavailable { retry_after, .. } | E::DiskFull { retry_after, .. } => {
            WriteError::Unavailable { reason: error.to_string(), retry_after }
        }
        E::Invalid { reason } => WriteError::Invalid(reason),
    }
}

fn delete_error(error: DeleteError) -> WriteError {
    match error {
        DeleteError::Refused(reason) => WriteError::Invalid(reason),
        DeleteError::NotRecorded(_) | DeleteError::NotYet(_) => {
            WriteError::Unavailable { reason: error.to_string(), retry_after: Duration::from_secs(1) }
        }
    }
}

/// Statuses of one shard's replicas: (node name, status).
fn replicas_of(nodes: &[NodeView], shard: u32) -> Vec<(&str, &ReplicaStatus)> {
    let answered = nodes.iter().filter_map(|n| Some((n.record.name.as_str(), n.status.as_ref().ok()?)));
    answered.filter_map(|(name, s)| Some((name, s.replicas.iter().find(|r| r.shard == shard)?))).collect()
}

fn scrub_node(view: ScrubView) -> AdminScrubNode {
    let node = view.record.name;
    let p = match view.progress {
        Ok(progress) => progress,
        Err(reason) => return AdminScrubNode { node, unreachable: Some(reason), ..AdminScrubNode::default() },
    };
    let finding = |f: ScrubFinding| AdminScrubFinding { shard: f.shard, file: f.file, text: f.text };
    let time = |ms: u64| (ms != 0).then_some(ms);
    AdminScrubNode {
        node,
        unreachable: None,
        running: p.running,
        scheduled: p.scheduled,
        started_unix_ms: time(p.started_unix_ms),
        finished_unix_ms: time(p.finished_unix_ms),
        shards_total: p.shards_total,
        shards_done: p.shards_done,
        blocks_total: p.blocks_total,
        blocks_done: p.blocks_done,
        bytes_total: p.bytes_total,
        bytes_done: p.bytes_done,
        damaged: p.damaged,
        disagreeing: p.disagreeing,
        runs: p.runs,
        findings: p.findings.into_iter().map(finding).collect(),
        errors: p.errors,
    }
}

#[async_trait]
impl Backend for ClusterBackend {
    fn shard_of(&self, slot: Slot) -> u32 {
        self.cluster.shard_of(slot)
    }

    fn demotions(&self, tenant: &str) -> Option<TenantDemotions> {
        self.cluster.demotions().of(tenant)
    }

    fn spreads(&self) -> Spreads {
        self.cluster.spreads()
    }

    fn room_from_ms(&self, signal: Signal) -> i64 {
        self.cluster.room_from_ms(signal)
    }

    async fn settle(&self, time_ns: i64) -> Result<(), WriteError> {
        let unavailable = |reason| WriteError::Unavailable { reason, retry_after: Duration::from_secs(1) };
        self.cluster.settle(time_ns).await.map_err(unavailable)
    }

    async fn write(&self, parts: Vec<ShardPart>) -> Result<Vec<PartOutcome>, WriteError> {
        let parts = parts.into_iter().map(|p| (p.shard, p.part)).collect();
        self.cluster.write(parts).await.map_err(write_error)
    }

    async fn elect(&self, claim: &ReplicaClaim) -> Result<Election, WriteError> {
        let ReplicaClaim { tenant, cluster, replica, now_ms, failover_ms, renew_ms } = claim.clone();
        let claim = Claim { tenant, cluster, replica, received_ms: now_ms, failover_ms };
        let claimant = claim.replica.clone();
        match self.cluster.elect(claim, renew_ms).await {
            Ok(elected) if elected == claimant => Ok(Election::Elected),
            Ok(elected) => Ok(Election::Other(elected)),
            Err(reason) if reason == ClaimError::TooMany.to_string() => Ok(Election::TooMany(PAIRS_MAX)),
            Err(reason) if reason == ClaimError::TooLong.to_string() => Err(WriteError::Invalid(reason)),
            Err(reason) => Err(WriteError::Unavailable { reason, retry_after: ELECTION_PAUSE }),
        }
    }

    fn reject(&self, tenant: &str, signal: Signal, reason: &'static str, facts: u64) {
        self.cluster.reject(tenant, signal, reason, facts);
    }

    fn scatter(&self) -> Arc<dyn Scatter> {
        self.scatter.clone()
    }

    fn query_memory(&self) -> &QueryMemory {
        self.cluster.query_memory()
    }

    fn ready(&self) -> Result<(), String> {
        self.cluster.ready()
    }

    fn serving(&self) -> Result<(), String> {
        self.cluster.serving()
    }

    fn troubles(&self) -> Troubles {
        let replicas: Vec<ReplicaStatus> = self.cluster.own_status().replicas;
        let shards = |is: fn(&ReplicaStatus) -> bool| {
            let mut shards: Vec<u32> =
                replicas.iter().filter(|r| r.shard != META_SHARD && is(r)).map(|r| r.shard).collect();
            shards.sort_unstable();
            shards
        };
        Troubles {
            is_stopping: *self.cluster.stopping().borrow(),
            is_disk_full: self.cluster.disk().is_full(),
            leaderless: shards(|r| r.leader_replica == 0),
            damaged: shards(|r| r.blocks_lost > 0),
        }
    }

    async fn delete_series(
        &self,
        tenant: &str,
        matchers: Vec<Matcher>,
        (min_ms, max_ms): (i64, i64),
    ) -> Result<(), WriteError> {
        // The cluster draws the id.
        let delete = DeleteSeries { id: 0, tenant: tenant.into(), matchers, min_ms, max_ms };
        self.cluster.delete_series(delete).await.map_err(delete_error)
    }

    async fn clean_tombstones(&self) -> Result<(), WriteError> {
        let cleaned = self.cluster.clean_tombstones(CLEAN_PATIENCE).await;
        cleaned.map_err(|reason| WriteError::Unavailable { reason, retry_after: CLEAN_PAUSE })
    }

    async fn snapshot(&self, time: &str, skip_heads: bool) -> Result<String, String> {
        self.cluster.snapshot_blocks(time, skip_heads).await
    }

    async fn cluster(&self) -> AdminCluster {
        let (meta, nodes) = (self.cluster.meta(), self.cluster.nodes().await);
        let leader_of = |shard: u32| replicas_of(&nodes, shard).into_iter().find(|(_, r)| r.leads);
        AdminCluster {
            id: meta.cluster.clone(),
            node: self.cluster.config().node_name.clone(),
            version: self.cluster.config().version.clone(),
            feature_level: 1,
            nodes_count: meta.nodes.len() as u32,
            shards_count: meta.shards.len() as u32,
            replicas: self.cluster.config().replication_factor as u32,
            metadata_leader: leader_of(META_SHARD).map(|(name, _)| name.to_owned()),
            shards_without_leader: meta.shards.keys().copied().filter(|s| leader_of(*s).is_none()).collect(),
        }
    }

    async fn nodes(&self) -> Vec<AdminNode> {
        let mut nodes = self.cluster.nodes().await;
        nodes.sort_by(|a, b| a.record.name.cmp(&b.record.name));
        nodes
            .into_iter()
            .map(|n| {
                let status = n.status.unwrap_or_default();
                AdminNode {
                    id: n.record.id,
                    name: n.record.name,
                    address: n.record.rpc,
                    http_address: Some(n.record.http).filter(|h| !h.is_empty()),
                    zone: n.record.zone,
                    version: n.record.version,
                    alive: n.alive,
                    ready: status.ready,
                    leaders_count: status.replicas.iter().filter(|r| r.leads && r.shard != META_SHARD).count() as u32,
                    replicas_count: status.replicas.iter().filter(|r| r.shard != META_SHARD).count() as u32,
                    memory_bytes: status.memory_bytes,
                    memory_budget_bytes: status.memory_budget_bytes,
                    disk_used_bytes: status.disk_used_bytes,
                    disk_free_bytes: status.disk_free_bytes,
                    disk_full: status.disk_full,
                }
            })
            .collect()
    }

    async fn shards(&self) -> Vec<AdminShard> {
        let (meta, nodes) = (self.cluster.meta(), self.cluster.nodes().await);
        let slots_of = |shard: u32| (0..SLOTS).filter(|s| meta.shard_of(Slot(*s)) == shard).count() as u32;
        meta.shards
            .iter()
            .map(|(&shard, record)| {
                let replicas = replicas_of(&nodes, shard);
                let leader = replicas.iter().find(|(_, r)| r.leads);
                // Without a leader, what the replica says that has heard of the newest term.
                let newest = leader.or_else(|| replicas.iter().max_by_key(|(_, r)| (r.term, r.applied_index)));
                let name_of = |node: u64| meta.nodes.get(&node).map_or_else(|| node.to_string(), |n| n.name.clone());
                AdminShard {
                    shard,
                    leader: leader.map(|(name, _)| (*name).to_owned()),
                    term: newest.map_or(0, |(_, r)| r.term),
                    replicas: record
                        .replicas
                        .iter()
                        .map(|r| AdminReplica {
                            replica: r.replica,
                            node: name_of(r.node),
                            voter: newest.is_some_and(|(_, l)| l.voters.contains(&r.replica)),
                            matched: replicas
                                .iter()
                                .find(|(_, s)| s.replica == r.replica)
                                .map(|(_, s)| s.applied_index),
                        })
                        .collect(),
                    last_log: newest.map(|(_, r)| r.last_index),
                    committed: newest.map(|(_, r)| r.applied_index),
                    applied: newest.map(|(_, r)| r.applied_index),
                    slots_count: slots_of(shard),
                    head_bytes: newest.map(|(_, r)| r.head_bytes),
                    blocks_count: newest.map(|(_, r)| r.blocks_count),
                    blocks_bytes: newest.map(|(_, r)| r.blocks_bytes),
                }
            })
            .collect()
    }

    async fn scrub(&self, start: bool) -> AdminScrub {
        let mut nodes: Vec<_> = self.cluster.scrub(start).await.into_iter().map(scrub_node).collect();
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        AdminScrub { nodes }
    }

    async fn flush(&self) -> Result<FlushReport, String> {
        if self.cluster.meta().shards.is_empty() {
            let why = self.cluster.ready().err().unwrap_or_else(|| "it knows no shards".to_owned());
            return Err(format!("nothing was flushed, this node is {why}"));
        }
        let flushed = self.cluster.flush().await;
        if !flushed.errors.is_empty() {
            return Err(flushed.errors.join("; "));
        }
        let shards = self.shards().await;
        Ok(FlushReport {
            shards: shards.iter().map(|s| s.shard).collect(),
            blocks_count: shards.iter().filter_map(|s| s.blocks_count).sum(),
            bytes: shards.iter().filter_map(|s| s.blocks_bytes).sum(),
        })
    }

    async fn blocks(&self, tenant: Option<&str>) -> AdminBlocks {
        blocks::blocks(&self.cluster, tenant).await
    }

    async fn ledger(&self) -> AdminLedger {
        ledger::ledger(self.cluster.ledger(false, true).await)
    }

    async fn verify_ledger(&self, start: bool) -> AdminVerification {
        let answers = self.cluster.ledger(start, false).await;
        let (meta, nodes) = (self.cluster.meta(), self.cluster.nodes().await);
        let leads = |shard: &u32| replicas_of(&nodes, *shard).iter().any(|(_, replica)| replica.leads);
        ledger::verification(answers, meta.shards.keys().copied().filter(|shard| !leads(shard)).collect())
    }

    async fn spread_streams(&self) -> AdminSpreads {
        spread::spreads(&self.cluster)
    }

    async fn spread_stream(&self, tenant: &str, stream: &Labels, slots: u16, from_ns: i64) -> Result<i64, String> {
        self.cluster.spread(tenant, stream.as_bytes(), slots, from_ns).await
    }

    fn demoted_labels(&self) -> Vec<Demotion> {
        self.cluster.demotion_rows()
    }

    async fn demote(&self, what: &LabelOfMetric) -> Result<i64, String> {
        self.cluster.demote(what).await
    }

    async fn restore(&self, what: &LabelOfMetric) -> Result<i64, String> {
        self.cluster.restore(what).await
    }

    async fn healing(&self) -> AdminHealing {
        healing::view(&self.cluster).await
    }

    async fn remove_node(&self, name: &str, drain: bool) -> Result<RemovedNode, NotRemoved> {
        if !self.cluster.meta().nodes.values().any(|n| n.name == name) {
            return Err(NotRemoved::unknown(name));
        }
        let id = self.cluster.remove_node(name, drain).await.map_err(NotRemoved::Refused)?;
        let held = self.cluster.meta().records().filter(|(_, r)| r.on_node(id).is_some()).count();
        Ok(RemovedNode { id, name: name.to_owned(), replicas_count: held as u32 })
    }

    async fn export_metadata(&self) -> Result<Vec<u8>, String> {
        self.cluster.export_metadata()
    }
}
