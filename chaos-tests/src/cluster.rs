//! A cluster of real processes on loopback.
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::Rng;
use rustix::process::Signal as UnixSignal;
use tempfile::TempDir;

use crate::admin::{Admin, NodeState, Shard, caught_up, replicated};
use crate::binary;
use crate::error::{Error, Result, io};
use crate::machine_lock::MachineLock;
use crate::node::{Addresses, Node};
use crate::wait;

/// What a cluster starts as.
#[derive(Clone, Debug)]
pub struct Options {
    /// 1 or 3.
    pub nodes: usize,
    /// More arguments of `trine node`, for every node.
    pub arguments: Vec<String>,
}

impl Options {
    pub fn nodes(nodes: usize) -> Self {
        Self { nodes, arguments: Vec::new() }
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
/// How long a node may take to stop when asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// Tries to start a cluster when something else takes a port in between.
const PORT_TRIES: usize = 3;
/// Of each log shown on failure.
const LOG_TAIL_BYTES: u64 = 6 << 10;

/// Processes with their data. Ends what it started when dropped, and shows the logs unless [`Cluster::end`] was called.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    options: Options,
    binary: PathBuf,
    http: reqwest::Client,
    ended: bool,
    dir: TempDir,
    /// First three bytes of the nodes' addresses.
    net: [u8; 3],
    /// Dropped last: until then no other cluster starts on this machine.
    _machine: MachineLock,
}

impl Cluster {
    /// Starts the nodes and waits until all are ready and every shard has a voter on each.
    pub async fn start(options: Options) -> Result<Self> {
        let machine = MachineLock::take().await?;
        let binary = binary::path()?;
        let dir = tempfile::Builder::new().prefix("trine-chaos-").tempdir().map_err(io("create a directory"))?;
        let mut rng = rand::rng();
        let net = [127, rng.random_range(1..255), rng.random_range(1..255)];
        let nodes = Vec::new();
        let http = reqwest::Client::new();
        let mut cluster = Self { nodes, options, binary, http, ended: false, dir, net, _machine: machine };
        cluster.boot().await?;
        Ok(cluster)
    }

    async fn boot(&mut self) -> Result<()> {
        for attempt in 1.. {
            let count = self.options.nodes;
            let all = (0..count).map(|n| self.address(n)).collect::<Result<Vec<_>>>()?;
            self.nodes.clear();
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
        let last = u8::try_from(n + 1).expect("a cluster of a test has few nodes");
        let [a, b, c] = self.net;
        Addresses::free_on(Ipv4Addr::new(a, b, c, last))
    }

    fn push(&mut self, n: usize, at: Addresses, seeds: &[Addresses], expect: usize) -> Result<()> {
        let seeds: Vec<String> = seeds.iter().map(|s| s.gossip.to_string()).collect();
        let mut arguments = vec!["--join".into(), seeds.join(","), "--bootstrap-expect".into(), expect.to_string()];
        arguments.extend(self.options.arguments.iter().cloned());
        let mut node = Node::new(self.dir.path(), format!("node-{}", n + 1), at, arguments);
        node.spawn(&self.binary)?;
        self.nodes.push(node);
        Ok(())
    }

    async fn wait_all_ready(&mut self) -> Result<()> {
        for n in 0..self.nodes.len() {
            self.wait_ready(n).await?;
        }
        self.wait_replicated(self.nodes.len()).await
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
            if node.pid().is_some() {
                node.signal(UnixSignal::KILL)?;
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

    /// Where a node keeps its data.
    pub fn data_dir(&self, n: usize) -> &Path {
        self.nodes[n].dir()
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
        self.nodes[n].spawn(&self.binary)
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
