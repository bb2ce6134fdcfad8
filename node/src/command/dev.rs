//! `trine dev`: peers as child processes on loopback, to try Trine out.
use std::fs::{File, OpenOptions, TryLockError};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use trine_actors::identity::Identity;

use super::out;
use super::peers::{Peer, Peers, taken};
use crate::cli::DevFlags;
use crate::error::{Error, io};
use crate::memory;
use crate::stop::Stop;

/// Node-to-node ports are so far below the HTTP port: 7070 for 9090.
const BELOW_HTTP: u16 = 2020;
/// The HTTP port beside which the ports of the protocols' own clients are opened too; a cluster that is moved elsewhere
/// leaves them to the one that is here.
const HTTP_PORT: u16 = 9090;
/// Listeners at the ports where each protocol's clients look, in the order of [`OwnPorts`].
const OWN_PORTS: [(&str, u16); 5] =
    [("loki", 3100), ("tempo", 3200), ("mimir", 8080), ("otlp_grpc", 4317), ("otlp_http", 4318)];

/// Which of [`OWN_PORTS`] the first node opens.
type OwnPorts = [bool; OWN_PORTS.len()];

pub(crate) fn run(flags: DevFlags) -> Result<(), Error> {
    check(&flags)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io("start the runtime"))?;
    runtime.block_on(dev(&flags))
}

fn check(flags: &DevFlags) -> Result<(), Error> {
    if ![1, 3].contains(&flags.nodes) {
        return Err(Error::Dev(format!("--nodes is 1 or 3, not {}", flags.nodes)));
    }
    // Room below for the node-to-node ports, and above for the other nodes.
    let (least, most) = (1024 + BELOW_HTTP + 1, u16::MAX - (flags.nodes - 1));
    if !(least..=most).contains(&flags.port) {
        return Err(Error::Dev(format!("--port is within {least} and {most}, not {}", flags.port)));
    }
    fits(&flags.data_dir, flags.nodes)
}

/// Keeps a second `trine dev` away from the data for as long as the file is open.
fn lock(data_dir: &Path) -> Result<File, Error> {
    std::fs::create_dir_all(data_dir).map_err(io(format!("create {}", data_dir.display())))?;
    let path = data_dir.join("dev.lock");
    let opened = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
    let file = opened.map_err(io(format!("open {}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Dev(format!(
            "another `trine dev` runs on the data in {}: stop it with Ctrl-C, or give another --data-dir",
            data_dir.display()
        ))),
        Err(TryLockError::Error(error)) => Err(io(format!("lock {}", path.display()))(error)),
    }
}

/// Refuses to start fewer nodes than the data belong to: no shard would have a majority.
fn fits(data_dir: &Path, nodes: u16) -> Result<(), Error> {
    for absent in nodes..3 {
        let dir = data_dir.join(name(absent));
        let member = Identity::load(&dir)?.is_some_and(|identity| !identity.cluster.is_empty());
        if member {
            let data_dir = data_dir.display();
            return Err(Error::Dev(format!(
                "the data in {data_dir} belong to a cluster of 3 nodes ({} has data too), which does not run with {nodes}: start \
                 it with --nodes 3, or begin another with --data-dir DIR",
                name(absent)
            )));
        }
    }
    Ok(())
}

fn own_ports(http: u16) -> OwnPorts {
    OWN_PORTS.map(|(_, port)| http == HTTP_PORT && !taken(port))
}

fn name(node: u16) -> String {
    format!("node-{}", node + 1)
}

/// Ports beside the one that is asked for.
fn peer(flags: &DevFlags, node: u16, own: OwnPorts) -> Peer {
    // The nodes share this machine, so each gets its part of what one node would take. 0 is the default, as for a node.
    let part = || memory::default_budget_bytes() / u64::from(flags.nodes);
    let memory = flags.memory_bytes.filter(|bytes| *bytes > 0).unwrap_or_else(part);
    let mut set = vec!["telemetry.ingest_own=true".to_owned(), format!("node.memory_bytes={memory}")];
    for ((listener, port), open) in OWN_PORTS.into_iter().zip(own) {
        let at = if node == 0 && open { format!("127.0.0.1:{port}") } else { String::new() };
        set.push(format!("listen.{listener}={at:?}"));
    }
    Peer {
        name: name(node),
        http: flags.port + node,
        rpc: flags.port - BELOW_HTTP + 10 * node,
        gossip: flags.port - BELOW_HTTP + 10 * node + 1,
        set,
    }
}

async fn dev(flags: &DevFlags) -> Result<(), Error> {
    // Before the first child: a signal that comes while it starts must not leave it behind.
    let mut stop = Stop::by_signals()?;
    let _lock = lock(&flags.data_dir)?;
    let own = own_ports(flags.port);
    let all: Vec<Peer> = (0..flags.nodes).map(|n| peer(flags, n, own)).collect();
    free(&all)?;
    let nodes = if flags.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", flags.nodes) };
    // The nodes run on whether anybody reads this or not.
    drop(out::line(format_args!("Starting {nodes}, data under {}", flags.data_dir.display())));
    let mut peers = Peers::spawn(&flags.data_dir, all)?;
    let running = async {
        peers.wait_ready().await?;
        drop(out::print(banner(flags, peers.peers(), own)));
        peers.keep_running().await
    };
    let ended = tokio::select! {
        () = stop.asked() => Ok(()),
        failed = running => failed,
    };
    drop(out::line("Stopping"));
    peers.stop().await;
    ended
}

fn free(all: &[Peer]) -> Result<(), Error> {
    for peer in all {
        let on = |port| ("127.0.0.1", port);
        for (port, what, bound) in [
            (peer.http, "HTTP", TcpListener::bind(on(peer.http)).map(drop)),
            (peer.rpc, "node to node", TcpListener::bind(on(peer.rpc)).map(drop)),
            (peer.gossip, "gossip, UDP", UdpSocket::bind(on(peer.gossip)).map(drop)),
        ] {
            bound.map_err(|e| {
                Error::Dev(format!(
                    "port {port} ({what}) of {} cannot be used: {e}. Another `trine dev` may run: stop it with Ctrl-C. \
                     What holds the port: `ss -lntup 'sport = :{port}'`. Or give another --port, with its own --data-dir",
                    peer.name
                ))
            })?;
        }
    }
    Ok(())
}

/// Where everything is, once all nodes are ready.
fn banner(flags: &DevFlags, all: &[Peer], own: OwnPorts) -> String {
    let urls: Vec<String> = all.iter().map(Peer::url).collect();
    let [loki, tempo, mimir, grpc, http] = own;
    let otlp = match (grpc, http) {
        (true, true) => "127.0.0.1:4317 (gRPC), http://127.0.0.1:4318".to_owned(),
        (true, false) => format!("127.0.0.1:4317 (gRPC), {}", urls[0]),
        (false, true) => format!("127.0.0.1:{} (gRPC), http://127.0.0.1:4318", flags.port),
        (false, false) => format!("127.0.0.1:{} (gRPC), {}", flags.port, urls[0]),
    };
    let mut lines = vec![
        format!("Healthy: {} of {} nodes ready", all.len(), all.len()),
        format!("  APIs (Prometheus, Loki, Tempo, OTLP, admin)  {}", urls.join("  ")),
        format!("  Grafana data sources, each of any node       {}", urls[0]),
        format!("  OTLP                                         {otlp}"),
    ];
    let open: Vec<String> = [("Loki", 3100, loki), ("Tempo", 3200, tempo), ("Mimir", 8080, mimir)]
        .into_iter()
        .filter(|(_, _, open)| *open)
        .map(|(who, port, _)| format!("http://127.0.0.1:{port} ({who})"))
        .collect();
    if !open.is_empty() {
        lines.push(format!("  The same where other clients look            {}", open.join("  ")));
    }
    let closed = || OWN_PORTS.iter().zip(own).filter(|(_, open)| !open).map(|((_, port), _)| port.to_string());
    if flags.port == HTTP_PORT && closed().next().is_some() {
        lines.push(format!(
            "  Not opened, other programs have them         {}",
            closed().collect::<Vec<_>>().join(", ")
        ));
    }
    lines.extend([
        "  What the nodes say of themselves             tenant trine (header X-Scope-OrgID)".to_owned(),
        "Try:".to_owned(),
        format!("  curl -H 'X-Scope-OrgID: trine' '{}/api/v1/query?query=trine_node_memory_bytes'", urls[0]),
        format!("  trine admin --url {} status", urls[0]),
        format!("Logs of the nodes: {}", flags.data_dir.join("node-*.log").display()),
        "Ctrl-C stops all nodes; the data stays for the next start.\n".to_owned(),
    ]);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(port: u16, nodes: u16, data_dir: &Path) -> DevFlags {
        DevFlags { data_dir: data_dir.to_owned(), port, nodes, memory_bytes: None }
    }

    #[test]
    fn ports_are_within_what_the_nodes_need() {
        let dir = tempfile::tempdir().unwrap();
        for (port, nodes, fits) in [
            (3044, 3, false),
            (3045, 3, true),
            (65533, 3, true),
            (65534, 3, false),
            (65535, 1, true),
            (0, 1, false),
            (9090, 2, false),
        ] {
            assert_eq!(check(&flags(port, nodes, dir.path())).is_ok(), fits, "--port {port} --nodes {nodes}");
        }
        let text = check(&flags(65535, 3, dir.path())).unwrap_err().to_string();
        assert_eq!(text, "--port is within 3045 and 65533, not 65535");
    }

    #[test]
    fn memory_is_shared_out_unless_it_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let of = |memory_bytes| {
            let set = peer(&DevFlags { memory_bytes, ..flags(9090, 3, dir.path()) }, 0, [false; 5]).set;
            set.into_iter().find_map(|pair| pair.strip_prefix("node.memory_bytes=").map(str::to_owned)).unwrap()
        };
        let part = (memory::default_budget_bytes() / 3).to_string();
        assert_eq!([of(Some(256 << 20)), of(Some(0)), of(None)], [(256 << 20).to_string(), part.clone(), part]);
    }

    #[test]
    fn data_of_three_nodes_are_not_started_with_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut second = Identity::load_or_create(&dir.path().join("node-2"), "node-2").unwrap();
        assert!(fits(dir.path(), 1).is_ok(), "a node that never had a cluster is not missed");
        second.cluster = "c".to_owned();
        second.save(&dir.path().join("node-2")).unwrap();
        let text = fits(dir.path(), 1).unwrap_err().to_string();
        assert!(text.contains("--nodes 3") && text.contains("--data-dir"), "{text}");
        assert!(fits(dir.path(), 3).is_ok());
    }

    #[test]
    fn data_have_one_user() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        let text = lock(dir.path()).unwrap_err().to_string();
        assert!(text.contains("another `trine dev`") && text.contains("--data-dir"), "{text}");
        drop(first);
        assert!(lock(dir.path()).is_ok());
    }

    #[test]
    fn the_banner_names_what_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let said = |port: u16, own: OwnPorts| {
            let flags = flags(port, 1, dir.path());
            banner(&flags, &[peer(&flags, 0, own)], own)
        };
        let all = said(9090, [true; 5]);
        assert!(
            all.contains("127.0.0.1:4317 (gRPC), http://127.0.0.1:4318\n") && all.contains(":8080 (Mimir)"),
            "{all}"
        );
        assert!(!all.contains("Not opened"), "{all}");
        let moved = said(9190, own_ports(9190));
        assert!(moved.contains("127.0.0.1:9190 (gRPC), http://127.0.0.1:9190\n"), "{moved}");
        assert!(!moved.contains("4317") && !moved.contains("3100") && !moved.contains("Not opened"), "{moved}");
        let some = said(9090, [false, true, true, true, false]);
        assert!(some.contains("127.0.0.1:4317 (gRPC), http://127.0.0.1:9090\n"), "{some}");
        assert!(some.contains("have them         3100, 4318\n") && !some.contains(":3100 (Loki)"), "{some}");
    }
}
