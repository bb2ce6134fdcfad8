//! Whether a history keeps the promises. Pure: it sees what clients saw.
//!
//! A read with a complete answer must have every fact that was acknowledged before the read began (P1, P2), and every
//! fact that an earlier complete answer had (no answer is staler than one before it). It has no fact twice (P3), none that
//! nobody had sent, none altered (P4: whole or absent). An answer that calls itself incomplete, or none at all, proves
//! nothing and breaks nothing (P4); that there are answers again after a fault is judged apart.
use std::collections::BTreeMap;
use std::fmt;

use super::history::{Event, Moment, What};
use crate::client::{Answer, Outcome};
use crate::fact::Signal;

/// A broken promise: who saw it, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub begun: Moment,
    pub ended: Moment,
    /// Position of the node that answered, if one did.
    pub node: Option<usize>,
    pub broken: Broken,
}

/// Which promise, and how.
#[derive(Clone, Debug, PartialEq)]
pub enum Broken {
    /// P1, P2: acknowledged at `acknowledged`, and not in a later complete answer.
    Lost { signal: Signal, number: u64, acknowledged: Moment },
    /// In a complete answer that ended at `seen`, and not in one that began later.
    Vanished { signal: Signal, number: u64, seen: Moment },
    /// P3.
    Doubled { signal: Signal, number: u64, times: usize },
    /// Not sent when the answer came, or not asked for.
    Invented { signal: Signal, number: u64 },
    /// P4: a fact that is not whole.
    Altered { signal: Signal, seen: String },
    /// The ledger, counted from the disks, does not balance or disagrees with the clients.
    Books { what: String },
    /// No progress within the bound after the last fault had healed.
    Stalled { what: String },
    /// A process ended by itself, and no fault of the schedule may cause that.
    Ended { status: String },
    /// A thread or task of a node panicked: one of its own assertions did not hold.
    Panicked { message: String },
    /// A node says that its disk lost what was on it, and no fault of the schedule does that.
    Damaged { what: String },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(n) => write!(f, "node-{} at {:.3} s: {}", n + 1, self.ended.as_secs_f64(), self.broken),
            None => write!(f, "at {:.3} s: {}", self.ended.as_secs_f64(), self.broken),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { signal, number, acknowledged } => {
                let at = acknowledged.as_secs_f64();
                write!(f, "P1/P2: {signal:?} {number}, acknowledged at {at:.3} s, is missing")
            }
            Self::Vanished { signal, number, seen } => {
                write!(f, "P2: {signal:?} {number}, read at {:.3} s, is missing", seen.as_secs_f64())
            }
            Self::Doubled { signal, number, times } => write!(f, "P3: {signal:?} {number} is there {times} times"),
            Self::Invented { signal, number } => write!(f, "{signal:?} {number} was not sent or not asked for"),
            Self::Altered { signal, seen } => write!(f, "P4: {signal:?}: altered: {seen}"),
            Self::Books { what } => write!(f, "ledger: {what}"),
            Self::Stalled { what } => write!(f, "no progress: {what}"),
            Self::Ended { status } => write!(f, "ended by itself: {status}"),
            Self::Panicked { message } => write!(f, "panicked: {message}"),
            Self::Damaged { what } => write!(f, "damage without a fault that does any: {what}"),
        }
    }
}

/// What is known of a fact.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// First time that it was sent.
    sent: Moment,
    /// First acknowledgement.
    acknowledged: Option<Moment>,
    /// End of the first complete answer that had it.
    seen: Option<Moment>,
}

type Facts = BTreeMap<(Signal, u64), Known>;

/// All violations, the earliest answer first.
pub fn check(events: &[Event]) -> Vec<Violation> {
    let mut facts = written(events);
    let mut reads: Vec<&Event> = events.iter().filter(|e| matches!(e.what, What::Read { .. })).collect();
    reads.sort_by_key(|e| e.ended);
    // What an answer showed counts for reads that began after it ended: note it before they are judged.
    for read in &reads {
        if let What::Read { signal, answer: Ok(answer), .. } = &read.what {
            for number in &answer.numbers {
                if let Some(known) = facts.get_mut(&(*signal, *number)) {
                    known.seen.get_or_insert(read.ended);
                }
            }
        }
    }
    reads.into_iter().flat_map(|read| judge(read, &facts)).collect()
}

/// Every fact that was sent, and when it was first acknowledged.
fn written(events: &[Event]) -> Facts {
    let mut facts = Facts::new();
    for event in events {
        let What::Write { batch, outcome } = &event.what else { continue };
        for number in batch.numbers() {
            let new = Known { sent: event.begun, ..Known::default() };
            let known = facts.entry((batch.signal, number)).or_insert(new);
            known.sent = known.sent.min(event.begun);
            if *outcome == Outcome::Acknowledged {
                known.acknowledged = Some(known.acknowledged.map_or(event.ended, |at| at.min(event.ended)));
            }
        }
    }
    facts
}

/// What is wrong with one answer.
fn judge(read: &Event, facts: &Facts) -> Vec<Violation> {
    let What::Read { signal, numbers, answer: Ok(answer) } = &read.what else { return Vec::new() };
    let (signal, mut wrong) = (*signal, Vec::new());
    let times = count(answer);
    for (&number, &times) in &times {
        if times > 1 {
            wrong.push(Broken::Doubled { signal, number, times });
        }
        let sent = facts.get(&(signal, number)).is_some_and(|known| known.sent <= read.ended);
        if !sent || !numbers.contains(&number) {
            wrong.push(Broken::Invented { signal, number });
        }
    }
    for (&(_, number), known) in facts.range((signal, numbers.start)..(signal, numbers.end)) {
        if times.contains_key(&number) {
            continue;
        }
        match (known.acknowledged, known.seen) {
            (Some(acknowledged), _) if acknowledged < read.begun => {
                wrong.push(Broken::Lost { signal, number, acknowledged });
            }
            (_, Some(seen)) if seen < read.begun => wrong.push(Broken::Vanished { signal, number, seen }),
            _ => {}
        }
    }
    wrong.extend(answer.altered.iter().map(|seen| Broken::Altered { signal, seen: seen.clone() }));
    let (begun, ended, node) = (read.begun, read.ended, Some(read.node));
    wrong.into_iter().map(|broken| Violation { begun, ended, node, broken }).collect()
}

fn count(answer: &Answer) -> BTreeMap<u64, usize> {
    let mut times = BTreeMap::new();
    for number in &answer.numbers {
        *times.entry(*number).or_default() += 1;
    }
    times
}

#[cfg(test)]
mod tests;
