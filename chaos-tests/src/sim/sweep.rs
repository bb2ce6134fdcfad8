//! Many seeds, on a few threads, and a table of what came of them.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Outcome, Subject};

/// Events of a failing run that are shown; `--seed` shows all.
const SHOWN: usize = 120;

/// What to play.
#[derive(Clone, Debug)]
pub struct Sweep {
    pub subjects: Vec<Subject>,
    pub first: u64,
    pub seeds: u64,
    /// Threads.
    pub jobs: usize,
}

/// What came of all seeds of a subject.
#[derive(Clone, Debug)]
pub struct Row {
    pub subject: Subject,
    pub first: u64,
    pub seeds: u64,
    pub events: u64,
    pub counts: BTreeMap<&'static str, u64>,
    /// Seeds that broke a promise, and the text of each.
    pub failures: BTreeMap<u64, String>,
    pub took: Duration,
}

/// Plays all seeds. `progress` is told about once a second how many are done, of how many.
pub fn sweep(sweep: &Sweep, progress: &(dyn Fn(Subject, u64, u64) + Sync)) -> Vec<Row> {
    sweep.subjects.iter().map(|subject| play_all(*subject, sweep, progress)).collect()
}

fn play_all(subject: Subject, sweep: &Sweep, progress: &(dyn Fn(Subject, u64, u64) + Sync)) -> Row {
    let Sweep { first, seeds, .. } = *sweep;
    let empty = BTreeMap::new;
    let row =
        Row { subject, first, seeds, events: 0, counts: empty(), failures: BTreeMap::new(), took: Duration::ZERO };
    let (row, next, began) = (Mutex::new(row), AtomicU64::new(0), Instant::now());
    let told = Mutex::new(Instant::now());
    let work = || {
        loop {
            let at = next.fetch_add(1, Relaxed);
            if at >= seeds {
                return;
            }
            let seed = first.wrapping_add(at);
            let outcome = subject.play(seed);
            row.lock().unwrap_or_else(PoisonError::into_inner).add(seed, &outcome);
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.elapsed() >= Duration::from_secs(1) {
                *told = Instant::now();
                progress(subject, at + 1, seeds);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..sweep.jobs.max(1) {
            scope.spawn(work);
        }
        work();
    });
    let mut row = row.into_inner().unwrap_or_else(PoisonError::into_inner);
    row.took = began.elapsed();
    row
}

impl Row {
    fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.events += outcome.schedule.len() as u64;
        for (kind, count) in &outcome.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        if outcome.violation.is_some() {
            self.failures.insert(seed, story(self.subject, seed, outcome, SHOWN));
        }
    }
}

/// A run in words: its last events, what it broke, and how to see it again.
pub fn story(subject: Subject, seed: u64, outcome: &Outcome, shown: usize) -> String {
    let mut text = String::new();
    let skipped = outcome.schedule.len().saturating_sub(shown);
    let mut line = |l: std::fmt::Arguments<'_>| writeln!(text, "{l}").expect("writing to a string cannot fail");
    line(format_args!("{subject}, seed {seed}: {} events, trace {:016x}", outcome.schedule.len(), outcome.hash));
    if skipped > 0 {
        line(format_args!("  ({skipped} earlier events are left out)"));
    }
    for (event, at) in outcome.schedule.iter().zip(1..).skip(skipped) {
        line(format_args!("  {at:>5} {event}"));
    }
    match &outcome.violation {
        None => line(format_args!("{subject}, seed {seed}: every promise held")),
        Some(violation) => {
            line(format_args!("{subject}, seed {seed} breaks: {violation}"));
            line(format_args!("replay: cargo run -p trine-chaos-tests -- sim --only {subject} --seed {seed}"));
        }
    }
    text
}

/// A table in Markdown: a line a subject, with the kinds of events that happened most.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| simulation | seeds | first seed | events | what happened | took | violations |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let mut kinds: Vec<(&str, u64)> = row.counts.iter().map(|(kind, count)| (*kind, *count)).collect();
        kinds.sort_by_key(|(kind, count)| (u64::MAX - count, *kind));
        let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let Row { subject, seeds, first, events, failures, took, .. } = row;
        let took = took.as_secs_f64();
        writeln!(
            text,
            "| {subject} | {seeds} | {first} | {events} | {} | {took:.0} s | {} |",
            kinds.join(", "),
            failures.len()
        )
        .expect("writing to a string cannot fail");
    }
    text
}
