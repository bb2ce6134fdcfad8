//! Documents of `/admin/v1/blocks`.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The sealed blocks of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminBlocks {
    /// By number; a shard of which no replica answers is not among them.
    pub shards: Vec<AdminShardBlocks>,
    /// Shards of which no replica answers.
    pub silent_shards: Vec<u32>,
    /// Signals of which the oldest blocks go, since there is no room for them.
    pub room: Vec<AdminRoom>,
}

/// From when on there is room for a signal's facts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminRoom {
    /// `metrics`, `logs` or `traces`.
    pub signal: String,
    /// Facts before this time go, in Unix ms.
    pub from_unix_ms: i64,
}

/// The blocks of a shard, as one of its replicas has them: its leader if that answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminShardBlocks {
    pub shard: u32,
    /// Whose replica it is.
    pub node: String,
    /// Log index up to which the blocks go.
    pub position: u64,
    /// Deletions that are not carried out in all blocks yet.
    pub tombstones: u64,
    /// By signal and time.
    pub windows: Vec<AdminBlockWindow>,
    /// Compactions that replicas have noted and not carried out, by node and log index.
    pub compactions: Vec<AdminCompaction>,
}

/// The blocks of one signal and level in one window of time. A block belongs to the window of its newest fact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminBlockWindow {
    /// `metrics`, `logs` or `traces`.
    pub signal: String,
    /// 1: sealed; 2: merged before its window was over; 3 and more: merged for the windows of the settings, shortest first.
    pub level: u32,
    /// Begin of the window, in Unix ms, and its length.
    pub start_unix_ms: i64,
    pub length_s: u64,
    pub blocks_count: u64,
    /// Samples, lines or spans.
    pub rows: u64,
    pub bytes: u64,
    /// Of the oldest and newest fact, in Unix ms.
    pub min_unix_ms: i64,
    pub max_unix_ms: i64,
    /// Deletions that these blocks may still have samples of.
    pub tombstones: u64,
    /// Blocks that are damaged or missing, and not healed yet.
    pub damaged: u64,
    pub blocks: Vec<AdminBlock>,
}

/// One block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminBlock {
    pub file: String,
    pub bytes: u64,
    pub rows: u64,
    /// Series or streams.
    pub series: u64,
    /// In Unix ms, both inclusive.
    pub min_unix_ms: i64,
    pub max_unix_ms: i64,
    /// Of the content, hex: the same on every replica.
    pub digest: String,
    /// Log index of the entry that made it.
    pub made_at: u64,
}

/// A compaction that a replica has noted and not carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminCompaction {
    pub node: String,
    /// Its log index.
    pub index: u64,
    pub signal: String,
    /// Of the windows that it is for.
    pub length_s: u64,
    /// Blocks that become one.
    pub inputs: u64,
    /// Whether all of them are there; otherwise it waits for a seal, another compaction, or for a block to be healed.
    pub ready: bool,
}
