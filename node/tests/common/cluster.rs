//! Three `trine node` processes.
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use super::http::Http;
use super::ports::{free_tcp_ports, free_udp_ports};
use super::process::Program;
use super::until::until;

/// How long a fresh cluster may take until each node is ready; a debug build on two busy cores is slow.
const START_PATIENCE: Duration = Duration::from_secs(90);
const NODES: usize = 3;

/// One cluster at a time: two would starve each other of the machine's cores and miss raft's timeouts.
static TURN: Mutex<()> = Mutex::const_new(());

/// Addresses of one node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Every HTTP and gRPC API, as `http://127.0.0.1:port`.
    pub(crate) url: String,
    pub(crate) http: Http,
}

/// Three ready nodes and the directory that they live in.
#[derive(Debug)]
pub(crate) struct Cluster {
    // Fields are dropped in order: the processes end before their files go, and the next cluster waits for both.
    programs: Vec<Program>,
    pub(crate) nodes: Vec<Node>,
    /// `host:port` of node 1's OTLP over gRPC.
    pub(crate) otlp_grpc: String,
    /// Base URL of node 1's OTLP over HTTP.
    pub(crate) otlp_http: String,
    dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Starts three nodes and waits until each is ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// As [`Self::start`], with settings (`section.key=value`) for all nodes.
    pub(crate) async fn start_with(settings: &[&str]) -> Self {
        let turn = TURN.lock().await;
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let tcp = free_tcp_ports(2 * NODES + 2);
        let gossip = free_udp_ports(NODES);
        let (http, rpc, otlp) = (&tcp[..NODES], &tcp[NODES..2 * NODES], &tcp[2 * NODES..]);
        let join: Vec<String> = gossip.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut programs = Vec::new();
        for n in 0..NODES {
            let mut command = command(dir.path(), n, &join);
            command.args(settings.iter().flat_map(|pair| ["--set", pair]));
            command.args(["--http", &format!("127.0.0.1:{}", http[n]), "--rpc", &format!("127.0.0.1:{}", rpc[n])]);
            for (listener, port) in ["otlp_grpc", "otlp_http"].into_iter().zip(otlp) {
                let at = if n == 0 { format!("127.0.0.1:{port}") } else { String::new() };
                command.args(["--set", &format!("listen.{listener}={at:?}")]);
            }
            for setting in settings {
                command.args(["--set", setting]);
            }
            programs.push(Program::start(&name(n), &mut command, dir.path()));
        }
        let nodes = http.iter().map(|port| Node::at(*port)).collect();
        let (otlp_grpc, otlp_http) = (format!("127.0.0.1:{}", otlp[0]), format!("http://127.0.0.1:{}", otlp[1]));
        let mut cluster = Self { programs, nodes, otlp_grpc, otlp_http, dir, _turn: turn };
        cluster.wait_ready().await;
        cluster
    }

    async fn wait_ready(&mut self) {
        for node in &self.nodes {
            until(&format!("{}/ready", node.url), START_PATIENCE, || {
                let gone: Vec<String> = self.programs.iter_mut().filter_map(Program::ended).collect();
                assert!(gone.is_empty(), "while the cluster starts: {gone:?}");
                async { node.http.try_get("/ready", &[]).await.and_then(|r| r.success().map(drop)) }
            })
            .await;
        }
    }

    /// Where a test may keep the files of programs beside the cluster.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The node that clients write to.
    pub(crate) fn first(&self) -> &Node {
        &self.nodes[0]
    }

    /// Seals every head, so that what was written is read from blocks.
    pub(crate) async fn flush(&self) {
        let reply = self.first().http.post("/admin/v1/flush", &[], Vec::new()).await;
        assert!(reply.status == 200 || reply.status == 202, "flush: {} {}", reply.status, reply.text());
    }
}

impl Node {
    fn at(port: u16) -> Self {
        let url = format!("http://127.0.0.1:{port}");
        Self { http: Http::new(&url), url }
    }
}

fn name(n: usize) -> String {
    format!("node-{}", n + 1)
}

fn command(dir: &Path, n: usize, join: &[String]) -> Command {
    let name = name(n);
    let mut command = Command::new(env!("CARGO_BIN_EXE_trine"));
    command.arg("node").args(["--node-name", &name, "--advertise", "127.0.0.1"]);
    command.arg("--data-dir").arg(dir.join(&name));
    command.args(["--gossip", &join[n], "--join", &join.join(","), "--bootstrap-expect", &NODES.to_string()]);
    for listener in ["loki", "tempo", "mimir"] {
        command.args(["--set", &format!("listen.{listener}=\"\"")]);
    }
    command
}
