//! Constant readers beside the writers: what was acknowledged before a query began must be in its answer.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::fact::Signal;
use crate::oracle::Complaint;
use crate::writers::Ledger;

/// What readers saw.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Queries with a complete answer.
    pub answered: u64,
    /// Queries without one, and why.
    pub refused: Vec<String>,
    /// What was wrong in complete answers.
    pub complaints: Vec<Complaint>,
    pub longest: Duration,
}

/// Newest facts that a query asks for.
const NEWEST: u64 = 200;
const PACE: Duration = Duration::from_millis(100);

/// Running readers.
#[derive(Debug)]
pub struct Readers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Answers>,
}

impl Readers {
    /// One reader a node, which asks for the signals in turn.
    pub fn start(ledger: &Arc<Ledger>, client: &Client, nodes: &[SocketAddr]) -> Self {
        let mut readers = Self { stop: Arc::default(), tasks: JoinSet::new() };
        for &at in nodes {
            readers.tasks.spawn(read_until(readers.stop.clone(), ledger.clone(), client.clone(), at));
        }
        readers
    }

    /// Lets every reader finish its query, and ends them; what they saw, together.
    pub async fn finish(mut self) -> Result<Answers> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Answers::default();
        while let Some(one) = self.tasks.join_next().await {
            let one = one.map_err(|e| Error::Promise { promise: "the harness", evidence: e.to_string() })?;
            all.answered += one.answered;
            all.refused.extend(one.refused);
            all.complaints.extend(one.complaints);
            all.longest = all.longest.max(one.longest);
        }
        Ok(all)
    }
}

async fn read_until(stop: Arc<AtomicBool>, ledger: Arc<Ledger>, client: Client, at: SocketAddr) -> Answers {
    let mut answers = Answers::default();
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for signal in Signal::ALL.into_iter().cycle() {
        pace.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let taken = ledger.run.taken(signal);
        let numbers = taken.saturating_sub(NEWEST)..taken;
        let before = ledger.oracle().acknowledged(signal, numbers.clone());
        let started = Instant::now();
        match client.read(at, &ledger.run, signal, numbers.clone()).await {
            Ok(answer) => {
                answers.answered += 1;
                answers.longest = answers.longest.max(started.elapsed());
                // What was acknowledged while the query ran may be missing.
                let wrong = ledger.oracle().check(signal, numbers, &answer);
                let early = |c: &Complaint| !matches!(c, Complaint::Lost { number, .. } if !before.contains(number));
                answers.complaints.extend(wrong.into_iter().filter(early));
            }
            Err(error) => {
                answers.refused.push(format!("{signal:?} through {at} after {:?}: {error}", started.elapsed()))
            }
        }
    }
    answers
}
