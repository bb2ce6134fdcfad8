//! The metadata group's log, in a sled database of its own.
//!
//! sled's `flush()` never calls fsync on Linux, so each write is followed by `flush()` and then `sync_data()` on
//! `<dir>/db`; background flushing is off. All writes run on one thread, in order; what waits there shares a flush.
//! Any error or panic at open means that this node must be replaced under a new id.
//!
//! ```text
//! key                     value                              docs/formats/raft-log.md
//! 'g'                     number of the last sync, u64 BE: see witness
//! 'e' index u64 BE        log record (an entry)
//! 'm' mark u8             log record (a vote or position)
//! 'i'                     identity: version 1, then group, replica u64 BE, then the cluster's name
//! ```

mod check;
mod offline;
mod witness;

use std::fmt::Debug;
use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::RangeBounds;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use futures::Stream;
use openraft::storage::{IOFlushed, LeaderBoundedStreamResult, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use crate::device::{Done, Mark};
use crate::error::Error;
use crate::ids::{GroupId, ReplicaId};
use crate::log_store::{READ_BYTES_MAX, awaited, check_indexes, chunks, from, half_open, leader_bounded};
use crate::progress::Progress;
use crate::record::{decode_entry, decode_position, decode_vote, encode_entry, encode_position, encode_vote, invalid};
use crate::type_config::{Entry, LeaderId, LogId, TypeConfig, Vote};
use witness::Witness;

pub use check::check_store;
pub use offline::{StoredLog, create_store, read_stored_log, sole_voter};

/// sled's default is 1 GiB.
const CACHE_BYTES: u64 = 16 << 20;
/// Writes that share a flush at most.
const SHARED_FLUSH_MAX: usize = 256;
/// How long the last owner of the directory, in this process or another, may take to let go.
const IN_USE_FOR_MAX: Duration = Duration::from_secs(10);
const LOCK_RETRY_EVERY: Duration = Duration::from_millis(10);
const IDENTITY_KEY: &[u8] = b"i";
const IDENTITY_VERSION: u8 = 1;

/// Whose store it is; written at creation, and refused if another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster: String,
    pub(crate) group: GroupId,
    pub(crate) replica: ReplicaId,
}

impl Identity {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![IDENTITY_VERSION];
        bytes.put_u64(self.group.0);
        bytes.put_u64(self.replica.0);
        bytes.put_slice(self.cluster.as_bytes());
        bytes
    }

    /// `bytes` for people, whatever they are.
    fn describe(bytes: &[u8]) -> String {
        match bytes.split_first_chunk::<17>() {
            Some(([IDENTITY_VERSION, ids @ ..], cluster)) => {
                let (group, replica) = ids.split_at(8);
                let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
                let cluster = String::from_utf8_lossy(cluster);
                format!("cluster {cluster:?}, group {}, replica {}", number(group), number(replica))
            }
            _ => "an unknown version".to_owned(),
        }
    }
}

/// Raft log of one replica in sled. Cheap to clone; the writer ends with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct SledLog {
    /// Before `writes`, so that it is dropped first: once its queue is closed, the writer holds the only handle.
    db: sled::Db,
    writes: mpsc::Sender<Write>,
    progress: Arc<Progress>,
}

/// A batch for the writer's thread.
struct Write {
    batch: sled::Batch,
    /// Told once the batch can be read.
    applied: Option<oneshot::Sender<io::Result<()>>>,
    /// Told once it is fsynced; nothing is fsynced without.
    done: Option<Done>,
}

impl SledLog {
    /// Opens or creates the store in `dir`; tells `progress` the vote found.
    pub(crate) async fn open(dir: PathBuf, identity: Identity, progress: Arc<Progress>) -> Result<Self, Error> {
        let (opened, receiver) = oneshot::channel();
        let (writes, queue) = mpsc::channel();
        let writer = move || match open_database(&dir, &identity) {
            Ok((db, file, owner, mut witness)) => {
                if opened.send(Ok(db.clone())).is_ok() {
                    write_all(&db, &file, &mut witness, &queue);
                }
                // In this order: whoever owns the directory next finds it closed.
                drop((db, file));
                drop(owner);
            }
            Err(error) => drop(opened.send(Err(error))),
        };
        std::thread::Builder::new().name("trine-raft-sled".to_owned()).spawn(writer).map_err(Error::Runtime)?;
        let db = receiver.await.map_err(|_| Error::Broken("its thread panicked".to_owned()))??;
        let log = Self { db, writes, progress };
        let vote = log.saved_vote().map_err(|error| Error::Broken(error.to_string()))?;
        log.progress.opened_with(vote);
        Ok(log)
    }

    /// Queues a batch. Fails if the writer is gone.
    fn queue(&self, write: Write) -> io::Result<()> {
        self.writes.send(write).map_err(|_| io::Error::other("the metadata store's writer stopped"))
    }

    /// Writes a batch and waits for its fsync.
    async fn write(&self, batch: sled::Batch) -> io::Result<()> {
        let (done, wait) = awaited();
        self.queue(Write { batch, applied: None, done: Some(done) })?;
        wait.await
    }

    fn mark(&self, mark: Mark) -> io::Result<Option<Bytes>> {
        Ok(self.db.get(mark_key(mark))?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn saved_vote(&self) -> io::Result<Option<Vote>> {
        self.mark(Mark::Vote)?.map(decode_vote).transpose().map_err(invalid)
    }

    fn saved_position(&self, mark: Mark) -> io::Result<Option<LogId>> {
        decode_position(self.mark(mark)?.unwrap_or_default()).map_err(invalid)
    }

    /// Entries `start..end` as far as the log has them, until `bytes_max` is reached.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        let mut entries = Vec::new();
        let mut bytes = 0;
        for pair in self.db.range(entry_key(start)..entry_key(end)) {
            let (_, value) = pair?;
            bytes += value.len();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(decode_entry(Bytes::copy_from_slice(&value)).map_err(invalid)?);
        }
        let first = entries.first().map_or(start, |entry: &Entry| entry.log_id.index());
        check_indexes(first, &entries)?;
        Ok(entries)
    }

    fn last_entry(&self) -> io::Result<Option<Entry>> {
        let last = self.db.range(entry_key(0)..=entry_key(u64::MAX)).next_back();
        let Some((_, value)) = last.transpose()? else { return Ok(None) };
        Ok(Some(decode_entry(Bytes::copy_from_slice(&value)).map_err(invalid)?))
    }

    /// Removes the entries in `range` of keys.
    fn removal(&self, range: impl RangeBounds<[u8; 9]>) -> io::Result<sled::Batch> {
        let mut batch = sled::Batch::default();
        for key in self.db.range(range).keys() {
            batch.remove(key?);
        }
        Ok(batch)
    }
}

fn entry_key(index: u64) -> [u8; 9] {
    let mut key = [b'e'; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

fn mark_key(mark: Mark) -> [u8; 2] {
    [b'm', mark as u8]
}

/// Locks the directory. A store that was just closed may still be held for a moment.
fn own(dir: &Path) -> Result<File, Error> {
    let broken = |error: io::Error| Error::Broken(format!("{}: {error}", dir.display()));
    fs::create_dir_all(dir).map_err(broken)?;
    let owner = File::create(dir.join("owner")).map_err(broken)?;
    let deadline = Instant::now() + IN_USE_FOR_MAX;
    loop {
        match owner.try_lock() {
            Ok(()) => return Ok(owner),
            Err(TryLockError::Error(error)) => return Err(broken(error)),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(Error::InUse { dir: dir.to_owned() });
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY_EVERY),
        }
    }
}

/// Opens sled, turning a panic into an error, and checks whose store it is.
fn open_database(dir: &Path, identity: &Identity) -> Result<(sled::Db, File, File, Witness), Error> {
    let broken = |error: &dyn std::fmt::Display| Error::Broken(format!("{}: {error}", dir.display()));
    let owner = own(dir)?;
    let created = !dir.join("db").exists();
    remove_half_written_snapshots(dir).map_err(|error| broken(&error))?;
    let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let db = catch_unwind(AssertUnwindSafe(|| config.open()))
        .map_err(|_| broken(&"sled panicked"))?
        .map_err(|error| broken(&error))?;
    let file = File::open(dir.join("db")).map_err(|error| broken(&error))?;
    let number = db.get(witness::KEY).map_err(|error| broken(&error))?;
    let witness = Witness::open(dir, number.as_deref(), created).map_err(|reason| broken(&reason))?;
    let expected = identity.encode();
    match db.get(IDENTITY_KEY).map_err(|error| broken(&error))? {
        Some(found) if found == expected => {}
        Some(found) => {
            return Err(Error::WrongIdentity {
                expected: Identity::describe(&expected),
                found: Identity::describe(&found),
            });
        }
        // A store that was there without an identity lost it, unless its creation was cut short.
        None if !created && !db.is_empty() => return Err(broken(&"it has no identity")),
        None => {
            db.insert(IDENTITY_KEY, expected).map_err(|error| broken(&error))?;
            sync(&db, &file).and_then(|()| sync_directory(dir)).map_err(|error| broken(&error))?;
        }
    }
    // What was found may never have been synced, as after a kill, and from now on it counts as promised.
    file.sync_data().map_err(|error| broken(&error))?;
    Ok((db, file, owner, witness))
}

/// A crash while sled writes a snapshot leaves a file that makes its next start panic.
fn remove_half_written_snapshots(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes the names of new files durable, and the directory's own.
fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()?;
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn sync(db: &sled::Db, file: &File) -> io::Result<()> {
    db.flush()?;
    file.sync_data()
}

/// The writer: applies what is queued, in order, then flushes once for all of it.
///
/// After the first error nothing is written any more: what failed is unknown, and what follows must not overtake it.
fn write_all(db: &sled::Db, file: &File, witness: &mut Witness, queue: &mpsc::Receiver<Write>) {
    let mut failed: Option<String> = None;
    while let Ok(first) = queue.recv() {
        let more = std::iter::from_fn(|| queue.try_recv().ok());
        let mut waiting = Vec::new();
        for write in std::iter::once(first).chain(more).take(SHARED_FLUSH_MAX) {
            let applied = guarded(&mut failed, || Ok(db.apply_batch(write.batch)?));
            if let Some(sender) = write.applied {
                // Nobody waits any more: the group is being stopped.
                drop(sender.send(applied));
            }
            waiting.extend(write.done);
        }
        if waiting.is_empty() {
            continue;
        }
        let mut synced = guarded(&mut failed, || {
            db.insert(witness::KEY, &witness.next())?;
            sync(db, file)?;
            witness.synced()
        });
        for done in waiting {
            done(std::mem::replace(&mut synced, guarded(&mut failed, || Ok(()))));
        }
    }
}

/// Runs `work` unless something failed before; remembers the failure.
fn guarded(failed: &mut Option<String>, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    if let Some(error) = failed {
        return Err(io::Error::other(format!("an earlier write failed: {error}")));
    }
    work().inspect_err(|error| *failed = Some(error.to_string()))
}

impl RaftLogReader<TypeConfig> for SledLog {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = half_open(&range);
        self.read(start, end, usize::MAX)
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

impl RaftLogStorage<TypeConfig> for SledLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let purged = self.saved_position(Mark::Purged)?;
        let last = self.last_entry()?.map(|entry| entry.log_id).or(purged);
        Ok(LogState { last_purged_log_id: purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        // First of all: from here on no read point may count on this replica under an older vote.
        self.progress.set_vote(*vote);
        let mut batch = sled::Batch::default();
        batch.insert(&mark_key(Mark::Vote), encode_vote(vote).as_ref());
        self.write(batch).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut batch = sled::Batch::default();
        batch.insert(&mark_key(Mark::Committed), encode_position(committed.as_ref()).as_ref());
        let (applied, receiver) = oneshot::channel();
        self.queue(Write { batch, applied: Some(applied), done: None })?;
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the metadata store's writer stopped")))
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
        let mut batch = sled::Batch::default();
        for entry in entries {
            batch.insert(&entry_key(entry.log_id.index()), encode_entry(&entry).as_ref());
        }
        let (applied, receiver) = oneshot::channel();
        let done: Done = Box::new(|result| callback.io_completed(result));
        self.queue(Write { batch, applied: Some(applied), done: Some(done) })?;
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the metadata store's writer stopped")))
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let from = last_log_id.map_or(0, |last| last.index().saturating_add(1));
        let batch = self.removal(entry_key(from)..=entry_key(u64::MAX))?;
        self.write(batch).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let mut batch = self.removal(entry_key(0)..=entry_key(log_id.index()))?;
        batch.insert(&mark_key(Mark::Purged), encode_position(Some(&log_id)).as_ref());
        self.write(batch).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_after_a_failure() {
        let mut failed = None;
        assert!(guarded(&mut failed, || Ok(())).is_ok());
        let error = guarded(&mut failed, || Err(io::Error::other("disk full"))).unwrap_err();
        assert_eq!(error.to_string(), "disk full");
        let later = guarded(&mut failed, || panic!("must not run")).unwrap_err();
        assert_eq!(later.to_string(), "an earlier write failed: disk full");
    }

    #[test]
    fn identities_are_told_to_people() {
        let identity = Identity { cluster: "prod".to_owned(), group: GroupId(0), replica: ReplicaId(513) };
        assert_eq!(Identity::describe(&identity.encode()), "cluster \"prod\", group 0, replica 513");
        assert_eq!(Identity::describe(&[1, 2]), "an unknown version");
        assert_eq!(Identity::describe(&[9; 40]), "an unknown version");
    }

    #[tokio::test]
    async fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity { cluster: "test".to_owned(), group: GroupId(0), replica: ReplicaId(1) };
        let path = dir.path().join("meta");
        let first = SledLog::open(path.clone(), identity.clone(), Arc::default()).await.unwrap();
        let mut second = std::pin::pin!(SledLog::open(path, identity, Arc::default()));
        assert!(futures::poll!(second.as_mut()).is_pending(), "it waits for the first");
        drop(first);
        second.await.unwrap();
    }

    #[test]
    fn a_store_that_lost_its_identity_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let config = sled::Config::new().path(dir.path()).flush_every_ms(None);
        config.open().unwrap().insert("something", "else").unwrap();
        let identity = Identity { cluster: "test".to_owned(), group: GroupId(0), replica: ReplicaId(1) };
        assert!(matches!(open_database(dir.path(), &identity), Err(Error::Broken(_))));
    }
}
