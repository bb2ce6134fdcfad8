//! A run: sorted, compressed granules of one head, in memory.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::config::HeadConfig;
use super::error::Result;
use super::granule::Granule;
use super::piece::{ClosedPiece, Piece, Source};
use super::stream_table::StreamTable;
use super::tail::TailBatch;
use super::write::{GranuleLimits, scan_everything, write_granules};
use crate::model::Signal;

/// Immutable; covers a contiguous stretch of log positions.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) granules: Vec<(Arc<str>, Arc<Granule>)>,
    /// Compressed bytes held.
    pub(crate) bytes: u64,
    /// Repeated rows that were left out on the way here, of the tenants that had any.
    pub(crate) dropped: BTreeMap<Arc<str>, u64>,
}

impl Run {
    /// The tenant's granules.
    pub(crate) fn of_tenant<'a>(&'a self, tenant: &'a str) -> impl Iterator<Item = ClosedPiece> + 'a {
        self.granules.iter().filter(move |(t, _)| **t == *tenant).map(|(_, g)| ClosedPiece::Granule(g.clone()))
    }
}

/// Sorts and compresses runs and tail batches, oldest first, into one run.
pub(crate) fn build_run(
    signal: Signal,
    config: &HeadConfig,
    streams: &Arc<StreamTable>,
    runs: &[Arc<Run>],
    tail: &[Arc<TailBatch>],
) -> Result<Run> {
    let in_runs = runs.iter().flat_map(|r| r.granules.iter().map(|(t, _)| t));
    let tenants: BTreeSet<&Arc<str>> = in_runs.chain(tail.iter().map(|b| &b.tenant)).collect();
    let mut run = Run { granules: Vec::new(), bytes: 0, dropped: BTreeMap::new() };
    for (tenant, count) in runs.iter().flat_map(|r| &r.dropped) {
        *run.dropped.entry(tenant.clone()).or_default() += count;
    }
    for tenant in tenants {
        let source = source_of(tenant, streams, runs, tail);
        let limits = GranuleLimits::new(config, config.run_level);
        let scan = scan_everything(signal, tenant, i64::MIN, vec![source])?;
        let renumber = |piece: &Piece, row| piece.stream_ref(row);
        let dropped = write_granules(signal, scan, limits, &renumber, &mut |_| Ok(()), &mut |meta, bytes| {
            run.bytes += bytes.len() as u64;
            let file = Arc::new(Bytes::from(bytes));
            run.granules.push((tenant.clone(), Arc::new(Granule { meta, file, base: 0 })));
            Ok(())
        })?;
        if dropped > 0 {
            *run.dropped.entry(tenant.clone()).or_default() += dropped;
        }
    }
    Ok(run)
}

/// The tenant's pieces of some runs and the tail after them.
pub(crate) fn source_of(
    tenant: &str,
    streams: &Arc<StreamTable>,
    runs: &[Arc<Run>],
    tail: &[Arc<TailBatch>],
) -> Source {
    let of_tail = tail.iter().filter(|b| *b.tenant == *tenant).map(|b| ClosedPiece::Tail(b.clone()));
    let pieces = runs.iter().flat_map(|r| r.of_tenant(tenant)).chain(of_tail).collect();
    Source { streams: streams.clone(), pieces }
}
