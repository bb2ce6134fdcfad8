//! Clusters of nodes in this process, on loopback, with one series that can be written and asked for.
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, MutexGuard};
use trine_actors::rpc::proto::ScrubReply;
use trine_actors::shard::Retention;
use trine_actors::{Cluster, ClusterConfig, WriteError};
use trine_query::memory::Account;
use trine_query::promql::{InstantQuery, LOOKBACK_MS_DEFAULT, Value, instant};
use trine_query::scatter::QueryContext;
use trine_store::model::Labels;
use trine_store::model::signal::{key_hash, slot_of_hash};
use trine_store::part::MetricsPartBuilder;
use trine_store::shard::CompactionPolicy;

pub(crate) const TENANT: &str = "default";
pub(crate) const TIME_MS: i64 = 1_700_000_000_000;
const SHARDS: u32 = 2;
/// A debug build on busy cores is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One cluster at a time: two would starve each other of the machine's cores and miss raft's timeouts.
static TURN: Mutex<()> = Mutex::const_new(());

/// Some nodes and their directory.
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<Cluster>,
    /// One a node, so that all its tasks end with it.
    runtimes: Vec<Runtime>,
    pub(crate) configs: Vec<ClusterConfig>,
    _dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A port that nobody listens on, below those that the system gives to connections.
fn free_port() -> u16 {
    loop {
        let port = rand::random_range(10_000..32_000);
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
            return port;
        }
    }
}

impl Nodes {
    /// Starts `count` nodes and waits until each is ready and has all its replicas.
    pub(crate) async fn start(count: usize) -> Self {
        // Blocks stay as they were sealed.
        Self::start_with(count, CompactionPolicy { windows_ms: Vec::new(), ..CompactionPolicy::default() }).await
    }

    /// The same with compaction.
    pub(crate) async fn start_with(count: usize, compaction: CompactionPolicy) -> Self {
        Self::start_keeping(count, compaction, Retention::default()).await
    }

    /// The same where facts go after some time.
    pub(crate) async fn start_keeping(count: usize, compaction: CompactionPolicy, retention: Retention) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let turn = TURN.lock().await;
        let at = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let ports: Vec<_> = (0..count).map(|_| (at(), at())).collect();
        let configs: Vec<ClusterConfig> = (0..count)
            .map(|n| ClusterConfig {
                data_dir: dir.path().join(format!("node-{n}")),
                node_name: format!("node-{n}"),
                zone: String::new(),
                rpc_listen: ports[n].0,
                gossip_listen: ports[n].1,
                advertise_host: "127.0.0.1".into(),
                http_advertise: String::new(),
                join: ports.iter().map(|p| p.1.to_string()).collect(),
                bootstrap_expect: count,
                cluster_key: String::new(),
                shards_count: SHARDS,
                replication_factor: 3,
                memory_budget_bytes: 512 << 20,
                head_age_ms_max: 3_600_000,
                wal_bytes_soft: 1 << 30,
                disk_reserve_bytes: 1,
                scrub_interval_ms: 0,
                scrub_bytes_per_second: 1 << 30,
                pool_threads: 2,
                compaction: compaction.clone(),
                compaction_bytes_per_second: 0,
                retention: retention.clone(),
                quarantine_keep_ms: 3_600_000,
                quarantine_bytes_max: 1 << 30,
                fetch_bytes_per_second: 0,
                fetches_max: 2,
                future_ms_max: 600_000,
                spread_lead_ms: 60_000,
                spread_bytes_per_second: 0,
                spread_after_ms: 60_000,
                version: "test".into(),
            })
            .collect();
        let (mut nodes, mut runtimes) = (Vec::new(), Vec::new());
        for config in &configs {
            let runtime = runtime();
            nodes.push(runtime.spawn(Cluster::start(config.clone())).await.unwrap().unwrap());
            runtimes.push(runtime);
        }
        let nodes = Self { nodes, runtimes, configs, _dir: dir, _turn: turn };
        for node in &nodes.nodes {
            until("each node has all its replicas", || {
                let (status, ready) = (node.own_status(), node.ready().is_ok());
                async move {
                    let voters = |r: &trine_actors::rpc::proto::ReplicaStatus| r.voters.len() == count;
                    ready && status.replicas.iter().filter(|r| voters(r)).count() == SHARDS as usize + 1
                }
            })
            .await;
        }
        nodes
    }

    pub(crate) fn data_dir(&self, node: usize) -> &Path {
        &self.configs[node].data_dir
    }

    /// Stops a node and starts it again on the same directory, after `between`.
    pub(crate) async fn restart(&mut self, node: usize, between: impl FnOnce(&Path)) {
        let stopped = self.nodes.remove(node);
        stopped.stop().await;
        drop(stopped);
        std::mem::replace(&mut self.runtimes[node], runtime()).shutdown_background();
        between(&self.configs[node].data_dir);
        let start = || self.runtimes[node].spawn(Cluster::start(self.configs[node].clone()));
        let mut started = start().await.unwrap();
        // The listeners and the lock of the log go with the last task of the stopped node.
        let since = Instant::now();
        while started.is_err() && since.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
            started = start().await.unwrap();
        }
        self.nodes.insert(node, started.unwrap());
        let node = &self.nodes[node];
        until("the node is ready again", || async { node.ready().is_ok() }).await;
    }

    /// Stops a node for good; those behind it move up.
    pub(crate) async fn stop_one(&mut self, node: usize) {
        self.configs.remove(node);
        self.nodes.remove(node).stop().await;
        self.runtimes.remove(node).shutdown_background();
    }

    pub(crate) async fn stop(self) {
        for (node, runtime) in self.nodes.into_iter().zip(self.runtimes) {
            node.stop().await;
            runtime.shutdown_background();
        }
    }

    /// Writes `count` series with one sample each and seals them.
    pub(crate) async fn write(&self, name: &str, count: usize) {
        for n in 0..count {
            self.write_one(name, n).await;
        }
        let flushed = self.nodes[0].flush().await;
        assert!(flushed.errors.is_empty(), "{:?}", flushed.errors);
        for node in 0..self.nodes.len() {
            until("every replica has sealed", || async {
                self.blocks(node).iter().filter(|p| p.to_string_lossy().contains("metrics")).count() >= SHARDS as usize
            })
            .await;
        }
    }

    /// Writes one series with one sample.
    pub(crate) async fn write_one(&self, name: &str, n: usize) {
        self.try_write_one(name, n).await.unwrap();
    }

    pub(crate) async fn try_write_one(&self, name: &str, n: usize) -> Result<(), WriteError> {
        self.write_at(name, n, TIME_MS).await
    }

    /// Writes one series with one sample at a time.
    pub(crate) async fn write_at(&self, name: &str, n: usize, time_ms: i64) -> Result<(), WriteError> {
        let key = Labels::from_pairs([("__name__", name), ("n", &n.to_string())]).unwrap();
        let hash = key_hash(TENANT, key.as_bytes());
        let mut part = MetricsPartBuilder::new(TENANT);
        let series = part.series(hash, key.as_bytes());
        part.floats(series, [(time_ms, 1f64.to_bits())].into_iter());
        let shard = self.nodes[0].shard_of(slot_of_hash(hash));
        self.nodes[0].write(vec![(shard, part.finish().into())]).await.map(drop)
    }

    /// How many series a node sees, and the warnings of the answer.
    pub(crate) async fn ask(&self, node: usize, name: &str) -> (usize, Vec<String>) {
        self.ask_at(node, name, TIME_MS).await
    }

    /// The same at another time.
    pub(crate) async fn ask_at(&self, node: usize, name: &str, time_ms: i64) -> (usize, Vec<String>) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let ctx = QueryContext {
            tenant: Arc::from(TENANT),
            deadline,
            strict: false,
            no_cache: false,
            count_steps: false,
            memory: Account::unbounded(),
        };
        let query = InstantQuery { query: name.into(), time_ms, lookback_ms: LOOKBACK_MS_DEFAULT, limit: 0 };
        let answer = instant(&self.nodes[node].scatter(), &ctx, &query).await.unwrap();
        let Value::Vector(samples) = answer.value else { panic!("a selector gives a vector") };
        (samples.len(), answer.warnings)
    }

    /// Scrubs a node and waits for the end of it.
    pub(crate) async fn scrub(&self, node: usize) -> ScrubReply {
        let runs = self.nodes[node].scrub_here(true).runs;
        until("the scrub has ended", || async { self.nodes[node].scrub_here(false).runs > runs }).await;
        self.nodes[node].scrub_here(false)
    }

    /// Block files of a node, in order.
    pub(crate) fn blocks(&self, node: usize) -> Vec<PathBuf> {
        blocks(self.data_dir(node))
    }
}

/// Block files below a data directory, in order.
pub(crate) fn blocks(data_dir: &Path) -> Vec<PathBuf> {
    let Ok(shards) = std::fs::read_dir(data_dir.join("shards")) else { return Vec::new() };
    let dirs = shards.flatten().filter_map(|shard| std::fs::read_dir(shard.path().join("blocks")).ok());
    let mut files: Vec<PathBuf> = dirs.flat_map(|dir| dir.flatten().map(|f| f.path())).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "trnb"));
    files.sort();
    files
}

/// Flips bits in the middle of a file, behind the back of whoever has it open.
pub(crate) fn corrupt(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let len = file.metadata().unwrap().len();
    let mut bytes = vec![0; len as usize / 2];
    file.read_exact_at(&mut bytes, 16).unwrap();
    bytes.iter_mut().for_each(|b| *b ^= 0x55);
    file.write_all_at(&bytes, 16).unwrap();
}

/// Waits for a condition.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let since = Instant::now();
    while !is_so().await {
        assert!(since.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
