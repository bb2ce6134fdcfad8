//! What is done about a replica that stopped by itself: it is opened again after a pause that grows, and a program that
//! panics over it again and again is ended, so that whoever supervises it starts it afresh. Pure: time is an argument.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A stop so long after the one before counts as the first.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
/// Panics in a row after which a replica is opened again; the next one ends the process.
const PANICS_MAX: u32 = 3;
/// Before the first reopening. Twice as long before each further one.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Why a replica stopped by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Its log, its files or an entry: what that means for its data is found out when it is opened.
    Storage(String),
    /// Its raft core panicked.
    Panic(String),
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Open it again after this pause.
    Reopen(Duration),
    /// Opening it again does not help.
    EndProcess,
}

/// Stops in a row of one replica.
#[derive(Clone, Copy, Debug)]
struct Row {
    stops: u32,
    panics: u32,
    last: Instant,
    open_from: Instant,
}

/// The replicas of a node that stopped by themselves, by shard.
#[derive(Debug, Default)]
pub(super) struct Relapses {
    rows: BTreeMap<u32, Row>,
}

impl Relapses {
    /// A shard's replica has stopped by itself.
    pub(super) fn stopped(&mut self, shard: u32, failure: &Failure, now: Instant) -> Verdict {
        let fresh = Row { stops: 0, panics: 0, last: now, open_from: now };
        let row = self.rows.entry(shard).or_insert(fresh);
        if now.saturating_duration_since(row.last.max(row.open_from)) >= FORGIVEN_AFTER {
            *row = fresh;
        }
        let pause = PAUSE_MIN.saturating_mul(1 << row.stops.min(16)).min(PAUSE_MAX);
        row.stops += 1;
        row.panics += u32::from(matches!(failure, Failure::Panic(_)));
        (row.last, row.open_from) = (now, now + pause);
        if row.panics > PANICS_MAX { Verdict::EndProcess } else { Verdict::Reopen(pause) }
    }

    /// Whether a shard's replica may be opened.
    pub(super) fn may_open(&self, shard: u32, now: Instant) -> bool {
        self.rows.get(&shard).is_none_or(|row| now >= row.open_from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: u32 = 7;

    fn panic() -> Failure {
        Failure::Panic("as told".into())
    }

    #[test]
    fn pauses_grow_and_the_fourth_panic_in_a_row_ends_the_process() {
        let (mut relapses, mut now) = (Relapses::default(), Instant::now());
        for (nth, pause_ms) in [250, 500, 1000].into_iter().enumerate() {
            let pause = Duration::from_millis(pause_ms);
            assert_eq!(relapses.stopped(SHARD, &panic(), now), Verdict::Reopen(pause), "{nth}");
            assert!(!relapses.may_open(SHARD, now) && relapses.may_open(SHARD + 1, now));
            now += pause;
            assert!(relapses.may_open(SHARD, now));
            now += FORGIVEN_AFTER - Duration::from_millis(1);
        }
        assert_eq!(relapses.stopped(SHARD, &panic(), now), Verdict::EndProcess);
    }

    #[test]
    fn a_minute_without_a_stop_is_a_new_beginning() {
        let (mut relapses, mut now) = (Relapses::default(), Instant::now());
        for _ in 0..10 {
            assert_eq!(relapses.stopped(SHARD, &panic(), now), Verdict::Reopen(PAUSE_MIN));
            now += PAUSE_MIN + FORGIVEN_AFTER;
        }
    }

    #[test]
    fn storage_errors_only_wait_longer() {
        let (mut relapses, mut now) = (Relapses::default(), Instant::now());
        let failure = Failure::Storage("seal".into());
        let mut last = Duration::ZERO;
        for _ in 0..40 {
            let Verdict::Reopen(pause) = relapses.stopped(SHARD, &failure, now) else { panic!("goes on") };
            assert!(pause >= last && pause <= PAUSE_MAX);
            (last, now) = (pause, now + pause);
        }
        assert_eq!(last, PAUSE_MAX);
    }
}
