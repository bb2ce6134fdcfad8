//! Segment files: begun with a header and a roster, read by position, and reused once emptied.
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;

use bytes::Bytes;

use super::WalConfig;
use super::disk::{Disk, DiskFile};
use super::format::{
    HEADER_COPIES, Kind, RECORD_HEADER_BYTES, RECORDS_START, RecordHeader, Seal, SegmentHeader, record_bytes,
    segment_name, spare_name,
};
use super::index::Location;
use super::stats::Counters;

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) generation: u64,
    pub(super) seal: Seal,
    pub(super) file: Arc<dyn DiskFile>,
}

impl Segment {
    /// Reads entries that lie one behind the other, the first at `first`. Checks each header, checksum and length.
    pub(super) fn read_run(&self, stream: u64, first_index: u64, run: &[Location]) -> io::Result<Vec<Bytes>> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(Vec::new()) };
        let start = u64::from(first.offset);
        let end = u64::from(last.offset) + record_bytes(last.len as usize) as u64;
        if end > self.file.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut buf = vec![0; (end - start) as usize];
        self.file.read_exact_at(&mut buf, start)?;
        let buf = Bytes::from(buf);
        let mut out = Vec::with_capacity(run.len());
        for (location, index) in run.iter().zip(first_index..) {
            let at = (u64::from(location.offset) - start) as usize;
            let payload = buf.slice(at + RECORD_HEADER_BYTES..at + RECORD_HEADER_BYTES + location.len as usize);
            let intact = self.seal.decode(&buf[at..]).is_some_and(|header| {
                (header.kind, header.stream, header.index, header.len) == (Kind::Entry, stream, index, location.len)
                    && header.payload_crc == crc32fast::hash(&payload)
            });
            if !intact {
                let (segment, offset) = (self.generation, location.offset);
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("entry {index} of stream {stream} is damaged: segment {segment:016x} offset {offset}"),
                ));
            }
            out.push(payload);
        }
        Ok(out)
    }
}

/// Emptied files that wait for reuse, oldest first.
#[derive(Debug)]
pub(super) struct Spares {
    names: Vec<String>,
    next_id: u64,
    /// Creates one more while the current segment fills, so that a rotation need not wait for 64 MiB of zeros.
    preparing: Option<JoinHandle<io::Result<String>>>,
}

impl Spares {
    pub(super) fn new(names: Vec<String>, next_id: u64) -> Self {
        Self { names, next_id, preparing: None }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Begins to create a spare on a thread of its own when there is none.
    pub(super) fn prepare(&mut self, disk: &Arc<dyn Disk>, config: &WalConfig) {
        if !self.names.is_empty() || self.preparing.is_some() {
            return;
        }
        let (disk, name, len) = (disk.clone(), spare_name(self.next_id), config.segment_bytes);
        self.next_id += 1;
        let create = move || disk.create(&name, len).map(|_file| name);
        // Without a thread the rotation creates the file itself.
        self.preparing = std::thread::Builder::new().name("trine-wal-spare".into()).spawn(create).ok();
    }

    /// Waits for the spare that is being created. If that failed, the rotation tries again and reports the error.
    pub(super) fn settle(&mut self) {
        if let Some(preparing) = self.preparing.take()
            && let Ok(Ok(name)) = preparing.join()
        {
            self.names.push(name);
        }
    }

    /// Takes the file of a segment that nobody needs out of the log, durably, so that it can be overwritten.
    pub(super) fn retire(&mut self, disk: &dyn Disk, config: &WalConfig, segment: &Segment) -> io::Result<()> {
        let name = segment_name(segment.generation);
        if self.names.len() < config.spare_segments_max && segment.file.len() == config.segment_bytes {
            let spare = spare_name(self.next_id);
            self.next_id += 1;
            disk.rename(&name, &spare)?;
            self.names.push(spare);
        } else {
            disk.remove(&name)?;
        }
        disk.sync_dir()
    }

    /// A file of at least `len` bytes under a spare's name. The only step of a rotation that needs room on the disk.
    pub(super) fn take(
        &mut self,
        disk: &dyn Disk,
        config: &WalConfig,
        len: u64,
    ) -> io::Result<(String, Arc<dyn DiskFile>)> {
        if self.names.is_empty() {
            self.settle();
        }
        if len <= config.segment_bytes && !self.names.is_empty() {
            let name = self.names.remove(0);
            let file = disk.open(&name)?;
            return Ok((name, file));
        }
        let name = spare_name(self.next_id);
        self.next_id += 1;
        let file = disk.create(&name, len.max(config.segment_bytes).next_multiple_of(4096))?;
        Ok((name, file))
    }
}

/// A segment just begun and where its first free byte is.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) segment: Segment,
    pub(super) end: u64,
}

/// Gives a file of at least so many bytes, and its name.
pub(super) type TakeFile<'a> = dyn FnMut(u64) -> io::Result<(String, Arc<dyn DiskFile>)> + 'a;

/// Begins the segment `generation` in a file from `take`, with `roster`, leaving room for a record of `room` payload bytes. Durable on return: a
/// file under a segment's name always has its header and roster.
pub(super) fn begin(
    disk: &dyn Disk,
    stats: &Counters,
    header: (u64, u64, u64),
    roster: &[u8],
    room: usize,
    take: &mut TakeFile<'_>,
) -> io::Result<Begun> {
    let (generation, first_batch, previous_end) = header;
    let salt = RandomState::new().hash_one(generation);
    let header = SegmentHeader { generation, salt, first_batch, previous_end };
    let seal = header.seal();
    let mut records = Vec::with_capacity(record_bytes(roster.len()));
    let record = RecordHeader {
        kind: Kind::Roster,
        last: true,
        len: 0,
        payload_crc: 0,
        batch: first_batch,
        stream: 0,
        chain: 0,
        index: 0,
    };
    seal.put(&mut records, record, roster);
    let end = RECORDS_START + records.len() as u64;
    let len = end + record_bytes(room) as u64;
    if len > u64::from(u32::MAX) {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("segment of {len} bytes")));
    }
    let (name, file) = take(len)?;
    for at in HEADER_COPIES {
        file.write_all_at(&header.encode(), at)?;
    }
    file.write_all_at(&records, RECORDS_START)?;
    file.sync_data()?;
    disk.rename(&name, &segment_name(generation))?;
    disk.sync_dir()?;
    stats.bytes.fetch_add(end, Relaxed);
    stats.records.fetch_add(1, Relaxed);
    stats.fsyncs.fetch_add(1, Relaxed);
    Ok(Begun { segment: Segment { generation, seal, file }, end })
}
