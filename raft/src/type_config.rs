//! openraft's type parameters, and conversions between its types and ours.

use std::fmt;

use bytes::Bytes;
use openraft::type_config::alias::{SnapshotMetaOf, StoredMembershipOf};
use openraft::vote::RaftLeaderId;

use crate::ids::{NodeId, Position};
use crate::state_machine::StateMachine;

/// A proposal: opaque bytes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A member of a group: the node that its replica lives on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) node: u64,
}

openraft::declare_raft_types!(
    pub(crate) TypeConfig:
        D = Command,
        R = Bytes,
        NodeId = u64,
        Node = Member,
);

/// A snapshot as openraft carries it: small, so in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShippedSnapshot {
    /// The node that serves the files.
    pub(crate) source: NodeId,
    pub(crate) id: String,
    pub(crate) manifest: Bytes,
}

pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;
pub(crate) type RaftMetrics = openraft::RaftMetrics<TypeConfig>;
pub(crate) type LogId = openraft::LogId<LeaderId>;
pub(crate) type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type Entry = openraft::Entry<LeaderId, EntryPayload>;
pub(crate) type EntryPayload = openraft::EntryPayload<Command, u64, Member>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, ShippedSnapshot>;

pub(crate) fn from_log_id(log_id: &LogId) -> Position {
    let leader = log_id.committed_leader_id();
    Position { term: leader.term, leader: leader.node_id, index: log_id.index() }
}

pub(crate) fn to_log_id(position: &Position) -> LogId {
    LogId::new(LeaderId::new(position.term, position.leader).to_committed(), position.index)
}
