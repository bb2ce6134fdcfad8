//! What happened in a run, in order, and what came of it.
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A promise that a run broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The promise, in few words.
    pub invariant: &'static str,
    /// What was seen instead.
    pub detail: String,
}

impl Violation {
    /// `Err` with a violation.
    pub fn found<T>(invariant: &'static str, detail: impl Into<String>) -> Result<T, Self> {
        Err(Self { invariant, detail: detail.into() })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

/// The events of a run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    lines: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

impl Trace {
    /// Notes one event. `kind` is what the summary counts.
    pub fn note(&mut self, kind: &'static str, detail: impl fmt::Display) {
        *self.counts.entry(kind).or_default() += 1;
        self.lines.push(format!("{kind} {detail}"));
    }

    /// How many events there were of a kind.
    pub fn count(&self, kind: &str) -> u64 {
        self.counts.get(kind).copied().unwrap_or(0)
    }

    /// Ends the run.
    pub fn end(self, result: Result<(), Violation>) -> Outcome {
        let mut hasher = DefaultHasher::new();
        self.lines.hash(&mut hasher);
        Outcome { hash: hasher.finish(), schedule: self.lines, counts: self.counts, violation: result.err() }
    }
}

/// What came of one seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Of the schedule: equal for equal seeds.
    pub hash: u64,
    /// Every event, in order.
    pub schedule: Vec<String>,
    /// How often each kind of event happened.
    pub counts: BTreeMap<&'static str, u64>,
    pub violation: Option<Violation>,
}
