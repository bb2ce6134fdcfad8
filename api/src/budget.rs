//! The byte budget of request bodies in flight: refuse, don't queue.
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// Granularity of the budget, so that a semaphore's u32 can count any memory.
const UNIT_BYTES: usize = 1024;
/// Seconds after which a refused client may try again.
const RETRY_AFTER_S: u64 = 5;

/// Bytes that bodies may take at once, compressed and decoded.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    units_max: usize,
}

/// Bytes held until dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Budget,
    permits: OwnedSemaphorePermit,
}

fn units_of(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let units_max = bytes_max.div_ceil(UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(units_max)), units_max }
    }

    /// Takes `bytes` now or refuses: for a while, or for good when the whole budget would not do.
    pub(crate) fn take(&self, bytes: usize) -> Result<Held, ApiError> {
        if units_of(bytes) as usize > self.units_max {
            return Err(self.too_large());
        }
        let permits = Arc::clone(&self.units)
            .try_acquire_many_owned(units_of(bytes))
            .map_err(|_| ApiError::Busy { retry_after_s: RETRY_AFTER_S })?;
        Ok(Held { budget: self.clone(), permits })
    }

    fn too_large(&self) -> ApiError {
        let bytes_max = self.units_max * UNIT_BYTES;
        let text =
            format!("the request takes more than {bytes_max} bytes of memory once decoded: send it in smaller pieces");
        ApiError::TooLarge(text)
    }

    /// Bytes taken now.
    pub(crate) fn used_bytes(&self) -> usize {
        (self.units_max - self.units.available_permits()) * UNIT_BYTES
    }
}

impl Held {
    /// Takes `bytes` more, for what a body decodes to.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        if self.permits.num_permits() + units_of(bytes) as usize > self.budget.units_max {
            return Err(self.budget.too_large());
        }
        let more = self.budget.take(bytes)?;
        self.permits.merge(more.permits);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_and_gives_back() {
        let budget = Budget::new(10 * UNIT_BYTES);
        let mut held = budget.take(6 * UNIT_BYTES).unwrap();
        assert!(matches!(budget.take(5 * UNIT_BYTES), Err(ApiError::Busy { .. })));
        held.grow(4 * UNIT_BYTES).unwrap();
        assert_eq!(budget.used_bytes(), 10 * UNIT_BYTES);
        let other = budget.take(1).unwrap_err();
        assert!(matches!(other, ApiError::Busy { .. }));
        // Repeating what can never fit would not help.
        assert!(matches!(held.grow(1), Err(ApiError::TooLarge(_))));
        assert!(matches!(budget.take(11 * UNIT_BYTES), Err(ApiError::TooLarge(_))));
        drop(held);
        assert_eq!(budget.used_bytes(), 0);
    }
}
