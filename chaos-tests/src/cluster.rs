//! A cluster of real processes on loopback.
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::Rng;
use rustix::process::Signal as UnixSignal;
use tempfile::TempDir;

use crate::admin::{Admin, NodeState, Shard, caught_up, replicated};
use crate::binary;
use crate::clock::Clocks;
use crate::disk::LoopDisk;
use crate::error::{Error, Result, io};
use crate::machine_lock::MachineLock;
use crate::net::{Network, Pids, Realm};
use crate::node::{Addresses, Host, Node};
use crate::wait;

/// What a cluster starts as.
#[derive(Clone, Debug)]
pub struct Options {
    /// 1, or 3 and more.
    pub nodes: usize,
    /// More arguments of `trine node`, for every node.
    pub arguments: Vec<String>,
    /// What surrounds the processes, to be broken.
    pub surroundings: Surroundings,
}

/// What can be broken about a cluster besides its processes.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Nodes reach each other through a [`Network`].
    pub network: bool,
    /// Without, namespaces where root allows them.
    pub realm: Option<Realm>,
    /// Each node's data is on a disk of its own of so many bytes; needs root.
    pub disk_bytes: Option<u64>,
    /// Each node has a wall clock of its own.
    pub clocks: bool,
    /// Variables of every process.
    pub environment: Vec<(String, String)>,
    /// The program; [`binary::path`] without.
    pub binary: Option<PathBuf>,
}

impl Options {
    pub fn nodes(nodes: usize) -> Self {
        Self { nodes, arguments: Vec::new(), surroundings: Surroundings::default() }
    }

    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }
}

/// How long a node may take from its start until it is ready; generous, since debug builds share small machines.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// How long shards may take until they have all voters, and a node until it has caught up.
const REPLICATE_PATIENCE: Duration = Duration::from_secs(90);
/// A shard has so many voters once there are as many nodes.
pub(crate) const VOTERS_MAX: usize = 3;
/// How long a node may take to stop when asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// Tries to start a cluster when something else takes a port in between.
const PORT_TRIES: usize = 3;
/// Of each log shown on failure.
const LOG_TAIL_BYTES: u64 = 6 << 10;

/// Processes with their data. Ends what it started when dropped, and shows the logs unless [`Cluster::end`] was called.
#[derive(Debug)]
pub struct Cluster {
    // The processes go before what surrounds them.
    nodes: Vec<Node>,
    options: Options,
    binary: PathBuf,
    http: reqwest::Client,
    ended: bool,
    network: Option<Network>,
    disks: Vec<LoopDisk>,
    /// After the disks, which are mounted in it.
    dir: TempDir,
    /// First three bytes of the nodes' addresses.
    net: [u8; 3],
    clocks: Option<Clocks>,
    pids: Pids,
    /// Dropped last: until then no other cluster starts on this machine.
    _machine: MachineLock,
}

impl Cluster {
    /// Starts the nodes and waits until all are ready and every shard has all its voters.
    pub async fn start(options: Options) -> Result<Self> {
        let machine = MachineLock::take().await?;
        let binary = options.surroundings.binary.clone().map_or_else(binary::path, Ok)?;
        let dir = tempfile::Builder::new().prefix("trine-chaos-").tempdir().map_err(io("create a directory"))?;
        let mut rng = rand::rng();
        let net = [127, rng.random_range(1..255), rng.random_range(1..255)];
        let nodes = Vec::new();
        let http = reqwest::Client::new();
        let (disks, pids) = (Vec::new(), Pids::default());
        let (network, clocks) = (None, None);
        let mut cluster = Self {
            nodes,
            options,
            binary,
            http,
            ended: false,
            dir,
            net,
            network,
            disks,
            clocks,
            pids,
            _machine: machine,
        };
        cluster.surround()?;
        cluster.boot().await?;
        Ok(cluster)
    }

    /// Makes what the processes will live in.
    fn surround(&mut self) -> Result<()> {
        let (count, wanted) = (self.options.nodes, self.options.surroundings.clone());
        if wanted.network {
            self.network = Some(Network::new(count, wanted.realm)?);
        }
        if let Some(bytes) = wanted.disk_bytes {
            for n in 0..count {
                self.disks.push(LoopDisk::create(self.dir.path(), &format!("disk-{}", n + 1), bytes)?);
            }
        }
        if wanted.clocks {
            self.clocks = Some(Clocks::create(self.dir.path(), count)?);
        }
        Ok(())
    }

    async fn boot(&mut self) -> Result<()> {
        for attempt in 1.. {
            let count = self.options.nodes;
            let all = (0..count).map(|n| self.address(n)).collect::<Result<Vec<_>>>()?;
            self.nodes.clear();
            if let Some(network) = &mut self.network {
                network.start(&all, self.pids.clone()).await?;
            }
            for (n, at) in all.iter().enumerate() {
                self.push(n, *at, &all, count)?;
            }
            match self.wait_all_ready().await {
                Err(_) if attempt < PORT_TRIES && self.nodes.iter().any(Node::lost_its_port) => {}
                other => return other,
            }
        }
        Ok(())
    }

    fn address(&self, n: usize) -> Result<Addresses> {
        if let Some(network) = &self.network {
            return network.address(n);
        }
        let last = u8::try_from(n + 1).expect("a cluster of a test has few nodes");
        let [a, b, c] = self.net;
        Addresses::free_on(Ipv4Addr::new(a, b, c, last))
    }

    fn push(&mut self, n: usize, at: Addresses, seeds: &[Addresses], expect: usize) -> Result<()> {
        let reached = |(n, s): (usize, &Addresses)| match &self.network {
            None => s.gossip,
            Some(network) => SocketAddr::from((network.advertised(n), s.gossip.port())),
        };
        let seeds: Vec<String> = seeds.iter().enumerate().map(|s| reached(s).to_string()).collect();
        let mut arguments = vec!["--join".into(), seeds.join(","), "--bootstrap-expect".into(), expect.to_string()];
        arguments.extend(self.options.arguments.iter().cloned());
        let node = Node::new(self.dir.path(), format!("node-{}", n + 1), at, arguments, self.host(n));
        self.nodes.push(node);
        self.restart(n)
    }

    fn host(&self, n: usize) -> Host {
        let mut environment = self.options.surroundings.environment.clone();
        environment.push(("TRINE_TEST_FILE_FAULTS".into(), self.faults_path(n).display().to_string()));
        environment.extend(self.clocks.iter().flat_map(|clocks| clocks.environment(n)));
        Host {
            prefix: self.network.as_ref().map(|network| network.prefix(n)).unwrap_or_default(),
            advertised: self.network.as_ref().map(|network| network.advertised(n)),
            environment,
            data_dir: self.disks.get(n).map(|disk| disk.mount().join("data")),
        }
    }

    /// The links between the nodes, if they were asked for.
    pub fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    /// A node's own disk, if it was asked for.
    pub fn disk(&mut self, n: usize) -> Option<&mut LoopDisk> {
        self.disks.get_mut(n)
    }

    /// The nodes' clocks, if they were asked for.
    pub fn clocks(&self) -> Option<&Clocks> {
        self.clocks.as_ref()
    }

    /// What a node's file operations suffer from now on, in the words of `store::faults`; only a build with the
    /// feature `fault-injection` minds.
    pub fn file_faults(&self, n: usize, rule: Option<&str>) -> Result<()> {
        let (path, new) = (self.faults_path(n), self.faults_path(n).with_extension("new"));
        let written = std::fs::write(&new, rule.unwrap_or_default()).and_then(|()| std::fs::rename(&new, &path));
        written.map_err(io(format!("write {}", path.display())))
    }

    fn faults_path(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("file-faults-{}", n + 1))
    }

    /// Where a node's data is.
    pub fn data_dir(&self, n: usize) -> &Path {
        self.nodes[n].data_dir()
    }

    /// Where a node's log is.
    pub fn log_path(&self, n: usize) -> &Path {
        self.nodes[n].log_path()
    }

    /// Where everything of this cluster is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Whether a node's process has been started and not killed since; it may have ended by itself.
    pub fn is_started(&self, n: usize) -> bool {
        self.nodes[n].pid().is_some()
    }

    /// How a node's process ended, if it did by itself.
    pub fn exit_status(&mut self, n: usize) -> Option<String> {
        self.nodes[n].exit_status()
    }

    /// What panicked so far in the processes: position of the node, place and message.
    pub fn panics(&self) -> Result<Vec<(usize, String)>> {
        let mut all = Vec::new();
        for (n, node) in self.nodes.iter().enumerate() {
            all.extend(node.panics()?.into_iter().map(|message| (n, message)));
        }
        Ok(all)
    }

    /// Keeps data and logs when this ends; says where.
    pub fn keep(&mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.dir.path().to_path_buf()
    }

    async fn wait_all_ready(&mut self) -> Result<()> {
        for n in 0..self.nodes.len() {
            self.wait_ready(n).await?;
        }
        self.wait_replicated(self.nodes.len().min(VOTERS_MAX)).await
    }

    /// Adds a node that joins the others; returns its position at once.
    pub fn join(&mut self) -> Result<usize> {
        let n = self.nodes.len();
        let at = self.address(n)?;
        let seeds: Vec<Addresses> = self.nodes.iter().map(|node| node.at).collect();
        self.push(n, at, &seeds, 0)?;
        Ok(n)
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Where clients reach a node.
    pub fn http(&self, n: usize) -> SocketAddr {
        self.nodes[n].at.http
    }

    /// Where other nodes reach it: gRPC, and gossip (UDP).
    pub fn internal(&self, n: usize) -> (SocketAddr, SocketAddr) {
        (self.nodes[n].at.rpc, self.nodes[n].at.gossip)
    }

    pub fn name(&self, n: usize) -> &str {
        &self.nodes[n].name
    }

    pub fn admin(&self, n: usize) -> Admin {
        Admin::new(self.http.clone(), self.nodes[n].at.http)
    }

    /// Positions of all nodes but one.
    pub fn others(&self, n: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|other| *other != n).collect()
    }

    /// Addresses that clients reach these nodes by.
    pub fn https(&self, nodes: &[usize]) -> Vec<SocketAddr> {
        nodes.iter().map(|n| self.http(*n)).collect()
    }

    /// SIGKILL; returns once the process is gone.
    pub fn kill(&mut self, n: usize) -> Result<()> {
        self.nodes[n].kill()
    }

    /// SIGKILL to all before any is waited for.
    pub fn kill_all(&mut self) -> Result<()> {
        for node in &self.nodes {
            match node.signal(UnixSignal::KILL) {
                Ok(()) | Err(Error::Ended { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        self.nodes.iter_mut().try_for_each(Node::kill)
    }

    /// SIGTERM; returns once the process has ended by itself.
    pub async fn stop(&mut self, n: usize) -> Result<()> {
        self.nodes[n].signal(UnixSignal::TERM)?;
        self.nodes[n].ended(STOP_PATIENCE).await
    }

    /// SIGTERM to all before any is waited for; returns once all have ended by themselves.
    pub async fn stop_all(&mut self) -> Result<()> {
        for node in &self.nodes {
            if node.pid().is_some() {
                node.signal(UnixSignal::TERM)?;
            }
        }
        for node in &mut self.nodes {
            node.ended(STOP_PATIENCE).await?;
        }
        Ok(())
    }

    /// Lines of a node's log with this text, since its first start.
    pub fn log_lines(&self, n: usize, text: &str) -> Result<usize> {
        self.nodes[n].log_lines(text)
    }

    /// A path beside a node's data, on the same file system.
    pub fn beside_data(&self, n: usize, what: &str) -> PathBuf {
        self.dir.path().join(format!("{}-{what}", self.nodes[n].name))
    }

    /// Gives an argument of a node's later starts another value.
    pub fn set_argument(&mut self, n: usize, flag: &str, value: &str) {
        self.nodes[n].set_argument(flag, value);
    }

    /// Waits for a node to end by itself.
    pub async fn wait_ended(&mut self, n: usize) -> Result<()> {
        self.nodes[n].ended(STOP_PATIENCE).await
    }

    /// SIGSTOP: connections stay open, nothing answers.
    pub fn pause(&self, n: usize) -> Result<()> {
        self.nodes[n].signal(UnixSignal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self, n: usize) -> Result<()> {
        self.nodes[n].signal(UnixSignal::CONT)
    }

    /// Starts a node that ended, on its old data and addresses; does not wait.
    pub fn restart(&mut self, n: usize) -> Result<()> {
        self.nodes[n].spawn(&self.binary)?;
        self.pids.set(n, self.nodes[n].pid());
        Ok(())
    }

    /// Removes the data of a node that ended.
    pub fn wipe(&self, n: usize) -> Result<()> {
        self.nodes[n].wipe()
    }

    /// `Err` if a node's process ended by itself.
    pub fn check_alive(&mut self, n: usize) -> Result<()> {
        let node = &mut self.nodes[n];
        match node.exit_status() {
            None => Ok(()),
            Some(status) => Err(Error::Ended { node: node.name.clone(), status }),
        }
    }

    /// Resident memory of a running node, in bytes.
    pub fn resident_bytes(&self, n: usize) -> Option<u64> {
        self.nodes[n].resident_bytes()
    }

    /// The most that a running node's process has had resident since it started, in bytes.
    pub fn peak_resident_bytes(&self, n: usize) -> Option<u64> {
        self.nodes[n].peak_resident_bytes()
    }

    /// Waits until a node says that it serves.
    pub async fn wait_ready(&mut self, n: usize) -> Result<()> {
        let admin = self.admin(n);
        let what = format!("{} ready", self.nodes[n].name);
        let node = &mut self.nodes[n];
        wait::until(&what, READY_PATIENCE, || {
            let (admin, gone) = (admin.clone(), node.exit_status());
            async move {
                match gone {
                    Some(status) => Ok(Err(status)),
                    None => admin.ready().await.map(Ok),
                }
            }
        })
        .await?
        .map_err(|status| Error::Ended { node: self.nodes[n].name.clone(), status })
    }

    /// Waits until every shard has a leader and `voters` voters, by the admin API of the first node that runs.
    pub async fn wait_replicated(&self, voters: usize) -> Result<()> {
        self.wait_shards(&format!("{voters} voters of every shard"), |shards| replicated(shards, voters)).await
    }

    /// Waits until a node's replicas have applied what their leaders have.
    pub async fn wait_caught_up(&self, n: usize) -> Result<()> {
        let name = self.nodes[n].name.clone();
        self.wait_shards(&format!("{name} without lag"), |shards| caught_up(shards, &name)).await
    }

    /// Waits until the shards as some running node sees them satisfy `test`.
    pub async fn wait_shards(
        &self,
        what: &str,
        test: impl Fn(&[Shard]) -> std::result::Result<(), String>,
    ) -> Result<()> {
        let admin = self.admin(self.some_running());
        wait::until(what, REPLICATE_PATIENCE, || {
            let (admin, test) = (admin.clone(), &test);
            async move { test(&admin.shards().await.map_err(|e| e.to_string())?) }
        })
        .await
    }

    /// Positions of nodes, those that lead most shards first.
    pub async fn by_leaders(&self) -> Result<Vec<usize>> {
        let states: Vec<NodeState> = self.admin(self.some_running()).nodes().await?;
        let leads = |n: usize| states.iter().find(|s| s.name == self.nodes[n].name).map_or(0, |s| s.leaders_count);
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        order.sort_by_key(|n| std::cmp::Reverse(leads(*n)));
        Ok(order)
    }

    fn some_running(&self) -> usize {
        self.nodes.iter().position(|n| n.pid().is_some()).unwrap_or(0)
    }

    /// Ends all nodes without showing their logs: the scenario has passed.
    pub fn end(mut self) -> Result<()> {
        self.ended = true;
        self.kill_all()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::env::var_os("TRINE_CHAOS_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            eprintln!("data and logs are kept under {}", self.dir.path().display());
        }
        if self.ended {
            return;
        }
        for node in &self.nodes {
            eprintln!("--- end of the log of {}\n{}", node.name, node.log_tail(LOG_TAIL_BYTES));
        }
    }
}
