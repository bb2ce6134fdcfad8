//! All groups of a node, on a runtime of their own.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use openraft::async_runtime::WatchReceiver;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Semaphore, watch};

use crate::config::MultiConfig;
use crate::confirm::Confirmer;
use crate::connections::Connections;
use crate::device::LogDevice;
use crate::error::{Error, NotLeader};
use crate::group::{Group, fatal_error};
use crate::hand_over;
use crate::ids::{GroupId, NodeId, ReplicaId};
use crate::log_store::DeviceLog;
use crate::machine::Machine;
use crate::network::Network;
use crate::peers::PeerBook;
use crate::progress::Progress;
use crate::registry::{Opened, Registry};
use crate::replay::{REPLAY_BYTES_A_GROUP, replay};
use crate::server::{self, RaftServer};
use crate::sled_store::{self, SledLog};
use crate::state_machine::StateMachine;
use crate::status::GroupStatus;
use crate::type_config::{LogId, Raft, TypeConfig, from_log_id};

/// Where a group keeps its log.
#[derive(Clone, Debug)]
pub enum Storage {
    /// A stream, named like the replica, of a device that many groups share.
    Device(Arc<dyn LogDevice>),
    /// A sled directory of its own: the metadata group.
    Sled(PathBuf),
}

/// Groups that replay their log at a time, however much memory there is.
const REPLAYS_MAX: usize = 4;

/// All groups of a node. Dropping it stops them without handing leaders over; see [`Multi::stop`].
pub struct Multi {
    config: Arc<MultiConfig>,
    raft_config: Arc<openraft::Config>,
    connections: Arc<Connections>,
    registry: Arc<Registry>,
    confirmer: Confirmer,
    replays: Arc<Semaphore>,
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl Multi {
    /// Starts the runtime; no group is open yet. `peers` must know every other node sooner or later.
    pub fn start(config: MultiConfig, peers: Arc<PeerBook>) -> Result<Self, Error> {
        let raft_config = config.raft().map_err(|error| Error::Config(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads.max(1))
            .thread_name("trine-raft")
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        let handle = runtime.handle().clone();
        let registry = Arc::new(Registry::default());
        let config = Arc::new(config);
        let connections = Arc::new(Connections::new(peers));
        Ok(Self {
            confirmer: Confirmer::new(
                Arc::clone(&config),
                Arc::clone(&connections),
                Arc::clone(&registry),
                handle.clone(),
            ),
            replays: Arc::new(Semaphore::new(replays_at_once(config.replay_bytes))),
            raft_config: Arc::new(raft_config),
            config,
            connections,
            registry,
            handle,
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.config.node
    }

    /// The gRPC service to offer to the other nodes.
    ///
    /// Accept its connections with `TCP_NODELAY` (tonic's `TcpIncoming::with_nodelay`; a bare listener stream has it
    /// off): without, a small reply waits up to 40 ms for a delayed acknowledgement. Allow a connection as many concurrent
    /// streams as there are groups: each group led elsewhere keeps one open.
    pub fn server(&self) -> RaftServer {
        server::service(&self.config, Arc::clone(&self.registry), self.handle.clone())
    }

    /// Opens `group` as `replica`: recovers the machine, re-applies what is known to be committed, joins.
    ///
    /// A replica whose disk was lost must never be opened again under its id.
    pub async fn open(
        &self,
        group: GroupId,
        replica: ReplicaId,
        storage: Storage,
        machine: Arc<dyn Machine>,
    ) -> Result<Group, Error> {
        if !self.registry.reserve(group) {
            return Err(Error::AlreadyOpen { group });
        }
        let opening = self.opening(group, replica, storage, machine);
        // On the runtime, so that a caller who goes away leaves nothing half open.
        let registry = Arc::clone(&self.registry);
        let opened = self.handle.spawn(async move {
            let opened = opening.await;
            match &opened {
                Ok(opened) => registry.insert(group, opened.clone()),
                Err(_) => registry.remove(group),
            }
            opened
        });
        let opened = opened.await.map_err(|_| Error::Stopped)??;
        Ok(Group::new(group, opened, Arc::clone(&self.registry), self.handle.clone()))
    }

    fn opening(
        &self,
        group: GroupId,
        replica: ReplicaId,
        storage: Storage,
        machine: Arc<dyn Machine>,
    ) -> impl Future<Output = Result<Opened, Error>> + Send + 'static {
        let starter = Starter {
            group,
            replica,
            config: Arc::clone(&self.config),
            raft_config: Arc::clone(&self.raft_config),
            connections: Arc::clone(&self.connections),
            replays: Arc::clone(&self.replays),
            progress: Arc::new(Progress::default()),
        };
        async move {
            match storage {
                Storage::Device(device) => {
                    let log = DeviceLog::open(device, replica, Arc::clone(&starter.progress))
                        .map_err(|source| Error::Recover { group, source })?;
                    starter.start(log, machine).await
                }
                Storage::Sled(dir) => {
                    let identity = sled_store::Identity { cluster: starter.config.cluster.clone(), group, replica };
                    let log = SledLog::open(dir, identity, Arc::clone(&starter.progress)).await?;
                    starter.start(log, machine).await
                }
            }
        }
    }

    /// The open group `group`.
    pub fn group(&self, group: GroupId) -> Option<Group> {
        let opened = self.registry.get(group)?;
        Some(Group::new(group, opened, Arc::clone(&self.registry), self.handle.clone()))
    }

    /// Read points: for each group, whether what this node has applied *now* holds everything that was acknowledged
    /// before this call. Answers in the order asked; one message a peer node for all groups, shared with other calls
    /// that wait.
    pub async fn confirm(&self, groups: &[GroupId]) -> Vec<Result<(), NotLeader>> {
        self.confirmer.confirm(groups).await
    }

    /// Asks the voters of each group led here to take over, the most caught-up one first, until none is led here or `within` is
    /// over. Groups with one voter stay. Returns the groups still led here that have other voters.
    pub async fn hand_over_leaders(&self, within: Duration) -> Vec<GroupId> {
        let registry = Arc::clone(&self.registry);
        self.handle.spawn(hand_over::hand_over(registry, within)).await.unwrap_or_default()
    }

    /// Stops all groups and the runtime. Hand the leaders over first.
    pub async fn stop(&self) {
        let groups = self.registry.all().into_iter();
        let groups = groups.map(|(id, opened)| Group::new(id, opened, Arc::clone(&self.registry), self.handle.clone()));
        join_all(groups.map(|group| async move { group.stop().await })).await;
        self.shut_runtime();
    }

    fn shut_runtime(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            // Not a plain drop, which may not block on a runtime's thread.
            runtime.shutdown_background();
        }
    }
}

impl Drop for Multi {
    fn drop(&mut self) {
        self.shut_runtime();
    }
}

impl std::fmt::Debug for Multi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Multi").field("node", &self.config.node).finish_non_exhaustive()
    }
}

/// What it takes to start one group.
struct Starter {
    group: GroupId,
    replica: ReplicaId,
    config: Arc<MultiConfig>,
    raft_config: Arc<openraft::Config>,
    connections: Arc<Connections>,
    replays: Arc<Semaphore>,
    progress: Arc<Progress>,
}

impl Starter {
    async fn start(self, mut log: impl RaftLogStorage<TypeConfig>, machine: Arc<dyn Machine>) -> Result<Opened, Error> {
        let Self { group, replica, config, raft_config, connections, replays, progress } = self;
        // Never closed, so it always gives.
        let replaying = replays.acquire_owned().await.map_err(|_| Error::Stopped)?;
        let recover = |source| Error::Recover { group, source };
        let mut state_machine =
            StateMachine::open(machine, Arc::clone(&progress), config.node).await.map_err(recover)?;
        check_no_gap(&mut log, &mut state_machine).await.map_err(recover)?;
        replay(&mut log, &mut state_machine).await.map_err(recover)?;
        let network = Network::new(config, connections, group, replica);
        let raft = Raft::new(replica.0, raft_config, network, log, state_machine)
            .await
            .map_err(|fatal| fatal_error(&fatal))?;
        drop(replaying);
        let status = follow_status(&raft);
        if is_alone(&status.borrow(), replica) {
            // Nobody else could win: don't wait for the election timeout.
            raft.trigger().elect(false).await.map_err(|fatal| fatal_error(&fatal))?;
        }
        Ok(Opened { replica, raft, progress, status })
    }
}

/// Groups that may replay their log at a time. Few: a shard that is there soon is worth more than all a little later.
fn replays_at_once(replay_bytes: u64) -> usize {
    usize::try_from(replay_bytes / REPLAY_BYTES_A_GROUP).unwrap_or(usize::MAX).clamp(1, REPLAYS_MAX)
}

/// The machine must hold what the log has dropped; openraft would notice only when it applies.
async fn check_no_gap(log: &mut impl RaftLogStorage<TypeConfig>, machine: &mut StateMachine) -> io::Result<()> {
    let purged = log.get_log_state().await?.last_purged_log_id;
    let (applied, _) = machine.applied_state().await?;
    if purged <= applied {
        return Ok(());
    }
    let position = |log_id: Option<LogId>| log_id.map(|log_id| from_log_id(&log_id));
    let (purged, applied) = (position(purged), position(applied));
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("purged to {purged:?}, but the machine holds {applied:?}")))
}

fn is_alone(status: &GroupStatus, replica: ReplicaId) -> bool {
    status.voters.len() == 1 && status.voters.contains_key(&replica)
}

/// Keeps a [`GroupStatus`] up to date with openraft's metrics until the group is gone, and then says that it is.
fn follow_status(raft: &Raft) -> watch::Receiver<GroupStatus> {
    let mut metrics = raft.metrics();
    let (sender, receiver) = watch::channel(GroupStatus::from_metrics(&metrics.borrow_and_update()));
    tokio::spawn(async move {
        while metrics.changed().await.is_ok() {
            let status = GroupStatus::from_metrics(&metrics.borrow_and_update());
            sender.send_if_modified(|old| {
                let modified = *old != status;
                *old = status;
                modified
            });
        }
        sender.send_modify(GroupStatus::silenced);
    });
    receiver
}
