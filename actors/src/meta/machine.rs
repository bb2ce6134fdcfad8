//! The metadata group's state machine: a copy in memory, exported to a checksummed file as its snapshot.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use trine_raft::{Committed, Machine, NodeId, Payload, Position, Recovered, SnapshotManifest};
use trine_store::model::{Demotions, Spreads};

use super::command::{Command, Reply, decode, encode};
use super::export::{Export, decode_export, encode_export, read_export, write_export};
use super::state::MetaState;

/// Entries between two exports: bounds the replay of the metadata log.
const EXPORT_ENTRIES: u64 = 64;

#[derive(Debug)]
struct Inner {
    live: Export,
    exported: Option<Export>,
    since_export: u64,
}

/// State machine of group 0.
#[derive(Debug)]
pub struct MetaMachine {
    dir: PathBuf,
    inner: Mutex<Inner>,
    state: watch::Sender<Arc<MetaState>>,
    spreads: watch::Sender<Spreads>,
    demotions: watch::Sender<Demotions>,
    exports: watch::Sender<u64>,
}

impl MetaMachine {
    /// Reads the last export, if there is one.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let exported = read_export(dir)?;
        let live = exported.clone().unwrap_or_default();
        let state = watch::Sender::new(Arc::new(live.state.clone()));
        let spreads = watch::Sender::new(live.state.places.spreads());
        let demotions = watch::Sender::new(live.state.demotions.demotions());
        let inner = Mutex::new(Inner { live, exported, since_export: 0 });
        Ok(Self { dir: dir.to_owned(), inner, state, spreads, demotions, exports: watch::Sender::new(0) })
    }

    /// The state as of the last applied entry, and its changes.
    pub fn watch(&self) -> watch::Receiver<Arc<MetaState>> {
        self.state.subscribe()
    }

    /// Where log entries go as of the last applied entry, and its changes.
    pub fn watch_spreads(&self) -> watch::Receiver<Spreads> {
        self.spreads.subscribe()
    }

    /// Labels that samples lose as of the last applied entry, and its changes.
    pub fn watch_demotions(&self) -> watch::Receiver<Demotions> {
        self.demotions.subscribe()
    }

    /// Log index of the newest export, and its changes: the log up to there can be purged.
    pub fn watch_exports(&self) -> watch::Receiver<u64> {
        self.exports.subscribe()
    }

    /// The state as of now in the export's format.
    pub fn export_bytes(&self) -> Vec<u8> {
        encode_export(&self.lock().live)
    }

    fn publish(&self, state: &MetaState) {
        let (places_changed, demotions_changed) = {
            let before = self.state.borrow();
            (before.places != state.places, before.demotions != state.demotions)
        };
        self.state.send_replace(Arc::new(state.clone()));
        if demotions_changed {
            self.demotions.send_replace(state.demotions.demotions());
        }
        if places_changed {
            self.spreads.send_replace(state.places.spreads());
        }
    }

    fn export(&self, inner: &mut Inner) -> io::Result<()> {
        write_export(&self.dir, &inner.live)?;
        inner.exported = Some(inner.live.clone());
        inner.since_export = 0;
        self.exports.send_replace(inner.live.position.map_or(0, |p| p.2));
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn triple(p: Position) -> (u64, u64, u64) {
    (p.term, p.leader, p.index)
}

fn position((term, leader, index): (u64, u64, u64)) -> Position {
    Position { term, leader, index }
}

#[async_trait]
impl Machine for MetaMachine {
    async fn recovered(&self) -> io::Result<Recovered> {
        let inner = self.lock();
        Ok(Recovered {
            position: inner.live.position.map(position),
            membership: inner.live.membership.clone().map(|(p, bytes)| (position(p), bytes.into())),
            snapshot_id: inner.exported.as_ref().and_then(|e| e.position).map(|p| format!("meta-{}", p.2)),
        })
    }

    async fn apply(&self, batch: Vec<Committed>) -> io::Result<Vec<Bytes>> {
        let mut inner = self.lock();
        let mut replies = Vec::with_capacity(batch.len());
        let mut changed = false;
        for entry in batch {
            inner.live.position = Some(triple(entry.position));
            inner.since_export += 1;
            replies.push(match entry.payload {
                Payload::Blank => Bytes::new(),
                Payload::Membership(bytes) => {
                    inner.live.membership = Some((triple(entry.position), bytes.to_vec()));
                    Bytes::new()
                }
                Payload::Normal(bytes) => {
                    changed = true;
                    let reply = match decode::<Command>("command", &bytes) {
                        Ok(command) => inner.live.state.apply(command),
                        Err(e) => Reply::Refused(e.to_string()),
                    };
                    encode(&reply).into()
                }
            });
        }
        if inner.since_export >= EXPORT_ENTRIES {
            self.export(&mut inner)?;
        }
        if changed {
            self.publish(&inner.live.state);
        }
        Ok(replies)
    }

    async fn snapshot(&self) -> io::Result<Option<SnapshotManifest>> {
        let mut inner = self.lock();
        // A new replica needs one even before the first export is due.
        if inner.exported.is_none() && inner.live.position.is_some() {
            self.export(&mut inner)?;
        }
        let Some(export) = &inner.exported else { return Ok(None) };
        let Some(at) = export.position else { return Ok(None) };
        let (membership_at, membership) =
            export.membership.clone().map_or((None, Bytes::new()), |(p, bytes)| (Some(position(p)), bytes.into()));
        Ok(Some(SnapshotManifest {
            position: Some(position(at)),
            membership: (membership_at, membership),
            id: format!("meta-{}", at.2),
            manifest: encode_export(export).into(),
        }))
    }

    async fn install(&self, snapshot: SnapshotManifest, _source: NodeId) -> io::Result<()> {
        let export = decode_export(&snapshot.manifest)?;
        let mut inner = self.lock();
        inner.live = export;
        self.export(&mut inner)?;
        self.publish(&inner.live.state);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::NodeRecord;

    #[tokio::test]
    async fn state_survives_through_the_export_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let machine = MetaMachine::open(dir.path()).unwrap();
        let s = String::new;
        let node = NodeRecord { id: 5, name: "n".into(), rpc: s(), http: s(), zone: s(), version: s() };
        let payload = Payload::Normal(encode(&Command::UpsertNode(node)).into());
        let at = Position { term: 1, leader: 1, index: 3 };
        machine.apply(vec![Committed { position: at, payload }]).await.unwrap();
        let snapshot = machine.snapshot().await.unwrap().unwrap();
        assert_eq!(snapshot.position.map(|p| p.index), Some(3));
        let again = MetaMachine::open(dir.path()).unwrap();
        assert!(again.watch().borrow().nodes.contains_key(&5));
        for name in ["meta.state", "meta.state.copy"] {
            let path = dir.path().join(name);
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
        assert!(MetaMachine::open(dir.path()).is_err());
    }
}
