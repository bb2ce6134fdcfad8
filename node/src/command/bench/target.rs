//! The server under load: what it is, how it is brought to rest, and what it keeps on disk.
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use trine_api::admin::model::{AdminCluster, AdminShard};

use super::super::url::server_url;
use crate::error::{Error, io};

/// What answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Trine,
    Prometheus,
    VictoriaMetrics,
    /// Anything else that takes the protocol: nothing but the load is measured by HTTP.
    Other,
}

/// A server, or the nodes of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Base URLs, without a path.
    pub(super) bases: Vec<String>,
    /// Where requests go.
    pub(super) urls: Vec<String>,
    /// Processes whose CPU and memory count.
    pub(super) pids: Vec<u32>,
    /// Data directories: of each node for Trine.
    pub(super) data_dirs: Vec<PathBuf>,
}

/// A flush writes and syncs blocks on every node.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a cluster may take until it has leaders and holds no elections.
const SETTLE_PATIENCE: Duration = Duration::from_secs(60);
/// Without an election for so long, a cluster is at rest.
const SETTLE_WINDOW: Duration = Duration::from_secs(4);

/// Base and endpoint of a URL: its own path, or `path` when it has none.
pub(super) fn endpoint(url: &str, path: &str) -> Result<(String, String), Error> {
    let parsed = server_url(url).map_err(Error::Bench)?;
    let mut base = parsed.clone();
    base.set_path("");
    base.set_query(None);
    let base = base.as_str().trim_end_matches('/').to_owned();
    let endpoint = if parsed.path() == "/" { format!("{base}{path}") } else { parsed.into() };
    Ok((base, endpoint))
}

/// Finds out what answers at a base URL.
pub(super) async fn recognise(client: &reqwest::Client, base: &str) -> Kind {
    let get = |path: &str| client.get(format!("{base}{path}")).timeout(Duration::from_secs(5)).send();
    if let Ok(reply) = get("/admin/v1/cluster").await
        && reply.status().is_success()
        && reply.json::<AdminCluster>().await.is_ok()
    {
        return Kind::Trine;
    }
    match get("/api/v1/status/tsdb").await {
        Ok(reply) if reply.status().is_success() => Kind::Prometheus,
        _ => Kind::Other,
    }
}

impl Target {
    async fn shards(&self, client: &reqwest::Client) -> Result<Vec<AdminShard>, Error> {
        let base = self.bases.first().ok_or_else(|| Error::Bench("there is no URL".into()))?;
        let url = format!("{base}/admin/v1/shards");
        let failed = |e: reqwest::Error| Error::Bench(format!("read {url}: {}", crate::error::chain(&e)));
        let reply = client.get(&url).timeout(Duration::from_secs(10)).send().await.map_err(failed)?;
        reply.error_for_status().map_err(failed)?.json().await.map_err(failed)
    }

    /// Sum of the terms of all shards: rises with every election. `None` where there are none to count.
    pub(super) async fn terms(&self, client: &reqwest::Client) -> Result<Option<u64>, Error> {
        if self.kind != Kind::Trine {
            return Ok(None);
        }
        let deadline = Instant::now() + SETTLE_PATIENCE;
        loop {
            // A shard whose leader the node does not know counts as none: ask again.
            let shards = self.shards(client).await?;
            if !shards.is_empty() && shards.iter().all(|s| s.leader.is_some()) {
                return Ok(Some(shards.iter().map(|s| s.term).sum()));
            }
            if Instant::now() > deadline {
                return Err(Error::Bench(format!("there are shards without a leader at {}", self.bases[0])));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until a cluster has a leader for each shard, all wanted replicas, and has moved none for a while.
    pub(super) async fn settle(&self, client: &reqwest::Client) -> Result<(), Error> {
        if self.kind != Kind::Trine {
            return Ok(());
        }
        let deadline = Instant::now() + SETTLE_PATIENCE;
        let mut since = Instant::now();
        let mut before = None;
        while Instant::now() < deadline {
            let shards = self.shards(client).await?;
            let wanted = self.data_dirs.len().clamp(1, 3);
            let whole = |s: &AdminShard| s.leader.is_some() && s.replicas.iter().filter(|r| r.voter).count() >= wanted;
            let now: Vec<_> = shards.iter().map(|s| (s.leader.clone(), s.term, s.replicas.len())).collect();
            if shards.is_empty() || !shards.iter().all(whole) || before.as_ref() != Some(&now) {
                since = Instant::now();
                before = Some(now);
            } else if since.elapsed() >= SETTLE_WINDOW {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        Err(Error::Bench(format!(
            "the cluster does not come to rest within {SETTLE_PATIENCE:?}: see `trine admin status`"
        )))
    }

    /// Makes what is in memory into blocks. Trine seals its heads; Prometheus writes a snapshot, which has its head as a
    /// block beside links to the others, and needs `--web.enable-admin-api`. VictoriaMetrics writes its buffers.
    pub(super) async fn seal(&self, client: &reqwest::Client) -> Result<(), Error> {
        let (Some(base), path) = (
            self.bases.first(),
            match self.kind {
                Kind::Trine => "/admin/v1/flush",
                Kind::Prometheus => "/api/v1/admin/tsdb/snapshot",
                Kind::VictoriaMetrics => "/internal/force_flush",
                Kind::Other => return Ok(()),
            },
        ) else {
            return Ok(());
        };
        let url = format!("{base}{path}");
        let failed = |e: reqwest::Error| Error::Bench(format!("seal by {url}: {}", crate::error::chain(&e)));
        let reply = client.post(&url).timeout(FLUSH_TIMEOUT).send().await.map_err(failed)?;
        let status = reply.status();
        if !status.is_success() {
            let text = reply.text().await.unwrap_or_default();
            return Err(Error::Bench(format!("seal by {url}: {status}: {}", text.trim())));
        }
        Ok(())
    }

    /// Bytes of sealed data, of all nodes together. `None` without a data directory to look into.
    pub(super) fn bytes_at_rest(&self) -> Result<Option<u64>, Error> {
        if self.data_dirs.is_empty() {
            return Ok(None);
        }
        let mut bytes = 0;
        for dir in &self.data_dirs {
            bytes += match self.kind {
                Kind::Trine => trine_blocks_bytes(dir)?,
                Kind::Prometheus => prometheus_blocks_bytes(dir)?,
                Kind::VictoriaMetrics => tree_bytes(&dir.join("data"))? + tree_bytes(&dir.join("indexdb"))?,
                Kind::Other => tree_bytes(dir)?,
            };
        }
        Ok(Some(bytes))
    }
}

/// `shards/*/blocks` of a node's data directory.
fn trine_blocks_bytes(dir: &Path) -> Result<u64, Error> {
    let shards = dir.join("shards");
    let mut bytes = 0;
    for shard in entries(&shards)? {
        bytes += tree_bytes(&shard.join("blocks"))?;
    }
    Ok(bytes)
}

/// The newest snapshot, else the blocks that there are.
fn prometheus_blocks_bytes(dir: &Path) -> Result<u64, Error> {
    let mut snapshots = entries(&dir.join("snapshots"))?;
    snapshots.sort();
    if let Some(newest) = snapshots.last() {
        return tree_bytes(newest);
    }
    let mut bytes = 0;
    for block in entries(dir)? {
        if block.join("meta.json").is_file() {
            bytes += tree_bytes(&block)?;
        }
    }
    Ok(bytes)
}

/// What is in a directory; nothing when it is not there.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let listing = match std::fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io(format!("list {}", dir.display()))(e)),
    };
    let paths: Result<Vec<_>, _> = listing.map(|entry| entry.map(|e| e.path())).collect();
    paths.map_err(io(format!("list {}", dir.display())))
}

/// Bytes of the files under a path; nothing when it is not there or goes meanwhile.
fn tree_bytes(path: &Path) -> Result<u64, Error> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(io(format!("look at {}", path.display()))(e)),
    };
    if metadata.is_dir() { entries(path)?.iter().map(|p| tree_bytes(p)).sum() } else { Ok(metadata.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let of = |url: &str| endpoint(url, "/api/v1/write").unwrap();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(of("http://a:1"), pair("http://a:1", "http://a:1/api/v1/write"));
        assert_eq!(of("http://a:1/"), pair("http://a:1", "http://a:1/api/v1/write"));
        assert_eq!(of("http://a:1/api/v1/push"), pair("http://a:1", "http://a:1/api/v1/push"));
        assert!(endpoint("a:b:c", "/").is_err());
    }

    #[test]
    fn sealed_bytes_are_those_of_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: usize| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![0; bytes]).unwrap();
        };
        write("shards/00001-1/blocks/a/metrics.block", 100);
        write("shards/00001-1/manifest", 7);
        write("shards/00002-1/blocks/b", 20);
        write("wal/1", 1_000);
        assert_eq!(trine_blocks_bytes(dir.path()).unwrap(), 120);
        write("01ABC/meta.json", 10);
        write("01ABC/index", 5);
        assert_eq!(prometheus_blocks_bytes(dir.path()).unwrap(), 15);
        write("snapshots/2026/01ABC/index", 3);
        assert_eq!(prometheus_blocks_bytes(dir.path()).unwrap(), 3);
    }
}
