//! Peers as child processes on loopback, by the same code and flags as in production. For `trine dev` and `trine bench`.
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, ChildStdin, Command};

use crate::error::{Error, chain, io};

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
    running: Vec<Running>,
}

/// A peer's process.
#[derive(Debug)]
struct Running {
    child: Child,
    /// Held open for as long as this process lives: the peer stops when it closes, even after a SIGKILL to this process.
    _lifeline: Option<ChildStdin>,
}

/// How long the nodes may take to be ready.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// While they are not, a word about why, so often.
const NEWS_INTERVAL: Duration = Duration::from_secs(10);
/// A peer that ends more often is not started again.
const RESTARTS_MAX: u32 = 20;
/// Pause before a peer is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How long a node may take to stop before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// Lines of a log that an error quotes.
const LOG_LINES: usize = 3;
/// The end of a log that these are looked for in.
const LOG_TAIL_BYTES: u64 = 16 << 10;

impl Peers {
    /// Starts one cluster of `peers`, with data and logs under `data_dir`, and waits until each is ready.
    pub(crate) async fn start(data_dir: &Path, peers: Vec<Peer>) -> Result<Self, Error> {
        let mut started = Self::spawn(data_dir, peers)?;
        match started.wait_ready().await {
            Ok(()) => Ok(started),
            Err(error) => {
                started.stop().await;
                Err(error)
            }
        }
    }

    /// Starts one cluster of `peers`, with data and logs under `data_dir`. Those that run are killed if one does not start.
    pub(crate) fn spawn(data_dir: &Path, peers: Vec<Peer>) -> Result<Self, Error> {
        std::fs::create_dir_all(data_dir).map_err(io(format!("create {}", data_dir.display())))?;
        let running = peers.iter().map(|peer| spawn(data_dir, &peers, peer)).collect::<Result<_, _>>()?;
        Ok(Self { data_dir: data_dir.to_owned(), peers, running })
    }

    pub(crate) fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// Process ids of those that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.running.iter().filter_map(|r| r.child.id()).collect()
    }

    /// Ends when a peer ends by itself; says which and how.
    async fn next_exit(&mut self) -> (usize, String) {
        let waits = self.peers.iter().zip(&mut self.running).map(|(peer, running)| {
            Box::pin(async move {
                match running.child.wait().await {
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
        let mut restarts = vec![0; self.running.len()];
        loop {
            let (at, who) = self.next_exit().await;
            restarts[at] += 1;
            if restarts[at] > RESTARTS_MAX {
                return Err(Error::Dev(format!("{who}, {} times so far; {}", restarts[at], self.log_of(at))));
            }
            drop(super::out::line(format_args!("{who}; the others go on, starting it again")));
            tokio::time::sleep(RESTART_PAUSE).await;
            self.running[at] = spawn(&self.data_dir, &self.peers, &self.peers[at])?;
        }
    }

    /// Waits until each is ready; says every ten seconds what it waits for.
    pub(crate) async fn wait_ready(&mut self) -> Result<(), Error> {
        let client = reqwest::Client::builder().no_proxy().build();
        let client = client.map_err(|e| Error::Dev(format!("make a client: {}", chain(&e))))?;
        let (deadline, mut news) = (Instant::now() + START_PATIENCE, Instant::now() + NEWS_INTERVAL);
        for at in 0..self.peers.len() {
            let url = format!("{}/ready", self.peers[at].url());
            loop {
                if let Some((at, who)) = self.exited() {
                    return Err(Error::Dev(format!("{who} while starting; {}", self.log_of(at))));
                }
                let last = match client.get(&url).timeout(Duration::from_secs(1)).send().await {
                    Ok(reply) if reply.status().is_success() => break,
                    Ok(reply) => reply.text().await.unwrap_or_default().trim_end().to_owned(),
                    Err(error) => chain(&error),
                };
                if Instant::now() > deadline {
                    let log = self.log_of(at);
                    return Err(Error::Dev(format!("{url} is not ready after {START_PATIENCE:?}: {last}; {log}")));
                }
                if Instant::now() > news {
                    eprintln!("{} is not ready yet: {last}", self.peers[at].name);
                    news += NEWS_INTERVAL;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// The first that has ended, and how.
    fn exited(&mut self) -> Option<(usize, String)> {
        let mut all = self.peers.iter().zip(&mut self.running).enumerate();
        all.find_map(|(at, (peer, running))| match running.child.try_wait() {
            Ok(Some(status)) => Some((at, format!("{} ended ({status})", peer.name))),
            _ => None,
        })
    }

    /// Where a peer's log is and how it ends.
    fn log_of(&self, at: usize) -> String {
        log_end(&log_path(&self.data_dir, &self.peers[at]))
    }

    /// Asks every peer to stop, and kills those that do not in time.
    pub(crate) async fn stop(&mut self) {
        for running in &mut self.running {
            terminate(&running.child);
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        for running in &mut self.running {
            await_end(&mut running.child, deadline).await;
        }
    }
}

fn log_path(data_dir: &Path, peer: &Peer) -> PathBuf {
    data_dir.join(format!("{}.log", peer.name))
}

/// Where a log is and how it ends.
pub(crate) fn log_end(path: &Path) -> String {
    match last_lines(path) {
        Ok(lines) if !lines.is_empty() => format!("the end of its log {}:\n{lines}", path.display()),
        _ => format!("its log is {}", path.display()),
    }
}

/// The last lines of a log.
fn last_lines(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut tail)?;
    let tail = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = tail.lines().collect();
    Ok(lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
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

fn spawn(data_dir: &Path, all: &[Peer], peer: &Peer) -> Result<Running, Error> {
    let dir = data_dir.join(&peer.name);
    std::fs::create_dir_all(&dir).map_err(io(format!("create {}", dir.display())))?;
    let log = log_file(log_path(data_dir, peer))?;
    let join: Vec<String> = all.iter().map(|p| format!("127.0.0.1:{}", p.gossip)).collect();
    let executable = std::env::current_exe().map_err(io("find the running program"))?;
    let mut command = Command::new(executable);
    command
        .args(["node", "--stop-with-stdin"])
        .args(["--data-dir", &dir.to_string_lossy(), "--node-name", &peer.name, "--advertise", "127.0.0.1"])
        .args(["--http", &format!("127.0.0.1:{}", peer.http), "--rpc", &format!("127.0.0.1:{}", peer.rpc)])
        .args(["--gossip", &format!("127.0.0.1:{}", peer.gossip), "--join", &join.join(",")])
        .args(["--bootstrap-expect", &all.len().to_string()]);
    for pair in &peer.set {
        command.args(["--set", pair]);
    }
    // A terminal's Ctrl-C reaches the whole process group: the children must hear of it from here, in order.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    let mut child = command.spawn().map_err(io(format!("start {}", peer.name)))?;
    // Waiting for a child closes its standard input if the child still has it.
    Ok(Running { _lifeline: child.stdin.take(), child })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_ends_with_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n.log");
        std::fs::write(&path, "a\nb\nc\nd\n").unwrap();
        assert_eq!(last_lines(&path).unwrap(), "b\nc\nd");
        std::fs::write(&path, [vec![b'x'; 1 << 20], b"\nlast\n".to_vec()].concat()).unwrap();
        let lines = last_lines(&path).unwrap();
        assert!(lines.ends_with("\nlast") && lines.len() as u64 <= LOG_TAIL_BYTES);
    }
}
