//! Documents of the admin REST. Field names are part of the API: add, never rename.
use serde::{Deserialize, Serialize};
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
