//! Writes the merged rows of one tenant as granules: what freezing, merging runs and sealing have in common.
use super::config::HeadConfig;
use super::error::Result;
use super::granule::{GranuleBuilder, GranuleMeta};
use super::piece::{Piece, Source};
use super::row::{Row, RowBatch};
use super::scan::{RowOrder, RowScan};
use super::view::{Scan, scan_sources};
use crate::model::Signal;

/// What is done with each finished granule.
pub(crate) type GranuleSink<'a> = dyn FnMut(GranuleMeta, Vec<u8>) -> Result<()> + 'a;
/// What is done with each row on its way.
pub(crate) type RowTap<'a> = dyn FnMut(Row<'_>) -> Result<()> + 'a;
/// The number that a granule gives the stream of a piece's row.
pub(crate) type Renumber<'a> = dyn Fn(&Piece, u32) -> u32 + 'a;

/// How granules are cut and compressed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GranuleLimits {
    pub(crate) rows_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) level: i32,
}

impl GranuleLimits {
    pub(crate) fn new(config: &HeadConfig, level: i32) -> Self {
        Self { rows_max: config.granule_rows_max.max(1), bytes_max: config.granule_bytes_max, level }
    }
}

/// Every row of the tenant from `expired_ns` on in granule order, without repeated ones. Sources come oldest first. Only the
/// rows of open pieces are in memory.
pub(crate) fn scan_everything(signal: Signal, tenant: &str, expired_ns: i64, sources: Vec<Source>) -> Result<Scan> {
    let mut scan = RowScan::new(tenant, expired_ns, i64::MAX);
    scan.expired_ns = expired_ns;
    scan.order = RowOrder::Unordered;
    scan_sources(signal, scan, sources)
}

/// Writes the rows of a scan in granule order ([`scan_everything`]); how many repeated ones were left out.
pub(crate) fn write_granules(
    signal: Signal,
    mut scan: Scan,
    limits: GranuleLimits,
    renumber: &Renumber<'_>,
    tap: &mut RowTap<'_>,
    sink: &mut GranuleSink<'_>,
) -> Result<u64> {
    let mut builder = GranuleBuilder::new(signal, limits.level);
    while let Some(batch) = scan.next_batch()? {
        write_batch(&batch, &mut builder, limits, renumber, tap, sink)?;
    }
    if builder.rows() > 0 {
        let (meta, bytes) = builder.finish();
        sink(meta, bytes)?;
    }
    Ok(scan.stats().rows_repeated)
}

fn write_batch(
    batch: &RowBatch,
    builder: &mut GranuleBuilder,
    limits: GranuleLimits,
    renumber: &Renumber<'_>,
    tap: &mut RowTap<'_>,
    sink: &mut GranuleSink<'_>,
) -> Result<()> {
    for row in batch.rows() {
        let piece: &Piece = row.piece;
        let stream = renumber(piece, row.row);
        tap(row)?;
        builder.begin_row(stream, row.time_ns(), piece.trace_id(row.row)?, row.body()?);
        row.for_each_attr(&mut |attr| builder.push_attr(attr))?;
        builder.end_row();
        if builder.rows() >= limits.rows_max || builder.raw_bytes() >= limits.bytes_max {
            let (meta, bytes) = builder.finish();
            sink(meta, bytes)?;
        }
    }
    Ok(())
}
