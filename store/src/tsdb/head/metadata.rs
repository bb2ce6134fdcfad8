//! Metadata of metric families: the newest write of a family wins.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::FamilyMetadata;
use super::pieces::Piece;

/// Families that a part brought or changed.
#[derive(Clone, Debug, Default)]
pub(in crate::tsdb) struct MetadataPiece {
    pub(in crate::tsdb) tenants: BTreeMap<Arc<str>, BTreeMap<Box<str>, FamilyMetadata>>,
    families_count: usize,
}

impl MetadataPiece {
    pub(super) fn insert(&mut self, tenant: &Arc<str>, family: &str, metadata: FamilyMetadata) {
        let families = self.tenants.entry(tenant.clone()).or_default();
        self.families_count += usize::from(families.insert(family.into(), metadata).is_none());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.families_count == 0
    }
}

impl Piece for MetadataPiece {
    fn size(&self) -> usize {
        self.families_count
    }

    fn append(&mut self, newer: Self) {
        for (tenant, families) in newer.tenants {
            for (family, metadata) in families {
                self.insert(&tenant, &family, metadata);
            }
        }
    }
}

/// What is known now, so that a repetition makes no new piece.
#[derive(Debug, Default)]
pub(super) struct KnownMetadata(HashMap<Arc<str>, HashMap<Box<str>, FamilyMetadata>>);

impl KnownMetadata {
    /// Takes over metadata; `false` when nothing changes.
    pub(super) fn update(&mut self, tenant: &Arc<str>, family: &str, metadata: &FamilyMetadata) -> bool {
        let known = self.0.get(tenant).and_then(|families| families.get(family));
        if known == Some(metadata) {
            return false;
        }
        self.0.entry(tenant.clone()).or_default().insert(family.into(), metadata.clone());
        true
    }
}
