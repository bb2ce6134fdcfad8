//! Servers that the bench starts itself: release nodes of this binary, and a Prometheus to compare with.
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use super::super::peers::{Peer, Peers, await_end, log_end, log_file, terminate};
use super::load::Signal;
use super::target::{Kind, Target};
use crate::error::{Error, io};

/// A started server; call [`Local::stop`] when it is measured.
pub(super) enum Local {
    Trine(Peers),
    Program(Child),
}

const START_PATIENCE: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(60);

impl Local {
    /// Starts a cluster of `nodes` under `dir`.
    pub(super) async fn trine(dir: &Path, nodes: u16, signal: Signal, set: &[String]) -> Result<(Self, Target), Error> {
        // The ports stay bound until all are known, so that they differ.
        let mut held = Vec::new();
        let mut peers = Vec::new();
        for n in 0..nodes {
            let mut set = set.to_vec();
            for listener in ["loki", "tempo", "mimir", "otlp_grpc", "otlp_http"] {
                set.push(format!("listen.{listener}=\"\""));
            }
            let (http, rpc, gossip) = (free_port(&mut held)?, free_port(&mut held)?, free_port(&mut held)?);
            peers.push(Peer { name: format!("node-{}", n + 1), http, rpc, gossip, set });
        }
        drop(held);
        let started = Peers::start(dir, peers).await?;
        let bases: Vec<String> = started.peers().iter().map(Peer::url).collect();
        let target = Target {
            name: format!("trine x{nodes}"),
            kind: Kind::Trine,
            urls: bases.iter().map(|b| format!("{b}{}", signal.path())).collect(),
            bases,
            pids: started.pids(),
            data_dirs: started.peers().iter().map(|p| dir.join(&p.name)).collect(),
        };
        Ok((Self::Trine(started), target))
    }

    /// Starts `program` with an empty configuration under `dir`.
    pub(super) async fn prometheus(dir: &Path, program: &Path) -> Result<(Self, Target), Error> {
        let data = dir.join("data");
        std::fs::create_dir_all(&data).map_err(io(format!("create {}", data.display())))?;
        let config = dir.join("prometheus.yml");
        std::fs::write(&config, "global: {}\n").map_err(io(format!("write {}", config.display())))?;
        let address = free_address()?;
        let arguments = vec![
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", data.display()),
            format!("--web.listen-address={address}"),
            "--web.enable-remote-write-receiver".to_owned(),
            "--web.enable-admin-api".to_owned(),
            "--log.level=warn".to_owned(),
        ];
        Self::program("prometheus", Kind::Prometheus, program, &arguments, &address, dir, data).await
    }

    /// Starts `program`, a single-node VictoriaMetrics, with its defaults under `dir`.
    pub(super) async fn victoria_metrics(dir: &Path, program: &Path) -> Result<(Self, Target), Error> {
        let data = dir.join("data");
        std::fs::create_dir_all(&data).map_err(io(format!("create {}", data.display())))?;
        let address = free_address()?;
        let arguments = vec![format!("-storageDataPath={}", data.display()), format!("-httpListenAddr={address}")];
        Self::program("victoria-metrics", Kind::VictoriaMetrics, program, &arguments, &address, dir, data).await
    }

    /// Starts a server that listens on `address` and waits until it is ready; its log goes to `dir`.
    async fn program(
        name: &str,
        kind: Kind,
        program: &Path,
        arguments: &[String],
        address: &str,
        dir: &Path,
        data: PathBuf,
    ) -> Result<(Self, Target), Error> {
        let log_path = dir.join(format!("{name}.log"));
        let log = log_file(log_path.clone())?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        let child = command.spawn().map_err(io(format!("start {}", program.display())))?;
        let pid = child.id().ok_or_else(|| Error::Bench(format!("{} ended at once", program.display())))?;
        let base = format!("http://{address}");
        wait_ready(&base, &log_path).await?;
        let target = Target {
            name: name.to_owned(),
            kind,
            urls: vec![format!("{base}{}", Signal::Metrics.path())],
            bases: vec![base],
            pids: vec![pid],
            data_dirs: vec![data],
        };
        Ok((Self::Program(child), target))
    }

    pub(super) async fn stop(self) {
        match self {
            Self::Trine(mut peers) => peers.stop().await,
            Self::Program(mut child) => {
                terminate(&child);
                await_end(&mut child, Instant::now() + STOP_PATIENCE).await;
            }
        }
    }
}

fn free_address() -> Result<String, Error> {
    let mut held = Vec::new();
    Ok(format!("127.0.0.1:{}", free_port(&mut held)?))
}

fn free_port(held: &mut Vec<TcpListener>) -> Result<u16, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(io("find a free port"))?;
    let port = listener.local_addr().map_err(io("find a free port"))?.port();
    held.push(listener);
    Ok(port)
}

async fn wait_ready(base: &str, log: &Path) -> Result<(), Error> {
    let client = reqwest::Client::new();
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        let reply = client.get(format!("{base}/-/ready")).timeout(Duration::from_secs(1)).send().await;
        if reply.is_ok_and(|r| r.status().is_success()) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let log = log_end(log);
            return Err(Error::Bench(format!("{base} is not ready after {START_PATIENCE:?}; {log}")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
