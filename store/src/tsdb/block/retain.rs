//! Dropping tenants from a block without decoding the others.
use std::io::{self, Write};

use super::format::TenantEntry;
use super::output::Output;
use super::{Block, BlockSummary};

/// Bytes copied at a time.
const COPY_BYTES: u64 = 1 << 20;

/// Writes a block with the tenants that `keep` accepts: their sections are copied as they are, checksums with them.
pub fn retain_tenants(block: &Block, keep: impl Fn(&str) -> bool, out: &mut impl Write) -> io::Result<BlockSummary> {
    let mut out = Output::begin(out)?;
    let mut kept: Vec<TenantEntry> = Vec::new();
    for (_, entry) in block.tenants.iter().filter(|(tenant, _)| keep(tenant)) {
        kept.push(copy_section(block, entry, &mut |_| Ok(()), &mut out)?);
    }
    out.end(&kept)
}

/// Copies a tenant's section as it is. `progress` is told of bytes that were copied, and may end it.
pub(super) fn copy_section(
    block: &Block,
    entry: &TenantEntry,
    progress: &mut dyn FnMut(u64) -> io::Result<()>,
    out: &mut Output<'_, impl Write>,
) -> io::Result<TenantEntry> {
    let start = out.at;
    let mut at = 0;
    while at < entry.len {
        let len = COPY_BYTES.min(entry.len - at);
        let from = entry.start.checked_add(at).ok_or(io::ErrorKind::InvalidData)?;
        out.put(&block.file.read_range(from, len as usize)?)?;
        at += len;
        progress(len)?;
    }
    Ok(TenantEntry { start, ..entry.clone() })
}
