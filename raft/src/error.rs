//! What can go wrong, by operation.

use std::io;
use std::path::PathBuf;

use crate::ids::{GroupId, NodeId, ReplicaId};

/// Opening, changing or stopping a group.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings that contradict each other.
    #[error("invalid raft settings: {0}")]
    Config(String),
    /// The runtime's threads could not be started.
    #[error("start the raft runtime")]
    Runtime(#[source] io::Error),
    /// This node has the group open already.
    #[error("{group} is open already")]
    AlreadyOpen {
        /// The group.
        group: GroupId,
    },
    /// The store belongs to another cluster, group or replica. A wiped replica must come back under a new id.
    #[error("the store is of {found}, not of {expected}")]
    WrongIdentity {
        /// Whose it should be.
        expected: String,
        /// Whose it is.
        found: String,
    },
    /// The metadata store cannot be opened. This node must be replaced under a new id.
    #[error("the metadata store is broken: {0}")]
    Broken(String),
    /// The metadata store is open elsewhere.
    #[error("{} is in use", dir.display())]
    InUse {
        /// Its directory.
        dir: PathBuf,
    },
    /// The log or the machine could not be read.
    #[error("recover {group}")]
    Recover {
        /// The group.
        group: GroupId,
        /// Why.
        source: io::Error,
    },
    /// This replica does not lead, so it cannot do that.
    #[error("not the leader; {leader:?} is")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<(ReplicaId, NodeId)>,
    },
    /// The membership cannot be changed like that, or not now.
    #[error("membership: {0}")]
    Membership(String),
    /// The group was stopped.
    #[error("the group is stopped")]
    Stopped,
    /// The group stopped itself on an error.
    #[error("the group failed: {0}")]
    Fatal(String),
}

/// A proposal that is not in the state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Not proposed: this replica does not lead.
    #[error("not the leader; {leader:?} is")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<(ReplicaId, NodeId)>,
    },
    /// Proposed, but the leader changed. It may still be committed or not: repeat it under the same key.
    #[error("the leader changed, the outcome is unknown")]
    Unknown {
        /// Who leads now, if known.
        leader: Option<(ReplicaId, NodeId)>,
    },
    /// Not proposed: too many proposals wait.
    #[error("too many proposals wait")]
    Busy,
    /// The group was stopped. If it was proposed, the outcome is unknown.
    #[error("the group is stopped")]
    Stopped,
    /// The group stopped itself on an error. If it was proposed, the outcome is unknown.
    #[error("the group failed: {0}")]
    Fatal(String),
}

/// Why there is no read point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no read point ({reason}); the leader may be {leader:?}")]
pub struct NotLeader {
    /// Who leads as far as known here; possibly this replica.
    pub leader: Option<(ReplicaId, NodeId)>,
    /// What was missing.
    pub reason: NoReadPoint,
}

/// What a read point lacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReadPoint {
    /// The group is not open on this node.
    #[error("not open here")]
    NotOpen,
    /// Another replica leads, or none.
    #[error("not the leader")]
    NotLeader,
    /// Just elected: nothing of its own term is applied yet. Ask again.
    #[error("nothing applied yet in this term")]
    NotApplied,
    /// No majority said in time that it follows.
    #[error("no majority answered")]
    NoMajority,
}
