//! The only way to a shard's leader on this node; cheap to clone.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use trine_raft::Group;
use trine_store::entry::{SealReason, encode_seal};
use trine_store::shard::{PartOutcome, ShardView};

use super::actor::{Cut, LedgerCut, Observed, ShardActor};
use super::healer::Complaint;
use crate::budget::Budget;
use crate::disk::DiskGuard;

/// Why a part was not applied, as the leader's node sees it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// Nothing was proposed.
    #[error("not the leader")]
    NotLeader { leader_node: Option<u64> },
    /// Nothing was proposed.
    #[error("{what} is over its memory bound")]
    Busy { what: &'static str },
    /// Nothing was proposed: the leader's disk is full.
    #[error("{reason}")]
    DiskFull { reason: String },
    /// Nothing was proposed: no replica would take it.
    #[error("invalid part: {reason}")]
    Invalid { reason: String },
    /// It may have been applied: repeat it.
    #[error("outcome unknown: {reason}")]
    Unknown { reason: String },
}

/// What waits for the proposer.
#[derive(Debug)]
pub(super) enum Work {
    Part {
        part: Bytes,
        done: oneshot::Sender<Result<PartOutcome, SubmitError>>,
        _held: OwnedSemaphorePermit,
    },
    /// An entry without parts; answers with its log index. `ends_table`: applying it starts an empty reference table.
    Entry {
        payload: Bytes,
        ends_table: bool,
        done: oneshot::Sender<Result<u64, SubmitError>>,
    },
}

/// Between two looks at whether a seal waits for room on the disk.
const NO_ROOM_EVERY: Duration = Duration::from_millis(100);

/// Parts that wait for a shard's proposer: bounded by the node's byte budget, and by this count.
pub(super) const QUEUE_PARTS: usize = 4096;

/// A shard's replica on this node.
#[derive(Clone)]
pub struct ShardHandle {
    pub shard: u32,
    pub replica: u64,
    pub group: Group,
    pub(super) addr: Addr<ShardActor>,
    pub(super) observed: Arc<Observed>,
    pub(super) budget: Arc<Budget>,
    pub(super) disk: Arc<DiskGuard>,
    pub(super) work: mpsc::Sender<Work>,
    pub(super) complain: mpsc::Sender<Complaint>,
    pub(super) sealed: tokio::sync::watch::Receiver<u64>,
}

impl ShardHandle {
    /// Proposes a part; returns once it is committed and visible. Refuses instead of queueing without bound.
    pub async fn submit(&self, part: Bytes) -> Result<PartOutcome, SubmitError> {
        let status = self.group.status();
        if !status.is_leader {
            return Err(SubmitError::NotLeader { leader_node: status.leader.map(|(_, node)| node.0) });
        }
        if self.disk.is_full() {
            return Err(SubmitError::DiskFull { reason: self.disk.refuse() });
        }
        if !self.budget.heads_have_room() {
            return Err(SubmitError::Busy { what: "memory for unsealed data" });
        }
        let held = self.budget.try_inflight(part.len()).ok_or(SubmitError::Busy { what: "writes in flight" })?;
        let (done, outcome) = oneshot::channel();
        let work = Work::Part { part, done, _held: held };
        self.work.try_send(work).map_err(|_| SubmitError::Busy { what: "queue of the shard" })?;
        outcome.await.unwrap_or_else(|_| Err(SubmitError::Unknown { reason: "the shard stopped".into() }))
    }

    /// Proposes an entry without parts; returns its log index once it is applied. `ends_table` says that applying it closes the
    /// head. Leader only.
    pub(crate) async fn propose(&self, payload: Vec<u8>, ends_table: bool) -> Result<u64, SubmitError> {
        let (done, proposed) = oneshot::channel();
        let stopped = || SubmitError::Unknown { reason: "the shard stopped".into() };
        let work = Work::Entry { payload: payload.into(), ends_table, done };
        self.work.send(work).await.map_err(|_| stopped())?;
        proposed.await.map_err(|_| stopped())?
    }

    /// Seals the head and returns once every fact before the call is in a durable block. Leader only.
    pub async fn seal(&self, reason: SealReason, timeout: Duration) -> Result<(), SubmitError> {
        let target = self.propose(encode_seal(reason), true).await?;
        let stopped = |_| SubmitError::Unknown { reason: "the shard stopped".into() };
        let mut sealed = self.sealed.clone();
        let wait = sealed.wait_for(|index| *index >= target);
        match tokio::time::timeout(timeout, wait).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(stopped(())),
            Err(_) => Err(SubmitError::Unknown { reason: "the seal is still being written".into() }),
        }
    }

    /// Seals the head as [`ShardHandle::seal`] does, but fails at once where blocks wait for room on the disk.
    pub(crate) async fn seal_now(&self, timeout: Duration) -> Result<(), SubmitError> {
        let mut looks = tokio::time::interval(NO_ROOM_EVERY);
        let no_room = async {
            while !self.observed.no_room.load(Ordering::Relaxed) {
                looks.tick().await;
            }
        };
        tokio::select! {
            // First: while one seal waits, another one would only wait behind it.
            biased;
            () = no_room => Err(SubmitError::DiskFull { reason: self.disk.no_room() }),
            sealed = self.seal(SealReason::Requested, timeout) => sealed,
        }
    }

    /// Has a block looked at, and healed if it needs to be. Returns before that.
    pub(crate) async fn complain(&self, complaint: Complaint) {
        if self.complain.send(complaint).await.is_err() {
            tracing::debug!(shard = self.shard, "the replica stopped before it could look at a block");
        }
    }

    /// What the replica holds and what its books say of that, at one position.
    pub(crate) async fn cut(&self) -> Result<LedgerCut, String> {
        match self.addr.send(Cut).await {
            Ok(cut) => Ok(*cut),
            Err(_) => Err("the replica stopped".into()),
        }
    }

    /// What readers see now.
    pub fn view(&self) -> Arc<ShardView> {
        self.observed.view.load_full()
    }

    pub fn observed(&self) -> &Observed {
        &self.observed
    }
}
