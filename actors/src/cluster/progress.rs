//! How far the boot of a node is: reading its log, then bringing its replicas up to it.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trine_store::wal::OpenProgress;

/// Shared by what boots and what tells of it.
#[derive(Debug, Default)]
pub(crate) struct BootProgress {
    /// Of the log being opened.
    pub(crate) log: OpenProgress,
    replicas: Mutex<BTreeMap<u64, Replay>>,
}

/// One replica's replay.
#[derive(Debug)]
struct Replay {
    total: u64,
    done: Arc<AtomicU64>,
}

/// Replays of a node together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Replicas whose replay has begun or waits for its turn.
    pub replicas: u64,
    /// Bytes of log applied again.
    pub done: u64,
    /// Bytes of log that there were to apply.
    pub total: u64,
}

impl BootProgress {
    fn replicas(&self) -> MutexGuard<'_, BTreeMap<u64, Replay>> {
        // Each change of the map is one call: it is whole after any panic.
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A replica is about to be opened, with so many bytes in its log. What it applies is to be added to the counter.
    pub(crate) fn begins(&self, replica: u64, total: u64) -> Arc<AtomicU64> {
        let done = Arc::new(AtomicU64::new(0));
        self.replicas().insert(replica, Replay { total, done: done.clone() });
        done
    }

    /// A replica is open, or will not be.
    pub(crate) fn ends(&self, replica: u64) {
        if let Some(replay) = self.replicas().get_mut(&replica) {
            // Not all of its log had to be applied, and what comes from now on is no replay.
            replay.done = Arc::new(AtomicU64::new(replay.total));
        }
    }

    /// All replays since the start.
    pub(crate) fn replayed(&self) -> Replayed {
        let mut sum = Replayed::default();
        for replay in self.replicas().values() {
            sum.replicas += 1;
            sum.total += replay.total;
            sum.done += replay.done.load(Ordering::Relaxed).min(replay.total);
        }
        sum
    }
}

/// What an operator reads while the log is opened.
pub(super) fn opening_text((read, total): (u64, u64)) -> String {
    format!("opening the write-ahead log: {} of {} read", size(read), size(total))
}

/// What an operator reads while replicas are opened.
pub(super) fn replaying_text(ready: usize, shards: usize, replayed: Replayed) -> String {
    let Replayed { done, total, .. } = replayed;
    format!("replaying: {ready} of {shards} shards ready, {} of {} of log applied", size(done), size(total))
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut unit = 0;
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replays_add_up_and_never_pass_their_total() {
        let boot = BootProgress::default();
        let (a, b) = (boot.begins(1, 1000), boot.begins(2, 500));
        a.fetch_add(400, Ordering::Relaxed);
        b.fetch_add(9999, Ordering::Relaxed);
        assert_eq!(boot.replayed(), Replayed { replicas: 2, done: 900, total: 1500 });
        boot.ends(1);
        a.fetch_add(400, Ordering::Relaxed);
        assert_eq!(boot.replayed().done, 1500);
        boot.begins(1, 10);
        assert_eq!(boot.replayed(), Replayed { replicas: 2, done: 500, total: 510 }, "opened again");
    }

    #[test]
    fn texts_say_how_far() {
        let far = Replayed { replicas: 16, done: 1_288_490_189, total: 3 << 30 };
        assert_eq!(replaying_text(7, 16, far), "replaying: 7 of 16 shards ready, 1.2 GiB of 3.0 GiB of log applied");
        assert_eq!(opening_text((0, 900)), "opening the write-ahead log: 0 B of 900 B read");
        assert_eq!(opening_text((64 << 20, 2 << 30)), "opening the write-ahead log: 64.0 MiB of 2.0 GiB read");
    }
}
