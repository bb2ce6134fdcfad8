//! Reading a whole block again, to see that it is what its digest says.
use std::io;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::Block;
use super::seal::{encode_canonical, put_prefixed};
use crate::rows::error::Result;
use crate::rows::write::scan_everything;
use crate::shard::SealedFacts;

/// Reads a whole block: decodes every row and compares with the digest in its footer. Filters hold no content and are not
/// read.
pub fn verify(block: &Arc<Block>) -> io::Result<()> {
    recount(block).map(drop)
}

/// As [`verify`]; the rows of each tenant, counted.
pub fn recount(block: &Arc<Block>) -> io::Result<Vec<SealedFacts>> {
    let (digest, counts) = digest_of(block)?;
    let rows: u64 = counts.iter().map(|c| c.facts).sum();
    let expected = block.summary();
    if (digest, rows) == (expected.digest, expected.facts) {
        return Ok(counts);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("row block {} is not what its digest says", block.name())))
}

/// The digest over the decoded content, and the rows.
fn digest_of(block: &Arc<Block>) -> Result<(u128, Vec<SealedFacts>)> {
    let (mut digest, mut counts, mut scratch) = (Xxh3::new(), Vec::new(), Vec::new());
    for tenant in block.tenants() {
        put_prefixed(&mut digest, tenant.as_bytes());
        let Some(source) = block.source(tenant)? else { continue };
        let mut facts = 0;
        let mut scan = scan_everything(block.signal(), tenant, i64::MIN, vec![source])?;
        while let Some(batch) = scan.next_batch()? {
            for row in batch.rows() {
                encode_canonical(row, &mut scratch)?;
                digest.update(&scratch);
                facts += 1;
            }
        }
        counts.push(SealedFacts { tenant: tenant.into(), facts, folded: 0 });
    }
    Ok((digest.digest128(), counts))
}
