//! What the shard's actor does about damaged blocks: hides them from readers, and puts repaired ones in.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix::{AsyncContext, Context, Handler, Message, WrapFuture};
use tokio::sync::oneshot;
use tracing::info;
use trine_store::shard::{
    BLOCKS_DIR, BlockDamage, BlockEntry, BlockOpener, Compaction, FileError, Manifest, OpenBlocks, Swapped, adopt,
    entry_of, write_manifest,
};

use super::actor::{Lost, ShardActor, chain};

/// Hides a block from readers: what concerns it is an error until it is repaired. Whether the manifest has it.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub(super) struct Lose {
    pub(super) damage: BlockDamage,
}

impl Handler<Lose> for ShardActor {
    type Result = bool;

    fn handle(&mut self, msg: Lose, _ctx: &mut Self::Context) -> bool {
        let manifest = self.observed.manifest.load_full();
        let Some(entry) = entry_of(&manifest, &msg.damage.file) else { return false };
        self.state.lose(entry);
        self.change_lost(|lost| {
            lost.insert(msg.damage.file.clone(), Lost { damage: msg.damage, hopeless: false });
        });
        self.publish();
        true
    }
}

/// Says of a block in quarantine whether it may come back soon.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct SetHopeless {
    pub(super) file: String,
    pub(super) hopeless: bool,
}

impl Handler<SetHopeless> for ShardActor {
    type Result = ();

    fn handle(&mut self, msg: SetHopeless, _ctx: &mut Self::Context) {
        if self.observed.lost.load().get(&msg.file).is_some_and(|l| l.hopeless != msg.hopeless) {
            self.change_lost(|lost| {
                lost.entry(msg.file).and_modify(|l| l.hopeless = msg.hopeless);
            });
        }
    }
}

/// A sound file for a block, to be put in for readers.
#[derive(Debug)]
pub(super) struct Repair {
    entry: BlockEntry,
    from: Option<PathBuf>,
    done: oneshot::Sender<Result<(), String>>,
}

/// Puts a sound block in: one of the manifest's, or one that a pending compaction makes of them. `from` is renamed to the block's file, unless that is sound itself; `entry` describes it and
/// replaces the one of the manifest: a copy may be encoded in another way, with the same digest.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct PutIn {
    pub(super) entry: BlockEntry,
    pub(super) from: Option<PathBuf>,
    pub(super) done: oneshot::Sender<Result<(), String>>,
}

impl Handler<PutIn> for ShardActor {
    type Result = ();

    fn handle(&mut self, msg: PutIn, ctx: &mut Self::Context) {
        let PutIn { entry, from, done } = msg;
        self.repairs.push_back(Repair { entry, from, done });
        self.start_writing(ctx);
    }
}

/// A repair as it is on disk.
#[derive(Debug)]
enum Written {
    Repaired(Arc<Manifest>, OpenBlocks),
    /// The block that others have made of the damaged one by now.
    Adopted(Box<Swapped>),
}

#[derive(Debug, Message)]
#[rtype(result = "()")]
struct RepairDone {
    resets: u64,
    file: String,
    result: Result<Written, String>,
    done: oneshot::Sender<Result<(), String>>,
}

impl ShardActor {
    /// Publishes a change of what is in quarantine.
    fn change_lost(&self, change: impl FnOnce(&mut BTreeMap<String, Lost>)) {
        let mut lost = (**self.observed.lost.load()).clone();
        change(&mut lost);
        self.observed.lost.store(Arc::new(lost));
    }

    pub(super) fn start_repair(&mut self, ctx: &mut Context<Self>) {
        let Some(Repair { entry, from, done }) = self.repairs.pop_front() else {
            for quiet in self.waiting.drain(..) {
                // Nobody listens any more when the snapshot was given up.
                quiet.send(()).ok();
            }
            return;
        };
        self.writing = true;
        let (dir, before, pool) = (self.dir.clone(), self.observed.manifest.load_full(), self.pool.clone());
        let (addr, resets, opener) = (ctx.address(), self.resets, self.config.opener());
        let (file, files, pending) = (entry.file.clone(), self.files.clone(), self.state.pending().to_vec());
        let work = async move {
            let held = files.acquire_owned().await;
            let job = move || {
                let _held = held;
                put_in(&dir, before, &pending, entry, from.as_deref(), &opener)
            };
            let result = pool.run(job).await.map_err(|e| e.to_string()).and_then(|r| r.map_err(|e| chain(&e)));
            if addr.send(RepairDone { resets, file, result, done }).await.is_err() {
                info!("repair finished after its shard had stopped");
            }
        };
        ctx.spawn(work.into_actor(self));
    }
}

fn put_in(
    dir: &Path,
    before: Arc<Manifest>,
    pending: &[Compaction],
    entry: BlockEntry,
    from: Option<&Path>,
    opener: &BlockOpener,
) -> Result<Written, FileError> {
    let path = dir.join(BLOCKS_DIR).join(&entry.file);
    let gone = || FileError::Mismatch { path: path.display().to_string(), reason: "the manifest dropped it".into() };
    let at = before.blocks.iter().position(|b| b.file == entry.file);
    if let (None, Some(from)) = (at, from) {
        return adopt(dir, &before, pending, &entry, from, opener).map(Box::new).map(Written::Adopted);
    }
    let at = at.ok_or_else(gone)?;
    if let Some(from) = from {
        let io_error = |what| {
            let path = path.display().to_string();
            move |source| FileError::Io { what, path, source }
        };
        std::fs::rename(from, &path).map_err(io_error("rename to"))?;
        let synced = std::fs::File::open(dir.join(BLOCKS_DIR)).and_then(|d| d.sync_all());
        synced.map_err(io_error("sync the directory of"))?;
    }
    let blocks = opener.open_sound(dir, std::slice::from_ref(&entry))?;
    if before.blocks[at] == entry {
        return Ok(Written::Repaired(before, blocks));
    }
    let mut manifest = (*before).clone();
    manifest.blocks[at] = entry;
    write_manifest(dir, &manifest)?;
    Ok(Written::Repaired(Arc::new(manifest), blocks))
}

impl Handler<RepairDone> for ShardActor {
    type Result = ();

    fn handle(&mut self, msg: RepairDone, ctx: &mut Self::Context) {
        if msg.resets != self.resets {
            // A snapshot came in between: all files are other ones now.
            return;
        }
        self.writing = false;
        let result = msg.result.map(|written| match written {
            Written::Repaired(manifest, blocks) => {
                self.observed.manifest.store(manifest);
                self.state.replace(&blocks);
                self.change_lost(|lost| {
                    lost.remove(&msg.file);
                });
                self.publish();
            }
            Written::Adopted(swapped) => {
                self.change_lost(|lost| lost.retain(|file, _| !swapped.removed.contains(file)));
                self.take_swapped(&swapped);
            }
        });
        // Nobody waits any more when the replica is being closed.
        drop(msg.done.send(result));
        self.start_writing(ctx);
        // It may have waited for this block.
        self.start_merge(ctx);
    }
}
