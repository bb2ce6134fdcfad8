//! Looking at a whole block file: is it the one that the manifest names?
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, fadvise};

use crate::faults::{self, Operation};
use crate::model::Signal;
use crate::read_at::{DamageKind, LocalFile};
use crate::shard::{BlockDamage, BlockEntry, SealedFacts};
use crate::{retry, rows, tsdb};

/// A check of a file's length and checksum in steps, so that a caller can pause between them. Reads from the disk and not
/// from what memory holds of it, and leaves nothing there.
#[derive(Debug)]
pub struct FileCheck {
    file: File,
    entry: BlockEntry,
    at: u64,
    crc: crc32fast::Hasher,
    buf: Vec<u8>,
}

/// Bytes of one step.
const STEP_BYTES: usize = 1 << 20;

impl FileCheck {
    /// Opens the file; `Err` is damage (missing, short, long) or what else the system says.
    pub fn open(path: &Path, entry: &BlockEntry) -> io::Result<Result<Self, BlockDamage>> {
        let damage = |kind, reason: String| {
            Ok(Err(BlockDamage { file: entry.file.clone(), offset: 0, section: "file".into(), kind, reason }))
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return damage(DamageKind::Missing, "the file is missing".into());
            }
            Err(e) => return Err(e),
        };
        let len = file.metadata()?.len();
        if len != entry.bytes {
            return damage(DamageKind::Length, format!("{len} bytes instead of {}", entry.bytes));
        }
        // Advice: where the system does not take it, the check reads what is in memory.
        fadvise(&file, 0, None, Advice::DontNeed).ok();
        let buf = vec![0; STEP_BYTES.min(usize::try_from(len).unwrap_or(STEP_BYTES)).max(1)];
        Ok(Ok(Self { file, entry: entry.clone(), at: 0, crc: crc32fast::Hasher::new(), buf }))
    }

    /// Reads on; the bytes read, 0 at the end. Damage is an unreadable sector or, at the end, another checksum.
    pub fn step(&mut self) -> Result<usize, BlockDamage> {
        let wanted = usize::try_from(self.entry.bytes - self.at).map_or(self.buf.len(), |n| n.min(self.buf.len()));
        if wanted == 0 {
            let found = self.crc.clone().finalize();
            return match found == self.entry.crc {
                true => Ok(0),
                false => {
                    let reason = format!("checksum {found:08x}, expected {:08x}", self.entry.crc);
                    Err(self.damage(0, DamageKind::Checksum, reason))
                }
            };
        }
        let buf = &mut self.buf[..wanted];
        let (file, at) = (&self.file, self.at);
        let read = retry::read(|| {
            faults::check(Operation::Read)?;
            file.read_exact_at(buf, at)
        });
        if let Err(error) = read {
            return Err(self.damage(self.at, DamageKind::of_read(&error), error.to_string()));
        }
        self.crc.update(buf);
        self.at += wanted as u64;
        fadvise(&self.file, 0, std::num::NonZeroU64::new(self.at), Advice::DontNeed).ok();
        Ok(wanted)
    }

    /// The whole file at once.
    pub fn run(path: &Path, entry: &BlockEntry) -> io::Result<Result<(), BlockDamage>> {
        let mut check = match Self::open(path, entry)? {
            Ok(check) => check,
            Err(damage) => return Ok(Err(damage)),
        };
        loop {
            match check.step() {
                Ok(0) => return Ok(Ok(())),
                Ok(_) => {}
                Err(damage) => return Ok(Err(damage)),
            }
        }
    }

    fn damage(&self, offset: u64, kind: DamageKind, reason: String) -> BlockDamage {
        BlockDamage { file: self.entry.file.clone(), offset, section: "file".into(), kind, reason }
    }
}

/// Decodes everything in a block file and compares it with the digest of `entry`: what a copy from elsewhere must pass.
pub fn verify_block(path: &Path, entry: &BlockEntry) -> io::Result<()> {
    recount_block(path, entry).map(drop)
}

/// As [`verify_block`]; the facts of each tenant, counted one by one.
pub fn recount_block(path: &Path, entry: &BlockEntry) -> io::Result<Vec<SealedFacts>> {
    let file = Arc::new(LocalFile::open(path)?);
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let (digest, counts) = match entry.signal {
        Signal::Metrics => {
            let cache = Arc::new(tsdb::BlockCache::new(VERIFY_CACHE_BYTES));
            let block = tsdb::Block::open_with(file, &entry.file, cache).map_err(|e| invalid(e.to_string()))?;
            let block = Arc::new(block);
            let counts = tsdb::recount(&block)?;
            (block.summary().digest, counts)
        }
        Signal::Logs | Signal::Traces => {
            let block = Arc::new(rows::Block::open_with(file, &entry.file)?);
            let counts = rows::recount(&block)?;
            (block.summary().digest, counts)
        }
    };
    if digest == entry.digest {
        return Ok(counts);
    }
    Err(invalid(format!("block {} has digest {digest:032x}, expected {:032x}", entry.file, entry.digest)))
}

/// Decoded index pieces while a block is verified.
const VERIFY_CACHE_BYTES: usize = 8 << 20;
