//! Clients that never rest: a writer for each node and signal, a reader for each node.
//!
//! A writer repeats a request until it is acknowledged, as agents do: first through its own node, then through any. A
//! reader asks its node for the newest facts, and now and then for older ones.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::history::{History, What};
use crate::client::{Client, Outcome};
use crate::error::{Error, Result};
use crate::fact::{Batch, Run, Signal};

/// What all clients share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) run: Run,
    pub(super) history: History,
    pub(super) client: Client,
    /// Where clients reach the nodes.
    pub(super) nodes: Vec<SocketAddr>,
    stop: AtomicBool,
    /// Acknowledged writes and complete answers, by node and signal.
    done: Vec<[AtomicU64; 6]>,
}

/// Running clients.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) shared: Arc<Shared>,
    tasks: JoinSet<Option<Batch>>,
}

/// Facts of a request.
const BATCH: u64 = 4;
const WRITE_PACE: Duration = Duration::from_millis(80);
const READ_PACE: Duration = Duration::from_millis(150);
/// Between two tries of one request.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Facts that a query asks for.
const WINDOW: u64 = 200;
/// One in so many queries asks for older facts.
const OLDER: u32 = 4;

impl Shared {
    /// Writes a batch once and notes what came of it.
    pub(super) async fn write(&self, node: usize, batch: Batch) -> bool {
        let begun = self.history.now();
        let outcome = self.client.write(self.nodes[node], &self.run, batch).await;
        let acknowledged = outcome == Outcome::Acknowledged;
        self.history.note(begun, node, What::Write { batch, outcome });
        if acknowledged {
            self.done[node][batch.signal as usize].fetch_add(1, Ordering::Relaxed);
        }
        acknowledged
    }

    /// Asks once and notes the answer.
    pub(super) async fn read(&self, node: usize, signal: Signal, numbers: std::ops::Range<u64>) -> bool {
        let begun = self.history.now();
        let answer = self.client.read(self.nodes[node], &self.run, signal, numbers.clone()).await;
        let complete = answer.is_ok();
        self.history.note(begun, node, What::Read { signal, numbers, answer });
        if complete {
            self.done[node][3 + signal as usize].fetch_add(1, Ordering::Relaxed);
        }
        complete
    }

    /// What has succeeded so far.
    pub(super) fn done(&self) -> Vec<[u64; 6]> {
        self.done.iter().map(|node| std::array::from_fn(|n| node[n].load(Ordering::Relaxed))).collect()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// `Err` says what has not succeeded twice since `before`: of two successes, one was begun after it.
pub(super) fn progressed(before: &[[u64; 6]], now: &[[u64; 6]]) -> std::result::Result<(), String> {
    let mut missing = Vec::new();
    for (n, (before, now)) in before.iter().zip(now).enumerate() {
        for signal in Signal::ALL {
            let missed = |kind: usize| now[kind + signal as usize] < before[kind + signal as usize] + 2;
            if missed(0) {
                missing.push(format!("node-{} acknowledges no {signal:?}", n + 1));
            }
            if missed(3) {
                missing.push(format!("node-{} answers nothing about {signal:?}", n + 1));
            }
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(missing.join(", ")) }
}

impl Workload {
    /// Starts the clients of nodes at these addresses.
    pub(super) fn start(name: &str, nodes: Vec<SocketAddr>, seed: u64) -> Self {
        let done = nodes.iter().map(|_| Default::default()).collect();
        let (run, history, client, stop) = (Run::new(name), History::default(), Client::new(), AtomicBool::new(false));
        let shared = Arc::new(Shared { run, history, client, nodes, stop, done });
        let mut tasks = JoinSet::new();
        for n in 0..shared.nodes.len() {
            for signal in Signal::ALL {
                let rng = StdRng::seed_from_u64(seed ^ (n * 8 + signal as usize) as u64);
                tasks.spawn(write_until_stopped(shared.clone(), n, signal, rng));
            }
            let rng = StdRng::seed_from_u64(seed ^ (n * 8 + 7) as u64);
            tasks.spawn(read_until_stopped(shared.clone(), n, rng));
        }
        Self { shared, tasks }
    }

    /// Ends the clients; gives the requests that were not acknowledged by then.
    pub(super) async fn stop(mut self) -> Result<Vec<Batch>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut open = Vec::new();
        while let Some(left) = self.tasks.join_next().await {
            let left = left.map_err(|e| Error::Promise { promise: "the harness", evidence: e.to_string() })?;
            open.extend(left);
        }
        Ok(open)
    }
}

async fn write_until_stopped(shared: Arc<Shared>, own: usize, signal: Signal, mut rng: StdRng) -> Option<Batch> {
    let mut pace = tokio::time::interval(WRITE_PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shared.stopped() {
        pace.tick().await;
        let batch = shared.run.batch(signal, BATCH);
        let mut node = own;
        while !shared.write(node, batch).await {
            if shared.stopped() {
                return Some(batch);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
            node = rng.random_range(0..shared.nodes.len());
        }
    }
    None
}

async fn read_until_stopped(shared: Arc<Shared>, node: usize, mut rng: StdRng) -> Option<Batch> {
    let mut pace = tokio::time::interval(READ_PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for signal in Signal::ALL.into_iter().cycle() {
        pace.tick().await;
        if shared.stopped() {
            break;
        }
        let taken = shared.run.taken(signal);
        let newest = taken.saturating_sub(WINDOW);
        let from = if rng.random_ratio(1, OLDER) { rng.random_range(0..=newest) } else { newest };
        if taken > 0 {
            shared.read(node, signal, from..taken.min(from + WINDOW)).await;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_needs_every_node_and_signal_twice() {
        let before = [[5; 6], [0; 6]];
        let mut now = [[7; 6], [2; 6]];
        assert_eq!(progressed(&before, &now), Ok(()));
        now[1][Signal::Logs as usize] = 1;
        assert_eq!(progressed(&before, &now), Err("node-2 acknowledges no Logs".into()));
        now[0][3] = 6;
        assert!(progressed(&before, &now).unwrap_err().starts_with("node-1 answers nothing about Metrics"));
    }
}
