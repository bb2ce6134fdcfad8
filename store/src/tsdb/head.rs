//! Series and samples applied since the last seal.
use std::sync::Arc;

use crate::codec;
use crate::shard::PartOutcome;

/// A series of one head. Means nothing outside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub u32);

/// When a head gives work to the pool.
#[derive(Clone, Debug)]
pub struct HeadConfig {
    /// Compress the tail once it has this many samples. Larger: fewer merges, slower scans of the tail.
    pub tail_samples_max: usize,
    /// Or this many batches.
    pub tail_batches_max: usize,
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self { tail_samples_max: 64 << 10, tail_batches_max: 64 }
    }
}

/// Sizes of a head. `min_time`..`max_time` are ms, both inclusive; `min_time > max_time` when it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadStats {
    /// Estimate of the memory held.
    pub bytes: u64,
    pub series: u64,
    /// Samples of all kinds, duplicates that were let in included.
    pub facts: u64,
    pub min_time: i64,
    pub max_time: i64,
}

/// The metrics of one shard since the last seal. Owned by the shard's actor; readers take [`HeadView`]s.
#[derive(Debug)]
pub struct MetricsHead {}
/// An immutable cut of a head.
#[derive(Debug, Default)]
pub struct HeadView {}
/// Work for the pool.
#[derive(Debug)]
pub struct FreezeJob {}
/// What a [`FreezeJob`] made.
#[derive(Debug)]
pub struct Frozen {}

impl MetricsHead {
    pub fn new(_config: HeadConfig) -> Self {
        Self {}
    }
    pub fn resolve(&mut self, _tenant: &Arc<str>, _hash: u64, _key: &[u8]) -> Result<SeriesRef, codec::Error> {
        Ok(SeriesRef(0))
    }
    pub fn append(
        &mut self,
        _tenant: &Arc<str>,
        _position: u64,
        _refs: &[SeriesRef],
        _body: &[u8],
    ) -> Result<PartOutcome, codec::Error> {
        Ok(PartOutcome::default())
    }
    pub fn view(&mut self) -> Arc<HeadView> {
        Arc::default()
    }
    pub fn stats(&self) -> HeadStats {
        HeadStats { bytes: 0, series: 0, facts: 0, min_time: i64::MAX, max_time: i64::MIN }
    }
    pub fn freeze_job(&mut self) -> Option<FreezeJob> {
        None
    }
    pub fn install(&mut self, _frozen: Frozen) {}
}
impl FreezeJob {
    pub fn run(self) -> super::Result<Frozen> {
        Ok(Frozen {})
    }
}
