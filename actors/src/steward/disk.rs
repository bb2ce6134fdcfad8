//! What this node's disk says of a replica before it is opened: whether it has ever been here, and is all here still.
//!
//! A replica that took part once and has lost its log or its files may have voted, or acknowledged, what it no longer knows.
//! So the metadata notes each replica once it is born on its node's disk, and one that is not whole any more is never opened
//! under its id again: see `docs/adr/0007-lost-replicas-are-replaced.md`.
use std::io;
use std::path::Path;

use bytes::Bytes;
use tokio::sync::oneshot;
use trine_store::shard::{BLOCKS_DIR, MANIFEST_FILE};
use trine_store::wal::{Mark, Wal};

use crate::healing::Kind;
use crate::shard::directory;

/// What a replica's disk says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It can be opened.
    Whole,
    /// It was never here.
    Unborn,
    /// Not known yet.
    Undecided,
    /// It was here and is not whole.
    Lost(Loss),
}

/// Why a replica must be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub kind: Kind,
    /// One of few words, for metrics.
    pub reason: &'static str,
    pub detail: String,
}

impl Loss {
    fn condition(kind: Kind, reason: &'static str, detail: impl Into<String>) -> Condition {
        Condition::Lost(Self { kind, reason, detail: detail.into() })
    }
}

/// What there is of a replica on its node's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traces<'a> {
    /// What recovery of the log found its stream to have lost.
    pub corrupt: Option<&'a str>,
    /// The metadata says that the replica exists here.
    pub opened: bool,
    /// All of the node's metadata log is applied. Before that it may have forgotten what it knew when it opened the replica:
    /// a power cut takes the mark of what was committed, and the disk may have lost the replica itself.
    pub metadata_is_current: bool,
    /// Its directory is there.
    pub directory: bool,
    /// The log has a stream of it.
    pub stream: bool,
    /// That stream was purged once. It is, only behind a manifest: without one, opening would take the blocks for strays.
    pub purged: bool,
    /// Its manifest is there.
    pub manifest: bool,
}

/// Whether a replica is all there, was never there, or is lost. Pure.
pub fn judge(traces: &Traces<'_>) -> Condition {
    if let Some(what) = traces.corrupt {
        return Loss::condition(Kind::Wal, "wal_corrupt", format!("its stream of the log lost {what}"));
    }
    if !traces.opened {
        return if traces.metadata_is_current { Condition::Unborn } else { Condition::Undecided };
    }
    if !traces.directory {
        return Loss::condition(Kind::Replica, "directory_missing", "its directory is missing");
    }
    if !traces.stream {
        return Loss::condition(Kind::Wal, "log_missing", "the log has nothing of it");
    }
    if traces.purged && !traces.manifest {
        return Loss::condition(Kind::Replica, "manifest_missing", "its directory has no manifest");
    }
    Condition::Whole
}

/// The node's disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk<'a> {
    pub(super) data_dir: &'a Path,
    pub(super) wal: &'a Wal,
    /// What recovery found of a damaged stream.
    pub(super) corrupt: Option<&'a str>,
    /// See [`Traces::metadata_is_current`].
    pub(super) metadata_is_current: bool,
}

impl Disk<'_> {
    /// `opened`: the metadata says that the replica exists here.
    pub(super) fn condition(&self, shard: u32, replica: u64, opened: bool) -> io::Result<Condition> {
        let dir = directory(self.data_dir, shard, replica);
        let traces = Traces {
            corrupt: self.corrupt,
            opened,
            metadata_is_current: self.metadata_is_current,
            directory: dir.try_exists()?,
            stream: self.wal.streams().binary_search(&replica).is_ok(),
            purged: self.wal.mark(replica, Mark::Purged).is_some_and(|mark| !mark.is_empty()),
            manifest: dir.join(MANIFEST_FILE).try_exists()?,
        };
        Ok(match judge(&traces) {
            Condition::Lost(loss) => {
                Condition::Lost(Loss { detail: format!("{} ({})", loss.detail, dir.display()), ..loss })
            }
            sound @ (Condition::Whole | Condition::Unborn | Condition::Undecided) => sound,
        })
    }

    /// Makes the replica exist: its directory, and its stream in the log. Durable on return; harmless when it was done before.
    pub(super) async fn give_birth(&self, shard: u32, replica: u64) -> io::Result<()> {
        let dir = directory(self.data_dir, shard, replica);
        std::fs::create_dir_all(dir.join(BLOCKS_DIR))?;
        for made in [Some(dir.as_path()), dir.parent(), Some(self.data_dir)].into_iter().flatten() {
            std::fs::File::open(made)?.sync_all()?;
        }
        if self.wal.streams().binary_search(&replica).is_ok() {
            return Ok(());
        }
        let (done, synced) = oneshot::channel();
        // An empty committed position is none: it changes nothing, but from here on the stream is there.
        let done = Box::new(move |result| drop(done.send(result)));
        self.wal.set_mark(replica, Mark::Committed, Bytes::new(), Some(done));
        synced.await.unwrap_or_else(|_| Err(io::Error::other("the log stopped")))
    }
}

#[cfg(test)]
mod tests {
    use trine_store::wal::WalConfig;

    use super::*;

    fn reason(condition: Condition) -> &'static str {
        match condition {
            Condition::Whole => "whole",
            Condition::Unborn => "unborn",
            Condition::Undecided => "undecided",
            Condition::Lost(loss) => loss.reason,
        }
    }

    #[tokio::test]
    async fn a_replica_that_was_here_and_is_not_whole_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let config = WalConfig { segment_bytes: 1 << 20, record_bytes_max: 1 << 16, ..WalConfig::default() };
        let (wal, _) = Wal::open(&dir.path().join("wal"), config.clone()).unwrap();
        let disk = Disk { data_dir: dir.path(), wal: &wal, corrupt: None, metadata_is_current: true };
        assert_eq!(reason(disk.condition(3, 7, false).unwrap()), "unborn");
        let early = Disk { metadata_is_current: false, ..disk };
        assert_eq!(reason(early.condition(3, 7, false).unwrap()), "undecided", "it may be one that was lost");
        assert_eq!(reason(disk.condition(3, 7, true).unwrap()), "directory_missing");
        for _ in 0..2 {
            disk.give_birth(3, 7).await.unwrap();
            assert_eq!(reason(disk.condition(3, 7, true).unwrap()), "whole");
        }
        drop(wal);
        let (wal, _) = Wal::open(&dir.path().join("wal"), config.clone()).unwrap();
        let disk = Disk { data_dir: dir.path(), wal: &wal, corrupt: None, metadata_is_current: true };
        assert_eq!(
            reason(disk.condition(3, 7, true).unwrap()),
            "whole",
            "it outlives a restart before its first entry"
        );
        let purge = |mark: &'static [u8]| {
            let (done, waited) = oneshot::channel();
            wal.set_mark(7, Mark::Purged, mark.into(), Some(Box::new(move |r| drop(done.send(r)))));
            waited
        };
        purge(b"x").await.unwrap().unwrap();
        assert_eq!(reason(disk.condition(3, 7, true).unwrap()), "manifest_missing");
        std::fs::write(directory(dir.path(), 3, 7).join(MANIFEST_FILE), "").unwrap();
        assert_eq!(reason(disk.condition(3, 7, true).unwrap()), "whole");
        let corrupt = Disk { corrupt: Some("entry 5"), ..disk };
        assert_eq!(reason(corrupt.condition(3, 7, true).unwrap()), "wal_corrupt");
        let (other, _) = Wal::open(&dir.path().join("wal2"), config).unwrap();
        let wiped = Disk { wal: &other, ..disk };
        assert_eq!(reason(wiped.condition(3, 7, true).unwrap()), "log_missing");
    }
}
