//! `trine dev`: peers as child processes on loopback, by the same code and flags as in production.
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use crate::cli::DevFlags;
use crate::error::{Error, io};
use crate::memory;
use crate::run::signalled;

/// Ports of one child.
struct Ports {
    http: u16,
    rpc: u16,
    gossip: u16,
}

/// How long the nodes may take to be ready.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// A node that ends more often is not started again.
const RESTARTS_MAX: u32 = 20;
/// Pause before a node is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How long a node may take to stop before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn run(flags: DevFlags) -> Result<(), Error> {
    if ![1, 3].contains(&flags.nodes) {
        return Err(Error::Dev(format!("--nodes is 1 or 3, not {}", flags.nodes)));
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io("start the runtime"))?;
    runtime.block_on(dev(&flags))
}

/// The port that is asked for, or any free one beside it when something else has it.
fn ports(flags: &DevFlags, node: u16) -> Ports {
    Ports { http: flags.port + node, rpc: 7070 + 10 * node, gossip: 7071 + 10 * node }
}

async fn dev(flags: &DevFlags) -> Result<(), Error> {
    let all: Vec<Ports> = (0..flags.nodes).map(|n| ports(flags, n)).collect();
    for p in &all {
        free(p.http, "--port")?;
        free(p.rpc, "the node-to-node port")?;
    }
    std::fs::create_dir_all(&flags.data_dir).map_err(io(format!("create {}", flags.data_dir.display())))?;
    println!("Starting {} nodes, data under {}", flags.nodes, flags.data_dir.display());
    let mut children = Vec::new();
    for node in 0..flags.nodes {
        children.push(spawn(flags, &all, node)?);
    }
    let started = wait_ready(&all, &mut children).await;
    if let Err(error) = started {
        stop(&mut children).await;
        return Err(error);
    }
    print_urls(flags, &all);
    let ended = tokio::select! {
        signal = signalled() => signal,
        failed = keep_running(flags, &all, &mut children) => failed,
    };
    println!("Stopping");
    stop(&mut children).await;
    ended
}

fn free(port: u16, what: &str) -> Result<(), Error> {
    TcpListener::bind(("127.0.0.1", port)).map(drop).map_err(|e| {
        Error::Dev(format!("port {port} ({what}) cannot be used: {e}; stop what uses it, or give another --port"))
    })
}

fn spawn(flags: &DevFlags, all: &[Ports], node: u16) -> Result<Child, Error> {
    let ports = &all[usize::from(node)];
    let name = format!("node-{}", node + 1);
    let dir = flags.data_dir.join(&name);
    std::fs::create_dir_all(&dir).map_err(io(format!("create {}", dir.display())))?;
    let log_path = flags.data_dir.join(format!("{name}.log"));
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&log_path);
    let log = log.map_err(io(format!("open {}", log_path.display())))?;
    let join: Vec<String> = all.iter().map(|p| format!("127.0.0.1:{}", p.gossip)).collect();
    let first_only = |port: u16| if node == 0 { format!("127.0.0.1:{port}") } else { String::new() };
    let executable = std::env::current_exe().map_err(io("find the running program"))?;
    let mut command = Command::new(executable);
    command
        .arg("node")
        .args(["--data-dir", &dir.to_string_lossy(), "--node-name", &name, "--advertise", "127.0.0.1"])
        .args(["--http", &format!("127.0.0.1:{}", ports.http), "--rpc", &format!("127.0.0.1:{}", ports.rpc)])
        .args(["--gossip", &format!("127.0.0.1:{}", ports.gossip), "--join", &join.join(",")])
        .args(["--bootstrap-expect", &flags.nodes.to_string()])
        // The nodes share this machine, so each gets its part of what one node would take.
        .args(["--memory-bytes", &(memory::default_budget_bytes() / u64::from(flags.nodes)).to_string()])
        .args(["--set", "telemetry.ingest_own=true"]);
    let others = [("loki", 3100), ("tempo", 3200), ("mimir", 8080), ("otlp_grpc", 4317), ("otlp_http", 4318)];
    for (listener, port) in others {
        let at = if taken(port) { String::new() } else { first_only(port) };
        command.args(["--set", &format!("listen.{listener}={at:?}")]);
    }
    // A terminal's Ctrl-C reaches the whole process group: the children must hear of it from here, in order.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    command.spawn().map_err(io(format!("start {name}")))
}

fn taken(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err()
}

async fn wait_ready(all: &[Ports], children: &mut [Child]) -> Result<(), Error> {
    let client = reqwest::Client::new();
    let deadline = Instant::now() + START_PATIENCE;
    for ports in all {
        let url = format!("http://127.0.0.1:{}/ready", ports.http);
        let mut last = String::from("no answer");
        loop {
            if let Some(who) = exited(children) {
                return Err(Error::Dev(format!("{who} while starting; see its log beside its data")));
            }
            match client.get(&url).timeout(Duration::from_secs(1)).send().await {
                Ok(reply) if reply.status().is_success() => break,
                Ok(reply) => last = reply.text().await.unwrap_or_default(),
                Err(error) => last = error.to_string(),
            }
            if Instant::now() > deadline {
                return Err(Error::Dev(format!("{url} is not ready after {START_PATIENCE:?}: {last}")));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

fn exited(children: &mut [Child]) -> Option<String> {
    children.iter_mut().enumerate().find_map(|(i, child)| match child.try_wait() {
        Ok(Some(status)) => Some(format!("node-{} ended ({status})", i + 1)),
        _ => None,
    })
}

/// Starts a node that ended again, as a StatefulSet would; gives up when one keeps ending.
async fn keep_running(flags: &DevFlags, all: &[Ports], children: &mut [Child]) -> Result<(), Error> {
    let mut restarts = vec![0; children.len()];
    loop {
        let (index, who) = first_exit(children).await;
        restarts[index] += 1;
        if restarts[index] > RESTARTS_MAX {
            let log = flags.data_dir.join(format!("node-{}.log", index + 1));
            return Err(Error::Dev(format!("{who} for the {}th time; see {}", restarts[index], log.display())));
        }
        println!("{who}; the other nodes go on, starting it again");
        tokio::time::sleep(RESTART_PAUSE).await;
        children[index] = spawn(flags, all, index as u16)?;
    }
}

async fn first_exit(children: &mut [Child]) -> (usize, String) {
    let waits = children.iter_mut().enumerate().map(|(i, child)| {
        Box::pin(async move {
            match child.wait().await {
                Ok(status) => (i, format!("node-{} ended ({status})", i + 1)),
                Err(error) => (i, format!("node-{} cannot be watched ({error})", i + 1)),
            }
        })
    });
    futures::future::select_all(waits).await.0
}

async fn stop(children: &mut [Child]) {
    for child in children.iter() {
        if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
            && let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::TERM)
        {
            eprintln!("cannot stop process {}: {error}", pid.as_raw_nonzero());
        }
    }
    let deadline = Instant::now() + STOP_PATIENCE;
    for child in children {
        let patience = deadline.saturating_duration_since(Instant::now());
        if tokio::time::timeout(patience, child.wait()).await.is_err()
            && let Err(error) = child.kill().await
        {
            eprintln!("cannot kill a node: {error}");
        }
    }
}

fn print_urls(flags: &DevFlags, all: &[Ports]) {
    let urls: Vec<String> = all.iter().map(|p| format!("http://127.0.0.1:{}", p.http)).collect();
    println!("Healthy: {} of {} nodes ready", all.len(), all.len());
    println!("  APIs (Prometheus, Loki, Tempo, OTLP, admin)  {}", urls.join("  "));
    println!("  Grafana data sources, each of any node       {}", urls[0]);
    println!("  OTLP                                         127.0.0.1:4317 (gRPC), http://127.0.0.1:4318");
    println!("  What the nodes say of themselves             tenant trine (header X-Scope-OrgID)");
    println!("Try:");
    println!("  curl -H 'X-Scope-OrgID: trine' '{}/api/v1/query?query=trine_node_memory_bytes'", urls[0]);
    println!("  trine admin --url {} status", urls[0]);
    println!("Logs of the nodes: {}", flags.data_dir.join("node-*.log").display());
    println!("Ctrl-C stops all nodes; the data stays for the next start.");
}
