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
pub(super) struct KnownMetadata {
    tenants: HashMap<Arc<str>, HashMap<Box<str>, FamilyMetadata>>,
    bytes: u64,
}

/// Memory of a family beside its texts, about.
const FAMILY_BYTES: u64 = 160;

impl KnownMetadata {
    /// Takes over metadata; `false` when nothing changes.
    pub(super) fn update(&mut self, tenant: &Arc<str>, family: &str, metadata: &FamilyMetadata) -> bool {
        let known = self.tenants.get(tenant).and_then(|families| families.get(family));
        if known == Some(metadata) {
            return false;
        }
        // Known here and once in a piece. What is replaced is not subtracted: pieces may still hold it.
        self.bytes += 2 * ((family.len() + metadata.help.len() + metadata.unit.len()) as u64 + FAMILY_BYTES);
        self.tenants.entry(tenant.clone()).or_default().insert(family.into(), metadata.clone());
        true
    }

    /// About the memory that metadata takes in the head.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
