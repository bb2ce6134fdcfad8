//! The time-series engine.
//!
//! A [`MetricsHead`] takes parts; its [`HeadView`]s and sealed [`Block`]s make a [`MetricsView`], which is all that
//! readers see. [`seal`] writes a head into a block.
mod block;
mod chunk;
mod error;
mod head;
mod merge;
#[cfg(test)]
mod tests;
mod times;
mod view;

pub(crate) use block::decode_tables;
pub use block::{
    Block, BlockCache, BlockSizes, BlockSummary, compact, contents, recount, retain_tenants, seal, seal_counted,
    seal_view, verify,
};
pub(crate) use chunk::decode_columns;
pub use error::{Error, Result};
pub use head::{FreezeJob, Frozen, HeadConfig, HeadStats, HeadView, MetricsHead, SeriesRef};
pub use view::{CountSeries, FamilyMetadata, FloatReader, MetricsView, Series, SeriesSet, TextSet, ViewStats};
