//! `trine dev`: peers as child processes on loopback, to try Trine out.
use std::net::TcpListener;

use super::peers::{Peer, Peers, taken};
use crate::cli::DevFlags;
use crate::error::{Error, io};
use crate::memory;
use crate::run::signalled;

/// Node-to-node ports are so far below the HTTP port: 7070 for 9090.
const BELOW_HTTP: u16 = 2020;

pub(crate) fn run(flags: DevFlags) -> Result<(), Error> {
    if ![1, 3].contains(&flags.nodes) {
        return Err(Error::Dev(format!("--nodes is 1 or 3, not {}", flags.nodes)));
    }
    if flags.port <= 1024 + BELOW_HTTP || flags.port > u16::MAX - flags.nodes {
        return Err(Error::Dev(format!("--port is above {}, not {}", 1024 + BELOW_HTTP, flags.port)));
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io("start the runtime"))?;
    runtime.block_on(dev(&flags))
}

/// Ports beside the one that is asked for; the first node also listens where each protocol's clients look.
fn peer(flags: &DevFlags, node: u16) -> Peer {
    // The nodes share this machine, so each gets its part of what one node would take.
    let memory = memory::default_budget_bytes() / u64::from(flags.nodes);
    let mut set = vec!["telemetry.ingest_own=true".to_owned(), format!("node.memory_bytes={memory}")];
    let others = [("loki", 3100), ("tempo", 3200), ("mimir", 8080), ("otlp_grpc", 4317), ("otlp_http", 4318)];
    for (listener, port) in others {
        let at = if node > 0 || taken(port) { String::new() } else { format!("127.0.0.1:{port}") };
        set.push(format!("listen.{listener}={at:?}"));
    }
    Peer {
        name: format!("node-{}", node + 1),
        http: flags.port + node,
        rpc: flags.port - BELOW_HTTP + 10 * node,
        gossip: flags.port - BELOW_HTTP + 10 * node + 1,
        set,
    }
}

async fn dev(flags: &DevFlags) -> Result<(), Error> {
    let all: Vec<Peer> = (0..flags.nodes).map(|n| peer(flags, n)).collect();
    for p in &all {
        free(p.http, "--port")?;
        free(p.rpc, "the node-to-node port")?;
    }
    println!("Starting {} nodes, data under {}", flags.nodes, flags.data_dir.display());
    let mut peers = Peers::start(&flags.data_dir, all).await?;
    print_urls(flags, peers.peers());
    let ended = tokio::select! {
        signal = signalled() => signal,
        failed = peers.keep_running() => failed,
    };
    println!("Stopping");
    peers.stop().await;
    ended
}

fn free(port: u16, what: &str) -> Result<(), Error> {
    TcpListener::bind(("127.0.0.1", port)).map(drop).map_err(|e| {
        Error::Dev(format!("port {port} ({what}) cannot be used: {e}; stop what uses it, or give another --port"))
    })
}

fn print_urls(flags: &DevFlags, all: &[Peer]) {
    let urls: Vec<String> = all.iter().map(Peer::url).collect();
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
