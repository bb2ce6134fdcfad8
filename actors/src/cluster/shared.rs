//! What the parts of a running node share.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::watch;
use trine_query::promql::SegmentCache;
use trine_raft::{Group, GroupId, Multi, NodeId, PeerBook};
use trine_store::model::{Demotions, SLOTS, Slot, Spreads};
use trine_store::shard::{PartOutcome, ShardView};
use trine_store::wal::{Wal, WalConfig};

use super::progress::{BootProgress, opening_text, replaying_text};
use super::waiting::waits_for;
use crate::budget::Budget;
use crate::config::ClusterConfig;
use crate::disk::DiskGuard;
use crate::gossip::{self, Gossip};
use crate::healing::Healing;
use crate::identity::Identity;
use crate::ledger::{Intake, Verify};
use crate::meta::{META_SHARD, MetaMachine, MetaState};
use crate::retention::Room;
use crate::router::LeaderHints;
use crate::rpc::{Peers, proto};
use crate::scatter::QueryPool;
use crate::scrub::Scrub;
use crate::shard::{Fetches, Merges, Pool, ShardHandle, SubmitError};
use crate::spread::HotStreams;
use crate::steward::Failure;

/// The metadata group on this node.
pub(crate) struct MetaGroup {
    pub(crate) group: Group,
    pub(crate) machine: Arc<MetaMachine>,
    pub(crate) state: watch::Receiver<Arc<MetaState>>,
    /// Of `state`, as writers use it.
    pub(crate) spreads: watch::Receiver<Spreads>,
    /// The same of the demoted labels.
    pub(crate) demotions: watch::Receiver<Demotions>,
}

/// State shared by router, scatter, steward and the node-to-node service.
pub struct Shared {
    pub(crate) config: ClusterConfig,
    pub(crate) identity: Mutex<Identity>,
    /// Set once the node knows its cluster.
    pub(crate) multi: OnceLock<Arc<Multi>>,
    pub(crate) book: Arc<PeerBook>,
    pub(crate) peers: Arc<Peers>,
    /// Set once the log is open; nothing needs it before.
    pub(crate) log: OnceLock<Arc<NodeLog>>,
    /// How far the boot is.
    pub(crate) boot: Arc<BootProgress>,
    pub(crate) reopened: Reopened,
    pub(crate) budget: Arc<Budget>,
    /// Pool of the shards: encoding and sealing.
    pub(crate) pool: Pool,
    /// Pool of the queries, so that neither starves the other.
    pub(crate) query_pool: QueryPool,
    pub(crate) segments: SegmentCache,
    pub(crate) hints: LeaderHints,
    /// What was found damaged here, and how far it is healed.
    pub(crate) healing: Healing,
    pub(crate) scrub: Scrub,
    /// What the surfaces of this node did with the facts that came.
    pub(crate) intake: Intake,
    /// Counting all replicas again.
    pub(crate) verify: Verify,
    pub(crate) disk: Arc<DiskGuard>,
    pub(crate) gossip: OnceLock<Gossip>,
    pub(crate) meta: OnceLock<MetaGroup>,
    /// Replicas that run on this node.
    pub(crate) handles: ArcSwap<BTreeMap<u32, ShardHandle>>,
    pub(crate) empty_meta: Arc<MetaState>,
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) started_unix_ms: u64,
    /// Shard of each slot, for decoders that ask for every series; see [`Shared::refresh_slots`].
    pub(crate) slots: Box<[AtomicU32]>,
    /// Generation of `slots` plus one; 0 before there is any.
    pub(crate) slots_generation: AtomicU64,
    /// Whether this node has been ready since its start.
    pub(crate) served: AtomicBool,
    /// Shards whose replica here is damaged and not replaced, and why: they are not opened.
    pub(crate) closed: ArcSwap<BTreeMap<u32, String>>,
    /// Bounds what new replicas fetch.
    pub(crate) fetches: Arc<Fetches>,
    /// From when on there is room for facts.
    pub(crate) room: Arc<Room>,
    /// Bounds how much is compacted at a time.
    pub(crate) merges: Arc<Merges>,
    /// Replicas whose replacement this node has brought to its end, since the process started.
    pub(crate) replaced: AtomicU64,
    /// What streams the leaders here take.
    pub(crate) hot: HotStreams,
    /// Held by whoever asks for the places of entries to be settled.
    pub(crate) settling: tokio::sync::Mutex<()>,
}

/// The node's log.
#[derive(Debug)]
pub(crate) struct NodeLog {
    pub(crate) wal: Wal,
    /// Streams that recovery found damaged, and what they lost.
    pub(crate) corrupt_streams: BTreeMap<u64, String>,
}

/// Counts replicas that stopped by themselves and were opened again.
#[derive(Debug, Default)]
pub(crate) struct Reopened {
    storage: AtomicU64,
    panic: AtomicU64,
}

impl Reopened {
    pub(crate) fn count(&self, failure: &Failure) {
        let counter = match failure {
            Failure::Storage(_) => &self.storage,
            Failure::Panic(_) => &self.panic,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> [(&'static str, u64); 2] {
        [("storage", self.storage.load(Ordering::Relaxed)), ("panic", self.panic.load(Ordering::Relaxed))]
    }
}

impl Shared {
    pub(crate) fn node_id(&self) -> u64 {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).node_id
    }

    pub(crate) fn cluster_id(&self) -> String {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).cluster.clone()
    }

    /// The metadata as of the last applied entry; empty before the node belongs to a cluster.
    pub(crate) fn meta(&self) -> Arc<MetaState> {
        self.meta.get().map_or_else(|| self.empty_meta.clone(), |m| m.state.borrow().clone())
    }

    /// The shard of a slot, without a lock or a count that decoders would share.
    pub(crate) fn shard_of(&self, slot: Slot) -> u32 {
        if self.slots_generation.load(Ordering::Acquire) == 0 {
            return self.meta().shard_of(slot);
        }
        self.slots[usize::from(slot.0)].load(Ordering::Relaxed)
    }

    /// Brings the table of slots up to the metadata.
    pub(crate) fn refresh_slots(&self, meta: &MetaState) {
        let generation = meta.slots_generation + 1;
        if meta.shards.is_empty() || self.slots_generation.load(Ordering::Acquire) == generation {
            return;
        }
        for (slot, shard) in (0..SLOTS).zip(&self.slots) {
            shard.store(meta.shard_of(Slot(slot)), Ordering::Relaxed);
        }
        self.slots_generation.store(generation, Ordering::Release);
    }

    pub(crate) fn handles(&self) -> Arc<BTreeMap<u32, ShardHandle>> {
        self.handles.load_full()
    }

    pub(crate) fn live(&self) -> gossip::Peers {
        self.gossip.get().map(|g| g.live().borrow().clone()).unwrap_or_default()
    }

    /// Live nodes whose disk has room; all live nodes when none has.
    pub(crate) fn with_room(&self, peers: &gossip::Peers) -> BTreeSet<u64> {
        let roomy: BTreeSet<u64> = peers.iter().filter(|(_, p)| !p.disk_full).map(|(id, _)| *id).collect();
        if roomy.is_empty() { peers.keys().copied().collect() } else { roomy }
    }

    pub(crate) fn node_name(&self, node: u64) -> String {
        self.meta().nodes.get(&node).map_or_else(|| format!("node {node}"), |n| n.name.clone())
    }

    /// The node to try for a shard: what raft says here, what another node has said, or any replica in turn.
    pub(crate) fn leader_of(&self, shard: u32, attempt: u32) -> Option<u64> {
        if let Some(handle) = self.handles.load().get(&shard)
            && let Some((_, node)) = handle.group.status().leader
        {
            return Some(node.0);
        }
        self.hints.get(shard).or_else(|| {
            let meta = self.meta();
            let replicas = &meta.shards.get(&shard)?.replicas;
            replicas.get(attempt as usize % replicas.len().max(1)).map(|r| r.node)
        })
    }

    /// Hands a part to a shard's replica on this node.
    pub(crate) async fn submit(&self, shard: u32, part: Bytes) -> Result<PartOutcome, SubmitError> {
        let handle = self.handles.load().get(&shard).cloned();
        match (handle, self.closed.load().get(&shard)) {
            (Some(handle), _) => {
                let outcome = handle.submit(part.clone()).await?;
                if outcome.accepted > 0 && self.config.spread_bytes_per_second > 0 {
                    self.hot.took(shard, &part);
                }
                Ok(outcome)
            }
            (None, Some(why)) => Err(SubmitError::Unknown { reason: why.clone() }),
            (None, None) => Err(SubmitError::NotLeader { leader_node: None }),
        }
    }

    /// Views of those shards of the list that this node leads for certain, and the others with their leader if known.
    pub(crate) async fn confirmed_views(&self, shards: &[u32]) -> (Vec<Arc<ShardView>>, Vec<(u32, Option<u64>)>) {
        let handles = self.handles.load_full();
        let here: Vec<&ShardHandle> = shards.iter().filter_map(|s| handles.get(s)).collect();
        let groups: Vec<GroupId> = here.iter().map(|h| h.group.id()).collect();
        let confirmed = match self.multi.get() {
            Some(multi) => multi.confirm(&groups).await,
            None => Vec::new(),
        };
        let mut not_led: Vec<_> = shards.iter().filter(|s| !handles.contains_key(s)).map(|s| (*s, None)).collect();
        let mut views = Vec::with_capacity(here.len());
        for (handle, result) in here.into_iter().zip(confirmed) {
            match result {
                // Taken after the confirmation: it contains everything acknowledged before the query began (P2).
                Ok(()) => views.push(handle.view()),
                Err(_) => {
                    let me = self.node_id();
                    let leader = handle.group.status().leader.map(|(_, node)| node.0).filter(|n| *n != me);
                    not_led.push((handle.shard, leader));
                }
            }
        }
        (views, not_led)
    }

    /// Path of a block that the current manifest of a shard names.
    pub(crate) fn block_path(&self, shard: u32, file: &str) -> Option<PathBuf> {
        let handle = self.handles.load().get(&shard).cloned()?;
        let (manifest, retired) = (handle.observed().manifest.load_full(), handle.observed().retired.load());
        let is_there = manifest.blocks.iter().any(|b| b.file == file) || retired.contains(file);
        if !is_there {
            return None;
        }
        handle.observed().fetched.now();
        if handle.observed().lost.load().contains_key(file) {
            return None;
        }
        let dir = crate::shard::directory(&self.config.data_dir, shard, handle.replica);
        Some(dir.join(trine_store::shard::BLOCKS_DIR).join(file))
    }

    /// Why this node cannot serve yet. Once it could, only a stop ends that: an election is ridden out by retries, and a
    /// node that answered 503 during one would fail the very requests that it can hide it from.
    pub(crate) fn ready(&self) -> Result<(), String> {
        if *self.stopping.borrow() {
            return Err("stopping".into());
        }
        if self.served.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.ready_first()?;
        self.served.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The write-ahead log, once it is open.
    pub(crate) fn wal(&self) -> Option<&Wal> {
        self.log.get().map(|log| &log.wal)
    }

    /// Why this node can take no requests at all. Those for shards that are still being opened wait.
    pub(crate) fn serving(&self) -> Result<(), String> {
        match self.ready() {
            Err(_) if !*self.stopping.borrow() && !self.meta().shards.is_empty() => Ok(()),
            ready => ready,
        }
    }

    fn ready_first(&self) -> Result<(), String> {
        if self.log.get().is_none() {
            return Err(opening_text(self.boot.log.bytes()));
        }
        let meta = self.meta();
        if meta.shards.is_empty() {
            return Err(waits_for(&self.live(), &self.cluster_id(), self.config.bootstrap_expect));
        }
        let handles = self.handles.load();
        let me = self.node_id();
        let closed = self.closed.load();
        let here: Vec<u32> = meta
            .shards
            .iter()
            .filter(|(shard, record)| record.on_node(me).is_some() && !closed.contains_key(shard))
            .map(|(shard, _)| *shard)
            .collect();
        let led = |shard: &u32| handles.get(shard).is_some_and(|h| h.group.status().leader.is_some());
        let ready = here.iter().filter(|shard| led(shard)).count();
        if here.iter().any(|shard| !handles.contains_key(shard)) {
            return Err(replaying_text(ready, here.len(), self.boot.replayed()));
        }
        match handles.keys().find(|shard| !led(shard)) {
            Some(shard) => Err(format!("shard {shard} has no leader")),
            None => Ok(()),
        }
    }

    /// What this node knows of itself.
    pub(crate) fn status(&self) -> proto::StatusReply {
        let meta = self.meta();
        let node = meta.nodes.get(&self.node_id()).cloned().map(Into::into);
        let mut replicas: Vec<proto::ReplicaStatus> = self.handles.load().values().map(replica_status).collect();
        if let Some(meta) = self.meta.get() {
            replicas.push(group_status(META_SHARD, &meta.group));
        }
        let wal = self.wal().map(Wal::stats).unwrap_or_default();
        let (disk_used_bytes, disk_free_bytes) = disk(&self.config.data_dir);
        proto::StatusReply {
            node,
            ready: self.ready().is_ok(),
            started_unix_ms: self.started_unix_ms,
            memory_bytes: resident_bytes(),
            memory_budget_bytes: self.config.memory_budget_bytes,
            disk_used_bytes,
            disk_free_bytes,
            wal_bytes: wal.segments.saturating_add(wal.spares) * WalConfig::default().segment_bytes,
            replicas,
            disk_full: self.disk.is_full(),
        }
    }
}

fn group_status(shard: u32, group: &Group) -> proto::ReplicaStatus {
    let s = group.status();
    proto::ReplicaStatus {
        shard,
        replica: group.replica().0,
        leads: group.leads(),
        term: s.term,
        last_index: s.last_log.unwrap_or(0),
        applied_index: s.applied.map_or(0, |p| p.index),
        leader_replica: s.leader.map_or(0, |(r, _)| r.0),
        voters: s.voters.keys().map(|r| r.0).collect(),
        learners: s.learners.keys().map(|r| r.0).collect(),
        ..proto::ReplicaStatus::default()
    }
}

fn replica_status(handle: &ShardHandle) -> proto::ReplicaStatus {
    let observed = handle.observed();
    let manifest = observed.manifest.load();
    proto::ReplicaStatus {
        head_bytes: observed.head_bytes.load(Ordering::Relaxed),
        head_facts: observed.head_facts.load(Ordering::Relaxed),
        blocks_count: manifest.blocks.len() as u64,
        blocks_lost: observed.lost.load().len() as u64,
        blocks_bytes: manifest.blocks.iter().map(|b| b.bytes).sum(),
        ..group_status(handle.shard, &handle.group)
    }
}

/// Resident memory of this process, in bytes; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Bytes used by a directory, and free on its file system (0 where `df` does not tell).
fn disk(dir: &std::path::Path) -> (u64, u64) {
    fn used(dir: &std::path::Path) -> u64 {
        let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
        entries
            .flatten()
            .map(|entry| match entry.metadata() {
                Ok(meta) if meta.is_dir() => used(&entry.path()),
                Ok(meta) => meta.len(),
                Err(_) => 0,
            })
            .sum()
    }
    let free = rustix::fs::statvfs(dir).map_or(0, |s| s.f_bavail * s.f_frsize);
    (used(dir), free)
}

/// Wall clock in ms. Only for display: no decision depends on it.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

/// Address of a node by its id.
pub(crate) fn remember(book: &PeerBook, node: u64, rpc: &str) {
    if !rpc.is_empty() {
        book.set(NodeId(node), rpc.to_owned());
    }
}
