//! What a client may expect to read after what it was told about its writes.
//!
//! Pure: it is told what was sent, what came of it, and what was read. A write that did not succeed is *unknown*, never
//! absent: its facts may be there or not, but not twice.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use crate::client::{Answer, Outcome};
use crate::fact::{Batch, Signal};

/// What is known of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Sent, and not acknowledged: refused, unclear or still on its way.
    Unknown,
    Acknowledged,
}

/// A disagreement between what was acknowledged and what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// P1, P2: acknowledged, not read.
    Lost { signal: Signal, number: u64 },
    /// P3: read more than once.
    Doubled { signal: Signal, number: u64, times: usize },
    /// Read and never sent.
    Invented { signal: Signal, number: u64 },
    /// Content that does not belong to its time, or a reply that contradicts itself.
    Altered { signal: Signal, seen: String },
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { signal, number } => write!(f, "P1/P2: {signal:?} {number} was acknowledged and is not read"),
            Self::Doubled { signal, number, times } => write!(f, "P3: {signal:?} {number} is read {times} times"),
            Self::Invented { signal, number } => write!(f, "{signal:?} {number} is read and was never sent"),
            Self::Altered { signal, seen } => write!(f, "{signal:?}: altered: {seen}"),
        }
    }
}

/// How many facts of a signal are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub acknowledged: u64,
    pub unknown: u64,
}

/// Everything that was sent and what is known of it.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    facts: BTreeMap<(Signal, u64), State>,
}

impl Oracle {
    /// To be called before a batch leaves: from then on its facts may be read.
    pub fn sent(&mut self, batch: Batch) {
        for number in batch.numbers() {
            self.facts.entry((batch.signal, number)).or_insert(State::Unknown);
        }
    }

    /// What came of a batch. An acknowledgement stays, whatever comes of another try.
    pub fn learned(&mut self, batch: Batch, outcome: &Outcome) {
        if *outcome == Outcome::Acknowledged {
            for number in batch.numbers() {
                self.facts.insert((batch.signal, number), State::Acknowledged);
            }
        }
    }

    /// Compares an answer about the facts `numbers` of a signal with what is known of them now.
    pub fn check(&self, signal: Signal, numbers: Range<u64>, answer: &Answer) -> Vec<Complaint> {
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        for number in &answer.numbers {
            *times.entry(*number).or_default() += 1;
        }
        let mut complaints = Vec::new();
        for (&number, &times) in &times {
            if times > 1 {
                complaints.push(Complaint::Doubled { signal, number, times });
            }
            if !self.facts.contains_key(&(signal, number)) || !numbers.contains(&number) {
                complaints.push(Complaint::Invented { signal, number });
            }
        }
        for (&(_, number), state) in self.facts.range((signal, numbers.start)..(signal, numbers.end)) {
            if *state == State::Acknowledged && !times.contains_key(&number) {
                complaints.push(Complaint::Lost { signal, number });
            }
        }
        complaints.extend(answer.altered.iter().map(|seen| Complaint::Altered { signal, seen: seen.clone() }));
        complaints
    }

    /// Numbers within `numbers` that are acknowledged now.
    pub fn acknowledged(&self, signal: Signal, numbers: Range<u64>) -> BTreeSet<u64> {
        let facts = self.facts.range((signal, numbers.start)..(signal, numbers.end));
        facts.filter(|(_, state)| **state == State::Acknowledged).map(|(&(_, number), _)| number).collect()
    }

    /// Counts of a signal.
    pub fn tally(&self, signal: Signal) -> Tally {
        let mut tally = Tally::default();
        for state in self.facts.range((signal, 0)..=(signal, u64::MAX)).map(|(_, s)| s) {
            match state {
                State::Acknowledged => tally.acknowledged += 1,
                State::Unknown => tally.unknown += 1,
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Signal = Signal::Logs;

    fn failed() -> Outcome {
        Outcome::Failed { status: 503, text: "no leader".into() }
    }

    fn unknown() -> Outcome {
        Outcome::Unknown { reason: "reset".into() }
    }

    /// 0..4 acknowledged, 4..6 failed, 6..8 unknown, 8..10 still on their way; 10.. never sent.
    fn oracle() -> Oracle {
        let mut oracle = Oracle::default();
        for (first, count, outcome) in
            [(0, 4, Some(Outcome::Acknowledged)), (4, 2, Some(failed())), (6, 2, Some(unknown())), (8, 2, None)]
        {
            let batch = Batch { signal: S, first, count };
            oracle.sent(batch);
            if let Some(outcome) = outcome {
                oracle.learned(batch, &outcome);
            }
        }
        oracle
    }

    fn complaints(numbers: &[u64]) -> Vec<Complaint> {
        oracle().check(S, 0..10, &Answer { numbers: numbers.to_vec(), altered: Vec::new() })
    }

    #[test]
    fn sound_answers_pass_in_any_order() {
        assert_eq!(complaints(&[3, 1, 0, 2]), []);
        assert_eq!(complaints(&[0, 1, 2, 3, 4, 6, 9]), []);
        assert_eq!(complaints(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), []);
    }

    #[test]
    fn each_kind_of_fault_is_complained_about() {
        let (lost, doubled) = (
            |number| Complaint::Lost { signal: S, number },
            |number, times| Complaint::Doubled { signal: S, number, times },
        );
        let invented = |number| Complaint::Invented { signal: S, number };
        assert_eq!(complaints(&[0, 1, 3]), [lost(2)]);
        assert_eq!(complaints(&[]), [lost(0), lost(1), lost(2), lost(3)]);
        assert_eq!(complaints(&[0, 1, 2, 3, 1]), [doubled(1, 2)]);
        assert_eq!(complaints(&[0, 1, 2, 3, 3, 3]), [doubled(3, 3)]);
        // Not acknowledged does not mean that it may be there twice.
        assert_eq!(complaints(&[0, 1, 2, 3, 5, 5]), [doubled(5, 2)]);
        assert_eq!(complaints(&[0, 1, 2, 3, 7, 7]), [doubled(7, 2)]);
        assert_eq!(complaints(&[0, 1, 2, 3, 10]), [invented(10)]);
        assert_eq!(complaints(&[0, 1, 2, 10, 10]), [doubled(10, 2), invented(10), lost(3)]);
        let altered = Answer { numbers: vec![0, 1, 2, 3], altered: vec!["x".into()] };
        assert_eq!(oracle().check(S, 0..10, &altered), [Complaint::Altered { signal: S, seen: "x".into() }]);
    }

    #[test]
    fn only_the_asked_signal_and_numbers_are_judged() {
        let answer = |numbers: &[u64]| Answer { numbers: numbers.to_vec(), altered: Vec::new() };
        assert_eq!(oracle().check(S, 2..4, &answer(&[2, 3])), []);
        assert_eq!(oracle().check(S, 2..4, &answer(&[1, 2, 3])), [Complaint::Invented { signal: S, number: 1 }]);
        let other = Signal::Traces;
        assert_eq!(oracle().check(other, 0..10, &answer(&[])), []);
        assert_eq!(oracle().check(other, 0..10, &answer(&[1])), [Complaint::Invented { signal: other, number: 1 }]);
    }

    #[test]
    fn a_retry_that_succeeds_makes_an_unknown_write_acknowledged() {
        let mut oracle = oracle();
        let batch = Batch { signal: S, first: 6, count: 2 };
        assert_eq!(oracle.tally(S), Tally { acknowledged: 4, unknown: 6 });
        oracle.learned(batch, &Outcome::Acknowledged);
        oracle.learned(batch, &unknown());
        oracle.sent(batch);
        assert_eq!(oracle.tally(S), Tally { acknowledged: 6, unknown: 4 });
        let answer = Answer { numbers: vec![0, 1, 2, 3, 6], altered: Vec::new() };
        assert_eq!(oracle.check(S, 0..10, &answer), [Complaint::Lost { signal: S, number: 7 }]);
    }
}
