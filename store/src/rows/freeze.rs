//! Work for the pool: sorts and compresses a full tail into a run, or merges runs of one size class.
use std::sync::Arc;

use super::config::HeadConfig;
use super::error::Result;
use super::head::RowsHead;
use super::run::{Run, build_run};
use super::stream_table::StreamTable;
use super::tail::TailBatch;
use crate::model::Signal;

/// Work on immutable pieces of one head. At most one is in flight a head.
#[derive(Debug)]
pub struct FreezeJob {
    pub(super) signal: Signal,
    pub(super) config: HeadConfig,
    pub(super) streams: Arc<StreamTable>,
    /// The newest runs, to be merged; or none.
    pub(super) runs: Vec<Arc<Run>>,
    /// The oldest tail batches, to be frozen; or none.
    pub(super) tail: Vec<Arc<TailBatch>>,
}

/// What a [`FreezeJob`] made; hand it to [`RowsHead::install`].
#[derive(Debug)]
pub struct Frozen {
    pub(super) run: Arc<Run>,
    pub(super) runs_len: usize,
    pub(super) tail_len: usize,
}

impl FreezeJob {
    /// Runs on the pool. Fails only if the head's memory is damaged.
    pub fn run(self) -> Result<Frozen> {
        let run = build_run(self.signal, &self.config, &self.streams, &self.runs, &self.tail)?;
        Ok(Frozen { run: Arc::new(run), runs_len: self.runs.len(), tail_len: self.tail.len() })
    }
}

impl RowsHead {
    /// Work that is due, unless a job is in flight: a tail that is full, else runs to merge.
    pub fn freeze_job(&mut self) -> Option<FreezeJob> {
        if self.job_in_flight {
            return None;
        }
        let is_full =
            self.tail_raw_bytes >= self.config.tail_bytes_max || self.tail.len() >= self.config.tail_batches_max;
        let (runs, tail) = if is_full { (Vec::new(), self.tail.clone()) } else { (self.runs_to_merge()?, Vec::new()) };
        self.job_in_flight = true;
        let streams = self.view().streams.clone();
        Some(FreezeJob { signal: self.signal, config: self.config.clone(), streams, runs, tail })
    }

    /// Takes the result of the job in flight. Views published before keep their pieces.
    pub fn install(&mut self, frozen: Frozen) {
        self.job_in_flight = false;
        let Frozen { run, runs_len, tail_len } = frozen;
        let merged_from = self.runs.len() - runs_len;
        let merged: u64 = self.runs.drain(merged_from..).map(|r| r.bytes).sum();
        let drained = self.tail.drain(..tail_len);
        let (raw, held) = drained.fold((0, 0), |(raw, held), b| (raw + b.raw_bytes(), held + b.memory_bytes() as u64));
        self.tail_raw_bytes -= raw;
        self.stats.bytes = (self.stats.bytes + run.bytes).saturating_sub(merged + held);
        self.runs.push(run);
        self.view = None;
    }

    /// The newest runs, once there are `run_fanout` of the newest one's size class: they cover contiguous log positions.
    fn runs_to_merge(&self) -> Option<Vec<Arc<Run>>> {
        let fanout = self.config.run_fanout.max(2);
        let class = |run: &Run| run.bytes.max(1).ilog(fanout as u64);
        let newest = class(self.runs.last()?);
        let alike = self.runs.iter().rev().take_while(|r| class(r) <= newest).count();
        (alike >= fanout).then(|| self.runs[self.runs.len() - alike..].to_vec())
    }
}
