//! Writing frozen heads into blocks.
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use crate::entry::SealReason;
use crate::faults::{self, Operation};
use crate::model::Signal;
use crate::shard::blocks::{BlockOpener, OpenBlocks};
use crate::shard::files::{BLOCKS_DIR, FileError, io_error, sync_dir, write_manifest};
use crate::shard::{BlockEntry, Compaction, DedupWindow, Ledger, LogPosition, Manifest, ManifestLimits, SealedFacts};
use crate::{rows, tsdb};

/// A frozen head and the position up to which it goes. Runs on the pool.
#[derive(Debug)]
pub struct SealJob {
    pub shard: u32,
    pub epoch: u64,
    pub reason: SealReason,
    pub position: LogPosition,
    pub membership: Option<(LogPosition, Vec<u8>)>,
    pub dedup: DedupWindow,
    /// What readers do not see at `position`.
    pub limits: ManifestLimits,
    /// Compactions up to `position` that were not carried out when the head was frozen.
    pub pending: Vec<Compaction>,
    /// What apply did with the facts up to `position`.
    pub ledger: Option<Ledger>,
    /// For the blocks that are opened once they are written.
    pub opener: BlockOpener,
    /// Signals that have anything to write.
    pub touched: BTreeSet<Signal>,
    pub metrics: Arc<tsdb::HeadView>,
    pub logs: Arc<rows::HeadView>,
    pub traces: Arc<rows::HeadView>,
}

/// A durable seal: the new manifest, and the blocks it added.
#[derive(Debug)]
pub struct Sealed {
    pub manifest: Manifest,
    pub added: OpenBlocks,
}

/// Facts of one written block that both engines report.
struct Written {
    facts: u64,
    series: u64,
    min_time: i64,
    max_time: i64,
    digest: u128,
    tenants: Vec<SealedFacts>,
}

impl SealJob {
    /// Writes a block for each signal that has facts, makes them durable, then replaces the manifest. `before` is the
    /// manifest so far. Idempotent: a crash before the rename leaves the old manifest and the log in force.
    pub fn run(&self, dir: &Path, before: &Manifest) -> Result<Sealed, FileError> {
        let blocks_dir = dir.join(BLOCKS_DIR);
        fs::create_dir_all(&blocks_dir).map_err(io_error("create", &blocks_dir))?;
        let mut manifest = Manifest {
            shard: self.shard,
            epoch: self.epoch,
            position: self.position,
            membership: self.membership.clone(),
            blocks: before.blocks.clone(),
            dedup: self.dedup.clone(),
            limits: self.limits.clone(),
            pending: self.pending.clone(),
            ledger: self.ledger.clone().zip(before.ledger.as_ref()).map(|(own, sealed)| own.with_blocks_of(sealed)),
        };
        let first_new = manifest.blocks.len();
        for signal in Signal::ALL {
            let written = self.write_signal(signal, &blocks_dir).inspect_err(|_| self.remove_written(&blocks_dir))?;
            let Some((block, tenants)) = written else { continue };
            manifest.blocks.push(block);
            if let Some(ledger) = &mut manifest.ledger {
                ledger.count_sealed(signal, &tenants);
            }
        }
        // Some may have been carried out since.
        let mut pending = std::mem::take(&mut manifest.pending);
        Compaction::settle(&mut pending, &manifest);
        manifest.pending = pending;
        manifest.forget_tombstones();
        sync_dir(&blocks_dir)?;
        let added = self.opener.open_sound(dir, &manifest.blocks[first_new..])?;
        write_manifest(dir, &manifest)?;
        Ok(Sealed { manifest, added })
    }

    /// A seal that failed leaves nothing behind that takes room. What does not go now goes at the next start.
    fn remove_written(&self, blocks_dir: &Path) {
        for signal in Signal::ALL {
            fs::remove_file(blocks_dir.join(self.file_name(signal))).ok();
        }
    }

    fn file_name(&self, signal: Signal) -> String {
        format!("{:010}-{}.trnb", self.epoch, signal.as_str())
    }

    fn write_signal(
        &self,
        signal: Signal,
        blocks_dir: &Path,
    ) -> Result<Option<(BlockEntry, Vec<SealedFacts>)>, FileError> {
        if !self.touched.contains(&signal) {
            return Ok(None);
        }
        let file = self.file_name(signal);
        let path = blocks_dir.join(&file);
        let out = File::create(&path).map_err(io_error("create", &path))?;
        let mut out = Checked::new(BufWriter::with_capacity(1 << 20, out));
        let written = match signal {
            Signal::Metrics => tsdb::seal_counted(&self.metrics, &mut out).map(|(s, tenants)| Written {
                facts: s.facts,
                series: s.series,
                min_time: s.min_time,
                max_time: s.max_time,
                digest: s.digest,
                tenants,
            }),
            Signal::Logs | Signal::Traces => {
                let head = if signal == Signal::Logs { &self.logs } else { &self.traces };
                rows::seal_counted(head, &mut out).map(|(s, tenants)| Written {
                    facts: s.facts,
                    series: s.series,
                    min_time: s.min_time.unwrap_or(i64::MAX),
                    max_time: s.max_time.unwrap_or(i64::MIN),
                    digest: s.digest,
                    tenants,
                })
            }
        };
        let written = written.map_err(io_error("write", &path))?;
        out.out.flush().map_err(io_error("write", &path))?;
        faults::check(Operation::Sync).map_err(io_error("sync", &path))?;
        out.out.get_ref().sync_all().map_err(io_error("sync", &path))?;
        let Written { facts, series, min_time, max_time, digest, tenants } = written;
        let (bytes, crc) = (out.bytes, out.crc.finalize());
        let (made_at, window_ms) = (self.position.index, 0);
        let entry =
            BlockEntry { signal, file, bytes, crc, facts, series, min_time, max_time, digest, made_at, window_ms };
        Ok(Some((entry, tenants)))
    }
}

/// Counts and checksums what passes through.
pub(super) struct Checked<W> {
    pub(super) out: W,
    pub(super) crc: crc32fast::Hasher,
    pub(super) bytes: u64,
}

impl<W> Checked<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, crc: crc32fast::Hasher::new(), bytes: 0 }
    }
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        faults::check(Operation::Write)?;
        let n = self.out.write(buf)?;
        self.crc.update(&buf[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
