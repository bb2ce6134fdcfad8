//! Scrubbing: every block of this node's replicas is read from the disk and checked, and its digest compared with those of
//! the other replicas. What is damaged or outvoted is handed to its replica's healer. One scrub a node at a time, slowly.
mod compare;
mod last;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{info, warn};
use trine_store::shard::{BLOCKS_DIR, BlockDamage, BlockEntry, FileCheck, entry_of};

use crate::cluster::{Shared, unix_ms};
use crate::pace::Pace;
use crate::rpc::proto::{ScrubFinding, ScrubReply};
use crate::shard::{Complaint, ShardHandle};

/// Findings and errors kept of one scrub; the list of damage has all.
const FINDINGS_MAX: usize = 256;
/// How often the node looks whether it is time to scrub.
const TICK: Duration = Duration::from_secs(10);

/// The scrub of a node, running or over.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    state: Mutex<ScrubReply>,
}

impl Scrub {
    /// How far the current or last scrub is.
    pub(crate) fn progress(&self) -> ScrubReply {
        self.state().clone()
    }

    fn state(&self) -> MutexGuard<'_, ScrubReply> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self, shard: u32, file: &str, text: String) {
        let mut state = self.state();
        if state.findings.len() < FINDINGS_MAX {
            state.findings.push(ScrubFinding { shard, file: file.to_owned(), text });
        }
    }

    fn failed(&self, text: String) {
        let mut state = self.state();
        if state.errors.len() < FINDINGS_MAX {
            state.errors.push(text);
        }
    }
}

/// Starts a scrub in the background; `false` when one is running.
pub(crate) fn start(shared: &Arc<Shared>, scheduled: bool) -> bool {
    {
        let mut state = shared.scrub.state();
        if state.running {
            return false;
        }
        let runs = state.runs;
        *state = ScrubReply { running: true, scheduled, started_unix_ms: unix_ms(), runs, ..ScrubReply::default() };
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        run(&shared).await;
        let done = {
            let mut state = shared.scrub.state();
            state.running = false;
            state.runs += 1;
            state.finished_unix_ms = unix_ms();
            state.clone()
        };
        let ScrubReply { blocks_done, bytes_done, damaged, disagreeing, .. } = done;
        info!(blocks = blocks_done, bytes = bytes_done, damaged, disagreeing, "scrubbed");
        if let Err(error) = last::save(&shared.config.data_dir, done.finished_unix_ms) {
            warn!(%error, "the time of this scrub could not be written down");
        }
    });
    true
}

/// Scrubs whenever the last one is long enough ago. Ends with the node.
pub(crate) async fn schedule(shared: Arc<Shared>) {
    let interval_ms = shared.config.scrub_interval_ms;
    if interval_ms == 0 {
        return;
    }
    // A node that never scrubbed has a whole interval before it.
    let mut last_ms = match last::load(&shared.config.data_dir) {
        Some(ms) => ms,
        None => {
            let now_ms = unix_ms();
            if let Err(error) = last::save(&shared.config.data_dir, now_ms) {
                warn!(%error, "the time of the next scrub could not be written down");
            }
            now_ms
        }
    };
    let mut ticks = tokio::time::interval(TICK.min(Duration::from_millis(interval_ms)));
    loop {
        ticks.tick().await;
        last_ms = last_ms.max(shared.scrub.progress().finished_unix_ms);
        if unix_ms().saturating_sub(last_ms) >= interval_ms && shared.ready().is_ok() {
            start(&shared, true);
        }
    }
}

async fn run(shared: &Arc<Shared>) {
    let handles = shared.handles();
    let manifests: Vec<_> = handles.values().map(|h| (h.clone(), h.observed().manifest.load_full())).collect();
    {
        let mut state = shared.scrub.state();
        let blocks = || manifests.iter().flat_map(|(_, m)| &m.blocks);
        state.shards_total = manifests.len() as u64;
        state.blocks_total = blocks().count() as u64;
        state.bytes_total = blocks().map(|b| b.bytes).sum();
    }
    let mut pace = Pace::new(shared.config.scrub_bytes_per_second);
    for (handle, manifest) in manifests {
        for entry in &manifest.blocks {
            if *shared.stopping.borrow() {
                return shared.scrub.failed("the node is stopping".into());
            }
            check(shared, &handle, entry, &mut pace).await;
            let mut state = shared.scrub.state();
            state.blocks_done += 1;
            // What could not be read counts as done too.
            state.bytes_done = state.bytes_done.max(pace.bytes);
        }
        compare(shared, &handle).await;
        shared.scrub.state().shards_done += 1;
    }
}

/// Reads a block's file; what is damaged is handed on.
async fn check(shared: &Shared, handle: &ShardHandle, entry: &BlockEntry, pace: &mut Pace) {
    let before = pace.bytes;
    match read(shared, handle, entry, pace).await {
        Ok(Ok(())) => {}
        Ok(Err(damage)) => {
            shared.scrub.state().damaged += 1;
            shared.scrub.found(handle.shard, &entry.file, damage.to_string());
            handle.complain(Complaint::Damage(damage)).await;
        }
        Err(reason) => shared.scrub.failed(format!("shard {}: {}: {reason}", handle.shard, entry.file)),
    }
    pace.bytes = before + entry.bytes;
}

/// A step at a time, each a job of its own on the pool, so that nothing else waits for more than one.
async fn read(
    shared: &Shared,
    handle: &ShardHandle,
    entry: &BlockEntry,
    pace: &mut Pace,
) -> Result<Result<(), BlockDamage>, String> {
    let is_current = || entry_of(&handle.observed().manifest.load(), &entry.file) == Some(entry);
    if !is_current() {
        return Ok(Ok(()));
    }
    if let Some(lost) = handle.observed().lost.load().get(&entry.file) {
        return Ok(Err(lost.damage.clone()));
    }
    let dir = crate::shard::directory(&shared.config.data_dir, handle.shard, handle.replica);
    let (path, opened) = (dir.join(BLOCKS_DIR).join(&entry.file), entry.clone());
    let opened = shared.pool.run(move || FileCheck::open(&path, &opened)).await;
    let mut check = match opened.map_err(|e| e.to_string())?.map_err(|e| e.to_string())? {
        Ok(check) => check,
        Err(damage) => return Ok(is_current().then_some(damage).map_or(Ok(()), Err)),
    };
    loop {
        let stepped = shared.pool.run(move || (check.step(), check)).await;
        let (step, stepped) = stepped.map_err(|e| e.to_string())?;
        check = stepped;
        match step {
            Ok(0) => return Ok(Ok(())),
            Ok(bytes) => {
                pace.take(bytes as u64).await;
                let mut state = shared.scrub.state();
                state.bytes_done = state.bytes_done.max(pace.bytes);
            }
            // A block that was replaced meanwhile was read as half of each.
            Err(damage) => return Ok(is_current().then_some(damage).map_or(Ok(()), Err)),
        }
    }
}

/// Compares the digests of a shard's blocks over all replicas.
async fn compare(shared: &Shared, handle: &ShardHandle) {
    let me = shared.node_id();
    let status = handle.group.status();
    let members = status.voters.values().chain(status.learners.values());
    let mut others = Vec::new();
    for node in members.filter(|node| node.0 != me) {
        match crate::shard::BlockSource::list_blocks(&*shared.peers, *node, handle.shard).await {
            Ok(listed) => others.push((node.0, listed)),
            Err(error) => {
                let name = shared.node_name(node.0);
                shared.scrub.failed(format!("shard {}: {name} did not list its blocks: {error}", handle.shard));
            }
        }
    }
    let manifest = handle.observed().manifest.load_full();
    let compacted = handle.observed().pending.load().is_empty().then(|| handle.observed().compaction());
    for disagreement in compare::compare(&manifest, compacted, &others) {
        shared.scrub.state().disagreeing += 1;
        let compare::Disagreement { file, majority, text } = disagreement;
        shared.scrub.found(handle.shard, &file, text);
        if let Some(digest) = majority {
            handle.complain(Complaint::Outvoted { file, digest }).await;
        }
    }
}
