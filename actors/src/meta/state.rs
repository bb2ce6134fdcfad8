//! The metadata that every node holds a copy of.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trine_store::model::{SLOTS, Slot};

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    pub id: u64,
    pub name: String,
    /// `host:port` of node-to-node gRPC.
    pub rpc: String,
    /// `host:port` of the HTTP API.
    pub http: String,
    pub zone: String,
    pub version: String,
}

/// A replica of a group: its id belongs to this group and this incarnation of the node, and is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    pub replica: u64,
    pub node: u64,
}

/// Where a shard's replicas are to be. The raft membership follows this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// Rises with every change of the replicas.
    pub generation: u64,
    /// The replica that initialises the group, once.
    pub founder: u64,
    pub replicas: Vec<ReplicaRecord>,
}

impl ShardRecord {
    pub fn on_node(&self, node: u64) -> Option<ReplicaRecord> {
        self.replicas.iter().copied().find(|r| r.node == node)
    }
}

/// State of the metadata group. Empty until [`super::Command::CreateCluster`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaState {
    pub cluster: String,
    pub nodes: BTreeMap<u64, NodeRecord>,
    pub shards: BTreeMap<u32, ShardRecord>,
    /// (first slot, shard), sorted: a shard has the slots up to the next entry.
    pub slots: Vec<(u16, u32)>,
    /// Rises with every change of `slots`.
    pub slots_generation: u64,
    /// The metadata group's own replicas.
    pub meta: ShardRecord,
    pub next_replica: u64,
}

impl MetaState {
    /// The shard that owns a slot; 0 before the cluster exists.
    pub fn shard_of(&self, slot: Slot) -> u32 {
        debug_assert!(slot.0 < SLOTS);
        match self.slots.partition_point(|(first, _)| *first <= slot.0) {
            0 => 0,
            n => self.slots[n - 1].1,
        }
    }
}
