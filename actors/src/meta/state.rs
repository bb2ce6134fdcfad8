//! The metadata that every node holds a copy of.
use std::collections::{BTreeMap, BTreeSet};

use super::demotion::DemotionTable;
use super::election::Elections;
use serde::{Deserialize, Serialize};
use trine_store::model::{SLOTS, Slot};

use super::spread::StreamPlaces;

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

/// A replica that another one takes the place of. It goes once raft's membership is without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeavingReplica {
    pub replica: u64,
    pub node: u64,
    /// The replica that takes its place; 0 when none does.
    pub successor: u64,
    /// Its files or its log are lost or damaged: it must not be opened again.
    pub lost: bool,
}

/// Where a shard's replicas are to be. The raft membership follows this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// Rises with every change of the replicas.
    pub generation: u64,
    /// The replica that initialises the group, once.
    pub founder: u64,
    pub replicas: Vec<ReplicaRecord>,
    /// Replicas that are being replaced: maybe still voters.
    pub leaving: Vec<LeavingReplica>,
}

impl ShardRecord {
    /// The replica that is to be on a node.
    pub fn on_node(&self, node: u64) -> Option<ReplicaRecord> {
        self.replicas.iter().copied().find(|r| r.node == node)
    }

    /// The replica that a node opens: the one that is to be there, or a sound one that others have yet to replace.
    pub fn opened_on(&self, node: u64) -> Option<ReplicaRecord> {
        let leaving = self.leaving.iter().find(|r| r.node == node && !r.lost);
        self.on_node(node).or(leaving.map(|r| ReplicaRecord { replica: r.replica, node }))
    }

    /// The replica and all leaving ones whose place it takes, directly or after others.
    pub fn place(&self, replica: u64) -> BTreeSet<u64> {
        let mut place = BTreeSet::from([replica]);
        // Each one's successor is newer, and they are noted in the order in which they left: backwards finds all of them.
        for before in self.leaving.iter().rev() {
            if place.contains(&before.successor) {
                place.insert(before.replica);
            }
        }
        place
    }

    /// Whether a lost replica is yet to be replaced, other than this one and those in whose place this one is.
    pub fn misses_another(&self, replica: u64) -> bool {
        let place = self.place(replica);
        self.leaving.iter().any(|r| r.lost && !place.contains(&r.replica))
    }

    /// Whether it is one of the shard's replicas, leaving ones included.
    pub fn knows(&self, replica: u64) -> bool {
        self.replicas.iter().any(|r| r.replica == replica) || self.leaving.iter().any(|r| r.replica == replica)
    }
}

/// A node that must not come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneNode {
    pub name: String,
    /// The node that took its place; 0 when it was removed.
    pub replaced_by: u64,
}

impl GoneNode {
    /// What it is told when it comes back.
    pub fn refusal(&self) -> String {
        let Self { name, replaced_by } = self;
        match replaced_by {
            0 => format!("node {name:?} was removed from the cluster; remove its data directory to join as a new node"),
            new => format!(
                "this incarnation of node {name:?} was replaced by node {new} when it had lost its disk; its data is of the past \
                 and must not come back: remove the data directory to join as a new node"
            ),
        }
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
    /// Replicas whose node has said that they exist on its disk. One of these that is not there any more is lost: it must
    /// never begin again under its id, since it may have voted.
    pub opened: BTreeSet<u64>,
    /// Nodes whose replicas are moved to others before they are forgotten.
    pub retiring: BTreeSet<u64>,
    /// Tombstones of nodes, by id.
    pub gone: BTreeMap<u64, GoneNode>,
    /// Replica ids, first and one behind the last, that were given away but are not known: the metadata was restored from
    /// an older copy. Their files are left alone.
    pub unknown_replicas: Vec<(u64, u64)>,
    /// Which log streams are spread over several slots, and up to when that is settled.
    pub places: StreamPlaces,
    /// Whose samples of pairs of agents are stored.
    pub elections: Elections,
    /// Requests to delete series that not every shard has applied, by id: encoded [`trine_store::limits::DeleteSeries`].
    pub deletes: BTreeMap<u64, Vec<u8>>,
    /// Labels that samples of some metrics lose.
    pub demotions: DemotionTable,
}

impl MetaState {
    /// Requests to delete series that may wait.
    pub const DELETES_MAX: usize = 256;
}

impl MetaState {
    /// The record of a shard, or of the metadata group.
    pub fn record(&self, shard: u32) -> Option<&ShardRecord> {
        if shard == super::META_SHARD { Some(&self.meta) } else { self.shards.get(&shard) }
    }

    /// Every group's record, the metadata group's last.
    pub fn records(&self) -> impl Iterator<Item = (u32, &ShardRecord)> {
        self.shards.iter().map(|(shard, record)| (*shard, record)).chain([(super::META_SHARD, &self.meta)])
    }

    /// Whether a replica was given away and is no more.
    pub fn is_gone(&self, replica: u64) -> bool {
        let unknown = self.unknown_replicas.iter().any(|(from, to)| (*from..*to).contains(&replica));
        !self.cluster.is_empty()
            && replica < self.next_replica
            && !unknown
            && !self.records().any(|(_, record)| record.knows(replica))
    }

    /// Why a node must not come back, if it must not.
    pub fn refusal(&self, node: u64) -> Option<String> {
        self.gone.get(&node).map(GoneNode::refusal)
    }

    /// Whether a replica of the metadata group is known to be none any more. A copy that lags does not know the newest ids
    /// yet: those are no evidence.
    pub fn has_dropped_meta(&self, replica: u64) -> bool {
        replica < self.next_replica && !self.meta.knows(replica)
    }

    /// The other node of this name, whose place a node takes when it joins.
    pub fn namesake(&self, node: u64, name: &str) -> Option<&NodeRecord> {
        self.nodes.values().find(|n| n.name == name && n.id != node)
    }

    /// The shard that owns a slot; 0 before the cluster exists.
    pub fn shard_of(&self, slot: Slot) -> u32 {
        debug_assert!(slot.0 < SLOTS);
        match self.slots.partition_point(|(first, _)| *first <= slot.0) {
            0 => 0,
            n => self.slots[n - 1].1,
        }
    }
}
