//! What the admin REST says of damage and replacements, and waiting until all is whole again.
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::admin::{Admin, replicated};
use crate::cluster::{Cluster, VOTERS_MAX};
use crate::error::{Error, Result, io};
use crate::wait;

/// How long a cluster may take to be whole again: new replicas are fetched and caught up under load by debug builds.
const HEAL_PATIENCE: Duration = Duration::from_secs(180);

/// Something that was found damaged.
#[derive(Clone, Debug, Deserialize)]
pub struct HealingRecord {
    pub node: String,
    pub kind: String,
    pub state: String,
    pub reason: String,
    pub files: Option<String>,
}

/// A replacement in progress.
#[derive(Clone, Debug, Deserialize)]
pub struct Replacement {
    pub shard: Option<u32>,
    pub node: String,
}

/// `GET /admin/v1/healing`.
#[derive(Clone, Debug, Deserialize)]
pub struct Healing {
    pub records: Vec<HealingRecord>,
    pub replacing: Vec<Replacement>,
    pub silent: Vec<String>,
}

impl Cluster {
    /// Waits until there are so many nodes, all ready, with as many voters of each shard, and nothing is left to replace.
    pub async fn wait_healed(&self, through: usize, nodes: usize) -> Result<Healing> {
        let admin = self.admin(through);
        wait::until(&format!("{nodes} ready nodes and nothing to heal"), HEAL_PATIENCE, || {
            let admin = admin.clone();
            async move { whole(&admin, nodes).await }
        })
        .await
    }
}

/// `Err` says what one node knows to be missing: of so many nodes one that is not ready, of a shard a voter, or the end of a
/// replacement.
pub async fn whole(admin: &Admin, nodes: usize) -> std::result::Result<Healing, String> {
    let text = |e: Error| e.to_string();
    let states = admin.nodes().await.map_err(text)?;
    if states.len() != nodes || states.iter().any(|n| !n.ready) {
        return Err(format!("{states:?}"));
    }
    let healing = admin.healing().await.map_err(text)?;
    let open: Vec<&HealingRecord> = healing.records.iter().filter(|r| r.state != "healed").collect();
    if !healing.replacing.is_empty() || !healing.silent.is_empty() || !open.is_empty() {
        return Err(format!("{:?}, silent: {:?}, replacing: {:?}", open, healing.silent, healing.replacing));
    }
    let shards = admin.shards().await.map_err(text)?;
    let voters = nodes.min(VOTERS_MAX);
    replicated(&shards, voters)?;
    match shards.iter().find(|s| s.replicas.len() != voters) {
        Some(odd) => Err(format!("{odd:?}")),
        None => Ok(healing),
    }
}

/// Flips bits of so many bytes at a part (in thousandths) of what is written of a preallocated file.
pub fn flip(path: &Path, at_thousandth: usize, count: usize) -> Result<()> {
    let shown = path.display().to_string();
    let mut bytes = std::fs::read(path).map_err(io(format!("read {shown}")))?;
    let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    let from = used * at_thousandth / 1000;
    for byte in bytes.iter_mut().skip(from).take(count) {
        *byte = !*byte;
    }
    std::fs::write(path, bytes).map_err(io(format!("write {shown}")))
}

/// Files of a directory whose name begins like this, in the order of their names.
pub fn files(dir: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let listing = std::fs::read_dir(dir).map_err(io(format!("list {}", dir.display())))?;
    let named = |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix));
    let mut found: Vec<PathBuf> = listing.flatten().map(|e| e.path()).filter(named).collect();
    found.sort();
    Ok(found)
}

/// Copies a directory with all that is in it.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("copy {} to {}", from.display(), to.display());
    std::fs::create_dir_all(to).map_err(io(failed()))?;
    for entry in std::fs::read_dir(from).map_err(io(failed()))? {
        let entry = entry.map_err(io(failed()))?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(io(failed()))?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target).map_err(io(failed()))?;
        }
    }
    Ok(())
}
