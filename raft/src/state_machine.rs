//! openraft's state machine over [`Machine`]: batches what is committed, and carries snapshots as manifests.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload as RaftPayload, OptionalSend};

use crate::ids::NodeId;
use crate::machine::{Committed, Machine, Payload, SnapshotManifest};
use crate::progress::Progress;
use crate::record::{decode_membership, encode_membership, invalid};
use crate::type_config::{
    Command, Entry, LogId, Membership, ShippedSnapshot, Snapshot, SnapshotMeta, StoredMembership, TypeConfig,
    from_log_id, to_log_id,
};

/// At most so many entries are applied at once.
const BATCH_ENTRIES_MAX: usize = 1024;
/// A batch is applied once it holds so many payload bytes.
const BATCH_BYTES_MAX: usize = 2 << 20;

/// A [`Machine`] as openraft drives it.
pub(crate) struct StateMachine {
    machine: Arc<dyn Machine>,
    progress: Arc<Progress>,
    node: NodeId,
    applied: Option<LogId>,
    membership: StoredMembership,
}

impl StateMachine {
    /// Asks `machine` what it remembers.
    pub(crate) async fn open(machine: Arc<dyn Machine>, progress: Arc<Progress>, node: NodeId) -> io::Result<Self> {
        let recovered = machine.recovered().await?;
        let applied = recovered.position.as_ref().map(to_log_id);
        let membership = match recovered.membership {
            Some((position, bytes)) => stored_membership(Some(to_log_id(&position)), bytes)?,
            None => StoredMembership::default(),
        };
        progress.set_applied(applied);
        Ok(Self { machine, progress, node, applied, membership })
    }

    async fn apply_batch(&mut self, batch: &mut Batch) -> io::Result<()> {
        let Batch { entries, responders, membership, last, .. } = std::mem::take(batch);
        let Some(last) = last else { return Ok(()) };
        let wanted = entries.len();
        let replies = unpanicked(self.machine.apply(entries)).await?;
        if replies.len() != wanted {
            return Err(io::Error::other(format!("machine gave {} replies for {wanted} entries", replies.len())));
        }
        self.applied = Some(last);
        if let Some(membership) = membership {
            self.membership = membership;
        }
        // Before the replies: whoever has seen one may ask for a read point at once.
        self.progress.set_applied(self.applied);
        for (responder, reply) in responders.into_iter().zip(replies) {
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }
}

/// Entries on their way to [`Machine::apply`].
#[derive(Default)]
struct Batch {
    entries: Vec<Committed>,
    responders: Vec<Option<ApplyResponder<TypeConfig>>>,
    membership: Option<StoredMembership>,
    last: Option<LogId>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, entry: Entry, responder: Option<ApplyResponder<TypeConfig>>) {
        let position = from_log_id(&entry.log_id);
        let payload = match entry.payload {
            RaftPayload::Blank => Payload::Blank,
            RaftPayload::Normal(Command(bytes)) => Payload::Normal(bytes),
            RaftPayload::Membership(membership) => {
                let bytes = encode_membership(&membership);
                self.membership = Some(StoredMembership::new(Some(entry.log_id), membership));
                Payload::Membership(bytes)
            }
        };
        let committed = Committed { position, payload };
        self.bytes += committed.payload_bytes();
        self.last = Some(entry.log_id);
        self.entries.push(committed);
        self.responders.push(responder);
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= BATCH_ENTRIES_MAX || self.bytes >= BATCH_BYTES_MAX
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = ShippedSnapshot;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = Batch::default();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            batch.push(entry, responder);
            if batch.is_full() {
                self.apply_batch(&mut batch).await?;
            }
        }
        self.apply_batch(&mut batch).await
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Self::SnapshotBuilder> {
        let builder = self.get_snapshot_builder().await;
        // Without a snapshot there is nothing to hand out yet; an error is told by the builder.
        (force || !matches!(builder.newest, Ok(None))).then_some(builder)
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        SnapshotBuilder {
            newest: current_snapshot(self.machine.as_ref(), self.node).await,
            node: self.node,
            pristine: self.applied.is_none(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: ShippedSnapshot) -> Result<(), io::Error> {
        let membership = match meta.last_membership.membership() {
            empty if *empty == Membership::default() => Bytes::new(),
            membership => encode_membership(membership),
        };
        let manifest = SnapshotManifest {
            position: meta.last_log_id.as_ref().map(from_log_id),
            membership: (meta.last_membership.log_id().as_ref().map(from_log_id), membership),
            id: snapshot.id,
            manifest: snapshot.manifest,
        };
        unpanicked(self.machine.install(manifest, snapshot.source)).await?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.progress.set_applied(self.applied);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        current_snapshot(self.machine.as_ref(), self.node).await
    }
}

/// Hands out the snapshot that was the machine's newest when this was made; builds nothing.
///
/// Not the newest when asked: that may be ahead of what openraft knows to be applied.
pub(crate) struct SnapshotBuilder {
    newest: io::Result<Option<Snapshot>>,
    node: NodeId,
    /// Nothing was ever applied: then the empty snapshot is one.
    pristine: bool,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = ShippedSnapshot;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        match std::mem::replace(&mut self.newest, Ok(None))? {
            Some(snapshot) => Ok(snapshot),
            None if self.pristine => {
                let nothing = ShippedSnapshot { source: self.node, id: String::new(), manifest: Bytes::new() };
                Ok(Snapshot { meta: SnapshotMeta::default(), snapshot: nothing })
            }
            None => Err(io::Error::new(io::ErrorKind::NotFound, "the machine has no snapshot yet")),
        }
    }
}

async fn current_snapshot(machine: &dyn Machine, node: NodeId) -> io::Result<Option<Snapshot>> {
    let Some(manifest) = unpanicked(machine.snapshot()).await? else { return Ok(None) };
    let (position, bytes) = manifest.membership;
    let meta = SnapshotMeta {
        last_log_id: manifest.position.as_ref().map(to_log_id),
        last_membership: stored_membership(position.as_ref().map(to_log_id), bytes)?,
    };
    let snapshot = ShippedSnapshot { source: node, id: manifest.id, manifest: manifest.manifest };
    Ok(Some(Snapshot { meta, snapshot }))
}

/// A panic as an error: openraft's worker would die of it, and leave its callers waiting.
async fn unpanicked<T>(call: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let caught = AssertUnwindSafe(call).catch_unwind().await;
    caught.unwrap_or_else(|_| Err(io::Error::other("the machine panicked")))
}

fn stored_membership(log_id: Option<LogId>, bytes: Bytes) -> io::Result<StoredMembership> {
    Ok(StoredMembership::new(log_id, decode_membership(bytes).map_err(invalid)?))
}
