//! What a block's bytes are.
use std::sync::Arc;

use super::Block;
use super::format::{Extent, HEADER_LEN, TAIL_LEN};
use crate::tsdb::Result;

/// Bytes of a block file by what they are; together all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockSizes {
    /// Float columns and records.
    pub values: u64,
    /// Time columns; series that were sampled together share one.
    pub times: u64,
    /// Series with their labels and where their chunks are.
    pub series: u64,
    /// Where time columns are.
    pub times_table: u64,
    pub symbols: u64,
    pub postings: u64,
    /// Of metric families.
    pub metadata: u64,
    /// Where pages and pieces are, with their checksums; header, footer and tail.
    pub frame: u64,
}

impl Block {
    /// Reads every tenant's directory.
    pub fn sizes(self: &Arc<Self>) -> Result<BlockSizes> {
        let mut sizes = BlockSizes::default();
        let sum = |extents: &[Extent]| extents.iter().map(|e| u64::from(e.len)).sum::<u64>();
        for (tenant, _) in &self.tenants {
            let Some(index) = self.tenant(tenant)? else { continue };
            let directory = index.directory();
            sizes.values += sum(&directory.value_pages);
            sizes.times += sum(&directory.times_pages);
            sizes.series += sum(&directory.series);
            sizes.times_table += sum(&directory.times);
            sizes.symbols += u64::from(directory.symbols.len);
            sizes.postings += directory.names.iter().map(|(_, e)| u64::from(e.len)).sum::<u64>();
            sizes.metadata += u64::from(directory.metadata.len);
        }
        let BlockSizes { values, times, series, times_table, symbols, postings, metadata, .. } = sizes;
        let content = values + times + series + times_table + symbols + postings + metadata;
        debug_assert!(self.summary.bytes >= content + HEADER_LEN + TAIL_LEN, "pieces do not overlap");
        sizes.frame = self.summary.bytes.saturating_sub(content);
        Ok(sizes)
    }
}
