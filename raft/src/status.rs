//! What a group looks like from here.

use std::collections::{BTreeMap, BTreeSet};

use openraft::ServerState;
use openraft::errors::Fatal;

use crate::ids::{NodeId, Position, ReplicaId};
use crate::type_config::{RaftMetrics, TypeConfig, from_log_id};

/// A group as this replica sees it. Followed with [`crate::Group::watch`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStatus {
    /// Who leads, if known, and on which node.
    pub leader: Option<(ReplicaId, NodeId)>,
    /// Whether this replica leads. It may have been overthrown since: see [`crate::Multi::confirm`].
    pub is_leader: bool,
    /// The newest term seen.
    pub term: u64,
    /// Index of the last entry in the log.
    pub last_log: Option<u64>,
    /// The last position known here to be committed.
    pub committed: Option<Position>,
    /// The last applied position.
    pub applied: Option<Position>,
    /// The newest snapshot's position.
    pub snapshot: Option<Position>,
    /// The last purged position.
    pub purged: Option<Position>,
    /// Voters and their nodes; of both sets while a change is in progress.
    pub voters: BTreeMap<ReplicaId, NodeId>,
    /// The voter sets, newest last: two while a change is in progress.
    pub voter_sets: Vec<BTreeSet<ReplicaId>>,
    /// Learners and their nodes.
    pub learners: BTreeMap<ReplicaId, NodeId>,
    /// Where the membership above is in the log.
    pub membership: Option<Position>,
    /// On the leader: how far each other member's log is known to match.
    pub matched: BTreeMap<ReplicaId, Option<Position>>,
    /// Why the group stopped, if it did. It will do nothing more: close it, and open it again.
    pub stopped: Option<Stopped>,
}

/// Why a group stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// It was asked to.
    #[error("it was closed")]
    Closed,
    /// Its log or its machine failed.
    #[error("{0}")]
    Failed(String),
    /// Its task panicked: a defect of the program, met before anything wrong was written.
    #[error("its raft core panicked")]
    Panicked,
}

impl Stopped {
    fn from_fatal(fatal: &Fatal<TypeConfig>) -> Self {
        match fatal {
            Fatal::Stopped => Self::Closed,
            Fatal::Panicked => Self::Panicked,
            Fatal::StorageError(error) => Self::Failed(error.to_string()),
        }
    }
}

impl GroupStatus {
    pub(crate) fn from_metrics(metrics: &RaftMetrics) -> Self {
        let membership = metrics.membership_config.membership();
        let voter_sets: Vec<BTreeSet<ReplicaId>> =
            membership.get_joint_config().iter().map(|set| set.iter().map(|id| ReplicaId(*id)).collect()).collect();
        let is_voter = |id: &ReplicaId| voter_sets.iter().any(|set| set.contains(id));
        let (voters, learners) = membership
            .nodes()
            .map(|(id, member)| (ReplicaId(*id), NodeId(member.node)))
            .partition(|(id, _)| is_voter(id));
        let leader = metrics.current_leader.and_then(|id| {
            let member = membership.get_node(&id)?;
            Some((ReplicaId(id), NodeId(member.node)))
        });
        let matched = metrics
            .replication
            .iter()
            .flatten()
            .filter(|(id, _)| **id != metrics.id)
            .map(|(id, position)| (ReplicaId(*id), position.as_ref().map(from_log_id)))
            .collect();
        Self {
            leader,
            is_leader: metrics.state == ServerState::Leader,
            term: metrics.current_term,
            last_log: metrics.last_log_index,
            committed: metrics.local_committed.as_ref().map(from_log_id),
            applied: metrics.last_applied.as_ref().map(from_log_id),
            snapshot: metrics.snapshot.as_ref().map(from_log_id),
            purged: metrics.purged.as_ref().map(from_log_id),
            voters,
            voter_sets,
            learners,
            membership: metrics.membership_config.log_id().as_ref().map(from_log_id),
            matched,
            stopped: metrics.running_state.as_ref().err().map(Stopped::from_fatal),
        }
    }

    /// openraft says no more: a core that ends in order says why first, so one that said nothing has panicked.
    pub(crate) fn silenced(&mut self) {
        if self.stopped.is_none() {
            self.stopped = Some(Stopped::Panicked);
        }
        // Whoever led, this replica does not know any more, and does not follow.
        self.is_leader = false;
        self.leader = None;
    }
}
