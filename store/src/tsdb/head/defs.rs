//! Definition segments: the series of a head in the order in which they came.
use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::pieces::Piece;
use crate::index::{LabelIndex, Matcher, matches_labels, select};
use crate::model::Labels;

/// One series.
#[derive(Clone, Debug)]
pub(in crate::tsdb) struct SeriesDef {
    pub(in crate::tsdb) tenant: Arc<str>,
    pub(in crate::tsdb) labels: Labels,
}

/// Series with consecutive references. Without an index it is short and is scanned.
#[derive(Clone, Debug, Default)]
pub(in crate::tsdb) struct DefSegment {
    pub(super) first: u32,
    pub(super) defs: Vec<SeriesDef>,
    pub(super) index: Option<BTreeMap<Arc<str>, LabelIndex>>,
}

/// The definition of a series in segments of rising references.
pub(super) fn find(segments: &[Arc<DefSegment>], series: u32) -> Option<&SeriesDef> {
    let segment = &segments[segments.partition_point(|segment| segment.first <= series).checked_sub(1)?];
    segment.defs.get((series - segment.first) as usize)
}

impl Piece for DefSegment {
    fn size(&self) -> usize {
        self.defs.len()
    }

    fn append(&mut self, newer: Self) {
        debug_assert!(self.index.is_none() && newer.index.is_none());
        debug_assert_eq!(self.first as usize + self.defs.len(), newer.first as usize);
        self.defs.extend(newer.defs);
    }
}

impl DefSegment {
    /// One indexed segment of consecutive segments, whose indexes are reused.
    pub(super) fn merge(segments: &[Arc<DefSegment>]) -> Self {
        let mut merged = DefSegment { first: segments.first().map_or(0, |s| s.first), ..Self::default() };
        let mut index: BTreeMap<Arc<str>, LabelIndex> = BTreeMap::new();
        for segment in segments {
            merged.defs.extend_from_slice(&segment.defs);
            match &segment.index {
                Some(indexed) if index.is_empty() => index = indexed.clone(),
                Some(indexed) => {
                    for (tenant, of_tenant) in indexed {
                        index.entry(tenant.clone()).or_default().merge(of_tenant);
                    }
                }
                None => {
                    for (id, def) in (segment.first..).zip(&segment.defs) {
                        index.entry(def.tenant.clone()).or_default().insert(id, def.labels.as_bytes());
                    }
                }
            }
        }
        merged.index = Some(index);
        merged
    }

    /// References of the tenant's series that satisfy all matchers.
    pub(super) fn select(&self, tenant: &str, matchers: &[Matcher]) -> RoaringBitmap {
        match &self.index {
            Some(index) => match index.get(tenant).map(|of_tenant| select(of_tenant, matchers)) {
                Some(Ok(ids)) => ids,
                None => RoaringBitmap::new(),
            },
            None => (self.first..)
                .zip(&self.defs)
                .filter(|(_, def)| &*def.tenant == tenant && matches_labels(def.labels.as_bytes(), matchers))
                .map(|(id, _)| id)
                .collect(),
        }
    }

    pub(super) fn tenants<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Arc<str>> + 'a> {
        match &self.index {
            Some(index) => Box::new(index.keys()),
            None => Box::new(self.defs.iter().map(|def| &def.tenant)),
        }
    }

    /// Calls `see` with every label name of the tenant, some more than once.
    pub(super) fn label_names(&self, tenant: &str, see: &mut dyn FnMut(&str)) {
        match &self.index {
            Some(index) => index.get(tenant).into_iter().flat_map(LabelIndex::names).for_each(see),
            None => self.of_tenant(tenant).flat_map(|def| def.labels.iter()).for_each(|(name, _)| see(name)),
        }
    }

    /// Calls `see` with every value of the tenant's label `name`, some more than once.
    pub(super) fn label_values(&self, tenant: &str, name: &str, see: &mut dyn FnMut(&str)) {
        match &self.index {
            Some(index) => {
                let values = index.get(tenant).into_iter().flat_map(|of_tenant| of_tenant.values(name));
                values.for_each(|(value, _)| see(value));
            }
            None => self.of_tenant(tenant).filter_map(|def| def.labels.get(name)).for_each(see),
        }
    }

    fn of_tenant(&self, tenant: &str) -> impl Iterator<Item = &SeriesDef> {
        self.defs.iter().filter(move |def| &*def.tenant == tenant)
    }
}
