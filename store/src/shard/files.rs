//! A replica's files by name: manifest, blocks, leftovers.
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::faults::{self, Operation};
use crate::shard::{BlockDamage, Manifest};
use crate::{codec, retry, rows, tsdb};

/// Name of the manifest in a replica's directory.
pub const MANIFEST_FILE: &str = "manifest";
/// Directory of blocks in a replica's directory.
pub const BLOCKS_DIR: &str = "blocks";

/// Errors of opening or writing a shard's files.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{what} {path}")]
    Io { what: &'static str, path: String, source: io::Error },
    #[error("block {path} does not match its manifest: {reason}")]
    Mismatch { path: String, reason: String },
    #[error("manifest {path}")]
    Manifest { path: String, source: codec::Error },
    #[error("block {path} has {bytes} bytes instead of {expected}")]
    Length { path: String, bytes: u64, expected: u64 },
    #[error("block {path}")]
    Damaged { path: String, source: BlockDamage },
    #[error("metrics block {path}")]
    Metrics { path: String, source: tsdb::Error },
    #[error("rows block {path}")]
    Rows { path: String, source: rows::Error },
}

impl FileError {
    /// Whether the disk is full: the same may work once there is room.
    pub fn is_disk_full(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.display().to_string();
    move |source| FileError::Io { what, path, source }
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), FileError> {
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
    let read = retry::read(|| {
        faults::check(Operation::Read)?;
        fs::read(&path)
    });
    match read {
        Ok(bytes) => Manifest::decode(&bytes)
            .map(Some)
            .map_err(|source| FileError::Manifest { path: path.display().to_string(), source }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error("read", &path)(e)),
    }
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
