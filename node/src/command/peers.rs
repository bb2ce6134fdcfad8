//! Peers as child processes on loopback, by the same code and flags as in production. For `trine dev` and `trine bench`.
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use crate::error::{Error, io};

/// What one peer is started with.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its name in the cluster, that of its data directory and of its log.
    pub(crate) name: String,
    pub(crate) http: u16,
    pub(crate) rpc: u16,
    pub(crate) gossip: u16,
    /// More keys, as `section.key=value`.
    pub(crate) set: Vec<String>,
}

impl Peer {
    /// Base URL of its APIs.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }
}

/// Running peers; killed when dropped, so call [`Peers::stop`].
#[derive(Debug)]
pub(crate) struct Peers {
    data_dir: PathBuf,
    peers: Vec<Peer>,
    children: Vec<Child>,
}

/// How long the nodes may take to be ready.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// A peer that ends more often is not started again.
const RESTARTS_MAX: u32 = 20;
/// Pause before a peer is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How long a node may take to stop before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

impl Peers {
    /// Starts one cluster of `peers`, with data and logs under `data_dir`, and waits until each is ready.
    pub(crate) async fn start(data_dir: &Path, peers: Vec<Peer>) -> Result<Self, Error> {
        std::fs::create_dir_all(data_dir).map_err(io(format!("create {}", data_dir.display())))?;
        let mut children = Vec::new();
        for peer in &peers {
            children.push(spawn(data_dir, &peers, peer)?);
        }
        let mut started = Self { data_dir: data_dir.to_owned(), peers, children };
        match started.wait_ready().await {
            Ok(()) => Ok(started),
            Err(error) => {
                started.stop().await;
                Err(error)
            }
        }
    }

    pub(crate) fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// Process ids of those that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.children.iter().filter_map(Child::id).collect()
    }

    /// Ends when a peer ends by itself; says which and how.
    async fn next_exit(&mut self) -> (usize, String) {
        let waits = self.peers.iter().zip(&mut self.children).map(|(peer, child)| {
            Box::pin(async move {
                match child.wait().await {
                    Ok(status) => format!("{} ended ({status})", peer.name),
                    Err(error) => format!("{} cannot be watched ({error})", peer.name),
                }
            })
        });
        let (who, at, _) = futures::future::select_all(waits).await;
        (at, who)
    }

    /// Starts a peer that ends again, as a StatefulSet would. Ends when one keeps ending.
    pub(crate) async fn keep_running(&mut self) -> Result<(), Error> {
        let mut restarts = vec![0; self.children.len()];
        loop {
            let (at, who) = self.next_exit().await;
            restarts[at] += 1;
            if restarts[at] > RESTARTS_MAX {
                let dir = self.data_dir.display();
                return Err(Error::Dev(format!("{who}, {} times so far; see its log under {dir}", restarts[at])));
            }
            println!("{who}; the others go on, starting it again");
            tokio::time::sleep(RESTART_PAUSE).await;
            self.children[at] = spawn(&self.data_dir, &self.peers, &self.peers[at])?;
        }
    }

    async fn wait_ready(&mut self) -> Result<(), Error> {
        let client = reqwest::Client::new();
        let deadline = Instant::now() + START_PATIENCE;
        for at in 0..self.peers.len() {
            let url = format!("{}/ready", self.peers[at].url());
            loop {
                if let Some(who) = self.exited() {
                    return Err(Error::Dev(format!("{who} while starting; see its log beside its data")));
                }
                let last = match client.get(&url).timeout(Duration::from_secs(1)).send().await {
                    Ok(reply) if reply.status().is_success() => break,
                    Ok(reply) => reply.text().await.unwrap_or_default(),
                    Err(error) => error.to_string(),
                };
                if Instant::now() > deadline {
                    return Err(Error::Dev(format!("{url} is not ready after {START_PATIENCE:?}: {last}")));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    fn exited(&mut self) -> Option<String> {
        self.peers.iter().zip(&mut self.children).find_map(|(peer, child)| match child.try_wait() {
            Ok(Some(status)) => Some(format!("{} ended ({status})", peer.name)),
            _ => None,
        })
    }

    /// Asks every peer to stop, and kills those that do not in time.
    pub(crate) async fn stop(&mut self) {
        for child in &mut self.children {
            terminate(child);
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        for child in &mut self.children {
            await_end(child, deadline).await;
        }
    }
}

/// Sends SIGTERM to a child that still runs.
pub(crate) fn terminate(child: &Child) {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
        && let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::TERM)
    {
        eprintln!("cannot stop process {}: {error}", pid.as_raw_nonzero());
    }
}

/// Waits for a child's end; kills it at the deadline.
pub(crate) async fn await_end(child: &mut Child, deadline: Instant) {
    let patience = deadline.saturating_duration_since(Instant::now());
    if tokio::time::timeout(patience, child.wait()).await.is_err()
        && let Err(error) = child.kill().await
    {
        eprintln!("cannot kill a process: {error}");
    }
}

/// A file to append a child's output to.
pub(crate) fn log_file(path: PathBuf) -> Result<std::fs::File, Error> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    log.map_err(io(format!("open {}", path.display())))
}

/// Whether something on this machine listens on the port.
pub(crate) fn taken(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err()
}

fn spawn(data_dir: &Path, all: &[Peer], peer: &Peer) -> Result<Child, Error> {
    let dir = data_dir.join(&peer.name);
    std::fs::create_dir_all(&dir).map_err(io(format!("create {}", dir.display())))?;
    let log = log_file(data_dir.join(format!("{}.log", peer.name)))?;
    let join: Vec<String> = all.iter().map(|p| format!("127.0.0.1:{}", p.gossip)).collect();
    let executable = std::env::current_exe().map_err(io("find the running program"))?;
    let mut command = Command::new(executable);
    command
        .arg("node")
        .args(["--data-dir", &dir.to_string_lossy(), "--node-name", &peer.name, "--advertise", "127.0.0.1"])
        .args(["--http", &format!("127.0.0.1:{}", peer.http), "--rpc", &format!("127.0.0.1:{}", peer.rpc)])
        .args(["--gossip", &format!("127.0.0.1:{}", peer.gossip), "--join", &join.join(",")])
        .args(["--bootstrap-expect", &all.len().to_string()]);
    for pair in &peer.set {
        command.args(["--set", pair]);
    }
    // A terminal's Ctrl-C reaches the whole process group: the children must hear of it from here, in order.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    command.spawn().map_err(io(format!("start {}", peer.name)))
}
