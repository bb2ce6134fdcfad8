//! A group's log on a [`LogDevice`]: openraft's log storage over one stream of records.
//!
//! Reads run on the runtime's threads: the device has recent records in memory, and [`READ_BYTES_MAX`] bounds the rest.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures::Stream;
use openraft::errors::LeaderChanged;
use openraft::storage::{IOFlushed, LeaderBoundedStreamError, LeaderBoundedStreamResult, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use crate::device::{Done, LogDevice, Mark};
use crate::ids::ReplicaId;
use crate::progress::Progress;
use crate::record::{decode_entry, decode_position, decode_vote, encode_entry, encode_position, encode_vote, invalid};
use crate::type_config::{Entry, LeaderId, LogId, TypeConfig, Vote};

/// Bytes of log read at once, for followers and for apply. At least one entry is read, whatever its size.
pub const READ_BYTES_MAX: usize = 2 << 20;

/// Raft log of one replica on a stream of a device. The stream's id is the replica's.
#[derive(Clone, Debug)]
pub(crate) struct DeviceLog {
    device: Arc<dyn LogDevice>,
    stream: u64,
    progress: Arc<Progress>,
}

impl DeviceLog {
    /// The log of `replica`; tells `progress` the vote found.
    pub(crate) fn open(
        device: Arc<dyn LogDevice>,
        replica: ReplicaId,
        progress: Arc<Progress>,
    ) -> Result<Self, io::Error> {
        let log = Self { device, stream: replica.0, progress };
        log.progress.opened_with(log.saved_vote()?);
        Ok(log)
    }

    fn saved_vote(&self) -> io::Result<Option<Vote>> {
        #[cfg(feature = "fault-injection")]
        if let Some(vote) = crate::bugs::remembered_vote(self.stream) {
            return Ok(Some(vote));
        }
        self.device.mark(self.stream, Mark::Vote).map(decode_vote).transpose().map_err(invalid)
    }

    fn saved_position(&self, mark: Mark) -> io::Result<Option<LogId>> {
        let bytes = self.device.mark(self.stream, mark).unwrap_or_default();
        decode_position(bytes).map_err(invalid)
    }

    /// Entries `start..end` as far as the log has them, reading until `bytes_max` is reached.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let bounds = self.device.bounds(self.stream);
        let (start, end) = (start.max(bounds.first_index), end.min(bounds.next_index));
        if start >= end {
            return Ok(Vec::new());
        }
        let records = self.device.read(self.stream, start..end, bytes_max)?;
        if records.is_empty() {
            return Err(io::Error::other(format!("entries {start}..{end} cannot be read")));
        }
        let entries: Vec<Entry> = records.into_iter().map(decode_entry).collect::<Result<_, _>>().map_err(invalid)?;
        check_indexes(start, &entries)?;
        Ok(entries)
    }
}

/// `entries` if they begin at `start`, else none: who sends entries after `start`'s predecessor must never send later ones, which a
/// purge beside the reading would leave.
pub(crate) fn from(start: u64, entries: Vec<Entry>) -> Vec<Entry> {
    if entries.first().is_some_and(|first| first.log_id.index() == start) { entries } else { Vec::new() }
}

/// A record must carry the index it was read under.
pub(crate) fn check_indexes(start: u64, entries: &[Entry]) -> io::Result<()> {
    match entries.iter().zip(start..).find(|(entry, index)| entry.log_id.index() != *index) {
        None => Ok(()),
        Some((entry, index)) => {
            let found = entry.log_id.index();
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("entry {index} of the log says it is {found}")))
        }
    }
}

/// `range` as start and exclusive end.
pub(crate) fn half_open(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

/// A pair that turns a device's [`Done`] into something to await.
pub(crate) fn awaited() -> (Done, impl Future<Output = io::Result<()>>) {
    let (sender, receiver) = oneshot::channel();
    let done: Done = Box::new(move |result| {
        // Nobody waits any more: the group is being stopped.
        drop(sender.send(result));
    });
    let wait = async move { receiver.await.unwrap_or_else(|_| Err(io::Error::other("the log device stopped"))) };
    (done, wait)
}

impl RaftLogReader<TypeConfig> for DeviceLog {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (mut start, end) = half_open(&range);
        let mut all = Vec::new();
        loop {
            let entries = self.read(start, end, READ_BYTES_MAX)?;
            let Some(last) = entries.last() else { return Ok(all) };
            start = last.log_id.index() + 1;
            all.extend(entries);
        }
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.saved_vote()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        Ok(from(start, self.read(start, end, READ_BYTES_MAX)?))
    }

    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderId,
        range: RB,
    ) -> impl Stream<Item = LeaderBoundedStreamResult<TypeConfig>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (log, (start, end)) = (self.clone(), half_open(&range));
        chunks(start, end, move |start, end| {
            leader_bounded(leader, || log.saved_vote(), || log.read(start, end, READ_BYTES_MAX))
        })
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (log, (start, end)) = (self.clone(), half_open(&range));
        chunks(start, end, move |start, end| log.read(start, end, READ_BYTES_MAX))
    }
}

/// Reads while the saved vote is `leader`'s, committed, before and after.
pub(crate) fn leader_bounded(
    leader: LeaderId,
    vote: impl Fn() -> io::Result<Option<Vote>>,
    read: impl FnOnce() -> io::Result<Vec<Entry>>,
) -> Result<Vec<Entry>, LeaderBoundedStreamError<TypeConfig>> {
    let check = || match vote()? {
        Some(vote) if vote.leader_id == leader && vote.committed => Ok(()),
        vote => Err(LeaderBoundedStreamError::LeaderChanged(LeaderChanged::new(leader, vote))),
    };
    check()?;
    let entries = read()?;
    // The vote may have moved while reading: then these entries may be another leader's.
    check()?;
    Ok(entries)
}

/// Entries `start..end`, read a chunk at a time while they are consumed. Ends with the log, or with the first error.
pub(crate) fn chunks<E: Send>(
    start: u64,
    end: u64,
    read: impl FnMut(u64, u64) -> Result<Vec<Entry>, E> + Send,
) -> impl Stream<Item = Result<Entry, E>> + Send + Unpin {
    let state = (Vec::new().into_iter(), Some(start), read);
    let stream = futures::stream::unfold(state, move |(mut chunk, mut next, mut read)| async move {
        loop {
            if let Some(entry) = chunk.next() {
                return Some((Ok(entry), (chunk, next, read)));
            }
            let start = next.filter(|start| *start < end)?;
            let entries: Vec<Entry> = match read(start, end) {
                Ok(entries) => entries,
                Err(error) => return Some((Err(error), (chunk, None, read))),
            };
            next = Some(entries.last()?.log_id.index() + 1);
            chunk = entries.into_iter();
        }
    });
    Box::pin(stream)
}

impl RaftLogStorage<TypeConfig> for DeviceLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let purged = self.saved_position(Mark::Purged)?;
        let bounds = self.device.bounds(self.stream);
        let last = match bounds.next_index.checked_sub(1).filter(|last| *last >= bounds.first_index) {
            None => purged,
            Some(last) => self.read(last, last + 1, READ_BYTES_MAX)?.pop().map(|entry| entry.log_id),
        };
        Ok(LogState { last_purged_log_id: purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        // First of all: from here on no read point may count on this replica under an older vote.
        self.progress.set_vote(*vote);
        #[cfg(feature = "fault-injection")]
        if crate::bugs::takes_vote(self.stream, vote) {
            return Ok(());
        }
        let (done, wait) = awaited();
        self.device.set_mark(self.stream, Mark::Vote, encode_vote(vote), Some(done));
        wait.await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.device.set_mark(self.stream, Mark::Committed, encode_position(committed.as_ref()), None);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        // It is written without an fsync of its own, so it may be ahead of a log whose tail was lost.
        let committed = self.saved_position(Mark::Committed)?;
        let last = self.get_log_state().await?.last_log_id;
        Ok(committed.filter(|committed| Some(*committed) <= last))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut entries = entries.into_iter().peekable();
        let Some(first) = entries.peek().map(|entry| entry.log_id.index()) else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        let records = entries.map(|entry| encode_entry(&entry)).collect();
        self.device.append(self.stream, first, records, Box::new(|result| callback.io_completed(result)));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let index = last_log_id.map_or(0, |last| last.index() + 1);
        let (done, wait) = awaited();
        self.device.truncate_from(self.stream, index, done);
        wait.await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let (done, wait) = awaited();
        self.device.purge_through(self.stream, log_id.index(), encode_position(Some(&log_id)), done);
        wait.await
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, TryStreamExt};
    use openraft::RaftLogReader as _;
    use openraft::vote::RaftLeaderId;

    use super::*;
    use crate::testing::MemoryDevice;
    use crate::type_config::{Command, EntryPayload};

    const LEADER: u64 = 7;

    async fn log_of(entries: u64, bytes: usize) -> DeviceLog {
        let device = Arc::new(MemoryDevice::default());
        let mut log = DeviceLog::open(device, ReplicaId(LEADER), Arc::default()).unwrap();
        let entry = |index| Entry {
            log_id: LogId::new(LeaderId::new(1, LEADER), index),
            payload: EntryPayload::Normal(Command(vec![0; bytes].into())),
        };
        log.append((0..entries).map(entry), IOFlushed::noop()).await.unwrap();
        log
    }

    #[tokio::test]
    async fn reads_are_bounded_in_bytes_but_complete_when_asked() {
        for (entries, bytes, first_read) in [(100, 128 << 10, 15), (10, 10, 10), (3, 3 << 20, 1)] {
            let mut log = log_of(entries, bytes).await;
            assert_eq!(log.limited_get_log_entries(0, entries).await.unwrap().len(), first_read, "{bytes}");
            assert_eq!(log.try_get_log_entries(..).await.unwrap().len() as u64, entries);
            let streamed: Vec<_> = log.entries_stream(1..=entries + 5).await.try_collect().await.unwrap();
            assert_eq!(streamed.len() as u64, entries - 1);
        }
    }

    #[tokio::test]
    async fn no_entry_stands_for_one_that_was_purged() {
        let mut log = log_of(10, 10).await;
        log.purge(LogId::new(LeaderId::new(1, LEADER), 4)).await.unwrap();
        assert!(log.limited_get_log_entries(3, 10).await.unwrap().is_empty());
        assert_eq!(log.limited_get_log_entries(5, 10).await.unwrap().len(), 5);
        assert_eq!(log.try_get_log_entries(3..10).await.unwrap().len(), 5);
    }

    #[tokio::test]
    async fn a_stream_for_a_leader_ends_with_its_vote() {
        let mut log = log_of(40, 128 << 10).await;
        let leader = LeaderId::new(1, LEADER);
        log.save_vote(&Vote { leader_id: leader, committed: true }).await.unwrap();
        let mut writer = log.clone();
        let mut stream = std::pin::pin!(log.leader_bounded_stream(leader, ..).await);
        assert!(stream.next().await.unwrap().is_ok());
        writer.save_vote(&Vote { leader_id: LeaderId::new(2, 8), committed: false }).await.unwrap();
        let rest: Vec<_> = stream.collect().await;
        assert!(rest.len() < 20, "what was read already");
        assert!(matches!(rest.last(), Some(Err(LeaderBoundedStreamError::LeaderChanged(_)))));
    }

    #[tokio::test]
    async fn a_committed_mark_ahead_of_the_log_is_ignored() {
        let mut log = log_of(3, 1).await;
        for (index, expected) in [(1, Some(1)), (2, Some(2)), (3, None)] {
            let committed = LogId::new(LeaderId::new(1, LEADER), index);
            log.save_committed(Some(committed)).await.unwrap();
            assert_eq!(log.read_committed().await.unwrap().map(|id| id.index()), expected);
        }
        log.save_committed(None).await.unwrap();
        assert_eq!(log.read_committed().await.unwrap(), None);
    }

    #[test]
    fn ranges_become_half_open() {
        assert_eq!(half_open(&(..)), (0, u64::MAX));
        assert_eq!(half_open(&(3..5)), (3, 5));
        assert_eq!(half_open(&(3..=5)), (3, 6));
        assert_eq!(half_open(&(..=u64::MAX)), (0, u64::MAX));
    }
}
