//! The writer thread: takes what is queued, writes it as batches, syncs, and tells the callers.
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::disk::{Disk, DiskFile};
use super::format::{Kind, RECORD_HEADER_BYTES, RecordHeader, record_bytes};
use super::index::{Location, Written};
use super::segment::{self, Segment, Spares};
use super::{Done, Fatal, Mark, Shared, State, error_like, stats};

/// What an operation changes.
#[derive(Debug)]
pub(super) enum Change {
    Append { stream: u64, first_index: u64, first_serial: u64, records: Vec<Bytes> },
    Mark { stream: u64, mark: Mark, value: Bytes },
    Truncate { stream: u64, index: u64 },
    Purge { stream: u64, index: u64, mark: Bytes },
    Remove { stream: u64 },
}

/// A queued operation. Without a change it only waits its turn: `result` is what it is told.
pub(super) struct Op {
    change: Option<Change>,
    result: io::Result<()>,
    pub(super) done: Option<Done>,
    /// What it counts in `pending_bytes`.
    pub(super) bytes: usize,
}

impl Op {
    pub(super) fn new(change: Option<Change>, result: io::Result<()>, done: Option<Done>) -> Self {
        let bytes = match &change {
            Some(Change::Append { records, .. }) => records.iter().map(|r| record_bytes(r.len())).sum(),
            Some(Change::Mark { value, .. }) => record_bytes(value.len()),
            Some(Change::Purge { mark, .. }) => record_bytes(mark.len()),
            Some(Change::Truncate { .. } | Change::Remove { .. }) | None => RECORD_HEADER_BYTES,
        };
        Self { change, result, done, bytes }
    }
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Op").field("change", &self.change).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Where the writer goes on.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segment: Arc<Segment>,
    /// Offset of the first free byte in it.
    pub(super) end: u64,
    /// Number of the next batch.
    pub(super) next_batch: u64,
    pub(super) spares: Spares,
}

pub(super) fn spawn(shared: Arc<Shared>, disk: Arc<dyn Disk>, tail: Tail) -> io::Result<JoinHandle<()>> {
    let mut writer = Writer::new(shared, disk, tail);
    std::thread::Builder::new().name("trine-wal".into()).spawn(move || writer.run())
}

/// How often a full disk is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(250);

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A file for a segment. On a full disk the log stands still until there is room or the log is closed: nothing has been
/// written or promised yet, so this is no failed write.
fn take_when_there_is_room(
    shared: &Shared,
    disk: &dyn Disk,
    spares: &mut Spares,
    len: u64,
) -> io::Result<(String, Arc<dyn DiskFile>)> {
    loop {
        let taken = spares.take(disk, &shared.config, len);
        let waits = taken.as_ref().is_err_and(is_full);
        shared.stats.stalled.store(u64::from(waits), Relaxed);
        if !waits {
            return taken;
        }
        let state = shared.state();
        if state.stopping {
            return taken;
        }
        drop(shared.wake.wait_timeout(state, FULL_PAUSE).unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

/// What is encoded and not yet written.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    last_record: usize,
    records: u64,
    written: Vec<Written>,
    told: VecDeque<(Done, io::Result<()>)>,
    pending_bytes: u64,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    tail: Tail,
    /// Taken from the queue and not yet encoded.
    incoming: VecDeque<Op>,
    batch: Batch,
    /// Something was dropped, so that old segments may be free.
    emptied: bool,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("tail", &self.tail).finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, disk: Arc<dyn Disk>, tail: Tail) -> Self {
        Self { shared, disk, tail, incoming: VecDeque::new(), batch: Batch::default(), emptied: true }
    }

    /// Writes what is queued, on the caller's thread. `false` once the log has failed.
    pub(super) fn step(&mut self) -> bool {
        let mut ops = Vec::new();
        {
            let mut state = self.shared.state();
            if state.fatal.is_some() {
                return false;
            }
            self.take_queue(&mut state, &mut ops);
        }
        let written = self.write(&mut ops);
        self.tail.spares.settle();
        if let Err(error) = &written {
            self.fail(error);
        }
        written.is_ok()
    }

    /// The segment in use, and where its records end.
    pub(super) fn end(&self) -> (u64, u64) {
        (self.tail.segment.generation, self.tail.end)
    }

    fn run(&mut self) {
        let end = match catch_unwind(AssertUnwindSafe(|| self.serve())) {
            Ok(end) => end,
            Err(_panic) => Err(io::Error::other("the writer of the log panicked, perhaps in a callback")),
        };
        if let Err(error) = end {
            self.fail(&error);
        }
        // No thread outlives the log, whose directory may be opened again at once.
        self.tail.spares.settle();
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut ops = Vec::new();
        loop {
            let stopping = self.wait(&mut ops);
            if ops.is_empty() && stopping {
                return Ok(());
            }
            self.write(&mut ops)?;
        }
    }

    /// Brings operations to the disk, and tidies up behind them.
    fn write(&mut self, ops: &mut Vec<Op>) -> io::Result<()> {
        self.incoming.extend(ops.drain(..));
        while let Some(op) = self.incoming.pop_front() {
            self.encode(op)?;
        }
        self.flush()?;
        self.reclaim()?;
        if self.tail.end > self.tail.segment.file.len() / 2 {
            self.tail.spares.prepare(&self.disk, &self.shared.config);
        }
        Ok(())
    }

    /// Sleeps until something is due and takes the whole queue. Tells whether the log is being closed.
    fn wait(&self, ops: &mut Vec<Op>) -> bool {
        let mut state = self.shared.state();
        while !state.urgent && !state.stopping {
            if state.queue.is_empty() {
                state = self.shared.wake.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
                continue;
            }
            let idle_flush = self.shared.config.idle_flush;
            let waited = self.shared.wake.wait_timeout(state, idle_flush);
            let (woken, timeout) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
            state = woken;
            if timeout.timed_out() {
                break;
            }
        }
        self.take_queue(&mut state, ops);
        state.stopping
    }

    fn take_queue(&self, state: &mut State, ops: &mut Vec<Op>) {
        std::mem::swap(&mut state.queue, ops);
        state.urgent = false;
        state.lazy_bytes = 0;
    }

    fn encode(&mut self, op: Op) -> io::Result<()> {
        // Counted first, so that a failure below still tells everybody.
        self.batch.pending_bytes += op.bytes as u64;
        let Op { change, result, done, .. } = op;
        let encoded = change.map_or(Ok(()), |change| self.encode_change(change));
        self.batch.told.extend(done.map(|done| (done, result)));
        encoded
    }

    fn encode_change(&mut self, change: Change) -> io::Result<()> {
        match change {
            Change::Append { stream, first_index, first_serial, records } => {
                for ((payload, index), serial) in records.iter().zip(first_index..).zip(first_serial..) {
                    self.make_room(payload.len())?;
                    let generation = self.tail.segment.generation;
                    let offset = (self.tail.end + self.batch.bytes.len() as u64) as u32;
                    let chain = {
                        let mut ledger = self.shared.ledger();
                        let entry = ledger.next_record(stream);
                        entry.append(index, generation, record_bytes(payload.len()) as u64);
                        entry.chain
                    };
                    self.put(Kind::Entry, stream, chain, index, payload);
                    let location = Location { generation, offset, len: payload.len() as u32 };
                    self.batch.written.push(Written { stream, index, serial, location });
                }
                return Ok(());
            }
            Change::Mark { stream, mark, value } => {
                self.make_room(value.len())?;
                let chain = {
                    let mut ledger = self.shared.ledger();
                    let entry = ledger.next_record(stream);
                    entry.marks.set(mark, value.clone());
                    entry.chain
                };
                self.put(Kind::Mark, stream, chain, mark as u64, &value);
                return Ok(());
            }
            Change::Truncate { stream, index } => {
                self.make_room(0)?;
                let chain = {
                    let mut ledger = self.shared.ledger();
                    let entry = ledger.next_record(stream);
                    entry.truncate(index);
                    entry.chain
                };
                self.put(Kind::Truncate, stream, chain, index, &[]);
            }
            Change::Purge { stream, index, mark } => {
                self.make_room(mark.len())?;
                let chain = {
                    let mut ledger = self.shared.ledger();
                    let entry = ledger.next_record(stream);
                    entry.purge_to(index + 1);
                    entry.marks.set(Mark::Purged, mark.clone());
                    entry.chain
                };
                self.put(Kind::Purge, stream, chain, index, &mark);
            }
            Change::Remove { stream } => {
                self.make_room(0)?;
                let chain = {
                    let mut ledger = self.shared.ledger();
                    let chain = ledger.next_record(stream).chain;
                    ledger.streams.remove(&stream);
                    chain
                };
                self.put(Kind::Remove, stream, chain, 0, &[]);
            }
        }
        self.emptied = true;
        Ok(())
    }

    fn put(&mut self, kind: Kind, stream: u64, chain: u64, index: u64, payload: &[u8]) {
        let batch = self.tail.next_batch;
        let header = RecordHeader { kind, last: false, len: 0, payload_crc: 0, batch, stream, chain, index };
        self.batch.last_record = self.batch.bytes.len();
        self.tail.segment.seal.put(&mut self.batch.bytes, header, payload);
        self.batch.records += 1;
    }

    /// Makes sure that a record with `len` payload bytes may be added to the batch: ends it when it is full or the segment is.
    fn make_room(&mut self, len: usize) -> io::Result<()> {
        let record = record_bytes(len);
        let used = self.batch.bytes.len();
        if used > 0 && used + record > self.shared.config.batch_bytes_max {
            self.flush()?;
        }
        if self.tail.end + (self.batch.bytes.len() + record) as u64 > self.tail.segment.file.len() {
            self.flush()?;
            self.rotate(len)?;
        }
        Ok(())
    }

    /// Writes and syncs the batch, then tells the callers whose operations are complete.
    fn flush(&mut self) -> io::Result<()> {
        let shared = &self.shared;
        if !self.batch.bytes.is_empty() {
            let Batch { bytes, last_record, records, .. } = &mut self.batch;
            self.tail.segment.seal.set_last(bytes, *last_record);
            self.tail.segment.file.write_all_at(bytes, self.tail.end)?;
            let began = Instant::now();
            self.tail.segment.file.sync_data()?;
            stats::add(&shared.stats.fsync_ns, u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
            stats::add(&shared.stats.fsyncs, 1);
            stats::add(&shared.stats.batches, 1);
            stats::add(&shared.stats.records, *records);
            stats::add(&shared.stats.bytes, bytes.len() as u64);
            self.tail.end += bytes.len() as u64;
            self.tail.next_batch += 1;
            shared.state().index.written(&self.batch.written);
        }
        shared.stats.pending_bytes.fetch_sub(self.batch.pending_bytes, Relaxed);
        self.batch.pending_bytes = 0;
        self.batch.bytes.clear();
        self.batch.written.clear();
        self.batch.records = 0;
        while let Some((done, result)) = self.batch.told.pop_front() {
            done(result);
        }
        Ok(())
    }

    /// Begins the next segment; the batch is empty and everything before it synced.
    fn rotate(&mut self, room: usize) -> io::Result<()> {
        debug_assert!(self.batch.bytes.is_empty(), "a batch never spans two segments");
        let roster = self.shared.ledger().roster();
        let header = (self.tail.segment.generation + 1, self.tail.next_batch, self.tail.end);
        let (shared, disk, spares) = (&self.shared, self.disk.as_ref(), &mut self.tail.spares);
        let stats = &shared.stats;
        let mut take = |len| take_when_there_is_room(shared, disk, spares, len);
        let begun = segment::begin(disk, stats, header, &roster, room, &mut take)?;
        stats.spares.store(self.tail.spares.len() as u64, Relaxed);
        self.tail.segment = Arc::new(begun.segment);
        self.tail.end = begun.end;
        self.tail.next_batch += 1;
        self.emptied = true;
        stats::add(&stats.rotations, 1);
        let mut state = self.shared.state();
        state.segments.insert(self.tail.segment.generation, self.tail.segment.clone());
        stats.segments.store(state.segments.len() as u64, Relaxed);
        Ok(())
    }

    /// Retires the oldest segments that no stream needs; every mark in them is in the newest segment's roster or after it.
    fn reclaim(&mut self) -> io::Result<()> {
        debug_assert!(self.batch.bytes.is_empty(), "what was dropped is synced");
        if !std::mem::take(&mut self.emptied) {
            return Ok(());
        }
        let current = self.tail.segment.generation;
        let needed = self.shared.ledger().oldest_needed().map_or(current, |oldest| oldest.min(current));
        loop {
            let oldest = {
                let mut state = self.shared.state();
                match state.segments.first_key_value() {
                    Some((generation, _)) if *generation < needed => state.segments.pop_first().map(|(_, s)| s),
                    _ => None,
                }
            };
            let Some(oldest) = oldest else { break };
            self.tail.spares.retire(self.disk.as_ref(), &self.shared.config, &oldest)?;
            self.shared.stats.spares.store(self.tail.spares.len() as u64, Relaxed);
            self.shared.stats.segments.fetch_sub(1, Relaxed);
        }
        Ok(())
    }

    /// Ends the log: everybody who waits and everybody to come is told `error`.
    fn fail(&mut self, error: &io::Error) {
        let queued = {
            let mut state = self.shared.state();
            state.fatal = Some(Fatal { kind: error.kind(), message: format!("the log has failed: {error}") });
            std::mem::take(&mut state.queue)
        };
        // A log that was closed while it waited for room has not failed: nothing that it wrote is in doubt.
        if !is_full(error) {
            self.shared.config.on_fatal.call(error);
        }
        let waiting = std::mem::take(&mut self.batch.told).into_iter().map(|(done, _)| done);
        let taken = std::mem::take(&mut self.incoming);
        for done in waiting.chain(taken.into_iter().chain(queued).filter_map(|op| op.done)) {
            if catch_unwind(AssertUnwindSafe(|| done(Err(error_like(error))))).is_err() {
                continue; // a callback's panic must not keep the error from the others
            }
        }
    }
}
