//! A sealed block of metrics, read by range.
use std::sync::Arc;

use super::Result;
use crate::read_at::ReadAt;

/// What a seal wrote. Times are ms, both inclusive; `min_time > max_time` when there is no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSummary {
    pub bytes: u64,
    pub facts: u64,
    pub series: u64,
    pub min_time: i64,
    pub max_time: i64,
    /// xxh3-128 over the canonical decoded content: equal content has an equal digest, however it was encoded.
    pub digest: u128,
}

/// One sealed block.
#[derive(Debug)]
pub struct Block {}

impl Block {
    pub fn open(_file: Arc<dyn ReadAt>) -> Result<Self> {
        Ok(Self {})
    }
}

/// Writes a head into one block.
pub fn seal(_view: &super::HeadView, _out: &mut impl std::io::Write) -> std::io::Result<BlockSummary> {
    Ok(BlockSummary { bytes: 0, facts: 0, series: 0, min_time: i64::MAX, max_time: i64::MIN, digest: 0 })
}
