//! Segmented write-ahead log of one node, shared by all its streams.
//!
//! A stream is one raft group's log and its marks. Callers enqueue operations; one writer thread makes everything queued
//! into one batch: one positioned write, one fdatasync, then the callbacks. The in-memory [`index`] serves bounds, marks
//! and fresh entries at once; the [`ledger`] follows what is on disk. Start at [`writer`] for the write path, [`recover`]
//! for the open, [`format`] and `docs/formats/wal.md` for the bytes.
//!
//! Invariants
//! - An operation's callback says `Ok` only after an fsync that covers it and every operation enqueued before it.
//! - A write or fsync error is never retried: the log takes nothing more and says so to everybody.
//! - A segment is reused only once a newer one holds every mark and no stream needs an entry in it.
//! - Damage is never skipped in silence: it is in the [`RecoveryReport`], and a stream that it may have hit serves nothing.
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;

mod config;
mod disk;
mod format;
mod index;
mod ledger;
mod memdisk;
mod progress;
mod recover;
mod replay;
mod report;
mod scan;
mod segment;
#[doc(hidden)]
pub mod sim;
mod stats;
#[cfg(test)]
mod tests;
mod writer;

pub use config::{OnFatal, WalConfig};
pub use progress::OpenProgress;
pub use report::{CorruptStream, Damage, DamageKind, Loss, Place, RecoveryReport};
pub use stats::WalStats;

use disk::{Disk, LocalDisk};
use index::{Index, Location, Piece};
use ledger::Ledger;
use segment::Segment;
use stats::Counters;
use writer::Op;

/// Told once an operation is synced, or why it never will be. Runs on the writer thread (on the caller's once the log has
/// failed): it must be quick and must not block.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Marks without a callback that may wait in memory before they are written although nothing else is.
const LAZY_BYTES_MAX: usize = 1 << 20;

/// A small value of a stream of which only the newest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mark {
    /// The raft vote.
    Vote = 1,
    /// The committed position.
    Committed = 2,
    /// The last purged position.
    Purged = 3,
}

impl Mark {
    pub(super) const ALL: [Self; 3] = [Self::Vote, Self::Committed, Self::Purged];
}

/// Entries `first_index..next_index` are readable; none when equal. Both 0 for a stream that has had no entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub first_index: u64,
    pub next_index: u64,
}

/// A handle to the log; cheap to clone. Dropping the last one writes what is queued and stops the writer thread.
#[derive(Clone, Debug)]
pub struct Wal {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// What callers and the writer thread share.
#[derive(Debug)]
struct Shared {
    config: WalConfig,
    state: Mutex<State>,
    /// Wakes the writer.
    wake: Condvar,
    /// Locked after `state` or alone, never before it.
    ledger: Mutex<Ledger>,
    stats: Counters,
}

#[derive(Debug)]
struct State {
    index: Index,
    segments: BTreeMap<u64, Arc<Segment>>,
    queue: Vec<Op>,
    /// Something in the queue waits for its fsync.
    urgent: bool,
    /// Bytes in the queue that nobody waits for.
    lazy_bytes: usize,
    stopping: bool,
    fatal: Option<Fatal>,
}

/// The failure that ended the log.
#[derive(Clone, Debug)]
struct Fatal {
    kind: io::ErrorKind,
    message: String,
}

impl Fatal {
    fn error(&self) -> io::Error {
        io::Error::new(self.kind, self.message.clone())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wal {
    /// Opens the log in `dir`, creating it when there is none, and replays it.
    ///
    /// Damage is not an error: see [`RecoveryReport`]. Errors are those of the file system, a segment of a newer version
    /// (`Unsupported`), settings out of range (`InvalidInput`) and a directory that is in use (`WouldBlock`).
    pub fn open(dir: &Path, config: WalConfig) -> io::Result<(Self, RecoveryReport)> {
        Self::open_on(Arc::new(LocalDisk::open(dir)?), config)
    }

    fn open_on(disk: Arc<dyn Disk>, config: WalConfig) -> io::Result<(Self, RecoveryReport)> {
        let (shared, tail, report) = Self::recover(disk.as_ref(), config)?;
        let writer = writer::spawn(shared.clone(), disk, tail)?;
        Ok((Self { handle: Arc::new(Handle { shared, writer: Some(writer) }) }, report))
    }

    /// Everything but a writer.
    fn recover(disk: &dyn Disk, config: WalConfig) -> io::Result<(Arc<Shared>, writer::Tail, RecoveryReport)> {
        config.validate()?;
        let stats = Counters::default();
        let recovered = recover::recover(disk, &config, &stats)?;
        let state = State {
            index: recovered.index,
            segments: recovered.segments,
            queue: Vec::new(),
            urgent: false,
            lazy_bytes: 0,
            stopping: false,
            fatal: None,
        };
        let shared = Arc::new(Shared {
            config,
            state: Mutex::new(state),
            wake: Condvar::new(),
            ledger: Mutex::new(recovered.ledger),
            stats,
        });
        Ok((shared, recovered.tail, recovered.report))
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// Which entries of `stream` can be read, those not yet synced included.
    pub fn bounds(&self, stream: u64) -> Bounds {
        self.shared().state().index.bounds(stream)
    }

    /// Payload bytes of the entries of `stream` from `index` on. Looks at each of them.
    pub fn bytes_from(&self, stream: u64, index: u64) -> u64 {
        self.shared().state().index.bytes_from(stream, index)
    }

    /// The newest value of a mark, synced or not.
    pub fn mark(&self, stream: u64, mark: Mark) -> Option<Bytes> {
        self.shared().state().index.mark(stream, mark)
    }

    /// Every stream that has an entry or a mark, rising.
    pub fn streams(&self) -> Vec<u64> {
        self.shared().state().index.ids()
    }

    /// Appends `records` at `first_index`, `first_index + 1`, ... They can be read on return; `done` runs after the fsync.
    ///
    /// `first_index` must be the stream's `next_index`; a stream that never had an entry may begin anywhere. `done` gets
    /// `InvalidInput` otherwise, or when a record is too large, and `InvalidData` when the stream is corrupt.
    pub fn append(&self, stream: u64, first_index: u64, records: Vec<Bytes>, done: Done) {
        let record_bytes_max = self.shared().config.record_bytes_max;
        if let Some(too_large) = records.iter().map(Bytes::len).find(|len| *len > record_bytes_max) {
            return self.enqueue(done, |_| Err(oversized(too_large, record_bytes_max)));
        }
        self.enqueue(done, |index| {
            let first_serial = index.append(stream, first_index, &records)?;
            Ok(Some(writer::Change::Append { stream, first_index, first_serial, records }))
        });
    }

    /// Replaces a mark. With `done`, it runs after the fsync; without, the mark is written with the next batch, or by itself
    /// after `idle_flush`, and nobody waits for it.
    pub fn set_mark(&self, stream: u64, mark: Mark, value: Bytes, done: Option<Done>) {
        let max = self.shared().config.record_bytes_max;
        if value.len() > max {
            return self.enqueue_maybe(done, |_| Err(oversized(value.len(), max)));
        }
        self.enqueue_maybe(done, |index| {
            index.set_mark(stream, mark, value.clone())?;
            Ok(Some(writer::Change::Mark { stream, mark, value }))
        });
    }

    /// Drops the entries from `index` on.
    pub fn truncate_from(&self, stream: u64, index: u64, done: Done) {
        self.enqueue(done, |streams| {
            if !streams.contains(stream) {
                return Ok(None);
            }
            streams.truncate(stream, index)?;
            Ok(Some(writer::Change::Truncate { stream, index }))
        });
    }

    /// Drops the entries through `index`, which may lie beyond the end (the stream is then empty and goes on at
    /// `index + 1`), and sets [`Mark::Purged`] to `mark`.
    pub fn purge_through(&self, stream: u64, index: u64, mark: Bytes, done: Done) {
        let max = self.shared().config.record_bytes_max;
        self.enqueue(done, |streams| {
            let base = index.checked_add(1).ok_or(io::ErrorKind::InvalidInput)?;
            if mark.len() > max {
                return Err(oversized(mark.len(), max));
            }
            streams.purge_to(stream, base, mark.clone())?;
            Ok(Some(writer::Change::Purge { stream, index, mark }))
        });
    }

    /// Forgets the stream: its entries, its marks, and that it was corrupt.
    pub fn remove_stream(&self, stream: u64, done: Done) {
        self.enqueue(done, |index| Ok(index.remove(stream).then_some(writer::Change::Remove { stream })));
    }

    /// The entries of a prefix of `range`: as many as fit in `bytes_max` payload bytes, and at least one if the first is
    /// there. Empty when `range` starts outside the bounds.
    ///
    /// Fresh entries come from memory, older ones from disk, so call it where a disk read may block. `InvalidData` when a
    /// checksum fails or the stream is corrupt.
    pub fn read(&self, stream: u64, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Bytes>> {
        loop {
            let (pieces, segments) = {
                let state = self.shared().state();
                let pieces = state.index.plan(stream, &range, bytes_max)?;
                let mut segments: Vec<Arc<Segment>> = Vec::new();
                for piece in &pieces {
                    if let Piece::Disk(at) = piece
                        && segments.last().is_none_or(|s| s.generation != at.generation)
                    {
                        segments.extend(state.segments.get(&at.generation).cloned());
                    }
                }
                (pieces, segments)
            };
            match self.fetch(stream, range.start, &pieces, &segments) {
                Ok(records) => return Ok(records),
                // A purge may have let the segment go and be overwritten meanwhile: then plan again.
                Err(error) if self.still_planned(stream, range.start, &pieces) => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn fetch(&self, stream: u64, first: u64, pieces: &[Piece], segments: &[Arc<Segment>]) -> io::Result<Vec<Bytes>> {
        let stats = &self.shared().stats;
        let mut out = Vec::with_capacity(pieces.len());
        while let Some(piece) = pieces.get(out.len()) {
            match piece {
                Piece::Memory(payload) => {
                    out.push(payload.clone());
                    stats::add(&stats.reads_cached, 1);
                }
                Piece::Disk(at) => {
                    let run = adjoining(&pieces[out.len()..]);
                    let segment = segments
                        .iter()
                        .find(|s| s.generation == at.generation)
                        .ok_or_else(|| io::Error::other(format!("segment {:016x} is not open", at.generation)))?;
                    out.extend(segment.read_run(stream, first + out.len() as u64, &run)?);
                    stats::add(&stats.reads_disk, run.len() as u64);
                }
            }
        }
        Ok(out)
    }

    fn still_planned(&self, stream: u64, first: u64, pieces: &[Piece]) -> bool {
        let state = self.shared().state();
        pieces.iter().zip(first..).all(|(piece, index)| match piece {
            Piece::Memory(_) => true,
            Piece::Disk(at) => state.index.is_at(stream, index, *at),
        })
    }

    /// Bytes of enqueued operations that are not yet synced. Nothing here blocks a caller, so whoever enqueues must bound
    /// what is in flight (raft takes a byte semaphore before it proposes); this is the gauge to check that by.
    pub fn pending_bytes(&self) -> u64 {
        self.shared().stats.pending_bytes.load(Relaxed)
    }

    /// The streams that keep the oldest segments from being reused, and their bytes there, once more than
    /// `retain_bytes_soft` is in use. The first one pins the oldest segment: seal and purge it first.
    pub fn laggards(&self) -> Vec<(u64, u64)> {
        let shared = self.shared();
        let newest_to_go = {
            let state = shared.state();
            let mut excess = state.segments.values().map(|s| s.file.len()).sum::<u64>();
            let mut newest_to_go = None;
            for segment in state.segments.values() {
                if excess <= shared.config.retain_bytes_soft {
                    break;
                }
                excess -= segment.file.len();
                newest_to_go = Some(segment.generation);
            }
            newest_to_go
        };
        newest_to_go.map(|generation| shared.ledger().pinning(generation)).unwrap_or_default()
    }

    /// Counters since the open.
    pub fn stats(&self) -> WalStats {
        self.shared().stats.observe()
    }

    fn enqueue(&self, done: Done, change: impl FnOnce(&mut Index) -> io::Result<Option<writer::Change>>) {
        self.enqueue_maybe(Some(done), change);
    }

    /// Applies a change to the index and queues it, in one step so that both have the same order. A refused change is
    /// queued as well, with its error, so that all callbacks run in order on the writer thread.
    fn enqueue_maybe(&self, done: Option<Done>, change: impl FnOnce(&mut Index) -> io::Result<Option<writer::Change>>) {
        let shared = self.shared();
        let mut state = shared.state();
        if let Some(fatal) = &state.fatal {
            let error = fatal.error();
            drop(state);
            return done.into_iter().for_each(|done| done(Err(error_like(&error))));
        }
        let (change, result) = match change(&mut state.index) {
            Ok(change) => (change, Ok(())),
            Err(error) => (None, Err(error)),
        };
        if change.is_none() && done.is_none() {
            return;
        }
        let op = Op::new(change, result, done);
        let was_idle = state.queue.is_empty();
        let was_urgent = state.urgent;
        stats::add(&shared.stats.pending_bytes, op.bytes as u64);
        if op.done.is_none() {
            state.lazy_bytes += op.bytes;
        }
        state.urgent |= op.done.is_some() || state.lazy_bytes > LAZY_BYTES_MAX;
        state.queue.push(op);
        if was_idle || (state.urgent && !was_urgent) {
            shared.wake.notify_one();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.state().stopping = true;
        self.shared.wake.notify_one();
        // The last handle may be dropped by a callback, on the writer thread itself.
        if let Some(writer) = self.writer.take()
            && writer.thread().id() != std::thread::current().id()
            && writer.join().is_err()
        {
            debug_assert!(false, "the writer catches panics");
        }
    }
}

/// The disk locations at the start of `pieces` that lie one behind the other.
fn adjoining(pieces: &[Piece]) -> Vec<Location> {
    let mut run: Vec<Location> = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Disk(at)
                if run.last().is_none_or(|last| {
                    last.generation == at.generation
                        && u64::from(last.offset) + format::record_bytes(last.len as usize) as u64
                            == u64::from(at.offset)
                }) =>
            {
                run.push(*at);
            }
            Piece::Disk(_) | Piece::Memory(_) => break,
        }
    }
    run
}

fn oversized(len: usize, max: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("record of {len} bytes, over the limit of {max}"))
}

/// `io::Error` cannot be cloned; this keeps its kind and words.
fn error_like(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// Runs the decoders of a segment's pieces over bytes that no checksum vouches for.
pub(crate) fn decode_records(bytes: &[u8]) {
    let header = format::SegmentHeader { generation: 1, salt: 0, first_batch: 1, previous_end: 0 };
    let header = format::SegmentHeader::decode(bytes).unwrap_or(header);
    if let Some(record) = header.seal().decode(bytes) {
        assert!(record.record_bytes() >= format::RECORD_HEADER_BYTES as u64, "{record:?}");
    }
    drop(format::decode_roster(bytes));
}
