//! Damaged replicas of this node: put away, replaced through the metadata, followed until they are healed, and cleaned up.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};
use trine_raft::ReplicaId;
use trine_store::shard::entry_of;

use super::Steward;
use super::disk::{Disk, Loss};
use crate::cluster::{NodeLog, unix_ms};
use crate::healing::{Found, Kind, RECORD_LOST, Record, SUPERSEDED, State};
use crate::meta::{Command, MetaState, ONLY_REPLICA, Reply};
use crate::shard::directory;

/// Between two tries to have a replica replaced.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// Between two looks at how far healing is.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// Between two searches for what can go.
const CLEAN_EVERY: Duration = Duration::from_secs(10);
/// How long nothing has been done about a damaged block before it is asked whether anybody still needs it: longer than until it is
/// tried again.
const BLOCK_QUIET_MS: u64 = 10_000;

/// A replica that is not opened.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) replica: u64,
    record: u64,
    asked: Option<Instant>,
}

/// When the steward last looked.
#[derive(Debug, Default)]
pub(super) struct Looked {
    followed: Option<Instant>,
    cleaned: Option<Instant>,
}

fn due(last: &mut Option<Instant>, every: Duration) -> bool {
    let due = last.is_none_or(|at| at.elapsed() >= every);
    if due {
        *last = Some(Instant::now());
    }
    due
}

fn named(replica: u64) -> String {
    format!("replica {replica}")
}

fn replica_of(record: &Record) -> Option<u64> {
    matches!(record.kind, Kind::Replica | Kind::Wal)
        .then(|| record.what.strip_prefix("replica ")?.parse().ok())
        .flatten()
}

/// Replica and file of a block's record.
fn block_of(record: &Record) -> Option<(u64, &str)> {
    let of_replica = record.what.strip_prefix("shards/").filter(|_| record.kind == Kind::Block)?;
    let (replica, file) = of_replica.split_once("/blocks/")?;
    Some((replica.rsplit_once('-')?.1.parse().ok()?, file))
}

/// Why a damaged block needs no healing any more, if so. `needs` says of the replica's file whether the replica has it on its list of
/// blocks; `None` when it is not open here.
fn block_settled(
    record: &Record,
    now_ms: u64,
    is_gone: impl Fn(u64) -> bool,
    needs: impl Fn(u64, &str) -> Option<bool>,
) -> Option<&'static str> {
    let (replica, file) = block_of(record)?;
    if is_gone(replica) {
        return Some("another replica has taken the place of the one that it belonged to");
    }
    if now_ms.saturating_sub(record.changed_ms) < BLOCK_QUIET_MS {
        return None;
    }
    (needs(replica, file) == Some(false))
        .then_some("its replica has other blocks in its place now, by a compaction or a snapshot of another replica")
}

/// What was done about a metadata record, once this node is one of the cluster's; `None` where that says nothing of it.
fn metadata_healed(reason: &str) -> Option<&'static str> {
    match reason {
        SUPERSEDED => Some("this node was given a new copy of the metadata; its shards are what they were"),
        RECORD_LOST => None,
        _ => Some("this node joined as a new one in its own place; its replicas are made anew"),
    }
}

impl Steward {
    pub(super) fn disk<'a>(&'a self, replica: u64) -> Disk<'a> {
        let NodeLog { wal, corrupt_streams } = &*self.log;
        let corrupt = corrupt_streams.get(&replica).map(String::as_str);
        Disk { data_dir: &self.context.data_dir, wal, corrupt, metadata_is_current: self.metadata_is_current }
    }

    /// Takes a replica out of use: it is not opened again, and another one takes its place.
    pub(super) fn close_damaged(&mut self, shard: u32, replica: u64, loss: Loss) {
        let Loss { kind, reason, detail } = loss;
        let record =
            self.shared.healing.found(Found { kind, shard: Some(shard), what: named(replica), reason, detail });
        self.damaged.insert(shard, Closed { replica, record, asked: None });
        self.publish_closed();
    }

    pub(super) fn publish_closed(&self) {
        let why = |(shard, closed): (&u32, &Closed)| {
            let text = format!(
                "shard {shard} is closed on this node: its replica {} is damaged; GET /admin/v1/healing says more",
                closed.replica
            );
            (*shard, text)
        };
        let closed: BTreeMap<u32, String> = self.damaged.iter().map(why).collect();
        self.shared.closed.store(Arc::new(closed));
    }

    /// Has damaged replicas replaced, follows how far that is, and lets go of what nobody needs any more.
    pub(super) async fn heal(&mut self, state: &MetaState) {
        let before = self.damaged.len();
        let me = self.shared.node_id();
        let still = |shard: &u32, closed: &mut Closed| {
            state.shards.get(shard).and_then(|r| r.opened_on(me)).is_some_and(|r| r.replica == closed.replica)
        };
        self.damaged.retain(still);
        if self.damaged.len() != before {
            self.publish_closed();
        }
        let shards: Vec<u32> = self.damaged.keys().copied().collect();
        for shard in shards {
            if !self.have_replaced(shard).await {
                break;
            }
        }
        if due(&mut self.looked.followed, FOLLOW_EVERY) {
            self.follow_healing(state);
        }
        if due(&mut self.looked.cleaned, CLEAN_EVERY) {
            self.clean(state);
        }
    }

    /// Whether the metadata group answers, so that more can be asked of it.
    async fn have_replaced(&mut self, shard: u32) -> bool {
        let me = self.shared.node_id();
        let Some(closed) = self.damaged.get_mut(&shard).filter(|c| c.asked.is_none_or(|at| at.elapsed() >= ASK_AGAIN))
        else {
            return true;
        };
        closed.asked = Some(Instant::now());
        let (replica, record) = (closed.replica, closed.record);
        let command = Command::ReplaceReplica { shard, replica, node: me, lost: true };
        let healing = &self.shared.healing;
        match self.shared.meta_submit(&command).await {
            Ok(Reply::Replica(new)) => {
                let dir = directory(&self.context.data_dir, shard, replica);
                // Only now: as long as nothing takes its place, an operator may want it where it is.
                if let Err(error) = healing.quarantine(record, &dir) {
                    warn!(shard, replica, %error, "the damaged replica's files could not be moved into quarantine");
                }
                healing.update(record, State::Healing, format!("replica {new} on this node takes its place"));
            }
            Ok(_) => {}
            Err(reason) if reason == ONLY_REPLICA => {
                let detail = format!(
                    "{reason}, so nothing can heal it. The shard stays closed: its writes get 503 and queries name it as missing. \
                     Its files are where they were; restore them from a backup and restart this node"
                );
                healing.update(record, State::Failed, detail);
            }
            Err(error) => {
                debug!(shard, replica, error, "the damaged replica is not replaced yet, asking again");
                return false;
            }
        }
        true
    }

    /// Writes down how far each replacement is.
    fn follow_healing(&self, state: &MetaState) {
        let healing = &self.shared.healing;
        let me = self.shared.node_id();
        for record in healing.records().into_iter().filter(|r| r.state != State::Healed) {
            if record.kind == Kind::Metadata {
                if let Some(detail) = metadata_healed(&record.reason).filter(|_| state.nodes.contains_key(&me)) {
                    healing.update(record.id, State::Healed, detail);
                }
                continue;
            }
            if record.kind == Kind::Block {
                let open = record.shard.and_then(|shard| self.replicas.get(&shard)).map(|open| &open.handle);
                let needs = |replica: u64, file: &str| {
                    let open = open.filter(|handle| handle.replica == replica)?;
                    Some(entry_of(&open.observed().manifest.load(), file).is_some())
                };
                if let Some(detail) = block_settled(&record, unix_ms(), |replica| state.is_gone(replica), needs) {
                    healing.update(record.id, State::Healed, detail);
                }
                continue;
            }
            let (Some(replica), Some(shard)) = (replica_of(&record), record.shard) else { continue };
            if state.is_gone(replica) {
                healing.update(record.id, State::Healed, "another replica has taken its place and its vote");
            } else if self.replicas.get(&shard).is_some_and(|r| r.handle.replica == replica) {
                healing.update(record.id, State::Healed, "it was whole again when the node started, and is open");
            } else if let Some(leaving) =
                state.record(shard).and_then(|r| r.leaving.iter().find(|l| l.replica == replica))
            {
                healing.update(record.id, State::Healing, self.progress(shard, leaving.successor));
            }
        }
    }

    fn progress(&self, shard: u32, successor: u64) -> String {
        let Some(replica) = self.replicas.get(&shard).filter(|r| r.handle.replica == successor) else {
            return format!("replica {successor} takes its place; it is not open yet");
        };
        let status = replica.handle.group.status();
        match (status.leader, status.voters.contains_key(&ReplicaId(successor))) {
            (_, true) => format!("replica {successor} votes in its place; the old one is being forgotten"),
            (None, false) => {
                format!("replica {successor} waits for the shard's leader: a majority of the others must be up")
            }
            (Some(_), false) => {
                let at = status.applied.map_or(0, |p| p.index);
                format!("replica {successor} is catching up, at entry {at}")
            }
        }
    }

    /// Removes streams and files of replicas that are gone for good, and old quarantined files.
    fn clean(&self, state: &MetaState) {
        let open: Vec<u64> = self.replicas.values().map(|r| r.handle.replica).collect();
        for stream in self.log.wal.streams() {
            if state.is_gone(stream) && !open.contains(&stream) {
                info!(replica = stream, "removing the log of a replica that is gone");
                let done = move |result: std::io::Result<()>| {
                    if let Err(error) = result {
                        warn!(replica = stream, %error, "its log could not be removed");
                    }
                };
                self.log.wal.remove_stream(stream, Box::new(done));
            }
        }
        let shards = self.context.data_dir.join("shards");
        for entry in std::fs::read_dir(&shards).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let replica = name.to_str().and_then(|n| n.split_once('-')?.1.parse::<u64>().ok());
            let Some(replica) = replica.filter(|r| state.is_gone(*r) && !open.contains(r)) else { continue };
            match self.shared.healing.records().iter().find(|r| replica_of(r) == Some(replica)) {
                // Damaged, and not moved away when that was found.
                Some(record) => drop(self.shared.healing.quarantine(record.id, &entry.path())),
                None => {
                    info!(replica, path = %entry.path().display(), "removing the files of a replica that is gone");
                    if let Err(error) = std::fs::remove_dir_all(entry.path()) {
                        warn!(replica, %error, "its files could not be removed");
                    }
                }
            }
        }
        let config = &self.shared.config;
        self.shared.healing.sweep(unix_ms(), config.quarantine_keep_ms, config.quarantine_bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_nobody_needs_any_more_is_settled() {
        let record = |kind, what: &str| Record {
            id: 1,
            time_ms: 0,
            changed_ms: 1_000,
            kind,
            shard: Some(14),
            what: what.to_owned(),
            reason: "checksum".to_owned(),
            state: State::Failed,
            detail: String::new(),
            kept: String::new(),
        };
        let block = record(Kind::Block, "shards/00014-48/blocks/c000000000487-logs.trnb");
        assert_eq!(block_of(&block), Some((48, "c000000000487-logs.trnb")));
        let settled = |record: &Record, now_ms, gone: u64, needs: Option<bool>| {
            block_settled(record, now_ms, |replica| replica == gone, |_, _| needs).is_some()
        };
        assert!(settled(&block, 1_000, 48, None), "its replica is gone");
        let later = 1_000 + BLOCK_QUIET_MS;
        assert!(settled(&block, later, 0, Some(false)));
        assert!(!settled(&block, later - 1, 0, Some(false)), "it may be being put in");
        assert!(!settled(&block, later, 0, Some(true)), "it is missing");
        assert!(!settled(&block, later, 0, None), "its replica is not open");
        for other in
            [record(Kind::Replica, "replica 48"), record(Kind::Block, "shards/x/blocks/a"), record(Kind::Block, "a")]
        {
            assert!(!settled(&other, later, 48, Some(false)), "{other:?}");
        }
    }

    #[test]
    fn only_a_node_that_lost_everything_has_its_replicas_made_anew() {
        assert!(metadata_healed(SUPERSEDED).is_some_and(|text| !text.contains("anew")));
        assert!(metadata_healed("store_damaged").is_some_and(|text| text.contains("made anew")));
        assert_eq!(metadata_healed(RECORD_LOST), None, "files that nothing is known of");
    }
}
