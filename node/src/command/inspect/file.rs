//! A block's file that remembers where a reader found it damaged.
use std::error::Error as StdError;
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use trine_store::read_at::{DamageKind, LocalFile, ReadAt};

use crate::error::chain;

/// Bytes of the tail of a block of metrics, and of the trailer of one of rows.
const METRICS_TAIL: u64 = 24;
const ROWS_TRAILER: u64 = 32;

/// A file, and the first damage that was reported.
#[derive(Debug)]
pub(super) struct Watched {
    file: LocalFile,
    found: OnceLock<(u64, &'static str)>,
}

impl Watched {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: LocalFile::open(path)?, found: OnceLock::new() })
    }

    /// Its first four bytes; zeros for what it does not have.
    pub(super) fn magic(&self) -> io::Result<[u8; 4]> {
        let mut magic = [0; 4];
        let len = usize::try_from(self.file.len()).unwrap_or(4).min(4);
        self.file.read_exact_at(&mut magic[..len], 0)?;
        Ok(magic)
    }
}

impl ReadAt for Watched {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn report(&self, offset: u64, section: &'static str, _kind: DamageKind, _reason: &dyn Display) {
        // The first is the cause of what follows.
        self.found.get_or_init(|| (offset, section));
    }
}

/// One sentence about a damaged block: which, where, why.
pub(super) fn damage(name: &str, file: &Watched, error: &(dyn StdError + 'static)) -> String {
    let why = chain(error);
    match file.found.get().copied().or_else(|| place(&why, file.len())) {
        Some((offset, section)) => format!("block {name} is damaged at byte {offset} ({section}): {why}"),
        None => format!("block {name} is damaged: {why}"),
    }
}

/// Where the sections at both ends of a file are: errors about them name no offset.
fn place(why: &str, len: u64) -> Option<(u64, &'static str)> {
    let ends = [
        ("block trailer", len.saturating_sub(ROWS_TRAILER)),
        ("block header", 0),
        ("header of metrics block", 0),
        ("tail of metrics block", len.saturating_sub(METRICS_TAIL)),
        ("is of version", 4),
        ("row block version", 4),
    ];
    ends.into_iter().find(|(words, _)| why.contains(words)).map(|(words, at)| {
        let section = if words.contains("version") { "header" } else { words };
        (at, section)
    })
}
