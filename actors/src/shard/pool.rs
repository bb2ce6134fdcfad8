//! The bounded pool for work that takes longer than an actor or an HTTP thread may be held: queries, encoding, sealing.
use std::sync::Arc;

use tokio::sync::Semaphore;

/// Runs closures on blocking threads, at most `threads` at a time; waiting jobs queue in order.
#[derive(Clone, Debug)]
pub struct Pool {
    slots: Arc<Semaphore>,
    /// Jobs that may wait or run.
    places: Arc<Semaphore>,
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
        Self::with_queue(threads, Semaphore::MAX_PERMITS)
    }

    /// As [`Pool::new`] with at most `waiting_max` jobs that wait.
    pub fn with_queue(threads: usize, waiting_max: usize) -> Self {
        let threads = threads.max(1);
        let places = waiting_max.saturating_add(threads).min(Semaphore::MAX_PERMITS);
        Self { slots: Arc::new(Semaphore::new(threads)), places: Arc::new(Semaphore::new(places)) }
    }

    /// Runs `job` and returns what it returns.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, PoolError> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| PoolError::Full)?;
        let slot = self.slots.clone().acquire_owned().await.map_err(|e| PoolError::Broken(e.to_string()))?;
        let joined = tokio::task::spawn_blocking(move || {
            // The slot is freed when the job ends, even if nobody waits for it any more.
            let _slot = (place, slot);
            job()
        });
        joined.await.map_err(|e| PoolError::Broken(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_refuses_and_frees_its_places() {
        let pool = Pool::with_queue(1, 1);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let running = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(move || wait.recv().is_ok()).await }
        });
        while pool.slots.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        {
            let mut waiting = std::pin::pin!(pool.run(|| ()));
            assert!(futures::poll!(waiting.as_mut()).is_pending());
            assert!(matches!(pool.run(|| ()).await, Err(PoolError::Full)));
        }
        // The one that waited has given up: its place is free.
        let mut waiting = std::pin::pin!(pool.run(|| 7));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        go.send(()).unwrap();
        assert!(running.await.unwrap().unwrap());
        assert_eq!(waiting.await.unwrap(), 7);
    }
}
