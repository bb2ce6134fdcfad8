//! The bridge from a raft group to its shard actor.
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actix::Addr;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use trine_raft::{Committed, Machine, NodeId, Position, Recovered, SnapshotManifest};
use trine_store::shard::{BlockOpener, LogPosition, Manifest, write_manifest};

use super::actor::{Apply, Observed, Reset, ShardActor, WhenQuiet, chain};
use super::fetch::{self, BlockSource, Fetches};
use super::pool::Pool;
use crate::budget::Budget;

/// State machine of one shard group.
pub(super) struct ShardMachine {
    pub(super) shard: u32,
    pub(super) dir: PathBuf,
    pub(super) addr: Addr<ShardActor>,
    pub(super) observed: Arc<Observed>,
    pub(super) source: Arc<dyn BlockSource>,
    pub(super) fetches: Arc<Fetches>,
    pub(super) pool: Pool,
    pub(super) opener: BlockOpener,
    pub(super) budget: Arc<Budget>,
    /// Whether the replica has replayed its log and joined its group.
    pub(super) joined: Arc<AtomicBool>,
    /// Counts bytes of entries applied.
    pub(super) replayed: Arc<AtomicU64>,
}

fn position(p: LogPosition) -> Position {
    Position { term: p.term, leader: p.leader, index: p.index }
}

fn other(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> std::io::Error {
    std::io::Error::other(reason)
}

#[async_trait]
impl Machine for ShardMachine {
    async fn recovered(&self) -> std::io::Result<Recovered> {
        let manifest = self.observed.manifest.load();
        let sealed = manifest.epoch > 0;
        Ok(Recovered {
            position: sealed.then(|| position(manifest.position)),
            membership: manifest.membership.clone().map(|(p, bytes)| (position(p), bytes.into())),
            snapshot_id: sealed.then(|| snapshot_id(&manifest)),
        })
    }

    async fn apply(&self, batch: Vec<Committed>) -> std::io::Result<Vec<Bytes>> {
        // A leader refuses writes when heads have no room; what was committed long ago, or elsewhere, can only wait.
        let shares = &self.budget.shares;
        let bytes_max = if self.joined.load(Ordering::Relaxed) { shares.heads_hard } else { shares.heads_replay };
        self.budget.heads_may_grow(bytes_max).await;
        let bytes: usize = batch.iter().map(Committed::payload_bytes).sum();
        self.replayed.fetch_add(bytes as u64, Ordering::Relaxed);
        match self.addr.send(Apply { batch }).await {
            Ok(applied) => applied.map_err(other),
            Err(e) => Err(other(format!("shard {} stopped: {e}", self.shard))),
        }
    }

    async fn snapshot(&self) -> std::io::Result<Option<SnapshotManifest>> {
        let manifest = self.observed.manifest.load_full();
        if manifest.epoch == 0 {
            return Ok(None);
        }
        let membership = manifest.membership.clone();
        Ok(Some(SnapshotManifest {
            position: Some(position(manifest.position)),
            membership: membership.map_or((None, Bytes::new()), |(p, bytes)| (Some(position(p)), bytes.into())),
            id: snapshot_id(&manifest),
            manifest: manifest.encode().into(),
        }))
    }

    async fn install(&self, snapshot: SnapshotManifest, source: NodeId) -> std::io::Result<()> {
        let mut manifest = Manifest::decode(&snapshot.manifest).map_err(|e| other(e.to_string()))?;
        if manifest.shard != self.shard {
            return Err(other(format!("snapshot of shard {} for shard {}", manifest.shard, self.shard)));
        }
        // openraft may know a newer membership than the seal did.
        if let (Some(at), bytes) = &snapshot.membership {
            let at = LogPosition { term: at.term, leader: at.leader, index: at.index };
            manifest.membership = Some((at, bytes.to_vec()));
        }
        self.fetches.fetch_blocks(&*self.source, source, self.shard, &self.dir, &manifest).await?;
        let (quiet, becomes_quiet) = oneshot::channel();
        self.addr.send(WhenQuiet { quiet }).await.map_err(|e| other(e.to_string()))?;
        becomes_quiet.await.map_err(|_| other(format!("shard {} stopped", self.shard)))?;
        let (dir, made, opener) = (self.dir.clone(), manifest.clone(), self.opener.clone());
        let blocks = self.pool.run(move || {
            let blocks = opener.open_sound(&dir, &made.blocks)?;
            write_manifest(&dir, &made)?;
            Ok(blocks)
        });
        let blocks = blocks.await.map_err(|e| other(e.to_string()))?;
        let blocks = blocks.map_err(|e: trine_store::shard::FileError| other(chain(&e)))?;
        self.addr.send(Reset { manifest, blocks }).await.map_err(|e| other(e.to_string()))?;
        fetch::forget_incoming(&self.dir)
    }
}

fn snapshot_id(manifest: &Manifest) -> String {
    format!("shard-{}-epoch-{}-index-{}", manifest.shard, manifest.epoch, manifest.position.index)
}
