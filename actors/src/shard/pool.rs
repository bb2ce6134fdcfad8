//! The bounded pool for work that takes longer than an actor or an HTTP thread may be held: encoding, sealing, compaction.
use std::sync::Arc;

use tokio::sync::Semaphore;

/// Runs closures on blocking threads, at most `threads` at a time; waiting jobs queue in order.
#[derive(Clone, Debug)]
pub struct Pool {
    slots: Arc<Semaphore>,
}

/// Why a job did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Too many jobs wait already; this one was not begun.
    #[error("too many jobs wait for a thread")]
    Full,
    /// The job panicked or the runtime is stopping.
    #[error("pool job did not finish: {0}")]
    Broken(String),
}

impl Pool {
    pub fn new(threads: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(threads.clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// Runs `job` and returns what it returns.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, PoolError> {
        let slot = self.slots.clone().acquire_owned().await.map_err(|e| PoolError::Broken(e.to_string()))?;
        let joined = tokio::task::spawn_blocking(move || {
            // The slot is freed when the job ends, even if nobody waits for it any more.
            let _slot = slot;
            job()
        });
        joined.await.map_err(|e| PoolError::Broken(e.to_string()))
    }
}
