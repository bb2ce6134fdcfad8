//! Documents of the admin REST. Field names are part of the API: add, never rename.
mod blocks;
mod cardinality;
mod demotion;
mod ledger;
mod spread;

pub use blocks::{AdminBlock, AdminBlockWindow, AdminBlocks, AdminCompaction, AdminRoom, AdminShardBlocks};
pub use cardinality::{
    AdminCardinality, AdminLabelCardinality, AdminMetricCardinality, AdminOffender, AdminPairCardinality,
    AdminTenantCardinality,
};
pub use demotion::{AdminDemotion, AdminDemotions, DemotionOutcome, DemotionRequest, RestoreRequest};
pub use ledger::{
    AdminBooks, AdminBooksRow, AdminImbalance, AdminIntake, AdminIntakeRow, AdminLedger, AdminLedgerRow, AdminRejected,
    AdminVerification, AdminVerificationNode, AdminVerifiedRow,
};
use serde::{Deserialize, Serialize};
pub use spread::{AdminSpread, AdminSpreads, SpreadRequest};
use utoipa::ToSchema;

/// The cluster as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminCluster {
    /// Cluster id, hex.
    pub id: String,
    /// Name of the node that answered.
    pub node: String,
    /// Version of the binary that answered.
    pub version: String,
    /// Feature level that the whole cluster has agreed on.
    pub feature_level: u32,
    pub nodes_count: u32,
    pub shards_count: u32,
    /// Wanted number of replicas of a shard.
    pub replicas: u32,
    /// Leader of the metadata group, if known.
    pub metadata_leader: Option<String>,
    /// Shards without a known leader: empty when all is well.
    pub shards_without_leader: Vec<u32>,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminNode {
    pub id: u64,
    pub name: String,
    /// `host:port` of its node-to-node listener.
    pub address: String,
    /// `host:port` of its main HTTP listener, if known.
    pub http_address: Option<String>,
    pub zone: String,
    pub version: String,
    /// By gossip: a hint.
    pub alive: bool,
    pub ready: bool,
    pub leaders_count: u32,
    pub replicas_count: u32,
    /// Resident memory of the process, and its budget.
    pub memory_bytes: u64,
    pub memory_budget_bytes: u64,
    /// Under the data directory, and free on its file system.
    pub disk_used_bytes: u64,
    pub disk_free_bytes: u64,
    /// It takes no writes, since less than `storage.disk_reserve_bytes` is free.
    #[serde(default)]
    pub disk_full: bool,
}

/// One replica of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminReplica {
    pub replica: u64,
    pub node: String,
    pub voter: bool,
    /// Log index up to which the leader knows this replica to match; none where this node is not the leader.
    pub matched: Option<u64>,
}

/// One shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminShard {
    pub shard: u32,
    pub leader: Option<String>,
    pub term: u64,
    pub replicas: Vec<AdminReplica>,
    pub last_log: Option<u64>,
    pub committed: Option<u64>,
    pub applied: Option<u64>,
    pub slots_count: u32,
    /// Bytes in this node's heads of the shard, if it has a replica.
    pub head_bytes: Option<u64>,
    /// Sealed blocks on this node, if it has a replica.
    pub blocks_count: Option<u64>,
    pub blocks_bytes: Option<u64>,
}

/// Something that was found damaged, and how far it is healed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminHealingRecord {
    /// Unique on its node.
    pub id: u64,
    pub node: String,
    /// Wall clock of that node, ms.
    pub found_ms: u64,
    pub changed_ms: u64,
    /// `replica`, `block`, `wal` or `metadata`.
    pub kind: String,
    /// `quarantined`, `healing`, `healed` or `failed`.
    pub state: String,
    pub shard: Option<u32>,
    /// What it is, as `replica 17` or a file.
    pub what: String,
    /// Why, in one word, as in the metrics.
    pub reason: String,
    /// What heals it and how far that is, or what to do.
    pub detail: String,
    /// Where its files are, under `quarantine` in the node's data directory; none when there are none.
    pub files: Option<String>,
}

/// A replica that another one takes the place of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminReplacement {
    /// None for the metadata group.
    pub shard: Option<u32>,
    pub replica: u64,
    /// Its node; one that is gone is named by its id.
    pub node: String,
    /// It is damaged or its disk is lost; otherwise its node is being emptied.
    pub lost: bool,
    pub successor: u64,
    pub successor_node: Option<String>,
    /// The log index that the new replica has reached, and the leader's; none where they do not answer.
    pub matched: Option<u64>,
    pub last_log: Option<u64>,
}

/// What was found damaged in the cluster, and what is being replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminHealing {
    /// Of every node that answers, newest first.
    pub records: Vec<AdminHealingRecord>,
    /// Replacements in progress.
    pub replacing: Vec<AdminReplacement>,
    /// Nodes that are being emptied.
    pub retiring: Vec<String>,
    /// Nodes that do not answer: what is wrong with them is not in this list.
    pub silent: Vec<String>,
}

/// A node that was asked to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemovedNode {
    pub id: u64,
    pub name: String,
    /// Replicas that others take over first; `GET /admin/v1/healing` shows how far that is.
    pub replicas_count: u32,
}

/// What a flush did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlushReport {
    /// Shards that were sealed.
    pub shards: Vec<u32>,
    pub blocks_count: u64,
    pub bytes: u64,
}

/// The scrub of every node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminScrub {
    /// By name.
    pub nodes: Vec<AdminScrubNode>,
}

/// A node's scrub: the running one, or the last since the node started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminScrubNode {
    pub node: String,
    /// Why the node did not answer; then all else is empty.
    pub unreachable: Option<String>,
    pub running: bool,
    /// By the schedule and not by request.
    pub scheduled: bool,
    /// Unix time; none when there was no scrub.
    pub started_unix_ms: Option<u64>,
    /// None while running.
    pub finished_unix_ms: Option<u64>,
    pub shards_total: u64,
    pub shards_done: u64,
    pub blocks_total: u64,
    pub blocks_done: u64,
    pub bytes_total: u64,
    pub bytes_done: u64,
    /// Blocks whose file is not what was written.
    pub damaged: u64,
    /// Blocks on which the replicas do not agree.
    pub disagreeing: u64,
    /// Scrubs that ended since the node started.
    pub runs: u64,
    /// What was found, the first few hundred.
    pub findings: Vec<AdminScrubFinding>,
    /// What could not be checked, and why.
    pub errors: Vec<String>,
}

/// Something that a scrub found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminScrubFinding {
    pub shard: u32,
    pub file: String,
    pub text: String,
}
