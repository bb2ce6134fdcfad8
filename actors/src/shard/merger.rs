//! What the shard's actor does about compactions: has them merged beside everything else, puts the new blocks in, and removes
//! the files that nobody needs any more.
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use actix::{AsyncContext, Context, Handler, Message, WrapFuture};
use tracing::{info, warn};
use trine_store::shard::{BLOCKS_DIR, CompactJob, Compacted, Compaction, Swapped};
use trine_store::{rows, tsdb};

use super::actor::{ShardActor, chain};
use super::pool::Pool;

/// Between two tries of a merge that failed: its inputs are being healed, or the disk is full.
const AGAIN: Duration = Duration::from_secs(10);
/// A file that the manifest has dropped stays at least this long after it, and after another node has read it: a snapshot
/// that is being fetched may name it.
const RETIRED_KEEP: Duration = Duration::from_secs(60);
/// How often dropped files are looked at.
pub(super) const RETIRED_TICK: Duration = Duration::from_secs(5);
/// Longest sleep of a merge at a time, so that it ends soon when it is told to.
const NAP: Duration = Duration::from_millis(50);

/// Merging of a node: one merge at a time, and so many bytes a second, since what disk and processor do for it they do not do
/// for writes and queries.
#[derive(Debug)]
pub struct Merges {
    pool: Pool,
    /// 0: unbounded.
    bytes_per_second: u64,
    counts: Mutex<MergeCounts>,
}

/// Counters since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeCounts {
    /// Compactions whose blocks were put in.
    pub done: u64,
    /// Merges that failed, and were or will be tried again.
    pub failed: u64,
    /// Blocks that were merged.
    pub blocks: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    /// Facts that were left out: duplicates, expired ones, deleted ones.
    pub folded: u64,
    pub expired: u64,
    pub deleted: u64,
}

impl Merges {
    /// At most `bytes_per_second` are read (0: unbounded).
    pub fn new(bytes_per_second: u64) -> Self {
        Self { pool: Pool::new(1), bytes_per_second, counts: Mutex::default() }
    }

    /// Counters since the process started.
    pub fn counts(&self) -> MergeCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, count: impl FnOnce(&mut MergeCounts)) {
        count(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Told of bytes that a merge has read: sleeps as the pace wants it, and fails once `cancelled`.
    fn pace(&self, cancelled: Arc<AtomicBool>) -> impl FnMut(u64) -> io::Result<()> + Send + 'static {
        let (bytes_per_second, mut paid_at) = (self.bytes_per_second, Instant::now());
        move |bytes| {
            let nanos = bytes.saturating_mul(1_000_000_000).checked_div(bytes_per_second).unwrap_or(0);
            paid_at = paid_at.max(Instant::now()) + Duration::from_nanos(nanos);
            loop {
                if cancelled.load(Ordering::Relaxed) {
                    return Err(io::Error::new(io::ErrorKind::Interrupted, "the replica is closed or was replaced"));
                }
                // Sleeping for less than a nap would only cost.
                let left = paid_at.saturating_duration_since(Instant::now());
                if left < NAP {
                    return Ok(());
                }
                std::thread::sleep(NAP);
            }
        }
    }
}

/// A merge on its way.
#[derive(Debug)]
pub(super) struct Merging {
    cancelled: Arc<AtomicBool>,
}

impl Merging {
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// A file that the manifest does not name any more.
#[derive(Debug)]
pub(super) struct Retired {
    file: String,
    since: Instant,
    metrics: Vec<Weak<tsdb::Block>>,
    rows: Vec<Weak<rows::Block>>,
}

impl Retired {
    /// Whether a query, a snapshot or a verification may still want it.
    fn is_wanted(&self, fetched_ago: Option<Duration>) -> bool {
        self.since.elapsed() < RETIRED_KEEP
            || fetched_ago.is_some_and(|ago| ago < RETIRED_KEEP)
            || self.metrics.iter().any(|b| b.strong_count() > 0)
            || self.rows.iter().any(|b| b.strong_count() > 0)
    }
}

/// When another node last read a block file of this replica.
#[derive(Debug, Default)]
pub struct LastFetch {
    /// Milliseconds after the first one, plus one; 0 before there was any.
    at: AtomicU64,
    first: std::sync::OnceLock<Instant>,
}

impl LastFetch {
    /// Another node reads.
    pub(crate) fn now(&self) {
        let elapsed = self.first.get_or_init(Instant::now).elapsed();
        self.at.store(elapsed.as_millis() as u64 + 1, Ordering::Relaxed);
    }

    fn ago(&self) -> Option<Duration> {
        let at = self.at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.first.get()?.elapsed().saturating_sub(Duration::from_millis(at)))
    }
}

#[derive(Debug, Message)]
#[rtype(result = "()")]
struct MergeDone {
    resets: u64,
    result: Result<Box<Compacted>, String>,
}

#[derive(Debug, Message)]
#[rtype(result = "()")]
struct SwapDone {
    resets: u64,
    compacted: Box<Compacted>,
    result: Result<Option<Box<Swapped>>, String>,
}

impl ShardActor {
    /// Publishes which compactions are yet to be carried out.
    pub(super) fn publish_pending(&self) {
        if **self.observed.pending.load() != *self.state.pending() {
            self.observed.pending.store(Arc::new(self.state.pending().to_vec()));
        }
    }

    /// Begins the first merge that is possible now: one at a time.
    pub(super) fn start_merge(&mut self, ctx: &mut Context<Self>) {
        let Some(last) = self.state.pending().last().map(|c| c.index) else { return };
        // Which compactions are void is known once all blocks before them are there.
        if self.merging.is_some() || !self.merged.is_empty() || self.sealing_at.front().is_some_and(|at| *at < last) {
            return;
        }
        let manifest = self.observed.manifest.load_full();
        self.state.settle_pending(&manifest);
        self.publish_pending();
        let lost = self.observed.lost.load();
        let is_sound = |c: &&Compaction| c.request.inputs.iter().all(|file| !lost.contains_key(file));
        let ready = self.state.pending().iter().filter(|c| c.is_ready(&manifest)).find(is_sound);
        let Some(job) = ready.map(|c| CompactJob::new(c, &manifest, &self.config)) else { return };
        let cancelled = Arc::new(AtomicBool::new(false));
        self.merging = Some(Merging { cancelled: cancelled.clone() });
        let (dir, merges, files) = (self.dir.clone(), self.merges.clone(), self.merge_files.clone());
        let (addr, resets) = (ctx.address(), self.resets);
        let work = async move {
            let held = files.acquire_owned().await;
            let mut pace = merges.pace(cancelled);
            let done = merges.pool.run(move || {
                let _held = held;
                job.run(&dir, &mut pace)
            });
            let result = done.await.map_err(|e| e.to_string()).and_then(|r| r.map_err(|e| chain(&e)));
            if addr.send(MergeDone { resets, result: result.map(Box::new) }).await.is_err() {
                info!("merge finished after its shard had stopped");
            }
        };
        ctx.spawn(work.into_actor(self));
    }

    fn merge_later(&mut self, ctx: &mut Context<Self>) {
        self.merges.count(|c| c.failed += 1);
        ctx.run_later(AGAIN, |actor, ctx| actor.start_merge(ctx));
    }

    /// Puts in the next merged block, or else a repaired one.
    pub(super) fn start_swap(&mut self, ctx: &mut Context<Self>) {
        let Some(compacted) = self.merged.pop_front() else { return self.start_repair(ctx) };
        self.writing = true;
        let (dir, before, pool) = (self.dir.clone(), self.observed.manifest.load_full(), self.pool.clone());
        let (addr, resets, opener, files) = (ctx.address(), self.resets, self.config.opener(), self.files.clone());
        let work = async move {
            let held = files.acquire_owned().await;
            let done = pool.run(move || {
                let _held = held;
                let swapped = compacted.swap(&dir, &before, &opener);
                (compacted, swapped)
            });
            let Ok((compacted, swapped)) = done.await else { return };
            let result = swapped.map(|s| s.map(Box::new)).map_err(|e| chain(&e));
            if addr.send(SwapDone { resets, compacted, result }).await.is_err() {
                info!("compaction finished after its shard had stopped");
            }
        };
        ctx.spawn(work.into_actor(self));
    }

    /// Takes over what a compaction has put on disk.
    pub(super) fn take_swapped(&mut self, swapped: &Swapped) {
        let view = self.observed.view.load_full();
        for file in &swapped.removed {
            let metrics = view.metrics.blocks.iter().filter(|b| b.name() == file).map(Arc::downgrade).collect();
            let rows = view.logs.blocks.iter().chain(&view.traces.blocks);
            let rows = rows.filter(|b| b.name() == file).map(Arc::downgrade).collect();
            self.retired.push(Retired { file: file.clone(), since: Instant::now(), metrics, rows });
        }
        drop(view);
        self.publish_retired();
        self.state.swapped(swapped);
        self.observed.manifest.store(Arc::new(swapped.manifest.clone()));
        if self.sealing_at.is_empty() {
            self.state.settle_pending(&swapped.manifest);
        }
        self.publish_pending();
        self.publish();
    }

    fn publish_retired(&self) {
        let files: BTreeSet<String> = self.retired.iter().map(|r| r.file.clone()).collect();
        self.observed.retired.store(Arc::new(files));
    }

    /// Removes the files that nobody wants any more.
    pub(super) fn remove_retired(&mut self) {
        let fetched_ago = self.observed.fetched.ago();
        let (wanted, gone): (Vec<Retired>, Vec<Retired>) =
            self.retired.drain(..).partition(|retired| retired.is_wanted(fetched_ago));
        self.retired = wanted;
        if gone.is_empty() {
            return;
        }
        self.publish_retired();
        let (blocks_dir, shard, pool) = (self.dir.join(BLOCKS_DIR), self.shard, self.pool.clone());
        let paths: Vec<PathBuf> = gone.into_iter().map(|retired| blocks_dir.join(retired.file)).collect();
        actix::spawn(async move {
            let removed = pool.run(move || paths.iter().try_for_each(std::fs::remove_file));
            // What stays goes at the next start.
            if let Ok(Err(error)) = removed.await {
                warn!(shard, %error, "a block that was compacted could not be removed");
            }
        });
    }
}

impl Handler<MergeDone> for ShardActor {
    type Result = ();

    fn handle(&mut self, msg: MergeDone, ctx: &mut Self::Context) {
        if msg.resets != self.resets {
            // A snapshot came in between, and maybe another merge.
            return self.start_merge(ctx);
        }
        self.merging = None;
        match msg.result {
            Ok(compacted) => {
                self.merged.push_back(compacted);
                self.start_writing(ctx);
            }
            Err(reason) => {
                warn!(shard = self.shard, reason, "blocks were not merged, trying again");
                self.merge_later(ctx);
            }
        }
    }
}

impl Handler<SwapDone> for ShardActor {
    type Result = ();

    fn handle(&mut self, msg: SwapDone, ctx: &mut Self::Context) {
        if msg.resets != self.resets {
            return;
        }
        self.writing = false;
        let Compacted { inputs, output, facts, compaction } = &*msg.compacted;
        match msg.result {
            Ok(Some(swapped)) => {
                let read: u64 = inputs.iter().map(|b| b.bytes).sum();
                let written = output.as_ref().map_or(0, |b| b.bytes);
                self.merges.count(|c| {
                    c.done += 1;
                    c.blocks += inputs.len() as u64;
                    c.bytes_read += read;
                    c.bytes_written += written;
                    c.folded += facts.iter().map(|f| f.folded).sum::<u64>();
                    c.expired += facts.iter().map(|f| f.expired).sum::<u64>();
                    c.deleted += facts.iter().map(|f| f.deleted).sum::<u64>();
                });
                let (signal, blocks) = (compaction.request.signal.as_str(), inputs.len());
                info!(shard = self.shard, signal, blocks, read, written, "compacted");
                self.take_swapped(&swapped);
            }
            Ok(None) => info!(shard = self.shard, index = compaction.index, "the blocks of a compaction have changed"),
            Err(reason) => {
                warn!(shard = self.shard, reason, "a merged block was not put in, trying again");
                self.merge_later(ctx);
            }
        }
        self.start_writing(ctx);
        self.start_merge(ctx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_keeps_its_pace_and_ends_when_it_is_cancelled() {
        let cancelled = Arc::new(AtomicBool::new(false));
        let mut pace = Merges::new(1 << 20).pace(cancelled.clone());
        let began = Instant::now();
        pace(1 << 18).unwrap();
        assert!(
            began.elapsed() >= Duration::from_millis(150),
            "a quarter of a second less a nap: {:?}",
            began.elapsed()
        );
        cancelled.store(true, Ordering::Relaxed);
        assert_eq!(pace(1 << 30).unwrap_err().kind(), io::ErrorKind::Interrupted);
        let mut free = Merges::new(0).pace(Arc::default());
        free(u64::MAX).unwrap();
    }
}
