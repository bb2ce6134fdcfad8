//! The actor that owns one shard replica's state. Its handlers stay under a millisecond: they apply committed entries,
//! swap pieces that the pool has made, and publish views; they never touch a disk.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, WrapFuture};
use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot, watch};
use tracing::{error, info, warn};
use trine_raft::{Committed, Payload, Position};
use trine_store::shard::{
    Applied, BlockDamage, Compacted, Compaction, FileError, Ledger, LogPosition, Manifest, OpenBlocks, SealJob, Sealed,
    ShardState, ShardView,
};
use trine_store::{rows, tsdb};

use super::merger::{LastFetch, Merges, Merging, RETIRED_TICK, Retired};
use super::pool::Pool;
use super::repair::Repair;
use super::reply::EntryReply;
use crate::budget::Budget;

/// What of a replica can be seen without asking its actor.
#[derive(Debug)]
pub struct Observed {
    pub view: ArcSwap<ShardView>,
    /// Manifest on disk.
    pub manifest: ArcSwap<Manifest>,
    pub head_bytes: AtomicU64,
    pub head_facts: AtomicU64,
    /// Raft term of the last applied entry.
    pub applied_term: AtomicU64,
    /// Blocks that are in quarantine, by file.
    pub lost: ArcSwap<BTreeMap<String, Lost>>,
    /// Compactions that are not carried out yet, in log order.
    pub pending: ArcSwap<Vec<Compaction>>,
    /// Log index of the last compaction that was applied since the start.
    pub(super) compaction: AtomicU64,
    /// Files that the manifest has dropped and that are still there.
    pub retired: ArcSwap<BTreeSet<String>>,
    /// When another node last read a file.
    pub fetched: LastFetch,
    /// Counts damage that readers have met: one that fails can see whether that was why.
    pub damage_met: Arc<AtomicU64>,
    /// A seal waits for room on the disk.
    pub no_room: AtomicBool,
}

impl Observed {
    /// Log index of the last compaction that was applied since the start; 0: none.
    pub fn compaction(&self) -> u64 {
        self.compaction.load(Ordering::Relaxed)
    }
}

/// A block in quarantine.
#[derive(Clone, Debug)]
pub struct Lost {
    pub damage: BlockDamage,
    /// No replica that answered has it: it will not come back soon.
    pub hopeless: bool,
}

/// Between two tries to write a block on a full disk.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// Ends the life of the replica: its state can no longer follow the log.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub reason: String,
}

/// Owner of a [`ShardState`].
#[derive(Debug)]
pub struct ShardActor {
    pub(super) shard: u32,
    pub(super) dir: PathBuf,
    pub(super) state: ShardState,
    pub(super) config: trine_store::shard::ShardConfig,
    pub(super) observed: Arc<Observed>,
    budget: Arc<Budget>,
    pub(super) pool: Pool,
    /// Seals waiting to be written.
    seals: VecDeque<Box<SealJob>>,
    /// Log indexes of the seals that are not on disk, oldest first.
    pub(super) sealing_at: VecDeque<u64>,
    pub(super) merges: Arc<Merges>,
    /// The merge that is being made.
    pub(super) merging: Option<Merging>,
    /// Held while a merge is made, which goes on after this actor has stopped.
    pub(super) merge_files: Arc<Semaphore>,
    /// Merged blocks waiting to be put in.
    pub(super) merged: VecDeque<Box<Compacted>>,
    pub(super) retired: Vec<Retired>,
    /// Repaired blocks waiting to be put in.
    pub(super) repairs: VecDeque<Repair>,
    /// Whether a seal, a merged block or a repair is being written: one at a time, since each makes a new manifest of the last one.
    pub(super) writing: bool,
    /// Held while the pool writes, which goes on after this actor has stopped.
    pub(super) files: Arc<Semaphore>,
    /// Whoever waits until nothing is being written.
    pub(super) waiting: Vec<oneshot::Sender<()>>,
    /// Bytes of sealing heads, by seal.
    sealing_bytes: VecDeque<u64>,
    accounted_bytes: u64,
    /// Counts seals and resets: work that the pool did for an older head is thrown away.
    generation: u64,
    freezing: [bool; 3],
    /// Counts snapshots that replaced the state.
    pub(super) resets: u64,
    /// Log index of the newest durable manifest.
    sealed: watch::Sender<u64>,
    failed: watch::Sender<Option<Failed>>,
}

/// What an actor is made of besides its state.
#[derive(Debug)]
pub(super) struct ActorParts {
    /// One permit, for whoever writes to the directory.
    pub(super) files: Arc<Semaphore>,
    /// One permit, for whoever merges blocks beside it.
    pub(super) merge_files: Arc<Semaphore>,
    pub(super) merges: Arc<Merges>,
    pub(super) shard: u32,
    pub(super) dir: PathBuf,
    pub(super) config: trine_store::shard::ShardConfig,
    pub(super) budget: Arc<Budget>,
    pub(super) pool: Pool,
    pub(super) observed: Arc<Observed>,
    pub(super) sealed: watch::Sender<u64>,
    pub(super) failed: watch::Sender<Option<Failed>>,
}

impl ShardActor {
    pub(super) fn new(parts: ActorParts, state: ShardState) -> Self {
        let ActorParts { files, merge_files, merges, shard, dir, config, budget, pool, observed, sealed, failed } =
            parts;
        let (seals, sealing_bytes, sealing_at) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self {
            shard,
            dir,
            state,
            config,
            observed,
            budget,
            pool,
            seals,
            sealing_at,
            merges,
            merging: None,
            merge_files,
            merged: VecDeque::new(),
            retired: Vec::new(),
            repairs: VecDeque::new(),
            waiting: Vec::new(),
            writing: false,
            files,
            sealing_bytes,
            accounted_bytes: 0,
            generation: 0,
            freezing: [false; 3],
            resets: 0,
            sealed,
            failed,
        }
    }

    /// Publishes what the last change made visible, and the account of memory.
    pub(super) fn publish(&mut self) {
        self.observed.view.store(Arc::new(self.state.view()));
        let head = self.state.head_bytes();
        self.observed.head_bytes.store(head, Ordering::Relaxed);
        self.observed.head_facts.store(self.state.head_facts(), Ordering::Relaxed);
        let now = head + self.sealing_bytes.iter().sum::<u64>();
        self.budget.heads_changed(self.accounted_bytes, now);
        self.accounted_bytes = now;
    }

    fn fail(&mut self, reason: String, ctx: &mut Context<Self>) {
        error!(shard = self.shard, reason, "shard replica stopped");
        self.failed.send_replace(Some(Failed { reason }));
        ctx.stop();
    }

    /// Writes the next seal, or else puts in the next merged or repaired block.
    pub(super) fn start_writing(&mut self, ctx: &mut Context<Self>) {
        if self.writing {
            return;
        }
        let Some(job) = self.seals.pop_front().map(Arc::<SealJob>::from) else { return self.start_swap(ctx) };
        self.writing = true;
        let (dir, before, pool) = (self.dir.clone(), self.observed.manifest.load_full(), self.pool.clone());
        let (addr, resets) = (ctx.address(), self.resets);
        let (shard, files, budget, observed) =
            (self.shard, self.files.clone(), self.budget.clone(), self.observed.clone());
        let work = async move {
            let result = loop {
                let (sealing, dir, before) = (job.clone(), dir.clone(), before.clone());
                let held = files.clone().acquire_owned().await;
                // Until its head is gone, or it has to wait for room on the disk.
                let shrinking = budget.shrinking();
                let done = pool.run(move || {
                    let _held = held;
                    sealing.run(&dir, &before)
                });
                let done = done.await;
                match done {
                    // The head is in memory and its log on disk: wait, it is written once there is room.
                    Ok(Err(error)) if error.is_disk_full() => {
                        drop(shrinking);
                        // Once: it may be tried for hours.
                        if !observed.no_room.swap(true, Ordering::Relaxed) {
                            warn!(shard, error = chain(&error), "no room to seal, trying until there is");
                        }
                        tokio::time::sleep(FULL_PAUSE).await;
                    }
                    done => break (shrinking, done.map_err(|e| e.to_string()).and_then(|r| r.map_err(|e| chain(&e)))),
                }
            };
            let (_shrinking, result) = result;
            if observed.no_room.swap(false, Ordering::Relaxed) {
                info!(shard, "the seal that waited for room has ended");
            }
            let sent = addr.send(SealDone { resets, result: result.map(Box::new) }).await;
            if sent.is_err() {
                info!("seal finished after its shard had stopped");
            }
        };
        ctx.spawn(work.into_actor(self));
    }

    fn apply_entry(
        &mut self,
        position: LogPosition,
        bytes: &[u8],
        ctx: &mut Context<Self>,
    ) -> Result<EntryReply, String> {
        let head_bytes = self.state.head_bytes();
        match self.state.apply(position, bytes) {
            Ok(Applied::Parts(parts)) => Ok(EntryReply::Parts(parts)),
            Ok(Applied::UnknownTable) => Ok(EntryReply::UnknownTable),
            Ok(Applied::Limited) => Ok(EntryReply::Noted),
            Ok(Applied::Compacting) => {
                self.observed.compaction.store(position.index, Ordering::Relaxed);
                self.publish_pending();
                self.start_merge(ctx);
                Ok(EntryReply::Noted)
            }
            Ok(Applied::Sealed(job)) => {
                self.sealing_bytes.push_back(head_bytes);
                self.sealing_at.push_back(position.index);
                self.generation += 1;
                self.freezing = [false; 3];
                self.seals.push_back(job);
                self.start_writing(ctx);
                Ok(EntryReply::Sealed)
            }
            Err(e) => {
                let reason = format!("entry {} does not decode: {e}", position.index);
                self.fail(reason.clone(), ctx);
                Err(reason)
            }
        }
    }

    fn start_freezes(&mut self, ctx: &mut Context<Self>) {
        if !self.freezing[0]
            && let Some(job) = self.state.metrics.freeze_job()
        {
            self.spawn_freeze(0, move || job.run().map(Frozen::Metrics).map_err(|e| chain(&e)), ctx);
        }
        if !self.freezing[1]
            && let Some(job) = self.state.logs.freeze_job()
        {
            self.spawn_freeze(1, move || job.run().map(Frozen::Logs).map_err(|e| chain(&e)), ctx);
        }
        if !self.freezing[2]
            && let Some(job) = self.state.traces.freeze_job()
        {
            self.spawn_freeze(2, move || job.run().map(Frozen::Traces).map_err(|e| chain(&e)), ctx);
        }
    }

    fn spawn_freeze(
        &mut self,
        slot: usize,
        job: impl FnOnce() -> Result<Frozen, String> + Send + 'static,
        ctx: &mut Context<Self>,
    ) {
        self.freezing[slot] = true;
        let (addr, generation, pool) = (ctx.address(), self.generation, self.pool.clone());
        let shrinking = self.budget.shrinking();
        let work = async move {
            let _until_installed = shrinking;
            let result = pool.run(job).await.map_err(|e| e.to_string()).and_then(|r| r);
            if addr.send(FreezeDone { slot, generation, result }).await.is_err() {
                info!("freeze finished after its shard had stopped");
            }
        };
        ctx.spawn(work.into_actor(self));
    }
}

/// An error and its sources in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl Actor for ShardActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // One message is in flight from raft, a few from the pool; nothing else talks to this actor.
        ctx.set_mailbox_capacity(64);
        self.publish();
        self.publish_pending();
        ctx.run_interval(RETIRED_TICK, |actor, _| actor.remove_retired());
        self.start_merge(ctx);
    }

    fn stopped(&mut self, _ctx: &mut Self::Context) {
        self.budget.heads_changed(self.accounted_bytes, 0);
        if let Some(merging) = &self.merging {
            merging.cancel();
        }
        let reason = "actor stopped".to_owned();
        self.failed.send_if_modified(|f| {
            let first = f.is_none();
            if first {
                *f = Some(Failed { reason });
            }
            first
        });
    }
}

/// Applies committed entries in order. Replies once readers see them.
#[derive(Debug, Message)]
#[rtype(result = "Result<Vec<Bytes>, String>")]
pub(super) struct Apply {
    pub(super) batch: Vec<Committed>,
}

pub(super) fn log_position(p: Position) -> LogPosition {
    LogPosition { term: p.term, leader: p.leader, index: p.index }
}

impl Handler<Apply> for ShardActor {
    type Result = Result<Vec<Bytes>, String>;

    fn handle(&mut self, msg: Apply, ctx: &mut Self::Context) -> Self::Result {
        let mut replies = Vec::with_capacity(msg.batch.len());
        let mut term = 0;
        for entry in msg.batch {
            let position = log_position(entry.position);
            term = position.term;
            let reply = match entry.payload {
                Payload::Blank => {
                    self.state.skip(position);
                    Bytes::new()
                }
                Payload::Membership(bytes) => {
                    self.state.set_membership(position, bytes.to_vec());
                    Bytes::new()
                }
                Payload::Normal(bytes) => self.apply_entry(position, &bytes, ctx)?.encode(),
            };
            replies.push(reply);
        }
        self.publish();
        self.observed.applied_term.store(term, Ordering::Release);
        self.start_freezes(ctx);
        Ok(replies)
    }
}

/// A run that the pool has made of a head's tail.
#[derive(Debug)]
pub(super) enum Frozen {
    Metrics(tsdb::Frozen),
    Logs(rows::Frozen),
    Traces(rows::Frozen),
}

#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct FreezeDone {
    slot: usize,
    generation: u64,
    result: Result<Frozen, String>,
}

impl Handler<FreezeDone> for ShardActor {
    type Result = ();

    fn handle(&mut self, msg: FreezeDone, ctx: &mut Self::Context) {
        if msg.generation != self.generation {
            return;
        }
        self.freezing[msg.slot] = false;
        match msg.result {
            Ok(Frozen::Metrics(done)) => self.state.metrics.install(done),
            Ok(Frozen::Logs(done)) => self.state.logs.install(done),
            Ok(Frozen::Traces(done)) => self.state.traces.install(done),
            Err(reason) => return self.fail(format!("compress a head: {reason}"), ctx),
        }
        self.publish();
        self.start_freezes(ctx);
    }
}

#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct SealDone {
    resets: u64,
    result: Result<Box<Sealed>, String>,
}

impl Handler<SealDone> for ShardActor {
    type Result = ();

    fn handle(&mut self, msg: SealDone, ctx: &mut Self::Context) {
        if msg.resets != self.resets {
            // A snapshot came in between: the manifest is another one now.
            return;
        }
        self.writing = false;
        match msg.result {
            Ok(sealed) => {
                let Sealed { manifest, added } = *sealed;
                self.state.sealed(added);
                self.state.forget_tombstones(&manifest);
                self.sealing_bytes.pop_front();
                self.sealing_at.pop_front();
                let (index, epoch) = (manifest.position.index, manifest.epoch);
                let facts: u64 = manifest.blocks.iter().map(|b| b.facts).sum();
                for (tenant, signal, books) in manifest.ledger.iter().flat_map(Ledger::imbalances) {
                    let signal = signal.as_str();
                    error!(shard = self.shard, epoch, tenant, signal, ?books, "the books do not balance after a seal");
                }
                self.observed.manifest.store(Arc::new(manifest));
                self.publish();
                self.sealed.send_replace(index);
                info!(shard = self.shard, epoch, index, facts, "sealed");
                self.start_writing(ctx);
                self.start_merge(ctx);
            }
            // The old manifest and the log are still in force; going on would only grow memory.
            Err(reason) => self.fail(format!("seal: {reason}"), ctx),
        }
    }
}

/// Replaces the whole state: a snapshot has been installed on disk.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Reset {
    pub(super) manifest: Manifest,
    pub(super) blocks: OpenBlocks,
}

impl Handler<Reset> for ShardActor {
    type Result = ();

    fn handle(&mut self, mut msg: Reset, ctx: &mut Self::Context) {
        msg.manifest.open_books(&msg.blocks);
        self.generation += 1;
        self.resets += 1;
        self.writing = false;
        self.freezing = [false; 3];
        self.seals.clear();
        self.sealing_at.clear();
        self.merged.clear();
        if let Some(merging) = self.merging.take() {
            merging.cancel();
        }
        // Whoever waits for a repair is told by its end; all files are sound now.
        self.repairs.clear();
        self.observed.lost.store(Arc::default());
        self.sealing_bytes.clear();
        let (index, term) = (msg.manifest.position.index, msg.manifest.position.term);
        self.observed.manifest.store(Arc::new(msg.manifest.clone()));
        self.state = ShardState::new(self.shard, self.config.clone(), Some((msg.manifest, msg.blocks)));
        self.publish();
        self.publish_pending();
        self.observed.applied_term.store(term, Ordering::Release);
        self.sealed.send_replace(index);
        info!(shard = self.shard, index, "installed a snapshot");
        self.start_merge(ctx);
    }
}

/// Asks to be told once no seal, merged block or repair is being written or waits for it. A snapshot replaces the directory's manifest only then;
/// no new seal comes while it is installed, since raft applies nothing meanwhile.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct WhenQuiet {
    pub(super) quiet: oneshot::Sender<()>,
}

impl Handler<WhenQuiet> for ShardActor {
    type Result = ();

    fn handle(&mut self, msg: WhenQuiet, ctx: &mut Self::Context) {
        self.waiting.push(msg.quiet);
        self.start_writing(ctx);
    }
}

/// What a replica holds and what its books say of it, at one position.
#[derive(Clone, Debug)]
pub(crate) struct LedgerCut {
    pub view: Arc<ShardView>,
    /// As it is on disk; its blocks are those of the view.
    pub manifest: Arc<Manifest>,
    /// `None` until they can be opened ([`Manifest::open_books`]).
    pub books: Option<Ledger>,
}

/// Takes a [`LedgerCut`].
#[derive(Debug, Message)]
#[rtype(result = "Box<LedgerCut>")]
pub(super) struct Cut;

impl Handler<Cut> for ShardActor {
    type Result = actix::MessageResult<Cut>;

    fn handle(&mut self, _msg: Cut, _ctx: &mut Self::Context) -> Self::Result {
        let (view, manifest) = (self.observed.view.load_full(), self.observed.manifest.load_full());
        let books = self.state.ledger().zip(manifest.ledger.as_ref());
        let books = books.map(|(applied, sealed)| applied.clone().with_blocks_of(sealed));
        actix::MessageResult(Box::new(LedgerCut { view, manifest, books }))
    }
}

/// Stops the actor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

impl Handler<Stop> for ShardActor {
    type Result = ();

    fn handle(&mut self, _msg: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// A shard's state as its directory has it.
pub(super) struct Recovered {
    pub(super) state: ShardState,
    pub(super) manifest: Manifest,
    /// Blocks that are missing or do not open: the others are served.
    pub(super) damaged: Vec<BlockDamage>,
}

/// Recovers a shard's state from its directory: manifest, blocks, no strays.
pub(super) fn recover(
    shard: u32,
    dir: &std::path::Path,
    config: trine_store::shard::ShardConfig,
) -> Result<Recovered, FileError> {
    let manifest = trine_store::shard::read_manifest(dir)?;
    trine_store::shard::remove_strays(dir, manifest.as_ref())?;
    trine_store::shard::forget_merges(dir)?;
    let Some(manifest) = manifest else {
        let manifest = Manifest { shard, ..Manifest::default() };
        return Ok(Recovered { state: ShardState::new(shard, config, None), manifest, damaged: Vec::new() });
    };
    let (blocks, damaged) = config.opener().open(dir, &manifest.blocks)?;
    let mut manifest = manifest;
    manifest.open_books(&blocks);
    let state = ShardState::new(shard, config, Some((manifest.clone(), blocks)));
    Ok(Recovered { state, manifest, damaged })
}
