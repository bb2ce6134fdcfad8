//! Where each entry is: the in-memory view that reads and bounds are served from.
//!
//! It holds what is enqueued, so it runs ahead of the disk. Payloads that are not yet synced are all here; synced ones
//! stay until newer ones push them out, oldest first over all streams.
use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use hashbrown::HashMap;

use super::ledger::{Extent, Marks};
use super::{Bounds, Mark};

/// Where a record is. `generation` 0: not on disk yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) generation: u64,
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// An entry that was written: `serial` tells it from a later one at the same index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) stream: u64,
    pub(super) index: u64,
    pub(super) serial: u64,
    pub(super) location: Location,
}

/// One entry that a read wants.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Memory(Bytes),
    Disk(Location),
}

#[derive(Debug)]
struct Recent {
    serial: u64,
    payload: Bytes,
}

/// One stream as enqueued.
#[derive(Debug, Default)]
pub(super) struct Stream {
    extent: Extent,
    marks: Marks,
    corrupt: bool,
    /// Of `extent.base..extent.next`.
    locations: VecDeque<Location>,
    /// Payloads of the newest entries, up to `extent.next`.
    recent: VecDeque<Recent>,
}

impl Stream {
    /// A stream found by recovery. `locations` are of all its entries, or none when it is corrupt.
    pub(super) fn recovered(extent: Extent, marks: Marks, corrupt: bool, locations: VecDeque<Location>) -> Self {
        debug_assert!(corrupt || locations.len() as u64 == extent.next - extent.base);
        Self { extent, marks, corrupt, locations, recent: VecDeque::new() }
    }

    fn recent_start(&self) -> u64 {
        self.extent.next - self.recent.len() as u64
    }

    fn location_mut(&mut self, index: u64) -> Option<&mut Location> {
        let at = usize::try_from(index.checked_sub(self.extent.base)?).ok()?;
        self.locations.get_mut(at)
    }
}

/// All streams, and the payloads kept in memory.
#[derive(Debug)]
pub(super) struct Index {
    streams: HashMap<u64, Stream>,
    /// Cached payloads in the order they came, with dropped ones among them.
    order: VecDeque<(u64, u64)>,
    next_serial: u64,
    cached_bytes: usize,
    cached_entries: usize,
    cache_bytes_max: usize,
}

impl Index {
    pub(super) fn new(cache_bytes_max: usize) -> Self {
        Self {
            streams: HashMap::new(),
            order: VecDeque::new(),
            next_serial: 0,
            cached_bytes: 0,
            cached_entries: 0,
            cache_bytes_max,
        }
    }

    /// Adds a stream found by recovery.
    pub(super) fn insert(&mut self, id: u64, stream: Stream) {
        self.streams.insert(id, stream);
    }

    pub(super) fn contains(&self, stream: u64) -> bool {
        self.streams.contains_key(&stream)
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.streams.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn bounds(&self, stream: u64) -> Bounds {
        let extent = self.streams.get(&stream).map(|s| s.extent).unwrap_or_default();
        Bounds { first_index: extent.base, next_index: extent.next }
    }

    /// Payload bytes of a stream's entries from `index` on.
    pub(super) fn bytes_from(&self, stream: u64, index: u64) -> u64 {
        let Some(stream) = self.streams.get(&stream) else { return 0 };
        let skip = usize::try_from(index.saturating_sub(stream.extent.base)).unwrap_or(usize::MAX);
        let recent_at = stream.locations.len() - stream.recent.len();
        let on_disk = stream.locations.iter().take(recent_at).skip(skip).map(|l| u64::from(l.len));
        let recent = stream.recent.iter().skip(skip.saturating_sub(recent_at)).map(|r| r.payload.len() as u64);
        on_disk.chain(recent).sum()
    }

    pub(super) fn mark(&self, stream: u64, mark: Mark) -> Option<Bytes> {
        self.streams.get(&stream)?.marks.get(mark).cloned()
    }

    /// The stream, created when it is new; an error when it is corrupt.
    fn writable(&mut self, stream: u64) -> io::Result<&mut Stream> {
        let found = self.streams.entry(stream).or_default();
        if found.corrupt { Err(corrupt(stream)) } else { Ok(found) }
    }

    /// Takes entries in and gives the serial of the first; the others count up from it.
    pub(super) fn append(&mut self, id: u64, first: u64, records: &[Bytes]) -> io::Result<u64> {
        let serial = self.next_serial;
        let stream = self.writable(id)?;
        if !stream.extent.accepts(first, records.len() as u64) {
            let next = stream.extent.next;
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("append at index {first} of stream {id}, whose next index is {next}"),
            ));
        }
        stream.extent.append(first, records.len() as u64);
        stream.locations.resize(stream.locations.len() + records.len(), Location::default());
        for (payload, serial) in records.iter().zip(serial..) {
            stream.recent.push_back(Recent { serial, payload: payload.clone() });
        }
        self.order.extend((serial..).take(records.len()).map(|serial| (id, serial)));
        self.cached_bytes += records.iter().map(Bytes::len).sum::<usize>();
        self.cached_entries += records.len();
        self.next_serial += records.len() as u64;
        Ok(serial)
    }

    pub(super) fn set_mark(&mut self, stream: u64, mark: Mark, value: Bytes) -> io::Result<()> {
        self.writable(stream)?.marks.set(mark, value);
        Ok(())
    }

    pub(super) fn truncate(&mut self, stream: u64, index: u64) -> io::Result<()> {
        let stream = self.writable(stream)?;
        stream.extent.truncate(index);
        let keep = (stream.extent.next - stream.extent.base) as usize;
        let dropped = stream.locations.len().saturating_sub(keep).min(stream.recent.len());
        stream.locations.truncate(keep);
        let kept = stream.recent.len() - dropped;
        let gone = stream.recent.drain(kept..).map(|r| r.payload.len()).sum();
        self.uncache(dropped, gone);
        Ok(())
    }

    pub(super) fn purge_to(&mut self, stream: u64, base: u64, mark: Bytes) -> io::Result<()> {
        let stream = self.writable(stream)?;
        let recent_start = stream.recent_start();
        let dropped = base.saturating_sub(stream.extent.base).min(stream.locations.len() as u64) as usize;
        stream.locations.drain(..dropped);
        let cached = (base.saturating_sub(recent_start)).min(stream.recent.len() as u64) as usize;
        let gone = stream.recent.drain(..cached).map(|r| r.payload.len()).sum();
        stream.extent.purge_to(base);
        stream.marks.set(Mark::Purged, mark);
        self.uncache(cached, gone);
        Ok(())
    }

    /// Whether there was such a stream.
    pub(super) fn remove(&mut self, stream: u64) -> bool {
        let Some(removed) = self.streams.remove(&stream) else { return false };
        let bytes = removed.recent.iter().map(|r| r.payload.len()).sum();
        self.uncache(removed.recent.len(), bytes);
        true
    }

    /// Notes where entries are, now that they are synced, and lets old payloads go. Entries dropped meanwhile are passed over.
    pub(super) fn written(&mut self, batch: &[Written]) {
        for w in batch {
            let Some(stream) = self.streams.get_mut(&w.stream) else { continue };
            let at = w.index.checked_sub(stream.recent_start()).and_then(|at| usize::try_from(at).ok());
            if at.and_then(|at| stream.recent.get(at)).is_some_and(|r| r.serial == w.serial)
                && let Some(location) = stream.location_mut(w.index)
            {
                *location = w.location;
            }
        }
        self.evict();
    }

    fn evict(&mut self) {
        while self.cached_bytes > self.cache_bytes_max {
            let Some((id, serial)) = self.order.front().copied() else { break };
            if let Some(stream) = self.streams.get_mut(&id)
                && stream.recent.front().is_some_and(|r| r.serial == serial)
            {
                let index = stream.recent_start();
                if stream.location_mut(index).is_none_or(|l| l.generation == 0) {
                    break; // not synced, and neither is anything after it
                }
                if let Some(gone) = stream.recent.pop_front() {
                    self.cached_bytes -= gone.payload.len();
                    self.cached_entries -= 1;
                }
            }
            self.order.pop_front();
        }
    }

    fn uncache(&mut self, entries: usize, bytes: usize) {
        self.cached_entries -= entries;
        self.cached_bytes -= bytes;
        // Dropped payloads leave their place in the order behind: clear up before those outnumber the rest.
        if self.order.len() > 2 * self.cached_entries + 1024 {
            let streams = &self.streams;
            self.order.retain(|(id, serial)| {
                streams.get(id).is_some_and(|s| s.recent.binary_search_by_key(serial, |r| r.serial).is_ok())
            });
        }
    }

    /// What to read for a prefix of `range` of at most `bytes_max` payload bytes, but at least one entry if there is one.
    pub(super) fn plan(&self, id: u64, range: &Range<u64>, bytes_max: usize) -> io::Result<Vec<Piece>> {
        let Some(stream) = self.streams.get(&id) else { return Ok(Vec::new()) };
        if stream.corrupt {
            return Err(corrupt(id));
        }
        let mut pieces = Vec::new();
        let mut bytes = 0usize;
        // A range that starts before the first entry has no prefix here.
        if range.start < stream.extent.base {
            return Ok(pieces);
        }
        let recent_start = stream.recent_start();
        for index in range.start..range.end.min(stream.extent.next) {
            let location = stream.locations[(index - stream.extent.base) as usize];
            let (len, piece) = match index.checked_sub(recent_start) {
                Some(at) => {
                    let payload = &stream.recent[at as usize].payload;
                    (payload.len(), Piece::Memory(payload.clone()))
                }
                None => (location.len as usize, Piece::Disk(location)),
            };
            bytes = bytes.saturating_add(len);
            if !pieces.is_empty() && bytes > bytes_max {
                break;
            }
            pieces.push(piece);
        }
        Ok(pieces)
    }

    /// Whether the entry at `index` is still where a plan said.
    pub(super) fn is_at(&self, stream: u64, index: u64, location: Location) -> bool {
        self.streams.get(&stream).is_some_and(|s| {
            index
                .checked_sub(s.extent.base)
                .and_then(|at| s.locations.get(at as usize))
                .is_some_and(|found| *found == location)
        })
    }

    #[cfg(test)]
    pub(super) fn cached(&self) -> (usize, usize, usize) {
        (self.cached_entries, self.cached_bytes, self.order.len())
    }
}

fn corrupt(stream: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("stream {stream} lost records to damage: remove it and replace the replica"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(n: usize, len: usize) -> Vec<Bytes> {
        (0..n).map(|i| Bytes::from(vec![i as u8; len])).collect()
    }

    fn synced(stream: u64, first: u64, serial: u64, n: u64) -> Vec<Written> {
        (0..n)
            .map(|i| Written {
                stream,
                index: first + i,
                serial: serial + i,
                location: Location { generation: 1, offset: 4096, len: 10 },
            })
            .collect()
    }

    #[test]
    fn only_synced_payloads_leave_memory() {
        let mut index = Index::new(25);
        let serial = index.append(1, 1, &payloads(10, 10)).unwrap();
        assert_eq!(index.cached(), (10, 100, 10));
        index.written(&synced(1, 1, serial, 5));
        assert_eq!(index.cached(), (5, 50, 5));
        index.written(&synced(1, 6, serial + 5, 5));
        assert_eq!(index.cached(), (2, 20, 2));
        let pieces = index.plan(1, &(1..100), usize::MAX).unwrap();
        let on_disk = pieces.iter().filter(|p| matches!(p, Piece::Disk(_))).count();
        assert_eq!((pieces.len(), on_disk), (10, 8));
    }

    #[test]
    fn a_write_that_was_overtaken_by_a_truncation_is_passed_over() {
        let mut index = Index::new(0);
        let old = index.append(1, 1, &payloads(4, 10)).unwrap();
        index.truncate(1, 3).unwrap();
        let new = index.append(1, 3, &payloads(1, 10)).unwrap();
        index.written(&synced(1, 1, old, 4));
        assert!(matches!(index.plan(1, &(3..4), 0).unwrap()[..], [Piece::Memory(_)]));
        index.written(&synced(1, 3, new, 1));
        assert!(matches!(index.plan(1, &(3..4), 0).unwrap()[..], [Piece::Disk(_)]));
    }

    #[test]
    fn bytes_are_counted_on_disk_and_in_memory() {
        let mut index = Index::new(25);
        let serial = index.append(1, 5, &payloads(10, 10)).unwrap();
        index.written(&synced(1, 5, serial, 10));
        for (from, bytes) in [(0, 100), (5, 100), (6, 90), (12, 30), (13, 20), (14, 10), (15, 0), (99, 0)] {
            assert_eq!(index.bytes_from(1, from), bytes, "{from}");
        }
        assert_eq!(index.bytes_from(2, 0), 0);
    }

    #[test]
    fn the_order_of_the_cache_stays_short() {
        let mut index = Index::new(1 << 20);
        index.append(7, 1, &payloads(1, 1)).unwrap();
        for i in 0..10_000u64 {
            let serial = index.append(1, i, &payloads(1, 1)).unwrap();
            index.written(&synced(1, i, serial, 1));
            index.purge_to(1, i + 1, Bytes::new()).unwrap();
        }
        let (entries, bytes, order) = index.cached();
        assert_eq!((entries, bytes), (1, 1));
        assert!(order < 2000, "{order}");
    }

    #[test]
    fn plans_give_a_prefix_and_at_least_one() {
        let mut index = Index::new(1 << 20);
        index.append(1, 10, &payloads(10, 10)).unwrap();
        let cases =
            [(10..20, 0, 1), (10..20, 35, 3), (9..20, 100, 0), (15..16, 100, 1), (19..40, 100, 1), (20..40, 1, 0)];
        for (range, bytes_max, expected) in cases {
            assert_eq!(index.plan(1, &range, bytes_max).unwrap().len(), expected, "{range:?} {bytes_max}");
        }
        assert!(index.append(1, 21, &payloads(1, 1)).is_err());
        assert!(index.append(1, 19, &payloads(1, 1)).is_err());
    }
}
