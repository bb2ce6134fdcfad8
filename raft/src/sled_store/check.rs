//! Whether a metadata store is whole, before anything uses it.
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;

use super::{Identity, entry_key, mark_key, open_database};
use crate::device::Mark;
use crate::error::Error;
use crate::ids::{GroupId, ReplicaId};
use crate::record::{decode_entry, decode_position, decode_vote};

/// Opens the metadata store in `dir`, reads all of it, and closes it again: whether [`crate::Multi::open`] and everything
/// after it will find what was written. A directory that is not there is sound: it is a store to be created. Says whether
/// a part of the log was purged, so that the machine must have what was in it.
pub fn check_store(dir: &Path, cluster: &str, replica: ReplicaId) -> Result<bool, Error> {
    if !dir.join("db").exists() {
        // sled names its log last: anything else without it was a store once.
        let remains = fs::read_dir(dir).into_iter().flatten().flatten().any(|e| e.file_name() != "owner");
        return if remains { Err(Error::Broken(format!("{}: its log is gone", dir.display()))) } else { Ok(false) };
    }
    let identity = Identity { cluster: cluster.to_owned(), group: GroupId(0), replica };
    let read = || -> Result<bool, Error> {
        let (db, _file, _owner, _witness) = open_database(dir, &identity)?;
        let broken = |error: &dyn std::fmt::Display| Error::Broken(format!("{}: {error}", dir.display()));
        for pair in db.iter() {
            let (key, value) = pair.map_err(|error| broken(&error))?;
            let bytes = Bytes::copy_from_slice(&value);
            match key.first() {
                Some(b'e') => decode_entry(bytes).map(drop).map_err(|error| broken(&error))?,
                Some(b'm') if *key == mark_key(Mark::Vote) => {
                    decode_vote(bytes).map(drop).map_err(|error| broken(&error))?;
                }
                Some(b'm') => decode_position(bytes).map(drop).map_err(|error| broken(&error))?,
                _ => {}
            }
        }
        let indexes: Vec<_> = db.range(entry_key(0)..=entry_key(u64::MAX)).keys().collect();
        let gap = indexes.windows(2).any(|pair| match pair {
            [Ok(a), Ok(b)] => index_of(a).zip(index_of(b)).is_none_or(|(a, b)| b != a + 1),
            _ => true,
        });
        if gap {
            return Err(broken(&"entries are missing"));
        }
        let purged = db.get(mark_key(Mark::Purged)).map_err(|error| broken(&error))?;
        Ok(purged.is_some_and(|mark| !mark.is_empty()))
    };
    // sled panics on some damage, and not only when it opens.
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(Error::Broken(format!("{}: sled panicked", dir.display()))))
}

fn index_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openraft::storage::{IOFlushed, RaftLogStorage};

    use super::*;
    use crate::sled_store::SledLog;
    use crate::type_config::{Entry, LeaderId, LogId, Vote};

    #[tokio::test]
    async fn a_check_reads_everything_and_names_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let replica = ReplicaId(1);
        assert!(check_store(&path, "test", replica).is_ok(), "to be created");
        let identity = Identity { cluster: "test".to_owned(), group: GroupId(0), replica };
        let mut log = SledLog::open(path.clone(), identity, Arc::default()).await.unwrap();
        let entry = |index| Entry {
            log_id: LogId::new(openraft::vote::RaftLeaderId::new(1, 1), index),
            payload: crate::type_config::EntryPayload::Normal(crate::type_config::Command(vec![7; 3000].into())),
        };
        log.append((0..50).map(entry), IOFlushed::noop()).await.unwrap();
        log.save_vote(&Vote { leader_id: LeaderId { term: 1, node_id: 1 }, committed: true }).await.unwrap();
        drop(log);
        assert!(check_store(&path, "test", replica).is_ok());
        assert!(matches!(check_store(&path, "other", replica), Err(Error::WrongIdentity { .. })));
        let db = path.join("db");
        let whole = fs::read(&db).unwrap();
        let half = whole.len() / 2;
        // sled takes much of this for the end of what was written, and opens an older state without a word.
        let flipped_from = |from: usize| {
            let flip = |(i, b): (usize, &u8)| if i >= from && i % 512 == 9 { !b } else { *b };
            whole.iter().enumerate().map(flip).collect::<Vec<u8>>()
        };
        for (what, bytes) in
            [("flipped", flipped_from(0)), ("flipped behind", flipped_from(60_000)), ("cut", whole[..half].to_vec())]
        {
            fs::write(&db, bytes).unwrap();
            assert!(check_store(&path, "test", replica).is_err(), "{what}");
        }
        fs::remove_file(&db).unwrap();
        assert!(matches!(check_store(&path, "test", replica), Err(Error::Broken(_))), "its log is gone");
    }
}
