//! What is written: uniquely numbered facts of three signals.
//!
//! A fact's number gives its time and is its content, so an answer can be checked without knowing who wrote what: one
//! that says 7 at the time of fact 8 is a fault of the store.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    Metrics,
    Logs,
    Traces,
}

impl Signal {
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Logs, Self::Traces];
}

/// Consecutive facts `first..first + count` of one signal: one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub signal: Signal,
    pub first: u64,
    pub count: u64,
}

impl Batch {
    pub fn numbers(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.count
    }
}

/// All facts of one scenario: apart from others' by a label, and at times of its own.
#[derive(Debug)]
pub struct Run {
    /// Value of the label `run`.
    pub name: String,
    /// Time of fact 0.
    base_ms: i64,
    next: [AtomicU64; 3],
}

/// Facts begin this long ago, so that all of them lie in the past for as many milliseconds, one each.
const BACK_MS: i64 = 20 * 60 * 1000;

/// This machine's wall clock, in Unix ms.
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    i64::try_from(now).unwrap_or(i64::MAX)
}

impl Run {
    pub fn new(name: impl Into<String>) -> Self {
        let base = (now_ms() - BACK_MS) / 1000 * 1000;
        Self { name: name.into(), base_ms: base, next: Default::default() }
    }

    /// Facts begin now, and what is far enough behind lies in the future.
    pub fn from_now(name: impl Into<String>) -> Self {
        let run = Self::new(name);
        Self { base_ms: run.base_ms + BACK_MS, ..run }
    }

    /// Number of the fact of a time.
    pub fn number_at(&self, time_ms: i64) -> u64 {
        u64::try_from(time_ms.saturating_sub(self.base_ms)).unwrap_or(0)
    }

    /// Leaves numbers out, so that the next fact of a signal has this one or a later one.
    pub fn skip_to(&self, signal: Signal, number: u64) {
        self.next[signal as usize].fetch_max(number, Ordering::Relaxed);
    }

    /// Takes the next `count` numbers of a signal.
    pub fn batch(&self, signal: Signal, count: u64) -> Batch {
        let first = self.next[signal as usize].fetch_add(count, Ordering::Relaxed);
        Batch { signal, first, count }
    }

    /// Numbers of a signal that were taken so far: `0..taken`.
    pub fn taken(&self, signal: Signal) -> u64 {
        self.next[signal as usize].load(Ordering::Relaxed)
    }

    /// Time of a fact; they are a millisecond apart.
    pub fn time_ms(&self, number: u64) -> i64 {
        self.base_ms + i64::try_from(number).unwrap_or(i64::MAX / 2)
    }

    /// Trace that holds a batch: the run and the batch, hashed apart from other runs'.
    pub fn trace_id(&self, batch: Batch) -> String {
        let run =
            self.name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        format!("{run:016x}{:016x}", batch.first + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_times_and_traces_are_unique() {
        let run = Run::new("a");
        let (one, two) = (run.batch(Signal::Traces, 3), run.batch(Signal::Traces, 2));
        assert_eq!((one.numbers(), two.numbers()), (0..3, 3..5));
        assert_eq!(run.batch(Signal::Logs, 1).first, 0);
        assert_eq!((run.taken(Signal::Traces), run.taken(Signal::Metrics)), (5, 0));
        assert_eq!(run.time_ms(5) - run.time_ms(2), 3);
        assert_eq!((run.number_at(run.time_ms(70)), run.number_at(run.time_ms(0) - 1)), (70, 0));
        run.skip_to(Signal::Logs, 70);
        run.skip_to(Signal::Logs, 20);
        assert_eq!(run.batch(Signal::Logs, 2).numbers(), 70..72);
        assert_eq!(Run::from_now("a").time_ms(0) - Run::new("a").time_ms(0), BACK_MS);
        assert_ne!(run.trace_id(one), run.trace_id(two));
        assert_ne!(run.trace_id(one), Run::new("b").trace_id(one));
        assert!(run.trace_id(one).len() == 32 && run.trace_id(one).bytes().all(|b| b.is_ascii_hexdigit()));
    }
}
