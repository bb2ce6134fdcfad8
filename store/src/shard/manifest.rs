//! A shard's manifest: which blocks hold everything up to a log position. It is also the raft snapshot.
//! Byte table: `docs/formats/manifest.md`.
use std::collections::VecDeque;
use std::sync::Arc;

use crate::codec::{Error, Reader, put_bytes, put_uvarint};
use crate::limits::{Cutoffs, Tombstone};
use crate::model::Signal;
use crate::shard::dedup::DedupWindow;
use crate::shard::{Compaction, Ledger, OpenBlocks};

const MAGIC: &[u8; 4] = b"TRNF";
const VERSION: u8 = 3;
/// Without windows, cut-offs, tombstones and compactions; still read.
const VERSION_2: u8 = 2;
/// Without a ledger, too; still read.
const VERSION_1: u8 = 1;

/// A raft log position, as the shard keeps it: term, replica that led, index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    pub term: u64,
    pub leader: u64,
    pub index: u64,
}

/// One block file of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    pub signal: Signal,
    /// Name in the replica's `blocks` directory; the same on every replica.
    pub file: String,
    pub bytes: u64,
    /// crc32 of the whole file, to verify a fetched copy.
    pub crc: u32,
    pub facts: u64,
    pub series: u64,
    /// ms for metrics, ns for rows; both inclusive.
    pub min_time: i64,
    pub max_time: i64,
    /// Of the canonical decoded content, so that it compares across encoders.
    pub digest: u128,
    /// Log index of the seal or compaction that made it; 0 where a release before there were compactions sealed it.
    pub made_at: u64,
    /// Length in ms of the time windows that it was compacted for; 0 of a block that a seal made.
    pub window_ms: u64,
}

/// Everything that a replica needs besides its log.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub shard: u32,
    /// Seals so far.
    pub epoch: u64,
    /// Last log position that the blocks contain.
    pub position: LogPosition,
    /// Newest membership at or before `position`, in the encoding of the raft crate.
    pub membership: Option<(LogPosition, Vec<u8>)>,
    /// In seal order.
    pub blocks: Vec<BlockEntry>,
    pub dedup: DedupWindow,
    pub limits: ManifestLimits,
    /// Compactions in the log up to `position` that are not carried out yet, in order.
    pub pending: Vec<Compaction>,
    /// What became of all facts up to `position`. `None` in a manifest of version 1, until [`Self::open_books`].
    pub ledger: Option<Ledger>,
}

impl Default for Manifest {
    /// Of a shard without blocks, with books that begin at its first entry.
    fn default() -> Self {
        Self {
            shard: 0,
            epoch: 0,
            position: LogPosition::default(),
            membership: None,
            blocks: Vec::new(),
            dedup: DedupWindow::default(),
            limits: ManifestLimits::default(),
            pending: Vec::new(),
            ledger: Some(Ledger::default()),
        }
    }
}

/// What readers do not see at the manifest's position, by signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestLimits {
    /// In the order of [`Signal::ALL`].
    pub cutoffs: [Arc<Cutoffs>; Signal::ALL.len()],
    /// By log index.
    pub tombstones: Vec<Arc<Tombstone>>,
    /// Ids of the last deletions that were applied, oldest first, so that one that is repeated is known.
    pub deletes: VecDeque<u64>,
}

impl ManifestLimits {
    /// Ids of deletions that are remembered.
    pub const DELETES_MAX: usize = 1024;

    /// Cut-offs of a signal.
    pub fn cutoffs(&self, signal: Signal) -> &Arc<Cutoffs> {
        &self.cutoffs[signal as usize - 1]
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.cutoffs.iter().for_each(|cutoffs| cutoffs.encode(out));
        put_uvarint(out, self.tombstones.len() as u64);
        self.tombstones.iter().for_each(|tombstone| tombstone.encode(out));
        put_uvarint(out, self.deletes.len() as u64);
        self.deletes.iter().for_each(|id| put_uvarint(out, *id));
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Error> {
        let mut limits = Self::default();
        for cutoffs in &mut limits.cutoffs {
            *cutoffs = Arc::new(Cutoffs::decode(r)?);
        }
        let n = r.count(20, "tombstones count")?;
        for _ in 0..n {
            limits.tombstones.push(Arc::new(Tombstone::decode(r)?));
        }
        let n = r.count(1, "deletions count")?;
        limits.deletes = (0..n).map(|_| r.uvarint("deletion")).collect::<Result<_, _>>()?;
        Ok(limits)
    }
}

fn put_position(out: &mut Vec<u8>, p: LogPosition) {
    for v in [p.term, p.leader, p.index] {
        put_uvarint(out, v);
    }
}

fn position(r: &mut Reader<'_>) -> Result<LogPosition, Error> {
    Ok(LogPosition { term: r.uvarint("term")?, leader: r.uvarint("leader")?, index: r.uvarint("index")? })
}

impl Manifest {
    /// Opens the books of a manifest that was written before there were any. Needs all of its blocks: while one is damaged
    /// there are none.
    pub fn open_books(&mut self, blocks: &OpenBlocks) {
        if self.ledger.is_none() && blocks.are_sound() {
            self.ledger = Some(Ledger::opened(self.position.index, blocks));
        }
    }

    /// Magic, version, fields, crc32 of everything before it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + 64 * self.blocks.len() + 24 * self.dedup.len());
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        put_uvarint(&mut out, u64::from(self.shard));
        put_uvarint(&mut out, self.epoch);
        put_position(&mut out, self.position);
        match &self.membership {
            None => out.push(0),
            Some((at, bytes)) => {
                out.push(1);
                put_position(&mut out, *at);
                put_bytes(&mut out, bytes);
            }
        }
        put_uvarint(&mut out, self.blocks.len() as u64);
        for b in &self.blocks {
            out.push(b.signal as u8);
            put_bytes(&mut out, b.file.as_bytes());
            out.extend_from_slice(&b.crc.to_le_bytes());
            for v in [b.bytes, b.facts, b.series] {
                put_uvarint(&mut out, v);
            }
            out.extend_from_slice(&b.min_time.to_le_bytes());
            out.extend_from_slice(&b.max_time.to_le_bytes());
            out.extend_from_slice(&b.digest.to_le_bytes());
            put_uvarint(&mut out, b.made_at);
            put_uvarint(&mut out, b.window_ms);
        }
        self.dedup.encode(&mut out);
        self.limits.encode(&mut out);
        put_uvarint(&mut out, self.pending.len() as u64);
        self.pending.iter().for_each(|compaction| compaction.encode(&mut out));
        match &self.ledger {
            None => out.push(0),
            Some(ledger) => {
                out.push(1);
                ledger.encode(&mut out);
            }
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let body_len = bytes.len().checked_sub(4).ok_or(Error::Truncated { what: "manifest", at: bytes.len() })?;
        let (body, crc) = bytes.split_at(body_len);
        if crc32fast::hash(body).to_le_bytes() != crc {
            return Err(Error::Invalid { what: "manifest checksum", at: body_len });
        }
        let mut r = Reader::new(body);
        if r.take(4, "manifest magic")? != MAGIC {
            return Err(Error::Invalid { what: "manifest magic", at: 0 });
        }
        let version = r.u8("manifest version")?;
        if ![VERSION, VERSION_2, VERSION_1].contains(&version) {
            return Err(Error::Unknown { what: "manifest version", value: u64::from(version), at: 4 });
        }
        let at = r.position();
        let shard = u32::try_from(r.uvarint("shard")?).map_err(|_| Error::Invalid { what: "shard", at })?;
        let epoch = r.uvarint("epoch")?;
        let last = position(&mut r)?;
        let membership = match r.u8("membership tag")? {
            0 => None,
            _ => Some((position(&mut r)?, r.bytes("membership")?.to_vec())),
        };
        let n = r.count(42, "blocks count")?;
        let blocks = (0..n).map(|_| block(&mut r, version)).collect::<Result<_, _>>()?;
        let dedup = DedupWindow::decode(&mut r)?;
        let (mut limits, mut pending) = (ManifestLimits::default(), Vec::new());
        if version >= VERSION {
            limits = ManifestLimits::decode(&mut r)?;
            let n = r.count(14, "compactions count")?;
            pending = (0..n).map(|_| Compaction::decode(&mut r)).collect::<Result<_, _>>()?;
        }
        let has_ledger = version != VERSION_1 && r.u8("ledger tag")? != 0;
        let ledger = has_ledger.then(|| Ledger::decode(&mut r)).transpose()?;
        Ok(Self { shard, epoch, position: last, membership, blocks, dedup, limits, pending, ledger })
    }
}

/// A block's file name comes from another node when it arrives in a snapshot or an entry: it must stay inside the directory.
pub(crate) fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

fn block(r: &mut Reader<'_>, version: u8) -> Result<BlockEntry, Error> {
    let at = r.position();
    let signal = r.u8("signal")?;
    let signal = Signal::from_u8(signal).ok_or(Error::Unknown { what: "signal", value: u64::from(signal), at })?;
    let at = r.position();
    let file = r.str("block file")?.to_owned();
    if !is_file_name(&file) {
        return Err(Error::Invalid { what: "block file name", at });
    }
    let crc = r.u32("block crc")?;
    Ok(BlockEntry {
        signal,
        file,
        crc,
        bytes: r.uvarint("block bytes")?,
        facts: r.uvarint("block facts")?,
        series: r.uvarint("block series")?,
        min_time: r.u64("block min time")? as i64,
        max_time: r.u64("block max time")? as i64,
        digest: r.u128("block digest")?,
        made_at: if version >= VERSION { r.uvarint("block index")? } else { 0 },
        window_ms: if version >= VERSION { r.uvarint("block window")? } else { 0 },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::DeleteSeries;
    use crate::shard::CompactRequest;

    fn sample() -> Manifest {
        Manifest {
            shard: 3,
            epoch: 2,
            position: LogPosition { term: 4, leader: 5, index: 6 },
            membership: Some((LogPosition { term: 1, leader: 1, index: 1 }, vec![1, 2])),
            blocks: vec![BlockEntry {
                signal: Signal::Logs,
                file: "2-logs.trnr".into(),
                bytes: 10,
                crc: 11,
                facts: 12,
                series: 13,
                min_time: -1,
                max_time: 15,
                digest: 16,
                made_at: 0,
                window_ms: 0,
            }],
            dedup: DedupWindow::default(),
            limits: ManifestLimits::default(),
            pending: Vec::new(),
            ledger: Some(ledger()),
        }
    }

    fn ledger() -> Ledger {
        let bytes = [3, 1, 1, b't', 0b10, 14, 1, 0, 12, 2, 0, 0];
        Ledger::decode(&mut Reader::new(&bytes)).unwrap()
    }

    #[test]
    fn comes_back() {
        let m = sample();
        let back = Manifest::decode(&m.encode()).unwrap();
        assert_eq!((back.shard, back.epoch, back.position, &back.membership), (3, 2, m.position, &m.membership));
        assert_eq!((back.blocks, back.ledger), (m.blocks, m.ledger));
    }

    const FIELDS_OF_VERSION_1: &str = concat!(
        "03020405060101010102010201020b322d6c6f67732e74726e720b0000000a0c0dffffffffffffffff",
        "0f000000000000001000000000000000000000000000000000"
    );

    fn bytes_of(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    fn full() -> Manifest {
        let mut m = sample();
        (m.blocks[0].made_at, m.blocks[0].window_ms) = (5, 7_200_000);
        m.limits.cutoffs[1] = Arc::new(Cutoffs::new(9, [("t", 8)]));
        let delete = DeleteSeries { id: 2, tenant: "t".into(), matchers: Vec::new(), min_ms: 1, max_ms: 2 };
        m.limits.tombstones = vec![Arc::new(Tombstone { index: 4, delete })];
        m.limits.deletes = [2].into();
        m.pending = vec![Compaction {
            index: 6,
            request: CompactRequest { signal: Signal::Logs, window_ms: 3, inputs: vec!["a".into(), "b".into()] },
            cutoffs: Arc::new(Cutoffs::new(7, [])),
        }];
        m
    }

    /// Version 3 as it is on disks and in snapshots. A change here needs a new version.
    #[test]
    fn version_3_is_fixed() {
        let m = full();
        let hex: String = m.encode().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, VERSION_3, "{hex}");
        let back = Manifest::decode(&bytes_of(VERSION_3)).unwrap();
        assert_eq!((back.blocks, back.limits, back.pending), (m.blocks, m.limits, m.pending));
    }

    const VERSION_3: &str = concat!(
        "54524e460303020405060101010102010201020b322d6c6f67732e74726e720b0000000a0c0dffffffffffffffff0f00000000000000",
        "100000000000000000000000000000000580bab703000000000000000080000900000000000000010174080000000000000000000000",
        "00000080000104020174010000000000000002000000000000000001020106020302016101620700000000000000000103010174020e",
        "01000c0200003fb14a24"
    );

    /// Version 2 as it may be on disks and in snapshots: nothing in it was ever compacted, expired or deleted.
    #[test]
    fn version_2_is_still_read() {
        let hex = format!("54524e4602{FIELDS_OF_VERSION_1}0103010174020e01000c020000ce3582b1");
        let m = Manifest::decode(&bytes_of(&hex)).unwrap();
        assert_eq!((&m.blocks, &m.ledger), (&sample().blocks, &sample().ledger));
        assert_eq!((m.limits, m.pending.len()), (ManifestLimits::default(), 0));
    }

    /// Version 1 as it may be on disks and in snapshots: it has no ledger, which is made from the blocks.
    #[test]
    fn version_1_is_still_read() {
        let hex = format!("54524e4601{FIELDS_OF_VERSION_1}0d2f48cc");
        let mut m = Manifest::decode(&bytes_of(&hex)).unwrap();
        assert_eq!((&m.blocks, &m.ledger), (&sample().blocks, &None));
        m.open_books(&OpenBlocks::lost(&m.blocks[0]));
        assert_eq!(m.ledger, None, "a block whose tenants are not known");
        m.open_books(&OpenBlocks::default());
        assert_eq!(m.ledger.as_ref().map(|l| l.since), Some(6));
        assert_eq!(Manifest::decode(&m.encode()).unwrap().ledger, m.ledger);
        m.ledger = None;
        assert_eq!(Manifest::decode(&m.encode()).unwrap().ledger, None);
    }

    #[test]
    fn a_file_name_cannot_leave_the_directory() {
        let mut m = sample();
        m.blocks[0].file = "../x".into();
        assert!(Manifest::decode(&m.encode()).is_err());
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let bytes = full().encode();
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 0x40;
            assert!(Manifest::decode(&bad).is_err(), "byte {i}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _unchecked = Manifest::decode(&bytes);
        }
    }
}
