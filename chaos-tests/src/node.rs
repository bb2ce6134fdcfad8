//! One process of a cluster.
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal as UnixSignal, kill_process};

use crate::error::{Error, Result, io};
use crate::wait;

/// Where a node listens: a loopback address of its own, so that no outgoing connection can take a dead node's port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) http: SocketAddr,
    pub(crate) rpc: SocketAddr,
    pub(crate) gossip: SocketAddr,
}

impl Addresses {
    /// Ports that are free on `ip` now.
    pub(crate) fn free_on(ip: Ipv4Addr) -> Result<Self> {
        let bound = |e: std::io::Result<SocketAddr>| e.map_err(io(format!("find a free port on {ip}")));
        let http = TcpListener::bind((ip, 0)).map_err(io(format!("listen on {ip}")))?;
        let rpc = TcpListener::bind((ip, 0)).map_err(io(format!("listen on {ip}")))?;
        let gossip = UdpSocket::bind((ip, 0)).map_err(io(format!("listen on {ip}")))?;
        Ok(Self { http: bound(http.local_addr())?, rpc: bound(rpc.local_addr())?, gossip: bound(gossip.local_addr())? })
    }
}

/// A process, its data and its log. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) at: Addresses,
    dir: PathBuf,
    log_path: PathBuf,
    arguments: Vec<String>,
    host: Host,
    child: Option<Child>,
}

/// What surrounds a node's process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    /// What the process is started with, before the program: a network namespace.
    pub(crate) prefix: Vec<String>,
    /// What the node says that it can be reached by; its own address without.
    pub(crate) advertised: Option<Ipv4Addr>,
    /// Variables for the process.
    pub(crate) environment: Vec<(String, String)>,
    /// Where its data is; beside the log without.
    pub(crate) data_dir: Option<PathBuf>,
}

impl Node {
    /// Nothing runs before [`Node::spawn`].
    pub(crate) fn new(root: &Path, name: String, at: Addresses, arguments: Vec<String>, host: Host) -> Self {
        let log_path = root.join(&name).with_extension("log");
        let dir = host.data_dir.clone().unwrap_or_else(|| root.join(&name));
        Self { dir, log_path, name, at, arguments, host, child: None }
    }

    /// Where its standard output and error are.
    pub(crate) fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// Where its data is.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.dir
    }

    /// Starts the process on the data that is there.
    pub(crate) fn spawn(&mut self, binary: &Path) -> Result<()> {
        std::fs::create_dir_all(&self.dir).map_err(io(format!("create {}", self.dir.display())))?;
        let log = OpenOptions::new().create(true).append(true).open(self.log_path());
        let log = log.map_err(io(format!("open {}", self.log_path().display())))?;
        let out = log.try_clone().map_err(io("share the log"))?;
        let ip = self.host.advertised.map_or_else(|| self.at.http.ip().to_string(), |ip| ip.to_string());
        let mut command = match self.host.prefix.split_first() {
            None => Command::new(binary),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary);
                command
            }
        };
        command.envs(self.host.environment.iter().cloned());
        command.arg("node").args(["--node-name", &self.name, "--advertise", &ip]);
        command.arg("--data-dir").arg(&self.dir);
        command.args(["--http", &self.at.http.to_string(), "--rpc", &self.at.rpc.to_string()]);
        command.args(["--gossip", &self.at.gossip.to_string()]);
        for unused in ["loki", "tempo", "mimir", "otlp_grpc", "otlp_http"] {
            command.args(["--set", &format!("listen.{unused}=\"\"")]);
        }
        command.args(&self.arguments).stdin(Stdio::null()).stdout(out).stderr(log);
        self.child = Some(command.spawn().map_err(io(format!("start {}", binary.display())))?);
        Ok(())
    }

    /// The process id while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) fn signal(&self, signal: UnixSignal) -> Result<()> {
        let pid = self.pid().and_then(|p| i32::try_from(p).ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else {
            return Err(Error::Ended { node: self.name.clone(), status: "not running".into() });
        };
        kill_process(pid, signal).map_err(|error| match error {
            // It ended by itself, and that was noticed.
            rustix::io::Errno::SRCH => Error::Ended { node: self.name.clone(), status: "gone".into() },
            other => io(format!("signal {}", self.name))(other.into()),
        })
    }

    /// SIGKILL; returns once the process is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().map_err(io(format!("kill {}", self.name)))?;
            child.wait().map_err(io(format!("wait for {}", self.name)))?;
        }
        Ok(())
    }

    /// Waits for the process to end by itself after a signal.
    pub(crate) async fn ended(&mut self, patience: Duration) -> Result<()> {
        let what = format!("the end of {}", self.name);
        wait::until(&what, patience, || {
            let running = self.child.is_some() && self.exit_status().is_none();
            async move { if running { Err("running".to_owned()) } else { Ok(()) } }
        })
        .await?;
        self.child = None;
        Ok(())
    }

    /// How the process ended, if it did by itself.
    pub(crate) fn exit_status(&mut self) -> Option<String> {
        match self.child.as_mut()?.try_wait() {
            Ok(status) => status.map(|s| s.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Gives an argument of later starts another value.
    pub(crate) fn set_argument(&mut self, flag: &str, value: &str) {
        if let Some(at) = self.arguments.iter().position(|a| a == flag) {
            self.arguments[at + 1] = value.to_owned();
        }
    }

    /// Forgets all data of a node that does not run.
    pub(crate) fn wipe(&self) -> Result<()> {
        std::fs::remove_dir_all(&self.dir).map_err(io(format!("remove {}", self.dir.display())))
    }

    /// Resident memory of the running process, in bytes.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        self.status_bytes("VmRSS:")
    }

    /// The most that it was since the process started.
    pub(crate) fn peak_resident_bytes(&self) -> Option<u64> {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, key: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix(key))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// Whether the log names an address that was taken between finding and using it.
    pub(crate) fn lost_its_port(&self) -> bool {
        self.log_tail(8192).contains("in use")
    }

    /// Lines of the log with this text.
    pub(crate) fn log_lines(&self, text: &str) -> Result<usize> {
        let path = self.log_path();
        let log = std::fs::read(path).map_err(io(format!("read {}", path.display())))?;
        Ok(String::from_utf8_lossy(&log).lines().filter(|l| l.contains(text)).count())
    }

    /// Where threads and tasks panicked, and with which message's beginning.
    pub(crate) fn panics(&self) -> Result<Vec<String>> {
        let path = self.log_path();
        let log = std::fs::read(path).map_err(io(format!("read {}", path.display())))?;
        Ok(panics_in(&String::from_utf8_lossy(&log)))
    }

    /// The last `bytes` of the log.
    pub(crate) fn log_tail(&self, bytes: u64) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = std::fs::File::open(self.log_path())?;
            let start = file.metadata()?.len().saturating_sub(bytes);
            file.seek(SeekFrom::Start(start))?;
            let mut tail = Vec::new();
            file.take(bytes).read_to_end(&mut tail)?;
            Ok(String::from_utf8_lossy(&tail).into_owned())
        };
        read().unwrap_or_else(|e| format!("no log: {e}"))
    }
}

/// The standard hook writes "thread 'x' (7) panicked at file:line:column:" and then the message.
fn panics_in(log: &str) -> Vec<String> {
    let mut lines = log.lines().peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with("thread '") && line.contains(" panicked at ") {
            found.push(format!("{line} {}", lines.peek().unwrap_or(&"")));
        }
    }
    found
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_found_with_their_messages() {
        let log = "12:00  INFO a panicked at b\nthread 'raft' (7) panicked at src/x.rs:1:2:\nno leader\n  INFO c\n";
        assert_eq!(panics_in(log), ["thread 'raft' (7) panicked at src/x.rs:1:2: no leader"]);
        assert_eq!(panics_in("thread 'raft' panicked at src/x.rs:1:2:").len(), 1);
    }
}
