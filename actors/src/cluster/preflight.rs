//! Before anything is opened: whether what this node has of its cluster's metadata is whole.
//!
//! A node that has lost its copy of the metadata, or part of it, may have forgotten what it voted. So nothing it has is used
//! again: all of it goes into quarantine, and the node joins its cluster as a new one, which takes the place of its old self
//! (docs/adr/0007). Where no other node could have a copy the node does not start instead. On a disk that takes no writes, as when
//! it is full, nothing is judged: opening a whole store fails there, too.
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use tracing::{info, warn};
use trine_raft::{ReplicaId, check_store};

use crate::config::ClusterConfig;
use crate::error::Error;
use crate::healing::{Found, Healing, Kind, State};
use crate::identity::{ANY_CLUSTER, Identity, io_error};
use crate::meta::{mend_export, read_export};

/// What a node keeps of a cluster, besides its identity.
const OF_A_CLUSTER: [&str; 3] = ["meta", "wal", "shards"];

/// What is wrong with a data directory as a whole.
struct Damage {
    what: &'static str,
    reason: &'static str,
    detail: String,
    /// The cluster it was of, if known.
    cluster: String,
}

/// The identity of a data directory that can be opened.
pub(super) fn identity(config: &ClusterConfig, healing: &Healing) -> Result<Identity, Error> {
    let dir = &config.data_dir;
    try_to_write(dir)?;
    let examined = examine(dir, &config.node_name);
    if !matches!(examined, Ok(Ok(_))) {
        // The last room may have gone, to another process or to the examination itself.
        try_to_write(dir)?;
    }
    let damage = match examined? {
        Ok(identity) if identity.cluster.is_empty() => {
            // What a crash has left while it was put into quarantine.
            return put_away_remains(dir, healing).map(|()| identity);
        }
        Ok(identity) => {
            mend_metadata(dir, healing);
            return Ok(identity);
        }
        Err(damage) => damage,
    };
    let Damage { what, reason, detail, cluster } = damage;
    if names_nobody_else(config) {
        return Err(Error::OnlyCopy { what, path: dir.display().to_string(), reason: detail });
    }
    let rejoin = if cluster.is_empty() { ANY_CLUSTER } else { &cluster };
    let found = Found { kind: Kind::Metadata, shard: None, what: what.to_owned(), reason, detail: detail.clone() };
    let id = healing.found(found);
    if reason == IDENTITY_DAMAGED {
        healing.quarantine(id, &dir.join("identity")).map_err(io_error("quarantine the identity in", dir))?;
    }
    // First of all: from here on this node only joins.
    let identity = Identity::draw(&config.node_name, rejoin);
    identity.save(dir)?;
    put_away(dir, healing, id)?;
    healing.update(id, State::Healing, format!("{detail}; joins cluster {rejoin} as a new node in its own place"));
    Ok(identity)
}

const IDENTITY_DAMAGED: &str = "identity_damaged";
const EXPORT_DAMAGED: &str = "export_damaged";

fn examine(dir: &Path, node_name: &str) -> Result<Result<Identity, Damage>, Error> {
    let found = dir.join("identity").try_exists().map_err(io_error("look for the identity in", dir))?;
    let remains = OF_A_CLUSTER.iter().any(|name| has_files(&dir.join(name)));
    let known = || read_export(&dir.join("meta")).ok().flatten().map(|e| e.state.cluster).unwrap_or_default();
    if !found && remains {
        let detail = "the identity is missing beside data of a cluster".to_owned();
        return Ok(Err(Damage { what: "identity", reason: "identity_missing", detail, cluster: known() }));
    }
    let identity = match Identity::load_or_create(dir, node_name) {
        Ok(identity) => identity,
        Err(Error::Identity { reason, .. }) => {
            let detail = format!("the identity does not decode: {reason}");
            return Ok(Err(Damage { what: "identity", reason: IDENTITY_DAMAGED, detail, cluster: known() }));
        }
        Err(error) => return Err(error),
    };
    if identity.cluster.is_empty() {
        return Ok(Ok(identity));
    }
    let whose = format!("this was node {} of cluster {}", identity.node_id, identity.cluster);
    let damage = |reason, detail: String| {
        let (what, detail, cluster) = ("metadata", format!("{detail}; {whose}"), identity.cluster.clone());
        Ok(Err(Damage { what, reason, detail, cluster }))
    };
    let meta = dir.join("meta");
    let export = match read_export(&meta) {
        Ok(export) => export,
        Err(e) if e.kind() == io::ErrorKind::InvalidData => return damage(EXPORT_DAMAGED, e.to_string()),
        Err(e) => return Err(io_error("read the metadata in", &meta)(e)),
    };
    if identity.meta_opened && !meta.join("log").join("db").exists() {
        return damage("store_missing", format!("{} has no log", meta.display()));
    }
    match check_store(&meta.join("log"), &identity.cluster, ReplicaId(identity.meta_replica)) {
        Ok(true) if export.is_none() => damage("export_missing", format!("{} has no export", meta.display())),
        Ok(_) => Ok(Ok(identity)),
        Err(error @ (trine_raft::Error::Broken(_) | trine_raft::Error::WrongIdentity { .. })) => {
            damage("store_damaged", error.to_string())
        }
        Err(error) => Err(Error::Raft { group: 0, reason: error.to_string() }),
    }
}

/// The export is there twice. What is wrong with one of them is put right from the other; a disk that has no room for that now
/// is no reason not to start.
fn mend_metadata(dir: &Path, healing: &Healing) {
    match mend_export(&dir.join("meta")) {
        Ok(None) => {}
        Ok(Some(detail)) => {
            let (kind, what) = (Kind::Metadata, "export".to_owned());
            let found = Found { kind, shard: None, what, reason: EXPORT_DAMAGED, detail };
            let id = healing.found(found);
            healing.update(id, State::Healed, "made anew from its second copy");
        }
        Err(error) => warn!(%error, "the export of the metadata could not be written twice"),
    }
}

/// What a start writes before it is sure of anything, generously.
const PROBE_BYTES: usize = 1 << 20;
const PROBE: &str = "write.probe";

/// Writes a file, syncs it and removes it.
fn try_to_write(dir: &Path) -> Result<(), Error> {
    let path = dir.join(PROBE);
    let write = || -> io::Result<()> {
        let mut file = File::create(&path)?;
        file.write_all(&vec![0x5a; PROBE_BYTES])?;
        file.sync_all()
    };
    let written = write();
    let removed = match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    written.and(removed).map_err(|source| Error::NotWritable { path: dir.display().to_string(), source })
}

fn has_files(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

/// Nobody else is named who could have a copy of anything.
fn names_nobody_else(config: &ClusterConfig) -> bool {
    let own = format!("{}:{}", config.advertise_host, config.gossip_listen.port());
    config.join.iter().all(|seed| *seed == own)
}

fn put_away(dir: &Path, healing: &Healing, id: u64) -> Result<(), Error> {
    for name in OF_A_CLUSTER {
        let path = dir.join(name);
        healing.quarantine(id, &path).map_err(io_error("quarantine", &path))?;
    }
    Ok(())
}

fn put_away_remains(dir: &Path, healing: &Healing) -> Result<(), Error> {
    if !["meta", "shards"].iter().any(|name| has_files(&dir.join(name))) {
        return Ok(());
    }
    let records = healing.records();
    let open = records.iter().rev().find(|r| r.kind == Kind::Metadata && r.state != State::Healed);
    let id = open.map(|r| r.id).unwrap_or_else(|| {
        let (what, detail) = ("metadata".to_owned(), "data of a cluster that this node is not a member of".to_owned());
        healing.found(Found { kind: Kind::Metadata, shard: None, what, reason: "not_a_member", detail })
    });
    info!(path = %dir.display(), "putting away what is left of the node's former self");
    put_away(dir, healing, id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::config;

    fn member(dir: &Path) -> Identity {
        let mut identity = Identity::load_or_create(dir, "n1").unwrap();
        (identity.cluster, identity.meta_replica) = ("c".into(), 2);
        identity.save(dir).unwrap();
        for name in OF_A_CLUSTER {
            fs::create_dir_all(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("file"), name).unwrap();
        }
        identity
    }

    #[test]
    fn damaged_metadata_makes_a_new_node_that_only_joins() {
        type Break = fn(&Path);
        let cases: [(&str, Break, &str); 6] = [
            ("identity_missing", |d| fs::remove_file(d.join("identity")).unwrap(), ANY_CLUSTER),
            ("identity_damaged", |d| fs::write(d.join("identity"), "x").unwrap(), ANY_CLUSTER),
            ("identity_damaged", |d| fs::write(d.join("identity"), b"trine\xff\n").unwrap(), ANY_CLUSTER),
            ("export_damaged", |d| fs::write(d.join("meta/meta.state"), "x").unwrap(), "c"),
            ("store_damaged", |d| fs::create_dir_all(d.join("meta/log/blobs")).unwrap(), "c"),
            (
                "store_missing",
                |d| {
                    let mut identity = Identity::load_or_create(d, "n1").unwrap();
                    identity.meta_opened = true;
                    identity.save(d).unwrap();
                },
                "c",
            ),
        ];
        for (reason, damage, rejoin) in cases {
            let dir = tempfile::tempdir().unwrap();
            let before = member(dir.path());
            damage(dir.path());
            let healing = Healing::open(dir.path()).unwrap();
            let with = config(dir.path(), &["127.0.0.1:1", "127.0.0.2:1"]);
            let after = identity(&with, &healing).unwrap();
            assert_ne!(after.node_id, before.node_id, "{reason}");
            assert_eq!((after.rejoin.as_str(), after.cluster.as_str()), (rejoin, ""), "{reason}");
            assert_eq!(healing.records()[0].reason, reason);
            for name in OF_A_CLUSTER {
                assert!(!dir.path().join(name).exists(), "{reason}");
                assert!(dir.path().join("quarantine/000001").join(name).join("file").exists(), "{reason}");
            }
            assert_eq!(identity(&with, &healing).unwrap(), after, "a second start goes on");
        }
    }

    /// `/dev/full` takes no byte, as a disk without room does.
    #[cfg(target_os = "linux")]
    #[test]
    fn nothing_is_judged_where_nothing_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        member(dir.path());
        fs::create_dir_all(dir.path().join("meta/log/blobs")).unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join(PROBE)).unwrap();
        let healing = Healing::open(dir.path()).unwrap();
        let with = config(dir.path(), &["127.0.0.1:1", "127.0.0.2:1"]);
        let refused = identity(&with, &healing).unwrap_err();
        assert!(refused.to_string().contains("No space left on device"), "{refused}");
        assert!(matches!(refused, Error::NotWritable { .. }));
        assert!(dir.path().join("wal/file").exists() && healing.records().is_empty());
        // The probe is gone, and with it what was in its way.
        assert_eq!(identity(&with, &healing).unwrap().cluster, "");
        assert_eq!(healing.records()[0].reason, "store_damaged");
    }

    #[test]
    fn a_damaged_export_is_made_anew_from_its_copy() {
        let dir = tempfile::tempdir().unwrap();
        let before = member(dir.path());
        crate::meta::write_export(&dir.path().join("meta"), &crate::meta::Export::default()).unwrap();
        fs::write(dir.path().join("meta/meta.state"), "x").unwrap();
        let healing = Healing::open(dir.path()).unwrap();
        assert_eq!(identity(&config(dir.path(), &["127.0.0.2:1"]), &healing).unwrap(), before, "no new node");
        let record = &healing.records()[0];
        assert_eq!((record.reason.as_str(), record.state, record.kept.as_str()), (EXPORT_DAMAGED, State::Healed, ""));
        assert!(dir.path().join("shards/file").exists());
        fs::remove_file(dir.path().join("meta/meta.state.copy")).unwrap();
        assert!(read_export(&dir.path().join("meta")).unwrap().is_some());
    }

    #[test]
    fn the_only_copy_is_left_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        member(dir.path());
        fs::write(dir.path().join("meta/meta.state"), "x").unwrap();
        let healing = Healing::open(dir.path()).unwrap();
        for seeds in [&[][..], &["127.0.0.1:1"]] {
            let refused = identity(&config(dir.path(), seeds), &healing);
            assert!(matches!(refused, Err(Error::OnlyCopy { .. })), "{refused:?}");
        }
        assert!(dir.path().join("wal/file").exists());
    }

    #[test]
    fn a_sound_directory_and_an_empty_one_are_taken_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let healing = Healing::open(dir.path()).unwrap();
        let with = config(dir.path(), &["127.0.0.2:1"]);
        let new = identity(&with, &healing).unwrap();
        assert_eq!(new.rejoin, "");
        let before = member(dir.path());
        assert_eq!(identity(&with, &healing).unwrap(), before);
        assert_eq!(healing.records(), []);
    }

    #[test]
    fn what_a_crash_left_is_put_away() {
        let dir = tempfile::tempdir().unwrap();
        let mut id = member(dir.path());
        id.cluster = String::new();
        id.save(dir.path()).unwrap();
        let healing = Healing::open(dir.path()).unwrap();
        identity(&config(dir.path(), &[]), &healing).unwrap();
        assert!(!dir.path().join("shards").exists() && dir.path().join("quarantine/000001/shards").exists());
    }
}
