//! The task beside a replica that heals its blocks: it looks at what readers and scrubs complain of, moves damaged files to
//! the quarantine ([`crate::healing`]), and fetches copies from other replicas.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};
use trine_raft::NodeId;
use trine_store::read_at::DamageKind;
use trine_store::shard::{BLOCKS_DIR, BlockDamage, BlockEntry, FileCheck, descendants, entry_of, verify_block};

use super::actor::ShardActor;
use super::fetch::{BlockSource, Fetches};
use super::handle::ShardHandle;
use super::pool::Pool;
use super::repair::{Lose, PutIn, SetHopeless};
use crate::healing::{Found, Healing, Kind, State};

/// Complaints that wait for the healer; a block complains once. What does not fit is met again by a scrub.
pub(super) const COMPLAINTS_QUEUED: usize = 1024;
/// How often a block that could not be healed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Where copies are made before they are put in, in the replica's directory.
const COPIES_DIR: &str = "healing";

/// Why a block needs healing.
#[derive(Debug)]
pub(crate) enum Complaint {
    /// Somebody could not read it.
    Damage(BlockDamage),
    /// Most replicas have other content under this name: theirs has this digest.
    Outvoted { file: String, digest: u128 },
}

/// The healer of one replica.
pub(super) struct Healer {
    pub(super) handle: ShardHandle,
    pub(super) addr: Addr<ShardActor>,
    pub(super) dir: PathBuf,
    /// The replica's directory in the data directory.
    pub(super) name: String,
    pub(super) node: NodeId,
    pub(super) source: Arc<dyn BlockSource>,
    pub(super) fetches: Arc<Fetches>,
    pub(super) pool: Pool,
    pub(super) healing: Healing,
    pub(super) complaints: mpsc::Receiver<Complaint>,
    /// Digests that most replicas have, of blocks whose own content was outvoted.
    pub(super) outvoted: BTreeMap<String, u128>,
}

impl Healer {
    /// Runs until `stop` changes. Begins with the blocks that did not open.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        for lost in self.handle.observed().lost.load_full().values() {
            self.quarantine(&lost.damage).await;
        }
        let mut ticks = tokio::time::interval(RETRY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.changed() => return,
                complaint = self.complaints.recv() => match complaint {
                    Some(Complaint::Damage(damage)) => self.look_at(damage).await,
                    Some(Complaint::Outvoted { file, digest }) => self.give_in(&file, digest).await,
                    None => return,
                },
                _ = ticks.tick() => self.heal_all().await,
            }
        }
    }

    fn entry(&self, file: &str) -> Option<BlockEntry> {
        entry_of(&self.handle.observed().manifest.load(), file).cloned()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.join(BLOCKS_DIR).join(file)
    }

    fn is_lost(&self, file: &str) -> bool {
        self.handle.observed().lost.load().contains_key(file)
    }

    /// Reads the whole file that somebody complained of; when it is damaged, hides it, moves it away, and heals it.
    async fn look_at(&self, met: BlockDamage) {
        let (shard, file) = (self.handle.shard, met.file.clone());
        let Some(entry) = self.entry(&file).filter(|_| !self.is_lost(&file)) else { return };
        let damage = match self.check(&entry).await {
            Ok(Err(_)) => met,
            Ok(Ok(())) => {
                warn!(shard, damage = %met, "a block was read as damaged, but its file is sound");
                // Opened anew, so that it can complain again.
                if let Err(reason) = self.put_in(entry, None).await {
                    warn!(shard, file, reason, "the block could not be opened again");
                }
                return;
            }
            Err(reason) => return warn!(shard, file, reason, "a block that may be damaged could not be looked at"),
        };
        if self.addr.send(Lose { damage: damage.clone() }).await.unwrap_or(false) {
            self.quarantine(&damage).await;
            self.heal(&entry).await;
        }
    }

    /// Takes the content that most replicas have, in place of this one's.
    async fn give_in(&mut self, file: &str, digest: u128) {
        let Some(entry) = self.entry(file).filter(|e| e.digest != digest && !self.is_lost(file)) else { return };
        let reason = format!("digest {:032x}, most replicas have {digest:032x}", entry.digest);
        let kind = DamageKind::Content;
        let damage = BlockDamage { file: file.to_owned(), offset: 0, section: "content".into(), kind, reason };
        if self.addr.send(Lose { damage: damage.clone() }).await.unwrap_or(false) {
            self.quarantine(&damage).await;
            self.outvoted.insert(file.to_owned(), digest);
            self.heal(&BlockEntry { digest, ..entry }).await;
        }
    }

    async fn heal_all(&mut self) {
        let lost = self.handle.observed().lost.load_full();
        self.outvoted.retain(|file, _| lost.contains_key(file));
        for file in lost.keys() {
            if let Some(entry) = self.entry(file) {
                let digest = self.outvoted.get(file).copied().unwrap_or(entry.digest);
                self.heal(&BlockEntry { digest, ..entry }).await;
            }
        }
    }

    async fn heal(&self, entry: &BlockEntry) {
        let (shard, file) = (self.handle.shard, entry.file.clone());
        match self.try_heal(entry).await {
            Ok(from) => {
                let bytes = entry.bytes;
                info!(shard, file, from, bytes, "healed a block");
                self.record(&file, State::Healed, format!("{bytes} bytes from {from}")).await;
            }
            Err(NotHealed { reason, hopeless }) => {
                warn!(shard, file, reason, "a block in quarantine is not healed yet");
                let state = if hopeless { State::Failed } else { State::Healing };
                self.record(&file, state, reason).await;
                if self.addr.send(SetHopeless { file, hopeless }).await.is_err() {
                    info!(shard, "the replica stopped while a block was healed");
                }
            }
        }
    }

    /// Puts a sound copy in; tells where it is from.
    async fn try_heal(&self, entry: &BlockEntry) -> Result<String, NotHealed> {
        // An operator may have put the file back.
        if let Ok(Ok(())) = self.check(entry).await {
            let put_in = self.put_in(entry.clone(), None).await;
            put_in.map_err(|reason| NotHealed { reason, hopeless: false })?;
            return Ok("the file itself".into());
        }
        let status = self.handle.group.status();
        let members = status.voters.values().chain(status.learners.values());
        let (mut reasons, mut hopeless) = (Vec::new(), true);
        for node in members.clone().filter(|node| **node != self.node) {
            match self.fetch_named(*node, &entry.file, Some(entry.digest)).await {
                Ok(()) => return Ok(format!("node {}", node.0)),
                Err(failed) => {
                    hopeless &= failed.hopeless;
                    reasons.push(format!("node {}: {}", node.0, failed.reason));
                }
            }
        }
        // Others may have compacted it by now, and this replica waits with that for this very block.
        for file in descendants(&self.handle.observed().pending.load(), &entry.file) {
            for node in members.clone().filter(|node| **node != self.node) {
                match self.fetch_named(*node, &file, None).await {
                    Ok(()) => return Ok(format!("node {}, as {file}", node.0)),
                    Err(failed) => {
                        hopeless &= failed.hopeless;
                        reasons.push(format!("node {}, {file}: {}", node.0, failed.reason));
                    }
                }
            }
        }
        if reasons.is_empty() {
            reasons.push("the shard has no other replica".into());
        }
        Err(NotHealed { reason: reasons.join("; "), hopeless })
    }

    /// Fetches a block by its name, with this digest if there is one, and puts it in.
    async fn fetch_named(&self, node: NodeId, file: &str, digest: Option<u128>) -> Result<(), NotHealed> {
        let later = |reason: String| NotHealed { reason, hopeless: false };
        let never = |reason: String| NotHealed { reason, hopeless: true };
        let listed = self.source.list_blocks(node, self.handle.shard).await.map_err(|e| later(e.to_string()))?;
        let there = listed.blocks.into_iter().find(|b| b.entry.file == file);
        let there = there.ok_or_else(|| never("it does not have the block".into()))?;
        if there.damaged {
            return Err(never("its copy is damaged too".into()));
        }
        if let Some(digest) = digest.filter(|digest| there.entry.digest != *digest) {
            return Err(never(format!("its copy has digest {:032x}, not {digest:032x}", there.entry.digest)));
        }
        let (copy, theirs) = (self.dir.join(COPIES_DIR).join(file), there.entry);
        let fetched = self.fetches.fetch_block(&*self.source, node, self.handle.shard, &copy, &theirs).await;
        fetched.map_err(|e| later(e.to_string()))?;
        let (verified, expected) = (copy.clone(), theirs.clone());
        let sound = self.pool.run(move || verify_block(&verified, &expected)).await;
        let sound = sound.map_err(|e| later(e.to_string()))?;
        sound.map_err(|e| never(format!("its copy does not verify: {e}")))?;
        self.put_in(theirs, Some(copy)).await.map_err(later)
    }

    async fn check(&self, entry: &BlockEntry) -> Result<Result<(), BlockDamage>, String> {
        let (path, entry) = (self.path(&entry.file), entry.clone());
        let checked = self.pool.run(move || FileCheck::run(&path, &entry)).await;
        checked.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
    }

    async fn put_in(&self, entry: BlockEntry, from: Option<PathBuf>) -> Result<(), String> {
        let (done, outcome) = oneshot::channel();
        self.addr.send(PutIn { entry, from, done }).await.map_err(|e| e.to_string())?;
        outcome.await.map_err(|_| "the replica's files were replaced meanwhile".to_owned())?
    }

    /// Writes down that a block is damaged and moves its file away, where an operator may look at it.
    async fn quarantine(&self, damage: &BlockDamage) {
        let (healing, path, shard) = (self.healing.clone(), self.path(&damage.file), self.handle.shard);
        let found = Found { reason: damage.kind.as_str(), detail: damage.to_string(), ..self.thing(&damage.file) };
        let moved = self.pool.run(move || {
            let id = healing.found(found);
            healing.quarantine(id, &path)
        });
        match moved.await.map_err(std::io::Error::other).and_then(|m| m) {
            Ok(Some(to)) => warn!(shard, damage.file, to = %to.display(), "moved a block to the quarantine"),
            Ok(None) => {}
            Err(error) => warn!(shard, damage.file, %error, "a damaged block was not moved away"),
        }
    }

    /// Writes down how far the healing of a block is.
    async fn record(&self, file: &str, state: State, detail: String) {
        let (healing, thing) = (self.healing.clone(), self.thing(file));
        let recorded = self.pool.run(move || {
            let id = healing.found(thing);
            healing.update(id, state, detail);
        });
        if let Err(error) = recorded.await {
            warn!(shard = self.handle.shard, file, %error, "the list of damage was not written");
        }
    }

    /// How a block is named on the list of damage.
    fn thing(&self, file: &str) -> Found {
        let what = format!("{}/{BLOCKS_DIR}/{file}", self.name);
        let (kind, shard) = (Kind::Block, Some(self.handle.shard));
        Found { kind, shard, what, reason: "unknown", detail: String::new() }
    }
}

/// Why a block stays in quarantine.
#[derive(Debug)]
struct NotHealed {
    reason: String,
    /// Nobody who could be asked has it, so that waiting does not help.
    hopeless: bool,
}
