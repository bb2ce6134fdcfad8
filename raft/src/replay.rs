//! Applying again what a log is known to have committed and its machine does not hold, before the group starts.
//!
//! openraft would do it too, 64 entries at a time whatever their bytes. Here the bytes are bounded: of one group by
//! [`READ_BYTES_MAX`], and of all groups of a node by how many replay at a time.

use std::io;

use futures::stream;
use openraft::RaftLogReader;
use openraft::storage::{RaftLogStorage, RaftStateMachine};

use crate::log_store::READ_BYTES_MAX;
use crate::state_machine::StateMachine;
use crate::type_config::TypeConfig;

/// What one group may hold while it replays: what it has read, and what the machine is being given.
pub(crate) const REPLAY_BYTES_A_GROUP: u64 = 2 * READ_BYTES_MAX as u64;

/// Brings `machine` up to the committed position that `log` remembers.
pub(crate) async fn replay(log: &mut impl RaftLogStorage<TypeConfig>, machine: &mut StateMachine) -> io::Result<()> {
    let Some(committed) = log.read_committed().await? else { return Ok(()) };
    let (applied, _) = machine.applied_state().await?;
    let mut next = applied.map_or(0, |applied| applied.index() + 1);
    let end = committed.index() + 1;
    let mut reader = log.get_log_reader().await;
    while next < end {
        let entries = reader.limited_get_log_entries(next, end).await?;
        let Some(last) = entries.last().map(|entry| entry.log_id.index()) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("entries {next}..{end} are not in the log"),
            ));
        };
        machine.apply(stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))).await?;
        next = last + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use bytes::Bytes;
    use openraft::storage::IOFlushed;
    use openraft::vote::RaftLeaderId;

    use super::*;
    use crate::log_store::DeviceLog;
    use crate::testing::MemoryDevice;
    use crate::type_config::{Command, Entry, EntryPayload, LeaderId, LogId};
    use crate::{Committed, Machine, NodeId, Position, Recovered, ReplicaId, SnapshotManifest};

    /// Notes the indexes and the bytes of each batch.
    #[derive(Default)]
    struct Notes {
        holds: Option<Position>,
        batches: Mutex<Vec<(Vec<u64>, usize)>>,
    }

    #[async_trait]
    impl Machine for Notes {
        async fn recovered(&self) -> io::Result<Recovered> {
            Ok(Recovered { position: self.holds, ..Recovered::default() })
        }

        async fn apply(&self, batch: Vec<Committed>) -> io::Result<Vec<Bytes>> {
            let bytes = batch.iter().map(Committed::payload_bytes).sum();
            let indexes = batch.iter().map(|entry| entry.position.index).collect();
            self.batches.lock().unwrap().push((indexes, bytes));
            Ok(vec![Bytes::new(); batch.len()])
        }

        async fn snapshot(&self) -> io::Result<Option<SnapshotManifest>> {
            Ok(None)
        }

        async fn install(&self, _snapshot: SnapshotManifest, _source: NodeId) -> io::Result<()> {
            Ok(())
        }
    }

    fn at(index: u64) -> LogId {
        LogId::new(LeaderId::new(1, 7), index)
    }

    #[tokio::test]
    async fn what_is_committed_and_not_held_is_applied_once_in_order_and_in_bounded_batches() {
        const BYTES: usize = 100 << 10;
        for (held, committed, expected) in [
            (None, None, 0..0),
            (None, Some(99), 0..100),
            (Some(40), Some(99), 41..100),
            (Some(99), Some(99), 0..0),
            (Some(60), Some(50), 0..0),
        ] {
            let mut log = DeviceLog::open(Arc::new(MemoryDevice::default()), ReplicaId(7), Arc::default()).unwrap();
            let payload = || EntryPayload::Normal(Command(vec![0; BYTES].into()));
            let entries = (0..120).map(|index| Entry { log_id: at(index), payload: payload() });
            log.append(entries, IOFlushed::noop()).await.unwrap();
            log.save_committed(committed.map(at)).await.unwrap();
            let holds = held.map(|index| Position { term: 1, leader: 7, index });
            let notes = Arc::new(Notes { holds, ..Notes::default() });
            let mut machine = StateMachine::open(notes.clone(), Arc::default(), NodeId(1)).await.unwrap();
            replay(&mut log, &mut machine).await.unwrap();
            let batches = std::mem::take(&mut *notes.batches.lock().unwrap());
            assert!(batches.iter().all(|(_, bytes)| *bytes <= READ_BYTES_MAX), "{held:?} {committed:?}");
            let indexes: Vec<u64> = batches.into_iter().flat_map(|(indexes, _)| indexes).collect();
            assert_eq!(indexes, expected.collect::<Vec<_>>(), "{held:?} {committed:?}");
            let applied = machine.applied_state().await.unwrap().0.map(|id| id.index());
            assert_eq!(applied, held.max(committed));
        }
    }
}
