//! When a query's work must end early: at its deadline, or once nobody waits for it.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::error::{Error, Result};

/// Looked at inside every long loop. Clones share the cancellation.
#[derive(Clone, Debug)]
pub struct Stop {
    /// Monotonic instant from which on the work fails with [`Error::Timeout`].
    pub deadline: Instant,
    cancelled: Arc<AtomicBool>,
}

impl Stop {
    pub fn at(deadline: Instant) -> Self {
        Self { deadline, cancelled: Arc::default() }
    }

    /// From now on the work fails with [`Error::Canceled`].
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether to go on: call it once a series, and at least every few thousand rows. Errors: [`Error::Timeout`],
    /// [`Error::Canceled`].
    pub fn check(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::Canceled);
        }
        if Instant::now() >= self.deadline { Err(Error::Timeout) } else { Ok(()) }
    }

    /// Cancels when it is dropped: held by whoever waits for work on another thread.
    pub fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.clone())
    }
}

/// Runs an engine's evaluation, or what a surface makes of one, off the threads that serve requests, where there is a runtime: it may take long.
pub async fn off_thread<T: Send + 'static>(job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(job).await.unwrap_or(Err(Error::Canceled)),
        Err(_) => job(),
    }
}

/// See [`Stop::on_drop`].
#[derive(Debug)]
pub struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ends_at_the_deadline_and_when_nobody_waits() {
        let stop = Stop::at(Instant::now() + Duration::from_secs(60));
        assert!(stop.check().is_ok());
        drop(stop.clone().on_drop());
        assert!(matches!(stop.check(), Err(Error::Canceled)));
        assert!(matches!(Stop::at(Instant::now()).check(), Err(Error::Timeout)));
    }
}
