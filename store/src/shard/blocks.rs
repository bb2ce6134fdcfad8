//! Opening the blocks that a manifest names.
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::model::Signal;
use crate::read_at::{DamageKind, ReadAt};
use crate::shard::damage::{BlockDamage, BlockFile, OnDamage};
use crate::shard::files::{BLOCKS_DIR, FileError, io_error};
use crate::shard::{BlockEntry, Manifest};
use crate::{rows, tsdb};

/// EIO: the device could not read the sector.
const EIO: i32 = 5;

/// Opened blocks of the three signals, in seal order.
#[derive(Clone, Debug, Default)]
pub struct OpenBlocks {
    pub metrics: Vec<Arc<tsdb::Block>>,
    pub logs: Vec<Arc<rows::Block>>,
    pub traces: Vec<Arc<rows::Block>>,
}

impl OpenBlocks {
    /// The place holder of a block whose file is damaged.
    pub fn lost(entry: &BlockEntry) -> Self {
        let mut blocks = Self::default();
        blocks.push_lost(entry);
        blocks
    }

    /// Whether none is a place holder.
    pub(super) fn are_sound(&self) -> bool {
        let rows = self.logs.iter().chain(&self.traces);
        !self.metrics.iter().map(|b| b.is_lost()).chain(rows.map(|b| b.is_lost())).any(|is_lost| is_lost)
    }

    fn push_lost(&mut self, entry: &BlockEntry) {
        let BlockEntry { bytes, facts, series, min_time, max_time, digest, .. } = *entry;
        if entry.signal == Signal::Metrics {
            let summary = tsdb::BlockSummary { bytes, facts, series, min_time, max_time, digest };
            self.metrics.push(Arc::new(tsdb::Block::lost(&entry.file, summary)));
            return;
        }
        let has_rows = min_time <= max_time;
        let (min_time, max_time) = (has_rows.then_some(min_time), has_rows.then_some(max_time));
        let summary = rows::BlockSummary { bytes, facts, series, min_time, max_time, digest };
        let block = Arc::new(rows::Block::lost(&entry.file, entry.signal, summary));
        match entry.signal {
            Signal::Logs => self.logs.push(block),
            Signal::Metrics | Signal::Traces => self.traces.push(block),
        }
    }
}

/// Opens block files with what they share: the cache of their indexes, and whom they tell of damage.
#[derive(Clone, Debug)]
pub struct BlockOpener {
    pub cache: Arc<tsdb::BlockCache>,
    pub on_damage: OnDamage,
}

impl BlockOpener {
    /// Opens all of `entries`; damage in one of them is an error.
    pub fn open_sound(&self, dir: &Path, entries: &[BlockEntry]) -> Result<OpenBlocks, FileError> {
        let (open, damaged) = self.open(dir, entries)?;
        match damaged.into_iter().next() {
            None => Ok(open),
            Some(damage) => {
                let path = dir.join(BLOCKS_DIR).join(&damage.file).display().to_string();
                Err(FileError::Damaged { path, source: damage })
            }
        }
    }

    /// Opens `entries`, with place holders for those that are missing or damaged, which are named. Errors are what is not
    /// the file's fault: permissions, too many open files, a newer version.
    pub fn open(&self, dir: &Path, entries: &[BlockEntry]) -> Result<(OpenBlocks, Vec<BlockDamage>), FileError> {
        let (mut open, mut damaged) = (OpenBlocks::default(), Vec::new());
        for entry in entries {
            if let Err(error) = self.open_one(dir, entry, &mut open) {
                damaged.push(damage_of(entry, error)?);
                open.push_lost(entry);
            }
        }
        Ok((open, damaged))
    }

    fn open_one(&self, dir: &Path, entry: &BlockEntry, open: &mut OpenBlocks) -> Result<(), FileError> {
        let path = dir.join(BLOCKS_DIR).join(&entry.file);
        let shown = || path.display().to_string();
        let file = BlockFile::open(&path, &entry.file, self.on_damage.clone()).map_err(io_error("open", &path))?;
        let len = file.len();
        if len != entry.bytes {
            return Err(FileError::Length { path: shown(), bytes: len, expected: entry.bytes });
        }
        let file = Arc::new(file);
        let metrics_error = |source| FileError::Metrics { path: shown(), source };
        let rows_error = |source| FileError::Rows { path: shown(), source };
        let (found, is_signal) = match entry.signal {
            Signal::Metrics => {
                let block = tsdb::Block::open_with(file, &entry.file, self.cache.clone()).map_err(metrics_error)?;
                let block = block.made_at(entry.made_at);
                let digest = block.summary().digest;
                open.metrics.push(Arc::new(block));
                (digest, true)
            }
            Signal::Logs | Signal::Traces => {
                let block = rows::Block::open_with(file, &entry.file).map_err(rows_error)?;
                let (digest, is_signal) = (block.summary().digest, block.signal() == entry.signal);
                let blocks = if entry.signal == Signal::Logs { &mut open.logs } else { &mut open.traces };
                blocks.push(Arc::new(block));
                (digest, is_signal)
            }
        };
        if found != entry.digest || !is_signal {
            match entry.signal {
                Signal::Metrics => drop(open.metrics.pop()),
                Signal::Logs => drop(open.logs.pop()),
                Signal::Traces => drop(open.traces.pop()),
            }
            return Err(FileError::Mismatch { path: shown(), reason: "another block's content".into() });
        }
        Ok(())
    }
}

/// What kind of damage keeps a block from being opened; the error itself when it is none.
fn damage_of(entry: &BlockEntry, error: FileError) -> Result<BlockDamage, FileError> {
    use DamageKind::{Checksum, Content};
    let kind = match &error {
        FileError::Io { source, .. } => read_damage(source),
        FileError::Metrics { source, .. } => match source {
            tsdb::Error::Read { source, .. } => read_damage(source),
            tsdb::Error::Version { .. }
            | tsdb::Error::Head { .. }
            | tsdb::Error::Lost { .. }
            | tsdb::Error::Memory(_) => None,
            tsdb::Error::Checksum { .. } | tsdb::Error::Decode { .. } | tsdb::Error::Damaged { .. } => Some(Checksum),
        },
        FileError::Rows { source, .. } => match source {
            rows::Error::Read { source, .. } => read_damage(source),
            rows::Error::Version { .. } | rows::Error::Lost { .. } | rows::Error::Memory(_) => None,
            rows::Error::Checksum { .. }
            | rows::Error::Decode { .. }
            | rows::Error::Decompress { .. }
            | rows::Error::Mismatch { .. }
            | rows::Error::Magic { .. } => Some(Checksum),
        },
        FileError::Length { .. } => Some(DamageKind::Length),
        FileError::Mismatch { .. } => Some(Content),
        FileError::Manifest { .. } | FileError::Damaged { .. } => None,
    };
    let Some(kind) = kind else { return Err(error) };
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        reason.push_str(": ");
        reason.push_str(&cause.to_string());
        source = cause.source();
    }
    Ok(BlockDamage { file: entry.file.clone(), offset: 0, section: "header and footer".into(), kind, reason })
}

fn read_damage(error: &io::Error) -> Option<DamageKind> {
    let is_damage =
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
            || error.raw_os_error() == Some(EIO);
    is_damage.then(|| DamageKind::of_read(error))
}

/// Whether `name` is one of the manifest's blocks.
pub fn entry_of<'m>(manifest: &'m Manifest, name: &str) -> Option<&'m BlockEntry> {
    manifest.blocks.iter().find(|b| b.file == name)
}
