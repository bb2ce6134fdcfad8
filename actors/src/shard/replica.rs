//! Opening and closing a shard's replica on this node.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actix::{Actor, Addr};
use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use trine_raft::{GroupId, LogDevice, Multi, NodeId, ReplicaId, Stopped, Storage};
use trine_store::shard::{BlockDamage, FileError, OnDamage, ShardConfig};

use super::actor::{ActorParts, Failed, Lost, Observed, Recovered, ShardActor, Stop, chain, recover};
use super::arbiters::Arbiters;
use super::compactor::{CompactorConfig, compact};
use super::fetch::{BlockSource, Fetches};
use super::handle::{QUEUE_PARTS, ShardHandle};
use super::healer::{COMPLAINTS_QUEUED, Complaint, Healer};
use super::keeper::{SealPolicy, keep};
use super::machine::ShardMachine;
use super::merger::{LastFetch, Merges};
use super::pool::Pool;
use super::proposer::Proposer;
use crate::budget::Budget;
use crate::disk::DiskGuard;
use crate::error::Error;
use crate::healing::Healing;
use crate::steward::Failure;

/// What all replicas of a node share.
#[derive(Clone)]
pub struct ReplicaContext {
    pub data_dir: PathBuf,
    /// This node.
    pub node: NodeId,
    pub multi: Arc<Multi>,
    pub device: Arc<dyn LogDevice>,
    pub arbiters: Arbiters,
    pub source: Arc<dyn BlockSource>,
    pub budget: Arc<Budget>,
    pub pool: Pool,
    /// Bounds what snapshots fetch.
    pub fetches: Arc<Fetches>,
    pub config: ShardConfig,
    pub(crate) seal: SealPolicy,
    /// Bounds how much is merged at a time.
    pub merges: Arc<Merges>,
    pub compactor: Arc<CompactorConfig>,
    /// Streams that hold the write-ahead log back.
    pub log_pressure: watch::Receiver<Vec<u64>>,
    /// Where damage is written down.
    pub healing: Healing,
    pub disk: Arc<DiskGuard>,
}

/// Raft group of a shard: group 0 is the metadata group.
fn group_of(shard: u32) -> GroupId {
    GroupId(u64::from(shard) + 1)
}

/// A running replica. Drop does not stop it: call [`Self::close`].
pub struct Replica {
    pub handle: ShardHandle,
    addr: Addr<ShardActor>,
    /// Held by whatever writes blocks or the manifest.
    writing: Arc<Semaphore>,
    /// Held by whatever merges blocks.
    merging: Arc<Semaphore>,
    failed: watch::Receiver<Option<Failed>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Replica {
    /// Recovers the replica's state from its directory, applies again what the log has beyond it, and joins its raft group.
    /// Bytes of log are added to `replayed` as they are applied.
    pub(crate) async fn open(
        context: &ReplicaContext,
        shard: u32,
        replica: u64,
        replayed: Arc<AtomicU64>,
    ) -> Result<Self, Error> {
        let dir = directory(&context.data_dir, shard, replica);
        std::fs::create_dir_all(&dir).map_err(crate::identity::io_error("create directory", &dir))?;
        let (complain, complaints) = mpsc::channel(COMPLAINTS_QUEUED);
        let damage_met = Arc::new(AtomicU64::new(0));
        let config = ShardConfig { on_damage: on_damage(&complain, &damage_met), ..context.config.clone() };
        let (recover_dir, recover_config) = (dir.clone(), config.clone());
        let recovered = context.pool.run(move || recover(shard, &recover_dir, recover_config)).await;
        let Recovered { state, manifest, damaged } = recovered
            .map_err(|e| Error::Raft { group: group_of(shard).0, reason: e.to_string() })?
            .map_err(|source| file_error(shard, source))?;
        let applied_term = AtomicU64::new(manifest.position.term);
        let (sealed, sealed_rx) = watch::channel(manifest.position.index);
        let (failed, failed_rx) = watch::channel(None);
        let observed = Arc::new(Observed {
            view: ArcSwap::default(),
            manifest: ArcSwap::from_pointee(manifest),
            head_bytes: AtomicU64::new(0),
            head_facts: AtomicU64::new(0),
            applied_term,
            lost: ArcSwap::from_pointee(lost(damaged)),
            pending: ArcSwap::default(),
            compaction: AtomicU64::new(0),
            retired: ArcSwap::default(),
            fetched: LastFetch::default(),
            damage_met,
            no_room: AtomicBool::new(false),
        });
        let (writing, merging) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
        let parts = ActorParts {
            files: writing.clone(),
            merge_files: merging.clone(),
            merges: context.merges.clone(),
            shard,
            dir: dir.clone(),
            config: config.clone(),
            budget: context.budget.clone(),
            pool: context.pool.clone(),
            observed: observed.clone(),
            sealed,
            failed,
        };
        let addr = ShardActor::start_in_arbiter(context.arbiters.of(shard), |_| ShardActor::new(parts, state));
        let joined = Arc::new(AtomicBool::new(false));
        let machine = ShardMachine {
            shard,
            dir: dir.clone(),
            addr: addr.clone(),
            observed: observed.clone(),
            source: context.source.clone(),
            fetches: context.fetches.clone(),
            pool: context.pool.clone(),
            opener: config.opener(),
            budget: context.budget.clone(),
            joined: joined.clone(),
            replayed,
        };
        let storage = Storage::Device(context.device.clone());
        let opened = context.multi.open(group_of(shard), ReplicaId(replica), storage, Arc::new(machine)).await;
        let group = match opened {
            Ok(group) => group,
            Err(error) => {
                stop_actor(&addr, shard).await;
                drop((writing.acquire().await, merging.acquire().await));
                return Err(raft_error(shard, &error));
            }
        };
        joined.store(true, Ordering::Relaxed);
        let (work, queue) = mpsc::channel(QUEUE_PARTS);
        let budget = context.budget.clone();
        let handle = ShardHandle {
            shard,
            replica,
            group: group.clone(),
            addr: addr.clone(),
            observed,
            budget,
            disk: context.disk.clone(),
            work,
            complain,
            sealed: sealed_rx,
        };
        let (stop, stop_rx) = watch::channel(false);
        let healer = Healer {
            handle: handle.clone(),
            addr: addr.clone(),
            name: format!("{SHARDS_DIR}/{}", name(shard, replica)),
            dir,
            node: context.node,
            source: context.source.clone(),
            fetches: context.fetches.clone(),
            pool: context.pool.clone(),
            healing: context.healing.clone(),
            complaints,
            outvoted: BTreeMap::new(),
        };
        let healer = tokio::spawn(healer.run(stop_rx.clone()));
        let compactor = compact(handle.clone(), context.compactor.clone(), stop_rx.clone());
        let keeper = keep(handle.clone(), context.seal, context.budget.clone(), context.log_pressure.clone(), stop_rx);
        let proposer = tokio::spawn(Proposer::new(shard, group, queue).run());
        let tasks = vec![proposer, tokio::spawn(keeper), tokio::spawn(compactor), healer];
        Ok(Self { handle, addr, writing, merging, failed: failed_rx, stop, tasks })
    }

    /// Why the replica can no longer follow its log, if so.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let failed = self.failed.borrow().as_ref().map(|f| Failure::Storage(f.reason.clone()));
        failed.or_else(|| match self.handle.group.status().stopped? {
            panicked @ Stopped::Panicked => Some(Failure::Panic(panicked.to_string())),
            other @ (Stopped::Closed | Stopped::Failed(_)) => Some(Failure::Storage(other.to_string())),
        })
    }

    /// Leaves the raft group, stops the actor, and returns once nothing of it writes to the directory any more. Data stays.
    pub async fn close(self) {
        self.stop.send_replace(true);
        self.handle.group.stop().await;
        stop_actor(&self.addr, self.handle.shard).await;
        // A seal that has begun ends by itself, a merge when it is told to. What opens the directory next must not meet them
        // half written.
        drop((self.writing.acquire().await, self.merging.acquire().await));
        drop(self.handle);
        for task in self.tasks {
            task.abort();
        }
    }
}

/// Passes damage on to the healer, and counts it for the reader that met it.
fn on_damage(complain: &mpsc::Sender<Complaint>, met: &Arc<AtomicU64>) -> OnDamage {
    let (complain, met) = (complain.clone(), met.clone());
    OnDamage::new(move |damage| {
        met.fetch_add(1, Ordering::AcqRel);
        // Full or closed: the next scrub meets the damage again.
        if let Err(error) = complain.try_send(Complaint::Damage(damage)) {
            tracing::warn!(%error, "damage was met that nobody can look at now");
        }
    })
}

fn lost(damaged: Vec<BlockDamage>) -> BTreeMap<String, Lost> {
    damaged.into_iter().map(|damage| (damage.file.clone(), Lost { damage, hopeless: false })).collect()
}

/// Directory of all replicas in the data directory.
const SHARDS_DIR: &str = "shards";

fn name(shard: u32, replica: u64) -> String {
    format!("{shard:05}-{replica}")
}

/// The disk cannot read what it holds.
const EIO: i32 = 5;

async fn stop_actor(addr: &Addr<ShardActor>, shard: u32) {
    if addr.send(Stop).await.is_err() {
        tracing::debug!(shard, "the actor had stopped before");
    }
}

/// Whether files are damaged, or only cannot be read now.
fn file_error(shard: u32, source: FileError) -> Error {
    use std::io::ErrorKind as E;
    let reason = match &source {
        FileError::Io { source, .. } if matches!(source.kind(), E::NotFound | E::InvalidData | E::UnexpectedEof) => {
            "file_missing"
        }
        FileError::Io { source, .. } if source.raw_os_error() == Some(EIO) => "file_unreadable",
        FileError::Io { .. } => return Error::ShardFiles { shard, source: Box::new(source) },
        FileError::Manifest { .. } => "manifest_damaged",
        FileError::Mismatch { .. }
        | FileError::Length { .. }
        | FileError::Damaged { .. }
        | FileError::Metrics { .. }
        | FileError::Rows { .. } => "block_damaged",
    };
    Error::Damaged { shard, reason, detail: chain(&source) }
}

/// Whether the log is damaged, or the group only cannot be opened now.
fn raft_error(shard: u32, error: &trine_raft::Error) -> Error {
    use trine_raft::Error as E;
    let detail = chain(error);
    let unreadable = |e: &std::io::Error| {
        use std::io::ErrorKind as K;
        matches!(e.kind(), K::InvalidData | K::UnexpectedEof) || e.raw_os_error() == Some(EIO)
    };
    match error {
        E::Recover { source, .. } if !unreadable(source) => Error::Raft { group: group_of(shard).0, reason: detail },
        E::Recover { .. } | E::Fatal(_) => Error::Damaged { shard, reason: "log_unusable", detail },
        _ => Error::Raft { group: group_of(shard).0, reason: detail },
    }
}

/// Where a replica keeps its manifest and blocks.
pub fn directory(data_dir: &std::path::Path, shard: u32, replica: u64) -> PathBuf {
    data_dir.join(SHARDS_DIR).join(name(shard, replica))
}
