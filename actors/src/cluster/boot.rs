//! Boot in stages: identity; then, beside each other, the log on the one hand, and listener, gossip, joining or creating a
//! cluster on the other; then the replicas. Only the first is waited for: clients are answered meanwhile.
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tonic::transport::server::TcpIncoming;
use tracing::{error, info, warn};
use trine_query::promql::SegmentCache;
use trine_raft::{Admit, GroupId, Multi, MultiConfig, NodeId, PeerBook, ReplicaId, Storage};
use trine_store::model::SLOTS;
use trine_store::shard::ShardConfig;
use trine_store::tsdb::BlockCache;
use trine_store::wal::{OnFatal, OpenProgress, Wal, WalConfig};

use super::founding::{Move, Seed, Sight, next_move};
use super::membership::{Standing, update_own_record};
use super::progress::BootProgress;
use super::shared::{MetaGroup, NodeLog, Reopened, Shared, remember, unix_ms};
use super::{Cluster, preflight};
use crate::budget::Budget;
use crate::config::ClusterConfig;
use crate::device::WalDevice;
use crate::disk::DiskGuard;
use crate::error::Error;
use crate::gossip::{Gossip, Own, Peer};
use crate::healing::{Found, Healing, Kind, SUPERSEDED};
use crate::identity::{Identity, io_error};
use crate::ledger::{Intake, Verify};
use crate::meta::{Command, MetaMachine, MetaState, NodeRecord};
use crate::retention::{self, Room};
use crate::router::LeaderHints;
use crate::rpc::{NodeService, Peers, connect, proto};
use crate::scatter::QueryPool;
use crate::scrub::{self, Scrub};
use crate::shard::{Arbiters, CompactorConfig, Fetches, Merges, Pool, ReplicaContext, SealPolicy};
use crate::spread::{self, HotStreams};
use crate::steward::{Steward, end_process};

/// Fragments that may wait for the query pool, for each of the node's pool threads.
const QUERIES_WAITING: usize = 64;
/// How long a seed's name may take to resolve.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(2);
/// How often a node asks whether it is still one of the cluster.
const GONE_CHECK_EVERY: Duration = Duration::from_secs(5);
/// The same trouble is told again after this long.
const TELL_AGAIN: Duration = Duration::from_secs(30);
/// Replica id of the founder in the metadata group.
const FOUNDER_META_REPLICA: u64 = 1;

pub(super) async fn start(config: ClusterConfig) -> Result<Cluster, Error> {
    std::fs::create_dir_all(&config.data_dir).map_err(io_error("create directory", &config.data_dir))?;
    let healing = Healing::open(&config.data_dir).map_err(io_error("open the quarantine in", &config.data_dir))?;
    let identity = preflight::identity(&config, &healing)?;
    let budget = Arc::new(Budget::new(config.memory_budget_bytes));
    let disk = Arc::new(DiskGuard::new(&config.data_dir, &config.node_name, config.disk_reserve_bytes));
    let book = Arc::new(PeerBook::new());
    let peers = Arc::new(Peers::new(book.clone()));
    let shared = Arc::new(Shared {
        identity: Mutex::new(identity),
        multi: OnceLock::new(),
        book,
        peers,
        log: OnceLock::new(),
        boot: Arc::new(BootProgress::default()),
        reopened: Reopened::default(),
        pool: Pool::new(config.pool_threads),
        query_pool: QueryPool::new(config.pool_threads * 2, config.pool_threads * QUERIES_WAITING, config.pool_threads),
        segments: SegmentCache::new(budget.shares.segments),
        budget,
        hints: LeaderHints::default(),
        healing,
        scrub: Scrub::default(),
        intake: Intake::default(),
        verify: Verify::default(),
        disk,
        gossip: OnceLock::new(),
        meta: OnceLock::new(),
        handles: ArcSwap::default(),
        empty_meta: Arc::default(),
        stopping: watch::Sender::new(false),
        started_unix_ms: unix_ms(),
        slots: (0..SLOTS).map(|_| AtomicU32::new(0)).collect(),
        slots_generation: AtomicU64::new(0),
        served: AtomicBool::new(false),
        closed: ArcSwap::default(),
        replaced: AtomicU64::new(0),
        hot: HotStreams::new(Duration::from_millis(config.spread_after_ms)),
        settling: tokio::sync::Mutex::new(()),
        fetches: Arc::new(Fetches::new(config.fetches_max, config.fetch_bytes_per_second)),
        room: Arc::new(Room::default()),
        merges: Arc::new(Merges::new(config.compaction_bytes_per_second)),
        config,
    });
    let booting = shared.clone();
    let (fail, failed) = oneshot::channel();
    let task = tokio::spawn(async move {
        match boot(&booting).await {
            Ok(Booted::Member(log)) => run_steward(booting, log).await,
            Ok(Booted::Outside) => {}
            // A receiver that is gone belongs to a process that ends anyhow.
            Err(error) => drop(fail.send(error)),
        }
    });
    let (tasks, failed) = (tokio::sync::Mutex::new(vec![task]), tokio::sync::Mutex::new(failed));
    Ok(Cluster { shared, tasks: Arc::new(tasks), failed: Arc::new(failed) })
}

/// How a boot ended that did not fail.
enum Booted {
    /// With the log open, as a member of a cluster.
    Member(Arc<NodeLog>),
    /// Without a cluster, or because the node is stopping.
    Outside,
}

/// Opens the log and enters the cluster, at the same time.
async fn boot(shared: &Arc<Shared>) -> Result<Booted, Error> {
    let entering = async {
        let wanted = shared.config.rpc_listen;
        let listen_error = |source| Error::Listen { address: wanted.to_string(), source };
        let listener = TcpListener::bind(wanted).await.map_err(listen_error)?;
        start_gossip(shared, listener.local_addr().map_err(listen_error)?).await?;
        let entered = enter_cluster(shared, listener).await;
        if let Err(error) = &entered {
            error!(error = %crate::steward::error_chain(error), "this node cannot enter a cluster");
        }
        Ok(entered.is_ok())
    };
    let (log, entered) = tokio::try_join!(open_log(shared), entering)?;
    Ok(log.filter(|_| entered).map_or(Booted::Outside, Booted::Member))
}

/// Opens the log on a thread of its own; `None` when the node is stopped meanwhile.
async fn open_log(shared: &Arc<Shared>) -> Result<Option<Arc<NodeLog>>, Error> {
    let (config, cache_bytes) = (shared.config.clone(), shared.budget.shares.wal_cache);
    let progress = shared.boot.log.clone();
    let opening = tokio::task::spawn_blocking(move || open_wal(&config, cache_bytes, progress));
    let mut stopping = shared.stopping.subscribe();
    let opened = tokio::select! {
        opened = opening => opened,
        // What the thread does until the process ends is what a crash would have left.
        _ = stopping.wait_for(|stopping| *stopping) => return Ok(None),
    };
    let panicked = |_| Error::Wal {
        path: shared.config.data_dir.join("wal").display().to_string(),
        source: std::io::Error::other("the thread that opens it panicked"),
    };
    let log = Arc::new(opened.map_err(panicked)??);
    // Set here alone, once.
    drop(shared.log.set(log.clone()));
    Ok(Some(log))
}

/// The log, and the streams that recovery found damaged with what they lost.
fn open_wal(config: &ClusterConfig, cache_bytes: u64, progress: OpenProgress) -> Result<NodeLog, Error> {
    let started = Instant::now();
    let dir = config.data_dir.join("wal");
    std::fs::create_dir_all(&dir).map_err(io_error("create directory", &dir))?;
    let wal_config = WalConfig {
        cache_bytes: cache_bytes as usize,
        progress,
        retain_bytes_soft: config.wal_bytes_soft,
        on_fatal: OnFatal::new(|error: &std::io::Error| {
            // A failed fsync may have lost what it should have kept: going on could acknowledge what is not on disk.
            error!(%error, "the write-ahead log failed, ending the process");
            std::process::exit(74);
        }),
        ..WalConfig::default()
    };
    let wal_error = |source| Error::Wal { path: dir.display().to_string(), source };
    let (wal, report) = Wal::open(&dir, wal_config).map_err(wal_error)?;
    if report.corrupt.is_empty() {
        info!(took_ms = started.elapsed().as_millis() as u64, ?report, "write-ahead log opened");
    } else {
        error!(?report, "write-ahead log is damaged; the replicas of the corrupt streams are replaced");
    }
    let corrupt_streams = report.corrupt.iter().map(|c| (c.stream, format!("{:?} at {:?}", c.loss, c.place))).collect();
    Ok(NodeLog { wal, corrupt_streams })
}

/// Serves the other nodes. Begins only once the node knows its cluster: until then connections wait in the backlog.
fn serve(shared: &Arc<Shared>, multi: &Multi, listener: TcpListener) {
    let router = tonic::transport::Server::builder()
        // A stream a group stays open, besides the calls.
        .max_concurrent_streams(Some(16_384))
        // Queries that end early reset their calls: peers may do so often, the default of 20 is against strangers.
        .http2_max_pending_accept_reset_streams(Some(16_384))
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .add_service(multi.server())
        .add_service(NodeService::server(shared.clone()));
    // Ended by the process: raft must go on talking while leaders are handed over at a stop.
    tokio::spawn(async move {
        // Without it small raft messages wait for the peer's delayed acknowledgement.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        if let Err(error) = router.serve_with_incoming(incoming).await {
            error!(%error, "the node-to-node listener ended");
        }
    });
}

async fn start_gossip(shared: &Arc<Shared>, rpc_listen: SocketAddr) -> Result<(), Error> {
    let config = &shared.config;
    let identity = shared.identity.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let advertise = (config.advertise_host.as_str(), config.gossip_listen.port());
    let resolved = tokio::net::lookup_host(advertise).await.ok().and_then(|mut found| found.next());
    let advertise = resolved.ok_or_else(|| Error::Gossip {
        reason: format!("the advertised host {:?} does not resolve; set --advertise", config.advertise_host),
    })?;
    let node = NodeRecord {
        id: identity.node_id,
        name: identity.node_name.clone(),
        rpc: format!("{}:{}", config.advertise_host, rpc_listen.port()),
        http: config.http_advertise.clone(),
        zone: config.zone.clone(),
        version: config.version.clone(),
    };
    let own = Own {
        peer: Peer {
            node,
            cluster: identity.cluster.clone(),
            ready: false,
            disk_full: false,
            room_from_ms: [i64::MIN; 3],
            gossip: Some(advertise),
        },
        listen: config.gossip_listen,
        advertise,
        seeds: config.join.clone(),
        key: config.cluster_key.clone(),
        generation: unix_ms(),
    };
    let gossip = Gossip::start(own).await?;
    shared.gossip.set(gossip).map_err(|_| Error::Gossip { reason: "started twice".into() })
}

/// Opens the metadata group: of the cluster this node belongs to, of one that a peer names, or of a new one.
async fn enter_cluster(shared: &Arc<Shared>, listener: TcpListener) -> Result<(), Error> {
    let identity = shared.identity.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let identity = if identity.cluster.is_empty() {
        find_cluster(shared, &identity.rejoin).await?
    } else {
        match refuse_the_past(shared).await? {
            Standing::Member => identity,
            Standing::NeedsMetadata => join_anew(shared, &identity).await?,
        }
    };
    open_meta(shared, &identity, listener).await
}

/// Ends the process if the cluster has replaced or removed this node, before anything it has takes part in anything. Where
/// nobody answers, as when a whole cluster starts, raft alone keeps what is of the past from doing harm.
async fn refuse_the_past(shared: &Shared) -> Result<Standing, Error> {
    let dir = shared.config.data_dir.join("meta");
    let export = crate::meta::read_export(&dir).map_err(io_error("read the metadata in", &dir))?;
    let mut nodes: Vec<NodeRecord> = export.map(|e| e.state.nodes.into_values().collect()).unwrap_or_default();
    if nodes.len() < 2 {
        // A short log was never exported: gossip knows them too, a moment later.
        tokio::time::sleep(Duration::from_millis(600)).await;
        nodes = shared.live().into_values().map(|p| p.node).collect();
    }
    match shared.standing(&nodes).await {
        Some(Err(reason)) => {
            shared.end_as_gone(&reason);
            Err(Error::Join { reason })
        }
        Some(Ok(standing)) => Ok(standing),
        None => Ok(Standing::Member),
    }
}

/// Puts this node's copy of the metadata away, which the cluster has gone on without, and asks for a new one. Its shards'
/// replicas are what they were.
async fn join_anew(shared: &Arc<Shared>, identity: &Identity) -> Result<Identity, Error> {
    let (kind, what) = (Kind::Metadata, format!("metadata replica {}", identity.meta_replica));
    let detail = "the metadata was recovered without this copy".to_owned();
    let id = shared.healing.found(Found { kind, shard: None, what, reason: SUPERSEDED, detail });
    let dir = shared.config.data_dir.join("meta");
    loop {
        let peers = shared.live();
        let member = peers.values().find(|p| p.cluster == identity.cluster && p.node.id != identity.node_id);
        let reply = match member {
            Some(member) => ask_to_join(shared, member).await,
            None => Err(Error::Join { reason: "no member is reachable".into() }),
        };
        match reply {
            Ok(reply) => {
                shared.healing.quarantine(id, &dir).map_err(io_error("quarantine", &dir))?;
                return become_member(shared, &reply.cluster, reply.meta_replica);
            }
            Err(error) => warn!(%error, "no new copy of the metadata yet, trying again"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Waits until a peer takes this node in, or until it is this node's turn to create a cluster.
async fn find_cluster(shared: &Arc<Shared>, rejoin: &str) -> Result<Identity, Error> {
    let gossip = shared.gossip.get().ok_or(Error::Gossip { reason: "not started".into() })?;
    let mut live = gossip.live();
    let mut told: Option<(String, Instant)> = None;
    loop {
        let peers = live.borrow_and_update().clone();
        let seeds = resolve(&shared.config.join).await;
        let sight = Sight {
            me: shared.node_id(),
            peers: &peers,
            rejoin,
            expect: shared.config.bootstrap_expect,
            own: peers.get(&shared.node_id()).and_then(|p| p.gossip).unwrap_or(shared.config.gossip_listen),
            seeds: &seeds,
        };
        let trouble = match next_move(&sight) {
            Move::Join(member) => match join(shared, member).await {
                Ok(identity) => return Ok(identity),
                Err(error) => Some(format!("{} did not take this node in: {error}", member.node.name)),
            },
            Move::Found => return create(shared),
            Move::Wait(reason) => reason,
        };
        if let Some(trouble) = trouble {
            // Once, and then now and again: it may take as long as the operator does.
            if told.as_ref().is_none_or(|(last, at)| *last != trouble || at.elapsed() > TELL_AGAIN) {
                warn!(reason = trouble, "not in a cluster yet, trying again");
                told = Some((trouble, Instant::now()));
            }
        }
        // Peers change, or a join that failed is tried again.
        drop(tokio::time::timeout(Duration::from_millis(500), live.changed()).await);
        if *shared.stopping.borrow() {
            return Err(Error::Join { reason: "the node is stopping".into() });
        }
    }
}

/// The seeds with the addresses that they have now.
async fn resolve(seeds: &[String]) -> Vec<Seed> {
    let mut resolved = Vec::with_capacity(seeds.len());
    for seed in seeds {
        let looked = tokio::time::timeout(RESOLVE_PATIENCE, tokio::net::lookup_host(seed)).await;
        let addresses = looked.ok().and_then(Result::ok).map(Iterator::collect).unwrap_or_default();
        resolved.push(Seed { name: seed.clone(), addresses });
    }
    resolved
}

async fn join(shared: &Arc<Shared>, member: &Peer) -> Result<Identity, Error> {
    let reply = ask_to_join(shared, member).await?;
    let identity = become_member(shared, &reply.cluster, reply.meta_replica)?;
    info!(cluster = identity.cluster, via = member.node.name, "joining a cluster");
    Ok(identity)
}

async fn ask_to_join(shared: &Shared, member: &Peer) -> Result<proto::JoinReply, Error> {
    let own = own_record(shared)?;
    let refused = |reason| Error::Join { reason };
    let mut client = connect(&member.node.rpc).map_err(refused)?;
    let request = proto::JoinRequest { cluster: member.cluster.clone(), node: Some(own.into()) };
    let reply = tokio::time::timeout(Duration::from_secs(5), client.join(request)).await;
    let reply = reply.map_err(|_| refused(format!("{} did not answer", member.node.name)))?;
    let reply = reply.map_err(|s| refused(s.message().to_owned()))?.into_inner();
    for node in &reply.members {
        remember(&shared.book, node.id, &node.rpc);
    }
    Ok(reply)
}

fn create(shared: &Shared) -> Result<Identity, Error> {
    let cluster = format!("{:032x}", rand::random::<u128>());
    let identity = become_member(shared, &cluster, FOUNDER_META_REPLICA)?;
    info!(cluster, "creating a cluster");
    Ok(identity)
}

pub(super) fn own_record(shared: &Shared) -> Result<NodeRecord, Error> {
    let me = shared.node_id();
    let own = shared.live().remove(&me).map(|p| p.node);
    own.ok_or(Error::Gossip { reason: "this node does not see itself yet".into() })
}

/// Writes down which cluster this node belongs to before it takes part.
fn become_member(shared: &Shared, cluster: &str, meta_replica: u64) -> Result<Identity, Error> {
    let mut identity = shared.identity.lock().unwrap_or_else(PoisonError::into_inner);
    identity.cluster = cluster.to_owned();
    identity.meta_replica = meta_replica;
    identity.meta_opened = false;
    identity.rejoin.clear();
    identity.save(&shared.config.data_dir)?;
    Ok(identity.clone())
}

async fn open_meta(shared: &Arc<Shared>, identity: &Identity, listener: TcpListener) -> Result<(), Error> {
    let raft_error = |reason: String| Error::Raft { group: 0, reason };
    let disk = shared.disk.clone();
    let multi_config = MultiConfig {
        replay_bytes: shared.budget.shares.replay,
        // The metadata is small, and a full node must learn what becomes of it.
        admit: Admit::new(move |group| group == GroupId(0) || disk.admits_appends()),
        ..MultiConfig::new(identity.cluster.clone(), NodeId(identity.node_id))
    };
    let multi = Multi::start(multi_config, shared.book.clone()).map_err(|e| raft_error(e.to_string()))?;
    let multi = Arc::new(multi);
    serve(shared, &multi, listener);
    shared.peers.set_cluster(&identity.cluster);
    let dir = shared.config.data_dir.join("meta");
    let machine = Arc::new(MetaMachine::open(&dir).map_err(io_error("open metadata in", &dir))?);
    for (id, node) in &machine.watch().borrow().nodes {
        remember(&shared.book, *id, &node.rpc);
    }
    let storage = Storage::Sled(dir.join("log"));
    let opened = multi.open(GroupId(0), ReplicaId(identity.meta_replica), storage, machine.clone()).await;
    let group = opened.map_err(|e| raft_error(e.to_string()))?;
    remember_meta_opened(shared)?;
    if identity.meta_replica == FOUNDER_META_REPLICA {
        found(shared, &group, &machine.watch(), identity).await?;
    }
    if let Some(gossip) = shared.gossip.get() {
        gossip.announce(&identity.cluster, false);
    }
    let state = machine.watch();
    let (spreads, demotions) = (machine.watch_spreads(), machine.watch_demotions());
    let meta = MetaGroup { group, machine, state, spreads, demotions };
    shared.multi.set(multi).map_err(|_| raft_error("started twice".into()))?;
    shared.meta.set(meta).map_err(|_| raft_error("opened twice".into()))
}

/// From here on a metadata store that is not there is a lost one.
fn remember_meta_opened(shared: &Shared) -> Result<(), Error> {
    let mut identity = shared.identity.lock().unwrap_or_else(PoisonError::into_inner);
    if !identity.meta_opened {
        identity.meta_opened = true;
        identity.save(&shared.config.data_dir)?;
    }
    Ok(())
}

/// How long the founder waits to lead its own group, before it looks again.
const FOUND_AGAIN: Duration = Duration::from_millis(500);

/// The founder initialises the metadata group and writes its first command; repeating it after a crash is harmless. Nothing is
/// left to do once the cluster is there: a founder that comes back is a member like any other, whoever leads.
async fn found(
    shared: &Shared,
    group: &trine_raft::Group,
    created: &watch::Receiver<Arc<MetaState>>,
    identity: &Identity,
) -> Result<(), Error> {
    let status = group.status();
    if status.voters.is_empty() && status.last_log.is_none() {
        let members = [(ReplicaId(identity.meta_replica), NodeId(identity.node_id))].into();
        group.initialize(members).await.map_err(|e| Error::Raft { group: 0, reason: e.to_string() })?;
    }
    let mut created = created.clone();
    loop {
        let status = group.status();
        // Others are taken in by the cluster's metadata, so there is one.
        if status.voters.len() > 1 || !created.borrow_and_update().cluster.is_empty() {
            return Ok(());
        }
        if *shared.stopping.borrow() {
            return Err(Error::Meta { reason: "the node stopped before its cluster was created".into() });
        }
        if status.is_leader
            && let Ok(founder) = own_record(shared)
        {
            let command = Command::CreateCluster {
                cluster: identity.cluster.clone(),
                founder,
                meta_replica: identity.meta_replica,
                shards_count: shared.config.shards_count,
            };
            let done = async { group.propose(crate::meta::encode(&command).into())?.await };
            if let Err(error) = done.await {
                warn!(%error, "the cluster is not created yet, trying again");
            }
        }
        let mut leads = group.watch();
        tokio::select! {
            _ = created.changed() => {}
            _ = leads.changed() => {}
            () = tokio::time::sleep(FOUND_AGAIN) => {}
        }
    }
}

/// How often a shard's leader looks for blocks to compact.
const COMPACTOR_TICK: Duration = Duration::from_secs(5);

async fn run_steward(shared: Arc<Shared>, log: Arc<NodeLog>) {
    let Some(multi) = shared.multi.get().cloned() else { return };
    let config = &shared.config;
    let (log_pressure, log_pressure_rx) = watch::channel(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // A cluster that was there before may have another number than a new one would get.
    let shards = config.shards_count.max(shared.meta().shards.len() as u32);
    let arbiters = match Arbiters::start(cores) {
        Ok(arbiters) => arbiters,
        Err(error) => return error!(%error, "the shard actors' threads do not start"),
    };
    let context = ReplicaContext {
        data_dir: config.data_dir.clone(),
        node: NodeId(shared.node_id()),
        multi,
        device: Arc::new(WalDevice(log.wal.clone())),
        arbiters: arbiters.clone(),
        source: shared.peers.clone(),
        budget: shared.budget.clone(),
        pool: shared.pool.clone(),
        fetches: shared.fetches.clone(),
        config: ShardConfig {
            block_cache: Arc::new(BlockCache::new(shared.budget.shares.block_cache as usize)),
            ..ShardConfig::default()
        },
        merges: shared.merges.clone(),
        compactor: Arc::new(CompactorConfig {
            policy: config.compaction.clone(),
            retention: config.retention.clone(),
            room: shared.room.clone(),
            tick: COMPACTOR_TICK,
        }),
        seal: SealPolicy::new(shared.budget.shares.heads_soft, shards, Duration::from_millis(config.head_age_ms_max)),
        log_pressure: log_pressure_rx,
        healing: shared.healing.clone(),
        disk: shared.disk.clone(),
    };
    let watching = tokio::spawn(watch_node(shared.clone(), log.clone(), log_pressure));
    let scrubbing = tokio::spawn(scrub::schedule(shared.clone()));
    let deleting = tokio::spawn(super::deletions::finish(shared.clone()));
    let spreading = tokio::spawn(spread::keep(shared.clone()));
    let making_room = tokio::spawn(retention::keep(shared.clone()));
    Steward::new(shared.clone(), log, context).run(shared.stopping.subscribe()).await;
    watching.abort();
    scrubbing.abort();
    deleting.abort();
    spreading.abort();
    making_room.abort();
    arbiters.stop();
}

/// Keeps what is announced and what holds the log back up to date, and purges the metadata log behind its exports.
async fn watch_node(shared: Arc<Shared>, log: Arc<NodeLog>, log_pressure: watch::Sender<Vec<u64>>) {
    let was_ready = AtomicBool::new(false);
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let mut exports = shared.meta.get().map(|m| m.machine.watch_exports());
    let mut gone_checked = Instant::now();
    loop {
        ticks.tick().await;
        shared.disk.refresh();
        end_if_metadata_stopped(&shared);
        if let Some(gossip) = shared.gossip.get() {
            gossip.announce_disk(shared.disk.is_full());
        }
        let ready = shared.ready().is_ok();
        if was_ready.swap(ready, Ordering::Relaxed) != ready {
            info!(ready, "readiness changed");
            if let Some(gossip) = shared.gossip.get() {
                gossip.announce(&shared.cluster_id(), ready);
            }
        }
        let laggards: Vec<u64> = log.wal.laggards().into_iter().map(|(stream, _)| stream).collect();
        log_pressure.send_if_modified(|known| {
            let changed = *known != laggards;
            *known = laggards;
            changed
        });
        update_own_record(&shared).await;
        if gone_checked.elapsed() >= GONE_CHECK_EVERY {
            gone_checked = Instant::now();
            shared.leave_if_gone().await;
        }
        if let (Some(exports), Some(meta)) = (&mut exports, shared.meta.get())
            && exports.has_changed().unwrap_or(false)
        {
            let index = *exports.borrow_and_update();
            let done = async {
                meta.group.snapshot_taken().await.map_err(|e| e.to_string())?;
                meta.group.purge_through(index).await.map_err(|e| e.to_string())
            };
            if let Err(error) = done.await {
                warn!(error, "the metadata log was not purged");
            }
        }
    }
}

/// Nothing opens the metadata group again but a new start of the process, which looks at its store first.
fn end_if_metadata_stopped(shared: &Shared) {
    let stopped = shared.meta.get().and_then(|meta| meta.group.status().stopped);
    if let Some(reason) = stopped
        && !*shared.stopping.borrow()
    {
        end_process("the metadata group's replica", &reason.to_string());
    }
}
