//! Writing frozen heads into blocks, and opening a shard's files again.
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use crate::entry::SealReason;
use crate::faults::{self, Operation};
use crate::model::Signal;
use crate::read_at::LocalFile;
use crate::shard::state::FileError;
use crate::shard::{BlockEntry, DedupWindow, LogPosition, Manifest};
use crate::{rows, tsdb};

/// Name of the manifest in a replica's directory.
pub const MANIFEST_FILE: &str = "manifest";
/// Directory of blocks in a replica's directory.
pub const BLOCKS_DIR: &str = "blocks";

/// Opened blocks of the three signals, in seal order.
#[derive(Clone, Debug, Default)]
pub struct OpenBlocks {
    pub metrics: Vec<Arc<tsdb::Block>>,
    pub logs: Vec<Arc<rows::Block>>,
    pub traces: Vec<Arc<rows::Block>>,
}

/// A frozen head and the position up to which it goes. Runs on the pool.
#[derive(Debug)]
pub struct SealJob {
    pub shard: u32,
    pub epoch: u64,
    pub reason: SealReason,
    pub position: LogPosition,
    pub membership: Option<(LogPosition, Vec<u8>)>,
    pub dedup: DedupWindow,
    /// For the blocks that are opened once they are written.
    pub block_cache: Arc<tsdb::BlockCache>,
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
        };
        let first_new = manifest.blocks.len();
        for signal in Signal::ALL {
            if let Some(entry) = self.write_signal(signal, &blocks_dir)? {
                manifest.blocks.push(entry);
            }
        }
        sync_dir(&blocks_dir)?;
        let added = open_blocks(dir, &manifest.blocks[first_new..], &self.block_cache)?;
        write_manifest(dir, &manifest)?;
        Ok(Sealed { manifest, added })
    }

    fn write_signal(&self, signal: Signal, blocks_dir: &Path) -> Result<Option<BlockEntry>, FileError> {
        if !self.touched.contains(&signal) {
            return Ok(None);
        }
        let file = format!("{:010}-{}.trnb", self.epoch, signal.as_str());
        let path = blocks_dir.join(&file);
        let out = File::create(&path).map_err(io_error("create", &path))?;
        let mut out = Checked { out: BufWriter::with_capacity(1 << 20, out), crc: crc32fast::Hasher::new(), bytes: 0 };
        let written = match signal {
            Signal::Metrics => tsdb::seal(&self.metrics, &mut out).map(|s| Written {
                facts: s.facts,
                series: s.series,
                min_time: s.min_time,
                max_time: s.max_time,
                digest: s.digest,
            }),
            Signal::Logs | Signal::Traces => {
                let head = if signal == Signal::Logs { &self.logs } else { &self.traces };
                rows::seal(head, &mut out).map(|s| Written {
                    facts: s.facts,
                    series: s.series,
                    min_time: s.min_time.unwrap_or(i64::MAX),
                    max_time: s.max_time.unwrap_or(i64::MIN),
                    digest: s.digest,
                })
            }
        };
        let written = written.map_err(io_error("write", &path))?;
        out.out.flush().map_err(io_error("write", &path))?;
        faults::check(Operation::Sync).map_err(io_error("sync", &path))?;
        out.out.get_ref().sync_all().map_err(io_error("sync", &path))?;
        let Written { facts, series, min_time, max_time, digest } = written;
        let (bytes, crc) = (out.bytes, out.crc.finalize());
        Ok(Some(BlockEntry { signal, file, bytes, crc, facts, series, min_time, max_time, digest }))
    }
}

/// Counts and checksums what passes through.
struct Checked<W> {
    out: W,
    crc: crc32fast::Hasher,
    bytes: u64,
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

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.display().to_string();
    move |source| FileError::Io { what, path, source }
}

fn sync_dir(dir: &Path) -> Result<(), FileError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(io_error("sync directory", dir))
}

/// Replaces the manifest atomically and durably.
pub fn write_manifest(dir: &Path, manifest: &Manifest) -> Result<(), FileError> {
    let (temporary, path) = (dir.join("manifest.new"), dir.join(MANIFEST_FILE));
    let mut out = File::create(&temporary).map_err(io_error("create", &temporary))?;
    faults::check(Operation::Write).map_err(io_error("write", &temporary))?;
    out.write_all(&manifest.encode()).and_then(|()| out.sync_all()).map_err(io_error("write", &temporary))?;
    fs::rename(&temporary, &path).map_err(io_error("rename", &path))?;
    sync_dir(dir)
}

/// Reads the manifest of a replica's directory; `None` when it never sealed.
pub fn read_manifest(dir: &Path) -> Result<Option<Manifest>, FileError> {
    let path = dir.join(MANIFEST_FILE);
    match fs::read(&path) {
        Ok(bytes) => Manifest::decode(&bytes)
            .map(Some)
            .map_err(|source| FileError::Manifest { path: path.display().to_string(), source }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error("read", &path)(e)),
    }
}

/// Opens the blocks that a manifest names, over a `cache` that they share; their length must be what it says.
pub fn open_blocks(dir: &Path, entries: &[BlockEntry], cache: &Arc<tsdb::BlockCache>) -> Result<OpenBlocks, FileError> {
    let mut open = OpenBlocks::default();
    for entry in entries {
        let path = dir.join(BLOCKS_DIR).join(&entry.file);
        let file = LocalFile::open(&path).map_err(io_error("open", &path))?;
        let len = crate::read_at::ReadAt::len(&file);
        let shown = || path.display().to_string();
        if len != entry.bytes {
            let reason = format!("{len} bytes instead of {}", entry.bytes);
            return Err(FileError::Mismatch { path: shown(), reason });
        }
        let file = Arc::new(file);
        let metrics_error = |source| FileError::Metrics { path: shown(), source };
        let rows_error = |source| FileError::Rows { path: shown(), source };
        match entry.signal {
            Signal::Metrics => {
                let block = tsdb::Block::open_with(file, &entry.file, cache.clone()).map_err(metrics_error)?;
                open.metrics.push(Arc::new(block));
            }
            Signal::Logs => open.logs.push(Arc::new(rows::Block::open(file).map_err(rows_error)?)),
            Signal::Traces => open.traces.push(Arc::new(rows::Block::open(file).map_err(rows_error)?)),
        }
    }
    Ok(open)
}

/// Removes files of the blocks directory that the manifest does not name: leftovers of a crash.
pub fn remove_strays(dir: &Path, manifest: Option<&Manifest>) -> Result<usize, FileError> {
    let blocks_dir = dir.join(BLOCKS_DIR);
    let listing = match fs::read_dir(&blocks_dir) {
        Ok(listing) => listing,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(io_error("list", &blocks_dir)(e)),
    };
    let mut removed = 0;
    for file in listing {
        let file = file.map_err(io_error("list", &blocks_dir))?;
        let named = manifest.is_some_and(|m| m.blocks.iter().any(|b| *b.file == *file.file_name()));
        if !named {
            fs::remove_file(file.path()).map_err(io_error("remove", &file.path()))?;
            removed += 1;
        }
    }
    Ok(removed)
}
