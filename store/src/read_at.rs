//! Positioned reads, so that blocks are read by range and never mapped: a mapped page's SIGBUS would hide damage.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use crate::faults::{self, Operation};
use crate::retry;

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// There is no such file.
    Missing,
    /// It is shorter or longer than it should be.
    Length,
    /// The device does not give its bytes.
    Unreadable,
    /// Its bytes are not those that were written.
    Checksum,
    /// Its bytes are those that were written, but the content is not what it should be.
    Content,
}

impl DamageKind {
    /// One word, for labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Length => "length",
            Self::Unreadable => "unreadable",
            Self::Checksum => "checksum",
            Self::Content => "content",
        }
    }

    /// What an error of reading says.
    pub fn of_read(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::UnexpectedEof => Self::Length,
            _ => Self::Unreadable,
        }
    }
}

/// Something of known length that can be read at any offset, from any thread.
pub trait ReadAt: Send + Sync + std::fmt::Debug {
    /// Total length in bytes.
    fn len(&self) -> u64;

    /// Fills `buf` from `offset`; `UnexpectedEof` when the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Told by a reader that `section` at `offset` cannot be read or is not what was written. Nothing by default; a
    /// shard's block files tell their replica, which has them healed.
    fn report(&self, _offset: u64, _section: &'static str, _kind: DamageKind, _reason: &dyn std::fmt::Display) {}

    /// `len` bytes from `offset`, refused before allocating when they are not there.
    fn read_range(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.len()) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("range {offset}+{len} of {} bytes", self.len()),
            ));
        }
        let mut buf = vec![0; len];
        self.read_exact_at(&mut buf, offset)?;
        Ok(buf)
    }
}

/// A file on the local disk.
#[derive(Debug)]
pub struct LocalFile {
    file: File,
    len: u64,
}

impl LocalFile {
    pub fn open(path: &std::path::Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }
}

impl ReadAt for LocalFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        retry::read(|| {
            faults::check(Operation::Read)?;
            FileExt::read_exact_at(&self.file, buf, offset)
        })
    }
}

impl ReadAt for Bytes {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        match from.checked_add(buf.len()).and_then(|to| self.get(from..to)) {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
