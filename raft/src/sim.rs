//! A replica's log store by hand, for the simulation in `chaos-tests`: calls queue what they write at once, and somebody else
//! says when the device writes. No part of the crate's interface.
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, RaftLogReader};

use crate::device::LogDevice;
use crate::ids::{Position, ReplicaId};
use crate::log_store::DeviceLog;
use crate::type_config::{Command, Entry, LeaderId, TypeConfig, Vote, from_log_id, to_log_id};

/// A write that was queued. Ready once it is on disk, or never will be.
pub type Pending = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// A vote as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeptVote {
    pub term: u64,
    pub leader: u64,
    pub committed: bool,
}

/// All that openraft can learn from a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub vote: Option<KeptVote>,
    pub committed: Option<Position>,
    pub purged: Option<Position>,
    pub last: Option<Position>,
    pub entries: Vec<(Position, Bytes)>,
}

/// The log store of one replica.
#[derive(Clone, Debug)]
pub struct LogStore(DeviceLog);

impl LogStore {
    pub fn open(device: Arc<dyn LogDevice>, replica: ReplicaId) -> io::Result<Self> {
        DeviceLog::open(device, replica, Arc::default()).map(Self)
    }

    pub fn append(&self, entries: Vec<(Position, Bytes)>) -> Pending {
        let mut log = self.0.clone();
        let entries = entries.into_iter().map(|(position, payload)| Entry {
            log_id: to_log_id(&position),
            payload: EntryPayload::Normal(Command(payload)),
        });
        let entries: Vec<Entry> = entries.collect();
        let (flushed, done) = TypeConfig::oneshot();
        queued(async move {
            log.append(entries, IOFlushed::signal(flushed)).await?;
            done.await.unwrap_or_else(|_| Err(io::Error::other("nobody says what became of the append")))
        })
    }

    pub fn save_vote(&self, vote: KeptVote) -> Pending {
        let mut log = self.0.clone();
        let KeptVote { term, leader, committed } = vote;
        queued(async move { log.save_vote(&Vote { leader_id: LeaderId::new(term, leader), committed }).await })
    }

    /// Nobody waits for this one.
    pub fn save_committed(&self, committed: Option<Position>) -> io::Result<()> {
        at_once(self.0.clone().save_committed(committed.as_ref().map(to_log_id)))
    }

    pub fn truncate_after(&self, last: Option<Position>) -> Pending {
        let mut log = self.0.clone();
        queued(async move { log.truncate_after(last.as_ref().map(to_log_id)).await })
    }

    pub fn purge(&self, through: Position) -> Pending {
        let mut log = self.0.clone();
        queued(async move { log.purge(to_log_id(&through)).await })
    }

    /// Reads all there is.
    pub fn contents(&self) -> io::Result<Contents> {
        let mut log = self.0.clone();
        let state = at_once(log.get_log_state())?;
        let vote = at_once(log.read_vote())?;
        let vote =
            vote.map(|v| KeptVote { term: v.leader_id.term, leader: v.leader_id.node_id, committed: v.committed });
        let entries = at_once(log.try_get_log_entries(..))?.into_iter().map(|entry| match entry.payload {
            EntryPayload::Normal(Command(payload)) => (from_log_id(&entry.log_id), payload),
            EntryPayload::Blank | EntryPayload::Membership(_) => (from_log_id(&entry.log_id), Bytes::new()),
        });
        Ok(Contents {
            vote,
            committed: at_once(log.read_committed())?.as_ref().map(from_log_id),
            purged: state.last_purged_log_id.as_ref().map(from_log_id),
            last: state.last_log_id.as_ref().map(from_log_id),
            entries: entries.collect(),
        })
    }
}

/// What became of a write, if that is decided.
pub fn outcome(pending: &mut Pending) -> Option<io::Result<()>> {
    pending.as_mut().now_or_never()
}

/// Runs a write up to where it waits for the device.
fn queued(write: impl Future<Output = io::Result<()>> + Send + 'static) -> Pending {
    let mut write: Pending = Box::pin(write);
    match write.as_mut().now_or_never() {
        Some(result) => Box::pin(std::future::ready(result)),
        None => write,
    }
}

fn at_once<T>(call: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    call.now_or_never().unwrap_or_else(|| Err(io::Error::other("the log makes its caller wait")))
}
