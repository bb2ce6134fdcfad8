//! A granule: up to some thousand sorted rows, one compressed column an attribute, with statistics to skip it by.
mod build;
mod meta;
mod open;
mod prune;

use std::sync::Arc;

pub(crate) use build::GranuleBuilder;
pub(crate) use meta::{ColumnMeta, ColumnStats, GranuleMeta, StreamSpan};
pub(crate) use open::{OpenGranule, ReadCounters, decode_pieces};

use super::error::Result;
use super::region::Region;
use crate::read_at::ReadAt;

/// A granule of one tenant with its directory entry; its regions lie in `file` from `base` on.
#[derive(Debug)]
pub(crate) struct Granule {
    pub(crate) meta: GranuleMeta,
    pub(crate) file: Arc<dyn ReadAt>,
    pub(crate) base: u64,
}

impl Granule {
    pub(crate) fn read(&self, region: &Region, name: &'static str) -> Result<Vec<u8>> {
        region.read(&*self.file, self.base, name)
    }
}
