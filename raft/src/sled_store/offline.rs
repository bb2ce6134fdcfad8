//! The metadata store of a node that does not run: its log read back, and a new store made that goes on from a state.
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;
use openraft::vote::RaftLeaderId;

use super::witness;
use super::{Identity, entry_key, mark_key, open_database, sync, sync_directory};
use crate::device::Mark;
use crate::error::Error;
use crate::ids::{GroupId, NodeId, Position, ReplicaId};
use crate::machine::{Committed, Payload};
use crate::record::{decode_entry, decode_vote, encode_membership, encode_position, encode_vote};
use crate::type_config::{EntryPayload, LeaderId, Member, Membership, Vote, from_log_id, to_log_id};

/// A store's log as it is on disk.
#[derive(Clone, Debug, Default)]
pub struct StoredLog {
    /// The greatest term that the replica has voted in or holds an entry of.
    pub term: u64,
    /// All entries, known to be committed or not.
    pub entries: Vec<Committed>,
}

/// Reads the log of a metadata store that is not open.
pub fn read_stored_log(dir: &Path, cluster: &str, replica: ReplicaId) -> Result<StoredLog, Error> {
    super::check_store(dir, cluster, replica)?;
    let identity = Identity { cluster: cluster.to_owned(), group: GroupId(0), replica };
    let read = || {
        let (db, ..) = open_database(dir, &identity)?;
        let broken = |error: &dyn std::fmt::Display| Error::Broken(format!("{}: {error}", dir.display()));
        let vote = db.get(mark_key(Mark::Vote)).map_err(|e| broken(&e))?;
        let vote = vote.map(|v| decode_vote(Bytes::copy_from_slice(&v))).transpose().map_err(|e| broken(&e))?;
        let mut log = StoredLog { term: vote.map_or(0, |v| v.leader_id.term), entries: Vec::new() };
        for pair in db.range(entry_key(0)..=entry_key(u64::MAX)) {
            let (_, value) = pair.map_err(|e| broken(&e))?;
            let entry = decode_entry(Bytes::copy_from_slice(&value)).map_err(|e| broken(&e))?;
            let position = from_log_id(&entry.log_id);
            log.term = log.term.max(position.term);
            let payload = match entry.payload {
                EntryPayload::Blank => Payload::Blank,
                EntryPayload::Normal(command) => Payload::Normal(command.0),
                EntryPayload::Membership(membership) => Payload::Membership(encode_membership(&membership)),
            };
            log.entries.push(Committed { position, payload });
        }
        Ok(log)
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(Error::Broken("sled panicked".to_owned())))
}

/// Makes the store of a replica that begins at `at`: its log is purged up to there, and it has voted for itself in that term.
/// `dir` must not exist. Durable on return.
pub fn create_store(dir: &Path, cluster: &str, replica: ReplicaId, at: Position) -> Result<(), Error> {
    let broken = |error: &dyn std::fmt::Display| Error::Broken(format!("{}: {error}", dir.display()));
    if dir.exists() {
        return Err(broken(&"it exists"));
    }
    let identity = Identity { cluster: cluster.to_owned(), group: GroupId(0), replica };
    let (db, file, _owner, mut witness) = open_database(dir, &identity)?;
    let vote = Vote { leader_id: LeaderId::new(at.term, replica.0), committed: false };
    let mut batch = sled::Batch::default();
    batch.insert(&mark_key(Mark::Vote), encode_vote(&vote).as_ref());
    batch.insert(&mark_key(Mark::Purged), encode_position(Some(&to_log_id(&at))).as_ref());
    batch.insert(witness::KEY, &witness.next());
    db.apply_batch(batch).map_err(|e| broken(&e))?;
    sync(&db, &file).and_then(|()| witness.synced()).and_then(|()| sync_directory(dir)).map_err(|e| broken(&e))
}

/// The membership of a group with one voter, as machines keep it.
pub fn sole_voter(replica: ReplicaId, node: NodeId) -> Result<Bytes, Error> {
    let members = BTreeMap::from([(replica.0, Member { node: node.0 })]);
    let membership = Membership::new(vec![[replica.0].into()], members);
    membership.map(|m| encode_membership(&m)).map_err(|e| Error::Membership(e.to_string()))
}
