//! A log without a thread, on a disk in memory: the simulation in `chaos-tests` says when it writes. No part of the crate's
//! interface.
use std::io;
use std::sync::Arc;

use super::format::segment_name;
pub use super::memdisk::MemDisk;
use super::writer::Writer;
use super::{Handle, RecoveryReport, Wal, WalConfig};

/// The writer of a log, to be stepped.
#[derive(Debug)]
pub struct Stepper(Writer);

/// Opens the log on `disk`. Nothing is written, and no callback runs, before [`Stepper::step`].
pub fn open(disk: &MemDisk, config: WalConfig) -> io::Result<(Wal, Stepper, RecoveryReport)> {
    let disk = Arc::new(disk.clone());
    let (shared, tail, report) = Wal::recover(disk.as_ref(), config)?;
    let stepper = Stepper(Writer::new(shared.clone(), disk, tail));
    Ok((Wal { handle: Arc::new(Handle { shared, writer: None }) }, stepper, report))
}

impl Stepper {
    /// Writes what is queued, syncs it and tells the callers, all before it returns. `false` once the log has failed.
    pub fn step(&mut self) -> bool {
        self.0.step()
    }

    /// The file that is written to, and where its records end.
    pub fn end(&self) -> (String, u64) {
        let (generation, end) = self.0.end();
        (segment_name(generation), end)
    }
}
