//! What a group needs of the state it replicates. Implemented above this crate, by shards and by the metadata.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;

use crate::ids::{NodeId, Position};

/// A committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Where it is in the log.
    pub position: Position,
    /// What it says.
    pub payload: Payload,
}

impl Committed {
    /// Bytes of what it says.
    pub fn payload_bytes(&self) -> usize {
        match &self.payload {
            Payload::Blank => 0,
            Payload::Normal(bytes) | Payload::Membership(bytes) => bytes.len(),
        }
    }
}

/// What a committed entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a new leader's first entry. It still moves the applied position.
    Blank,
    /// What was proposed.
    Normal(Bytes),
    /// The group's members from here on, encoded by this crate. To be kept and given back, not to be read.
    Membership(Bytes),
}

/// What a machine remembers at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Applied up to and including here.
    pub position: Option<Position>,
    /// The last [`Payload::Membership`] up to there, with its position.
    pub membership: Option<(Position, Bytes)>,
    /// The newest snapshot, if there is one.
    pub snapshot_id: Option<String>,
}

/// A snapshot: not the bytes, but what to fetch. Travels to followers that are behind the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotManifest {
    /// It holds everything up to and including here; `None` for a machine that applied nothing.
    pub position: Option<Position>,
    /// The last [`Payload::Membership`] up to there, with its position; empty bytes when there was none.
    pub membership: (Option<Position>, Bytes),
    /// Names the snapshot.
    pub id: String,
    /// What to fetch; opaque here, and small.
    pub manifest: Bytes,
}

/// A replicated state.
///
/// Calls of one group never overlap, except [`Machine::snapshot`], which may come at any time. An error ends the group:
/// it stops with [`crate::ProposeError::Fatal`].
#[async_trait]
pub trait Machine: Send + Sync + 'static {
    /// What apply need not see again. Called once, first.
    async fn recovered(&self) -> io::Result<Recovered>;

    /// Applies entries in order; a reply for each, as many as entries. Visible to readers when it returns.
    async fn apply(&self, batch: Vec<Committed>) -> io::Result<Vec<Bytes>>;

    /// The newest durable snapshot. Cheap: builds nothing.
    async fn snapshot(&self) -> io::Result<Option<SnapshotManifest>>;

    /// Fetches what `snapshot` names from `source`, makes it durable and swaps it in. May be called again for the
    /// same snapshot.
    async fn install(&self, snapshot: SnapshotManifest, source: NodeId) -> io::Result<()>;
}
