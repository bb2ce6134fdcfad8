//! One group, seen from this node's replica.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, ForwardToLeader, RaftError};
use openraft::impls::ProgressResponder;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use crate::error::{Error, ProposeError};
use crate::hand_over::hand_over_one;
use crate::ids::{GroupId, NodeId, Position, ReplicaId};
use crate::registry::{Opened, Registry};
use crate::status::GroupStatus;
use crate::type_config::{Command, Member, TypeConfig, from_log_id};

/// A learner that is at most so many entries behind may become a voter: it will catch up while the change is made.
pub const LEARNER_BEHIND_MAX: u64 = 64;

/// A leader whose majority was silent for longer is not called one any more: longer than any election takes.
const UNHEARD_MAX: Duration = Duration::from_secs(3);

/// After so long without a leader, elections have had their turn.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(2);

const WHY_STOPPED_WITHIN: Duration = Duration::from_secs(2);

/// An open group. Cheap to clone; it stays open until [`Group::stop`].
#[derive(Clone)]
pub struct Group {
    id: GroupId,
    opened: Opened,
    registry: Arc<Registry>,
    handle: Handle,
}

/// A proposal that was committed and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Where it is in the log.
    pub position: Position,
    /// What [`crate::Machine::apply`] replied.
    pub reply: Bytes,
}

impl Group {
    pub(crate) fn new(id: GroupId, opened: Opened, registry: Arc<Registry>, handle: Handle) -> Self {
        Self { id, opened, registry, handle }
    }

    /// The group.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// This node's replica of it.
    pub fn replica(&self) -> ReplicaId {
        self.opened.replica
    }

    /// Makes `members` the group's first voters. Only on a pristine group; harmless on one that has members already.
    pub async fn initialize(&self, members: BTreeMap<ReplicaId, NodeId>) -> Result<(), Error> {
        let members: BTreeMap<u64, Member> =
            members.into_iter().map(|(replica, node)| (replica.0, Member { node: node.0 })).collect();
        let raft = self.opened.raft.clone();
        match self.on_runtime(async move { raft.initialize(members).await }).await? {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(openraft::errors::InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(error)) => Err(Error::Membership(error.to_string())),
            Err(RaftError::Fatal(fatal)) => Err(fatal_error(&fatal)),
        }
    }

    /// Proposes `payload`. It is queued before this returns, so proposals of one caller keep their order with any number
    /// in flight; the future resolves once it is committed and applied here. Dropping the future cancels nothing.
    pub fn propose(
        &self,
        payload: Bytes,
    ) -> Result<impl Future<Output = Result<Proposed, ProposeError>> + Send + 'static + use<>, ProposeError> {
        let (responder, reply) = ProgressResponder::complete_only();
        // One poll queues it, unless the channel is full: `unconstrained`, or a task that used up its budget would see
        // a full channel where there is none.
        let queued = unconstrained(self.opened.raft.client_write_ff(Command(payload), Some(responder))).now_or_never();
        match queued {
            Some(Ok(())) => {}
            Some(Err(fatal)) => return Err(fatal_proposal(&fatal)),
            None => return Err(self.stopped().unwrap_or(ProposeError::Busy)),
        }
        let opened = self.opened.clone();
        Ok(async move {
            match reply.await {
                Ok(Ok(written)) => Ok(Proposed { position: from_log_id(&written.log_id), reply: written.data }),
                Ok(Err(error)) => Err(proposal_error(error)),
                Err(_) => Err(why_stopped(&opened).await),
            }
        })
    }

    fn stopped(&self) -> Option<ProposeError> {
        self.opened.raft.metrics().borrow_watched().running_state.as_ref().err().map(fatal_proposal)
    }

    /// The group as of now.
    pub fn status(&self) -> GroupStatus {
        self.opened.status.borrow().clone()
    }

    /// Whether this replica leads, as far as a majority has said within the last seconds. [`GroupStatus::is_leader`] stays with a
    /// leader that was cut off until it hears of another one.
    pub fn leads(&self) -> bool {
        let status = self.opened.status.borrow();
        if !status.is_leader {
            return false;
        }
        let acked = self.opened.raft.metrics().borrow_watched().last_quorum_acked;
        status.voters.len() <= 1 || acked.is_some_and(|at| at.into_inner().elapsed() < UNHEARD_MAX)
    }

    /// Follows the group's status. The last value stays once the group stops.
    pub fn watch(&self) -> watch::Receiver<GroupStatus> {
        self.opened.status.clone()
    }

    /// Adds a replica that gets the log but has no vote, and waits until it is at most [`LEARNER_BEHIND_MAX`] entries
    /// behind: for ever, if it is not reached. Dropping the future ends the wait, not the membership. Leader only.
    pub async fn add_learner(&self, replica: ReplicaId, node: NodeId) -> Result<(), Error> {
        let raft = self.opened.raft.clone();
        let added = self.on_runtime(async move { raft.add_learner(replica.0, Member { node: node.0 }, false).await });
        membership_result(added.await?.map(drop))?;
        let mut status = self.opened.status.clone();
        let reached = |status: &GroupStatus| {
            let matched = status.matched.get(&replica).copied().flatten();
            let last = status.last_log.unwrap_or(0);
            matched.is_some_and(|matched| matched.index.saturating_add(LEARNER_BEHIND_MAX) >= last)
        };
        let over = |status: &GroupStatus| !status.is_leader || status.stopped.is_some() || reached(status);
        let status = status.wait_for(over).await.map_err(|_| Error::Stopped)?;
        match &status.stopped {
            Some(stopped) => Err(Error::Fatal(stopped.to_string())),
            None if reached(&status) => Ok(()),
            None => Err(Error::NotLeader { leader: status.leader }),
        }
    }

    /// Makes `voters`, all members already, the voters; replicas that lose their vote leave the group. Waits until that
    /// is committed. Leader only, one change at a time.
    pub async fn change_voters(&self, voters: BTreeSet<ReplicaId>) -> Result<(), Error> {
        let voters: BTreeSet<u64> = voters.into_iter().map(|replica| replica.0).collect();
        let raft = self.opened.raft.clone();
        let changed = self.on_runtime(async move { raft.change_membership(voters, false).await });
        membership_result(changed.await?.map(drop))
    }

    /// Removes learners. Leader only.
    pub async fn remove_learners(&self, learners: BTreeSet<ReplicaId>) -> Result<(), Error> {
        let learners: BTreeSet<u64> = learners.into_iter().map(|replica| replica.0).collect();
        let raft = self.opened.raft.clone();
        let change = openraft::ChangeMembers::RemoveNodes(learners);
        let changed = self.on_runtime(async move { raft.change_membership(change, false).await });
        membership_result(changed.await?.map(drop))
    }

    /// Asks the voter `to` to take over, and the others in turn should it not: it may have stopped just now, and a transfer cannot be
    /// taken back. Returns at once: watch the status for the outcome. Does nothing where this replica does not lead.
    pub fn transfer_leader(&self, to: ReplicaId) {
        let opened = self.opened.clone();
        self.handle.spawn(async move {
            let deadline = Instant::now() + HAND_OVER_WITHIN;
            hand_over_one(&opened, Some(to), deadline).await;
        });
    }

    /// Stands for election now.
    pub async fn elect(&self) -> Result<(), Error> {
        self.opened.raft.trigger().elect(false).await.map_err(|fatal| fatal_error(&fatal))
    }

    /// [`crate::Machine::snapshot`] has moved: look again. Followers behind the log get it from now on, and the log up
    /// to it may be purged. A call while another is under way is lost: call again with the next snapshot.
    pub async fn snapshot_taken(&self) -> Result<(), Error> {
        self.opened.raft.trigger().snapshot().await.map_err(|fatal| fatal_error(&fatal))
    }

    /// Drops the log up to and including `index`, as far as a snapshot holds it.
    pub async fn purge_through(&self, index: u64) -> Result<(), Error> {
        self.opened.raft.trigger().purge_log(index).await.map_err(|fatal| fatal_error(&fatal))
    }

    /// Stops this replica and closes the group on this node. What was proposed but not answered is unknown.
    pub async fn stop(&self) {
        self.registry.remove(self.id);
        let raft = self.opened.raft.clone();
        let stopped = self.on_runtime(async move { raft.shutdown().await }).await;
        if !matches!(stopped, Ok(Ok(()))) {
            tracing::warn!(group = %self.id, "the group had failed before it was stopped");
        }
    }

    /// Makes the group's core panic.
    #[cfg(test)]
    pub(crate) async fn panic_core(&self) {
        let told = self.opened.raft.external_request(|_| panic!("as told")).await;
        assert!(told.is_ok(), "{told:?}");
    }

    async fn on_runtime<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, Error> {
        self.handle.spawn(work).await.map_err(|_| Error::Stopped)
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("id", &self.id).field("replica", &self.opened.replica).finish_non_exhaustive()
    }
}

/// Why proposals are dropped without an answer. openraft may drop them a moment before it says why.
async fn why_stopped(opened: &Opened) -> ProposeError {
    let mut metrics = opened.raft.metrics();
    let told = async {
        loop {
            let state = metrics.borrow_and_update().running_state.clone();
            match state {
                Err(fatal) => return fatal_proposal(&fatal),
                Ok(()) if metrics.changed().await.is_err() => return ProposeError::Stopped,
                Ok(()) => {}
            }
        }
    };
    tokio::time::timeout(WHY_STOPPED_WITHIN, told).await.unwrap_or(ProposeError::Stopped)
}

fn leader_of(forward: &ForwardToLeader<TypeConfig>) -> Option<(ReplicaId, NodeId)> {
    Some((ReplicaId(forward.leader_id?), NodeId(forward.leader_node?.node)))
}

fn proposal_error(error: ClientWriteError<TypeConfig>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => ProposeError::NotLeader { leader: leader_of(&forward) },
        ClientWriteError::LogEntryDiscarded(forward) => ProposeError::Unknown { leader: leader_of(&forward) },
        // Neither belongs to a plain proposal.
        ClientWriteError::ChangeMembershipError(error) => ProposeError::Fatal(error.to_string()),
        ClientWriteError::PreconditionFailed(error) => ProposeError::Fatal(error.to_string()),
    }
}

fn fatal_proposal(fatal: &Fatal<TypeConfig>) -> ProposeError {
    match fatal {
        Fatal::Stopped => ProposeError::Stopped,
        Fatal::Panicked | Fatal::StorageError(_) => ProposeError::Fatal(fatal.to_string()),
    }
}

pub(crate) fn fatal_error(fatal: &Fatal<TypeConfig>) -> Error {
    match fatal {
        Fatal::Stopped => Error::Stopped,
        Fatal::Panicked | Fatal::StorageError(_) => Error::Fatal(fatal.to_string()),
    }
}

fn membership_result(result: Result<(), RaftError<TypeConfig, ClientWriteError<TypeConfig>>>) -> Result<(), Error> {
    match result {
        Ok(()) => Ok(()),
        Err(RaftError::Fatal(fatal)) => Err(fatal_error(&fatal)),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
            Err(Error::NotLeader { leader: leader_of(&forward) })
        }
        Err(RaftError::APIError(error)) => Err(Error::Membership(error.to_string())),
    }
}
