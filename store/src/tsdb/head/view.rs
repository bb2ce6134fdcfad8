//! An immutable cut of a head.
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::HeadStats;
use super::batch::Batch;
use super::defs::{self, DefSegment, SeriesDef};
use super::metadata::MetadataPiece;
use super::run::Run;
use crate::index::Matcher;

/// A head at one log position. Never changes; cheap to hold.
#[derive(Clone, Debug)]
pub struct HeadView {
    pub(super) defs: Vec<Arc<DefSegment>>,
    /// Oldest first.
    pub(super) runs: Vec<Arc<Run>>,
    /// Oldest first, all newer than the runs.
    pub(super) batches: Vec<Arc<Batch>>,
    pub(super) metadata: Vec<Arc<MetadataPiece>>,
    pub(super) stats: HeadStats,
}

impl HeadView {
    /// Sizes at this cut.
    pub fn stats(&self) -> HeadStats {
        self.stats
    }

    pub(in crate::tsdb) fn overlaps(&self, min_ms: i64, max_ms: i64) -> bool {
        self.stats.min_time <= max_ms && self.stats.max_time >= min_ms
    }

    pub(in crate::tsdb) fn select(&self, tenant: &str, matchers: &[Matcher]) -> RoaringBitmap {
        let mut ids = RoaringBitmap::new();
        self.defs.iter().for_each(|segment| ids |= segment.select(tenant, matchers));
        ids
    }

    /// The definition of a series of this head.
    pub(in crate::tsdb) fn def(&self, series: u32) -> Option<&SeriesDef> {
        defs::find(&self.defs, series)
    }

    pub(in crate::tsdb) fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    pub(in crate::tsdb) fn batches(&self) -> &[Arc<Batch>] {
        &self.batches
    }

    /// Pieces of metadata, oldest first.
    pub(in crate::tsdb) fn metadata(&self) -> &[Arc<MetadataPiece>] {
        &self.metadata
    }

    /// Calls `see` with every tenant, some more than once.
    pub(in crate::tsdb) fn tenants(&self, see: &mut dyn FnMut(&Arc<str>)) {
        self.defs.iter().flat_map(|segment| segment.tenants()).for_each(&mut *see);
        self.metadata.iter().flat_map(|piece| piece.tenants.keys()).for_each(see);
    }

    /// Duplicates of the tenant that were left out when the head was compressed.
    pub fn dropped(&self, tenant: &str) -> u64 {
        let all = self.runs.iter().flat_map(|run| run.dropped());
        all.filter(|(series, _)| self.def(*series).is_some_and(|def| *def.tenant == *tenant)).map(|(_, n)| n).sum()
    }

    /// Calls `see` with every label name of the tenant, some more than once.
    pub(in crate::tsdb) fn label_names(&self, tenant: &str, see: &mut dyn FnMut(&str)) {
        self.defs.iter().for_each(|segment| segment.label_names(tenant, see));
    }

    /// Calls `see` with every value of the tenant's label, some more than once.
    pub(in crate::tsdb) fn label_values(&self, tenant: &str, name: &str, see: &mut dyn FnMut(&str)) {
        self.defs.iter().for_each(|segment| segment.label_values(tenant, name, see));
    }
}
