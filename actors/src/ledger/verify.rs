//! Verifying the books: every replica of this node is counted again, one at a time, slowly. One verification a node at a time.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{error, info};

use super::compare::imbalances_of;
use super::recount::recount;
use crate::cluster::{Shared, unix_ms};
use crate::pace::Pace;
use crate::rpc::proto::Verification;

/// Errors kept of one verification.
const ERRORS_MAX: usize = 256;

/// The verification of a node, running or over.
#[derive(Debug, Default)]
pub(crate) struct Verify {
    state: Mutex<Verification>,
}

impl Verify {
    /// How far the current or last verification is.
    pub(crate) fn progress(&self) -> Verification {
        self.state().clone()
    }

    fn state(&self) -> MutexGuard<'_, Verification> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read(&self, bytes: u64) {
        self.state().bytes_done += bytes;
    }

    pub(super) fn counted(&self, facts: u64) {
        self.state().facts_counted += facts;
    }
}

/// Starts a verification in the background; `false` when one is running.
pub(crate) fn start(shared: &Arc<Shared>) -> bool {
    {
        let mut state = shared.verify.state();
        if state.running {
            return false;
        }
        let runs = state.runs;
        *state = Verification { running: true, started_unix_ms: unix_ms(), runs, ..Verification::default() };
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        run(&shared).await;
        let done = {
            let mut state = shared.verify.state();
            state.running = false;
            state.runs += 1;
            state.finished_unix_ms = unix_ms();
            state.clone()
        };
        let unbalanced = imbalances_of(&shared.config.node_name, &done);
        for imbalance in &unbalanced {
            error!(%imbalance, "the books do not balance");
        }
        let Verification { facts_counted, errors, .. } = done;
        info!(facts = facts_counted, unbalanced = unbalanced.len(), uncounted = errors.len(), "verified the ledger");
    });
    true
}

async fn run(shared: &Arc<Shared>) {
    let handles = shared.handles();
    {
        let mut state = shared.verify.state();
        state.shards_total = handles.len() as u64;
        let manifests = handles.values().map(|h| h.observed().manifest.load_full());
        state.bytes_total = manifests.map(|m| m.blocks.iter().map(|b| b.bytes).sum::<u64>()).sum();
    }
    let mut pace = Pace::new(shared.config.scrub_bytes_per_second);
    for handle in handles.values() {
        if *shared.stopping.borrow() {
            return shared.verify.state().errors.push("the node is stopping".into());
        }
        let counted = recount(shared, handle, &mut pace).await;
        let mut state = shared.verify.state();
        match counted {
            Ok(recount) => state.recounts.push(recount),
            Err(reason) if state.errors.len() < ERRORS_MAX => {
                state.errors.push(format!("shard {}: {reason}", handle.shard));
            }
            Err(_) => {}
        }
        state.shards_done += 1;
    }
}
