//! Work for the pool: sorts and compresses a full tail into a run, or merges runs.
use super::error::Result;
use super::head::RowsHead;

/// Work on immutable pieces of one head. At most one is in flight a head.
#[derive(Debug)]
pub struct FreezeJob {}

/// What a [`FreezeJob`] made; hand it to [`RowsHead::install`].
#[derive(Debug)]
pub struct Frozen {}

impl FreezeJob {
    /// Runs on the pool.
    pub fn run(self) -> Result<Frozen> {
        Ok(Frozen {})
    }
}

impl RowsHead {
    /// Work that is due, unless a job is in flight.
    pub fn freeze_job(&mut self) -> Option<FreezeJob> {
        None
    }

    /// Takes the result of the job in flight.
    pub fn install(&mut self, frozen: Frozen) {
        drop(frozen);
    }
}
