//! What readers see of the metrics of one shard.
mod count;
mod from_block;
mod from_head;
mod reader;
mod series;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use count::CountSeries;
pub use reader::FloatReader;
pub use series::{Series, SeriesSet};
pub use texts::TextSet;

use super::{Block, HeadView, Result};
use crate::index::{Matcher, compare_labels};
use crate::limits::Limits;
use crate::memory::Account;
use crate::model::Labels;
use crate::part::SampleKind;
pub(super) use from_block::{BlockSource, forget};
use from_head::HeadSource;
use series::{Part, Sources};

/// Heads being sealed, the open head, and sealed blocks of one shard: a consistent cut.
///
/// Where a series has two values at one time, the one of the lowest log position is seen: blocks before heads, each in
/// the order of its list.
#[derive(Clone, Debug, Default)]
pub struct MetricsView {
    /// Oldest first; the last one is open.
    pub heads: Vec<Arc<HeadView>>,
    /// In seal order.
    pub blocks: Vec<Arc<Block>>,
    /// What is not seen although it is there.
    pub limits: Arc<Limits>,
}

/// Type, help and unit of a metric family, as the newest write gave them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyMetadata {
    /// As in remote write: 0 unknown, 1 counter, 2 gauge, 3 histogram, …
    pub metric_type: u8,
    pub help: String,
    pub unit: String,
}

/// Sizes of a view, before duplicates across heads and blocks are removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewStats {
    pub series: u64,
    pub facts: u64,
    pub blocks: u64,
    /// Bytes of the blocks and about the memory of the heads.
    pub bytes: u64,
}

/// Kinds that make a series exist at a time; an exemplar alone does not.
const SAMPLES: [SampleKind; 3] = [SampleKind::Float, SampleKind::IntHistogram, SampleKind::FloatHistogram];
const ALL_KINDS: [SampleKind; 5] = [
    SampleKind::Float,
    SampleKind::IntHistogram,
    SampleKind::FloatHistogram,
    SampleKind::StartTimestamp,
    SampleKind::Exemplar,
];

impl MetricsView {
    /// Series of `tenant` that satisfy all matchers and have records of any kind in chunks that overlap
    /// `min_ms..=max_ms`, in the order of [`compare_labels`]. Samples are decoded series by series, when asked for.
    pub fn select(&self, tenant: &str, matchers: &[Matcher], min_ms: i64, max_ms: i64) -> Result<SeriesSet> {
        self.select_kinds(tenant, matchers, (min_ms, max_ms), &ALL_KINDS, &Account::unbounded())
    }

    /// As [`Self::select`], charging `memory` for the selection for as long as a series of it is held.
    pub fn select_charged(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        range: (i64, i64),
        memory: &Account,
    ) -> Result<SeriesSet> {
        self.select_kinds(tenant, matchers, range, &ALL_KINDS, memory)
    }

    /// As [`Self::select_charged`], only the series that have records of one of `kinds`.
    pub fn select_kinds(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        (min_ms, max_ms): (i64, i64),
        kinds: &[SampleKind],
        memory: &Account,
    ) -> Result<SeriesSet> {
        let (min_ms, max_ms) = self.kept(tenant, (min_ms, max_ms));
        let mut found: Vec<(Labels, Part)> = Vec::new();
        let mut held = memory.open();
        let mut sources = Sources { heads: Vec::new(), blocks: Vec::new(), min_ms, max_ms, held: memory.open() };
        for block in self.blocks.iter().filter(|block| block.overlaps(min_ms, max_ms)) {
            if let Some(source) = BlockSource::select(block, tenant, &self.limits)? {
                source.list(matchers, (min_ms, max_ms), kinds, sources.blocks.len(), &mut found, &mut held)?;
                sources.blocks.push(source);
            }
        }
        for (at, head) in self.heads.iter().enumerate().filter(|(_, head)| head.overlaps(min_ms, max_ms)) {
            let deleted = self.limits.frozen.get(at).map(|frozen_at| (&*self.limits, *frozen_at));
            let source = HeadSource::select(head, tenant, matchers, (min_ms, max_ms), deleted, &mut held)?;
            source.list((min_ms, max_ms), kinds, sources.heads.len(), &mut found, &mut held)?;
            sources.heads.push(source);
        }
        // Stable, so the parts of one series stay in log order; the sources come sorted or nearly so, a block is in order.
        let is_one_block = sources.heads.is_empty() && sources.blocks.len() < 2;
        if !is_one_block {
            found.sort_by(|a, b| compare_labels(a.0.as_bytes(), b.0.as_bytes()));
        }
        sources.held = held;
        Ok(SeriesSet::new(found, Arc::new(sources)))
    }

    /// The numbers of the blocks in which the tenant's samples of a range are, none of which any other block of this process ever
    /// has, where nothing of the range is elsewhere, hidden or still to come.
    pub fn sealed(&self, tenant: &str, (min_ms, max_ms): (i64, i64)) -> Option<impl Iterator<Item = u64>> {
        let is_hidden = self.limits.has_deleted(tenant) || self.limits.cutoffs.of(tenant) > min_ms;
        if is_hidden || self.heads.iter().any(|head| head.overlaps(min_ms, max_ms)) {
            return None;
        }
        Some(self.blocks.iter().filter(move |block| block.overlaps(min_ms, max_ms)).map(|block| block.number()))
    }

    /// The part of a time range that has not expired for the tenant.
    fn kept(&self, tenant: &str, (min_ms, max_ms): (i64, i64)) -> (i64, i64) {
        (min_ms.max(self.limits.cutoffs.of(tenant)), max_ms)
    }

    /// The same with all that has expired or was deleted and is still there.
    pub fn without_limits(&self) -> Self {
        Self { limits: Arc::default(), ..self.clone() }
    }

    /// Labels of the series that have samples (not only exemplars) in chunks overlapping the range, in the order of
    /// [`compare_labels`]. `memory` is charged while they are looked for, not for the answer.
    pub fn series_labels(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        range: (i64, i64),
        memory: &Account,
    ) -> Result<Vec<Labels>> {
        Ok(self.select_kinds(tenant, matchers, range, &SAMPLES, memory)?.map(|series| series.labels).collect())
    }

    /// Adds to `names` the names of labels of the series that match. Without matchers, of all series of the heads and blocks
    /// that overlap the range. `memory` is charged while they are looked for.
    pub fn label_names(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        (min_ms, max_ms): (i64, i64),
        memory: &Account,
        names: &mut TextSet,
    ) -> Result<()> {
        let (min_ms, max_ms) = self.kept(tenant, (min_ms, max_ms));
        if !matchers.is_empty() || self.limits.has_deleted(tenant) {
            for labels in self.series_labels(tenant, matchers, (min_ms, max_ms), memory)? {
                labels.iter().for_each(|(name, _)| names.see(name));
            }
            return Ok(names.check()?);
        }
        for block in self.blocks.iter().filter(|block| block.overlaps(min_ms, max_ms)) {
            block.label_names(tenant, &mut |name| names.see(name))?;
            names.check()?;
        }
        for head in self.heads.iter().filter(|head| head.overlaps(min_ms, max_ms)) {
            head.label_names(tenant, &mut |name| names.see(name));
            names.check()?;
        }
        Ok(())
    }

    /// Adds to `values` the values of label `name` of the series that match. Without matchers, of all series of the heads and
    /// blocks that overlap the range.
    pub fn label_values(
        &self,
        tenant: &str,
        name: &str,
        matchers: &[Matcher],
        (min_ms, max_ms): (i64, i64),
        memory: &Account,
        values: &mut TextSet,
    ) -> Result<()> {
        let (min_ms, max_ms) = self.kept(tenant, (min_ms, max_ms));
        if !matchers.is_empty() || self.limits.has_deleted(tenant) {
            for labels in self.series_labels(tenant, matchers, (min_ms, max_ms), memory)? {
                labels.get(name).into_iter().for_each(|value| values.see(value));
            }
            return Ok(values.check()?);
        }
        for block in self.blocks.iter().filter(|block| block.overlaps(min_ms, max_ms)) {
            block.label_values(tenant, name, &mut |value| values.see(value))?;
            values.check()?;
        }
        for head in self.heads.iter().filter(|head| head.overlaps(min_ms, max_ms)) {
            head.label_values(tenant, name, &mut |value| values.see(value));
            values.check()?;
        }
        Ok(())
    }

    /// Metadata of one family or of all, by family name. The newest write of a family wins.
    pub fn metadata(&self, tenant: &str, family: Option<&str>) -> Result<Vec<(String, FamilyMetadata)>> {
        let mut all: BTreeMap<String, FamilyMetadata> = BTreeMap::new();
        for block in &self.blocks {
            let families = block.metadata(tenant)?;
            all.extend(families.into_iter().filter(|(name, _)| family.is_none_or(|f| f == name)));
        }
        for families in self.heads.iter().flat_map(|head| head.metadata()).filter_map(|piece| piece.tenants.get(tenant))
        {
            let wanted = families.iter().filter(|(name, _)| family.is_none_or(|f| f == &***name));
            all.extend(wanted.map(|(name, metadata)| (name.to_string(), metadata.clone())));
        }
        Ok(all.into_iter().collect())
    }

    /// Tenants with series or metadata, sorted.
    pub fn tenants(&self) -> Result<Vec<Arc<str>>> {
        let mut tenants: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut see = |tenant: &Arc<str>| {
            if !tenants.contains(tenant) {
                tenants.insert(tenant.clone());
            }
        };
        self.blocks.iter().for_each(|block| block.tenants().for_each(&mut see));
        self.heads.iter().for_each(|head| head.tenants(&mut see));
        Ok(tenants.into_iter().collect())
    }

    /// Sizes over all tenants.
    pub fn stats(&self) -> ViewStats {
        let mut stats = ViewStats { blocks: self.blocks.len() as u64, ..ViewStats::default() };
        for head in self.heads.iter().map(|head| head.stats()) {
            stats.series += head.series;
            stats.facts += head.facts;
            stats.bytes += head.bytes;
        }
        for block in self.blocks.iter().map(|block| block.summary()) {
            stats.series += block.series;
            stats.facts += block.facts;
            stats.bytes += block.bytes;
        }
        stats
    }
}
