//! Constant writers: one request at a time each, until told to stop.
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::client::{Client, Outcome, TIMEOUT};
use crate::error::{Error, Result};
use crate::fact::{Batch, Run, Signal};
use crate::oracle::Oracle;
use crate::wait;

/// A run's facts and what is known of them, shared by writers and checks.
#[derive(Debug)]
pub struct Ledger {
    pub run: Run,
    oracle: Mutex<Oracle>,
    /// Others write facts too, that nobody keeps account of.
    company: bool,
}

impl Ledger {
    pub fn new(run: Run) -> Arc<Self> {
        Arc::new(Self { run, oracle: Mutex::default(), company: false })
    }

    /// Of a run beside which others write.
    pub fn in_company(run: Run) -> Arc<Self> {
        Arc::new(Self { run, oracle: Mutex::default(), company: true })
    }

    /// Whether others write too: then there may be more facts than these.
    pub fn has_company(&self) -> bool {
        self.company
    }

    /// The oracle. A panic elsewhere leaves it usable: each of its changes is complete by itself.
    pub fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes new facts through a node and notes what came of it.
    pub async fn write(&self, client: &Client, at: SocketAddr, signal: Signal, count: u64) -> (Batch, Outcome) {
        let batch = self.run.batch(signal, count);
        (batch, self.write_again(client, at, batch).await)
    }

    /// Writes the same facts, byte by byte.
    pub async fn write_again(&self, client: &Client, at: SocketAddr, batch: Batch) -> Outcome {
        self.oracle().sent(batch);
        let outcome = client.write(at, &self.run, batch).await;
        self.oracle().learned(batch, &outcome);
        outcome
    }
}

/// A write that was not acknowledged at once.
#[derive(Clone, Debug)]
pub struct Miss {
    pub batch: Batch,
    pub through: SocketAddr,
    pub outcome: Outcome,
    pub took: Duration,
    /// What came of the one retry through another node, if there was one to try.
    pub retry: Option<(Outcome, Duration)>,
}

/// What one writer saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub acknowledged: u64,
    pub misses: Vec<Miss>,
    /// Longest time from one acknowledgement to the next.
    pub longest_gap: Duration,
    /// When that gap ended.
    pub gap_ended: Option<Instant>,
}

impl Seen {
    fn gap(&mut self, gap: Duration, ended: Option<Instant>) {
        if gap > self.longest_gap {
            (self.longest_gap, self.gap_ended) = (gap, ended);
        }
    }
}

/// Where one writer writes.
#[derive(Clone, Debug)]
struct Spec {
    signal: Signal,
    at: SocketAddr,
    /// For the one retry of what was not acknowledged.
    retry_at: Option<SocketAddr>,
}

/// Facts of a request.
const BATCH: u64 = 4;
/// A writer's pace: many nodes and writers share few cores, and time-outs are judged, not throughput.
const PACE: Duration = Duration::from_millis(20);

/// Running writers.
#[derive(Debug)]
pub struct Writers {
    stop: Arc<AtomicBool>,
    /// Acknowledged requests of each.
    counts: Vec<Arc<AtomicU64>>,
    tasks: JoinSet<Seen>,
}

impl Writers {
    /// One writer for each signal and node. Each retries what was not acknowledged once, through the next of `retry_at`.
    pub fn start(ledger: &Arc<Ledger>, client: &Client, nodes: &[SocketAddr], retry_at: &[SocketAddr]) -> Self {
        let mut writers = Self { stop: Arc::default(), counts: Vec::new(), tasks: JoinSet::new() };
        for (n, &at) in nodes.iter().enumerate() {
            for signal in Signal::ALL {
                let retry_at = (!retry_at.is_empty()).then(|| retry_at[n % retry_at.len()]);
                let count = Arc::new(AtomicU64::new(0));
                writers.counts.push(count.clone());
                let spec = Spec { signal, at, retry_at };
                writers.tasks.spawn(write_until(writers.stop.clone(), ledger.clone(), client.clone(), spec, count));
            }
        }
        writers
    }

    /// Waits until every writer has had `more` further acknowledgements.
    pub async fn progress(&self, more: u64, patience: Duration) -> Result<()> {
        let targets: Vec<u64> = self.counts.iter().map(|c| c.load(Ordering::Relaxed) + more).collect();
        wait::until(&format!("{more} more acknowledged requests of every writer"), patience, || {
            let missing = self.counts.iter().zip(&targets).filter(|(c, t)| c.load(Ordering::Relaxed) < **t).count();
            async move { if missing == 0 { Ok(()) } else { Err(format!("{missing} writers are behind")) } }
        })
        .await
    }

    /// Tells every writer that its present request is its last, without waiting.
    pub fn stop_soon(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Lets every writer finish its request, and ends them; what they saw, together.
    pub async fn finish(mut self) -> Result<Seen> {
        self.stop_soon();
        let mut all = Seen::default();
        while let Some(one) = self.tasks.join_next().await {
            let one = one.map_err(|e| Error::Promise { promise: "the harness", evidence: e.to_string() })?;
            all.acknowledged += one.acknowledged;
            all.misses.extend(one.misses);
            all.gap(one.longest_gap, one.gap_ended);
        }
        Ok(all)
    }
}

async fn write_until(
    stop: Arc<AtomicBool>,
    ledger: Arc<Ledger>,
    client: Client,
    spec: Spec,
    count: Arc<AtomicU64>,
) -> Seen {
    let mut seen = Seen::default();
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let started = Instant::now();
        let (batch, outcome) = ledger.write(&client, spec.at, spec.signal, BATCH).await;
        if outcome == Outcome::Acknowledged {
            seen.acknowledged += 1;
            let now = Instant::now();
            seen.gap(now - last, Some(now));
            last = now;
            count.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let took = started.elapsed();
        let mut retry = None;
        if let Some(at) = spec.retry_at {
            let again = Instant::now();
            let outcome = ledger.write_again(&client, at, batch).await;
            retry = Some((outcome, again.elapsed()));
        }
        let slow = retry.as_ref().is_some_and(|(o, took)| *o != Outcome::Acknowledged || *took > TIMEOUT);
        let through = spec.at;
        seen.misses.push(Miss { batch, through, outcome, took, retry });
        // A writer of a dead node would otherwise retry for ever; two unclear tries say enough.
        if slow && seen.misses.len() > MISSES_MAX {
            break;
        }
    }
    seen
}

/// Misses that a writer notes before it gives up.
const MISSES_MAX: usize = 50;
