//! What clients did and what came of it, with times: all that the checker goes by.
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Answer, Outcome, ReadError};
use crate::fact::{Batch, Signal};

/// Since the run began, on the harness's monotonic clock.
pub type Moment = Duration;

/// A request and its reply.
#[derive(Clone, Debug)]
pub struct Event {
    pub begun: Moment,
    pub ended: Moment,
    /// Position of the node that was asked.
    pub node: usize,
    pub what: What,
}

/// What was asked and answered.
#[derive(Clone, Debug)]
pub enum What {
    Write {
        batch: Batch,
        outcome: Outcome,
    },
    /// All facts of a signal with numbers within `numbers`, or why there is no answer to rely on.
    Read {
        signal: Signal,
        numbers: Range<u64>,
        answer: Result<Answer, ReadError>,
    },
}

/// Events kept; beyond, they are counted only and the run does not pass.
const EVENTS_MAX: usize = 400_000;

/// A run's events, in the order of their replies.
#[derive(Debug)]
pub struct History {
    began: Instant,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    events: Vec<Event>,
    beyond: u64,
}

impl Default for History {
    fn default() -> Self {
        Self { began: Instant::now(), kept: Mutex::default() }
    }
}

impl History {
    /// The time now.
    pub fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// Notes a reply that came just now.
    pub fn note(&self, begun: Moment, node: usize, what: What) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken under the lock, so that the order of events is the order of their ends.
        let ended = self.now();
        if kept.events.len() < EVENTS_MAX {
            kept.events.push(Event { begun, ended, node, what });
        } else {
            kept.beyond += 1;
        }
    }

    /// All events so far; `Err` with how many more there were than are kept.
    pub fn events(&self) -> Result<Vec<Event>, u64> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.beyond == 0 { Ok(kept.events.clone()) } else { Err(kept.beyond) }
    }
}

impl Event {
    /// The facts that it sent.
    pub(super) fn sent(&self) -> impl Iterator<Item = (Signal, u64)> + use<> {
        let batch = match &self.what {
            What::Write { batch, .. } => Some(*batch),
            What::Read { .. } => None,
        };
        batch.into_iter().flat_map(|batch| batch.numbers().map(move |number| (batch.signal, number)))
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let span = format!("{:9.3}..{:9.3} node-{}", self.begun.as_secs_f64(), self.ended.as_secs_f64(), self.node + 1);
        match &self.what {
            What::Write { batch, outcome } => {
                let last = batch.first + batch.count;
                format!("{span} write {:?} {}..{last}: {outcome:?}", batch.signal, batch.first)
            }
            What::Read { signal, numbers, answer } => {
                let text = match answer {
                    Ok(answer) => format!("{} facts, {} altered", answer.numbers.len(), answer.altered.len()),
                    Err(error) => error.to_string().chars().take(300).collect(),
                };
                format!("{span} read {signal:?} {numbers:?}: {text}")
            }
        }
    }
}
