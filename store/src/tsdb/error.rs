//! What can go wrong while reading samples back.
use std::io;

use crate::codec;
use crate::memory::Exceeded;

/// A failed read. Names the block and the section, so that an operator knows what to repair.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read {section} of metrics block {block}")]
    Read { block: String, section: &'static str, source: io::Error },
    #[error("{section} of metrics block {block} is damaged: checksum {found:08x}, expected {expected:08x}")]
    Checksum { block: String, section: &'static str, expected: u32, found: u32 },
    #[error("{section} of metrics block {block} is damaged: {source}")]
    Decode { block: String, section: &'static str, source: codec::Error },
    #[error("metrics block {block} is of version {found}, this release reads version {expected}")]
    Version { block: String, found: u8, expected: u8 },
    #[error("{section} of metrics block {block} is damaged: {reason}")]
    Damaged { block: String, section: &'static str, reason: &'static str },
    /// The block was damaged and its file taken away; it comes back once it is healed.
    #[error("metrics block {block} is damaged and in quarantine")]
    Lost { block: String },
    /// A compressed run in memory does not decode: memory was damaged, or there is a bug.
    #[error("samples of a head do not decode: {source}")]
    Head { source: codec::Error },
    /// The reader's account is full.
    #[error(transparent)]
    Memory(#[from] Exceeded),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
