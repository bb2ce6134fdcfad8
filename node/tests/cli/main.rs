//! The binary at a terminal: what it leaves behind, and what it says when something is not as it should be.
//!
//! Everything listens on loopback and keeps its files in a temporary directory; a test that ends takes its processes along.
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A debug build on busy cores is slow.
const PATIENCE: Duration = Duration::from_secs(60);

fn trine() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trine"));
    command.stdin(Stdio::null());
    command
}

/// Asks `probe` until it gives something; panics with `what` once the patience is over.
fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A directory, and every process that has its path among its arguments: killed when dropped.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory can be made"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Nodes that keep their data here.
    fn nodes(&self) -> Vec<Pid> {
        let here = format!("{}/node-", self.path().display());
        let pids = std::fs::read_dir("/proc").expect("/proc can be read").filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            String::from_utf8_lossy(&arguments).contains(&here).then_some(pid)
        });
        pids.filter_map(Pid::from_raw).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for node in self.nodes() {
            // It may have ended since.
            if let Err(error) = kill_process(node, Signal::KILL) {
                eprintln!("{}: {error}", node.as_raw_nonzero());
            }
        }
    }
}

/// A port from which `trine dev` can count up, and down to its node-to-node ports.
fn dev_port() -> u16 {
    let first = 20_000 + 50 * u16::try_from(std::process::id() % 200).expect("below 200");
    let free = |port: u16| {
        (0..3).all(|n| {
            let (http, rpc) = (port + n, port - 2020 + 10 * n);
            TcpListener::bind(("127.0.0.1", http)).is_ok()
                && TcpListener::bind(("127.0.0.1", rpc)).is_ok()
                && UdpSocket::bind(("127.0.0.1", rpc + 1)).is_ok()
        })
    };
    (first..first + 2000).step_by(50).find(|port| free(*port)).expect("loopback has free ports")
}

/// A `trine dev` that has just started its last node.
fn dev(home: &Home, nodes: usize) -> Child {
    let mut command = trine();
    command.args(["dev", "--port", &dev_port().to_string(), "--nodes", &nodes.to_string(), "--data-dir"]);
    let child = command.arg(home.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("trine starts");
    until("dev starts its nodes", || (home.nodes().len() == nodes).then_some(()));
    child
}

#[test]
fn dev_takes_its_nodes_along_however_it_ends() {
    for signal in [Signal::TERM, Signal::INT, Signal::KILL] {
        let home = Home::new();
        let mut child = dev(&home, 3);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = until("dev ends", || child.try_wait().unwrap());
        if signal == Signal::KILL {
            until("the nodes end", || home.nodes().is_empty().then_some(()));
        } else {
            assert!(status.success(), "{signal:?}: {status}");
            assert_eq!(home.nodes(), [], "{signal:?}");
        }
    }
}

/// A node in no cluster: it waits for two others. Its HTTP API is at the returned URL.
fn lonely_node(home: &Home) -> (Child, String) {
    let (any, free) = (("127.0.0.1", 0), "loopback has a free port");
    let held = [TcpListener::bind(any).expect(free), TcpListener::bind(any).expect(free)];
    let at = held.map(|l| l.local_addr().expect(free).to_string());
    let gossip = UdpSocket::bind(any).and_then(|s| s.local_addr()).expect(free);
    let child = node(&home.path().join("node-1"), &at[0], &at[1], &gossip.to_string())
        .args(["--bootstrap-expect", "3", "--join", &gossip.to_string()])
        .stderr(Stdio::null())
        .spawn();
    (child.expect("trine starts"), format!("http://{}", at[0]))
}

fn node(data_dir: &PathBuf, http: &str, rpc: &str, gossip: &str) -> Command {
    let mut command = trine();
    command.args(["node", "--node-name", "n1", "--advertise", "127.0.0.1", "--data-dir"]).arg(data_dir);
    command.args(["--http", http, "--rpc", rpc, "--gossip", gossip]);
    for listener in ["loki", "tempo", "mimir", "otlp_grpc", "otlp_http"] {
        command.args(["--set", &format!("listen.{listener}=\"\"")]);
    }
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn admin_says_what_a_node_without_a_cluster_waits_for() {
    let home = Home::new();
    let (mut child, url) = lonely_node(&home);
    let admin = |arguments: &[&str]| trine().args(["admin", "--url", &url]).args(arguments).output().unwrap();
    let status = until("the node sees itself", || {
        let status = admin(&["status"]);
        said(&status).contains("1 live node").then_some(status)
    });
    for output in [status, admin(&["flush"])] {
        let text = said(&output);
        assert!(!output.status.success(), "{text}");
        for part in ["not in a cluster yet", "cluster.bootstrap_expect", "(3)", "n1"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("every shard") && !text.contains("0 shards"), "{text}");
    }
    assert!(admin(&["status", "--json"]).status.success());
    child.kill().and_then(|()| child.wait()).unwrap();
}

#[test]
fn a_taken_port_names_its_key_and_what_to_do() {
    let home = Home::new();
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let (tcp, udp) = (tcp.local_addr().map(|at| (tcp, at)).unwrap(), udp.local_addr().map(|at| (udp, at)).unwrap());
    let (taken, taken_udp, any) = (tcp.1.to_string(), udp.1.to_string(), "127.0.0.1:0");
    for (http, rpc, gossip, key, port) in [
        (taken.as_str(), any, any, "listen.http", tcp.1.port()),
        (any, taken.as_str(), any, "listen.rpc", tcp.1.port()),
        (any, any, taken_udp.as_str(), "listen.gossip", udp.1.port()),
    ] {
        let output = node(&home.path().join("node-1"), http, rpc, gossip).output().unwrap();
        let text = said(&output);
        assert!(!output.status.success() && text.contains(key) && text.contains(&format!("sport = :{port}")), "{text}");
    }
    let dev =
        trine().args(["dev", "--port", &tcp.1.port().to_string(), "--data-dir"]).arg(home.path()).output().unwrap();
    let text = said(&dev);
    assert!(!dev.status.success() && text.contains("ss -lntup") && text.contains("--port"), "{text}");
}
