//! One cluster at a time on a machine.
//!
//! Clusters of debug builds are measured against clients' time-outs; two of them at once on a small machine would measure
//! each other. Test runners start a process a test, so the lock is a file's, which the system drops with the process.
use std::fs::{File, OpenOptions, TryLockError};
use std::time::Duration;

use crate::error::{Error, Result, io};
use crate::wait;

/// Held while a cluster lives.
#[derive(Debug)]
pub(crate) struct MachineLock(#[expect(dead_code, reason = "held for its lock")] File);

/// Longer than all other scenarios together.
const PATIENCE: Duration = Duration::from_secs(3600);

impl MachineLock {
    pub(crate) async fn take() -> Result<Self> {
        let path = std::env::temp_dir().join("trine-chaos-tests.lock");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(io(format!("open {}", path.display())))?;
        wait::until("the other scenarios' end", PATIENCE, || {
            let tried = match file.try_lock() {
                Ok(()) => Ok(Ok(())),
                Err(TryLockError::WouldBlock) => Err("locked".to_owned()),
                Err(TryLockError::Error(e)) => Ok(Err(e)),
            };
            async move { tried }
        })
        .await?
        .map_err(|e| Error::Io { what: format!("lock {}: {e}", path.display()), source: e })?;
        Ok(Self(file))
    }
}
