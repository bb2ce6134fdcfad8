//! Directories of the quarantine that the list does not know: their files are put on it again, so that somebody sees them.
//!
//! The list may have been damaged, or a crash came between moving files away and writing that down. Whether what such files are
//! of was healed is not known any more, so nothing removes them but an operator.
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::{Kind, Record, State, folder};

/// [`Record::reason`] of a directory whose record is lost.
pub(crate) const RECORD_LOST: &str = "record_lost";

/// Adds a record for each directory of the quarantine that has none; returns how many records changed or were added.
pub(super) fn adopt(dir: &Path, records: &mut Vec<Record>, now_ms: u64) -> io::Result<usize> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(id) = entry.file_name().to_str().and_then(id_of)
            && entry.file_type()?.is_dir()
        {
            found.insert(id, entry.path());
        }
    }
    let mut changed = 0;
    for (id, path) in found {
        match records.iter_mut().find(|r| r.id == id || r.kept == folder(id)) {
            Some(record) if record.kept.is_empty() => record.kept = folder(id),
            Some(_) => continue,
            None => records.push(lost(id, &path, now_ms)),
        }
        changed += 1;
    }
    records.sort_by_key(|r| r.id);
    Ok(changed)
}

/// The id in a directory's name, if it is one of the quarantine's.
fn id_of(name: &str) -> Option<u64> {
    name.parse().ok().filter(|id| folder(*id) == name)
}

fn lost(id: u64, path: &Path, now_ms: u64) -> Record {
    Record {
        id,
        time_ms: now_ms,
        changed_ms: now_ms,
        kind: kind_of(path),
        shard: None,
        what: format!("quarantine/{}", folder(id)),
        reason: RECORD_LOST.to_owned(),
        state: State::Failed,
        detail: "the list has lost what these files were of and whether that was healed. Once all else on the list is \
                 healed, remove the directory: this record then is healed too"
            .to_owned(),
        kept: folder(id),
    }
}

/// What files of the quarantine are of, by their names.
fn kind_of(path: &Path) -> Kind {
    let names = fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.file_name());
    let names: Vec<String> = names.map(|n| n.to_string_lossy().into_owned()).collect();
    if names.iter().any(|n| n == "meta" || n == "identity") {
        Kind::Metadata
    } else if names.iter().any(|n| n.contains(".trnb")) {
        Kind::Block
    } else {
        Kind::Replica
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_quarantine_are_ids() {
        for (name, id) in [
            ("000001", Some(1)),
            ("1234567", Some(1_234_567)),
            ("1", None),
            ("0000001", None),
            ("+00001", None),
            ("records", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(id_of(name), id, "{name}");
        }
    }

    #[test]
    fn what_files_are_of_is_told_by_their_names() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(kind_of(dir.path()), Kind::Replica);
        fs::write(dir.path().join("5-logs.trnb"), "").unwrap();
        assert_eq!(kind_of(dir.path()), Kind::Block);
        fs::create_dir(dir.path().join("meta")).unwrap();
        assert_eq!(kind_of(dir.path()), Kind::Metadata);
    }
}
