//! Reading at a bounded rate in the background: a scrub, a count of everything.
use std::time::{Duration, Instant};

/// A whole tenth of a second of the allowed rate may be read at once.
const BURST: Duration = Duration::from_millis(100);

/// Keeps a rate.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: u64,
    since: Instant,
    /// Since then.
    taken: u64,
    /// In all.
    pub(crate) bytes: u64,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), since: Instant::now(), taken: 0, bytes: 0 }
    }

    /// How long to rest after `bytes` more, `elapsed` after the begin.
    fn rest(&mut self, bytes: u64, elapsed: Duration) -> Duration {
        self.taken += bytes;
        self.bytes += bytes;
        let due = Duration::from_secs_f64(self.taken as f64 / self.bytes_per_second as f64);
        let rest = due.saturating_sub(elapsed);
        if rest.is_zero() {
            // Time that was not used is not made up for.
            self.since = Instant::now();
            self.taken = 0;
        }
        rest
    }

    /// Counts `bytes` as read, and rests until they were due.
    pub(crate) async fn take(&mut self, bytes: u64) {
        let rest = self.rest(bytes, self.since.elapsed());
        if rest > BURST {
            tokio::time::sleep(rest).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_kept_and_idle_time_is_not_made_up_for() {
        let mut pace = Pace::new(1000);
        assert_eq!(pace.rest(500, Duration::ZERO), Duration::from_millis(500));
        assert_eq!(pace.rest(500, Duration::from_millis(500)), Duration::from_millis(500));
        assert_eq!(pace.rest(500, Duration::from_secs(10)), Duration::ZERO);
        assert_eq!(pace.rest(2000, Duration::ZERO), Duration::from_secs(2));
        assert_eq!(pace.bytes, 3500);
    }
}
