//! Offline: makes one copy of the metadata the only one, after a majority of its replicas is lost for good.
//!
//! The copy goes on under a new replica id, as the only voter, at a position above all that it knows, in a term above all
//! that it voted in: no old replica of the group can be taken for a member of it. Ids that the lost replicas may have given
//! away since are skipped. The old store is kept in quarantine. Nodes that survive notice at their next start that their
//! replica of the metadata belongs to the past, and are given new ones (see `cluster::boot`).
use std::fmt;
use std::fs;
use std::path::Path;

use trine_raft::{NodeId, Payload, Position, ReplicaId, create_store, read_stored_log, sole_voter};

use crate::error::Error;
use crate::healing::{Found, Healing, Kind, State};
use crate::identity::{Identity, io_error};
use crate::meta::{Command, Export, ReplicaRecord, ShardRecord, decode, decode_export, read_export, write_export};

/// Ids skipped, since lost replicas of the metadata may have given them away.
const IDS_SKIPPED: u64 = 1 << 32;

/// How far beyond now the lost replicas may have settled where log entries go: a day, in ns.
const HORIZON_SKIPPED_NS: i64 = 24 * 3600 * 1_000_000_000;

/// What would be recovered.
#[derive(Clone, Debug)]
pub struct Plan {
    export: Export,
    /// A term that nothing in the copy is above of.
    term: u64,
}

impl Plan {
    /// The plan of an exported file.
    pub fn of_export(bytes: &[u8]) -> Result<Self, Error> {
        let export = decode_export(bytes).map_err(|e| Error::Meta { reason: e.to_string() })?;
        Ok(Self { term: export.position.map_or(0, |p| p.0), export })
    }

    /// The warning where this plan knows less than `own`, what the data directory has.
    pub fn is_older_than(&self, own: &Self) -> Option<String> {
        let at = |plan: &Self| plan.export.position.map_or(0, |p| p.2);
        let (from, here) = (at(self), at(own));
        (from < here).then(|| {
            format!("the export ends at entry {from}, the node's own copy at entry {here}: what is between would be forgotten")
        })
    }

    /// Id of the cluster.
    pub fn cluster(&self) -> &str {
        &self.export.state.cluster
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = &self.export.state;
        let names: Vec<&str> = state.nodes.values().map(|n| n.name.as_str()).collect();
        let at = self.export.position.map_or(0, |p| p.2);
        write!(
            f,
            "metadata of cluster {} at entry {at}: {} shards; nodes {}",
            state.cluster,
            state.shards.len(),
            names.join(", ")
        )
    }
}

/// Reads what a data directory, or an exported file, knows of the metadata. Changes nothing.
pub async fn read_plan(data_dir: &Path, from: Option<&Path>) -> Result<Plan, Error> {
    let identity = member(data_dir)?;
    let plan = match from {
        Some(path) => Plan::of_export(&fs::read(path).map_err(io_error("read the export", path))?)?,
        None => {
            let dir = data_dir.join("meta");
            let export = read_export(&dir).map_err(io_error("read the metadata in", &dir))?.unwrap_or_default();
            let (log_dir, cluster) = (dir.join("log"), identity.cluster.clone());
            let replica = ReplicaId(identity.meta_replica);
            let log = tokio::task::spawn_blocking(move || read_stored_log(&log_dir, &cluster, replica)).await;
            let log = log
                .map_err(|e| meta(e.to_string()))?
                .map_err(|e| meta(format!("{e}; give an exported file with --from instead")))?;
            // What is in the log may have been acknowledged, whether this copy knows that it was committed or not.
            let mut plan = Plan { term: log.term.max(export.position.map_or(0, |p| p.0)), export };
            for entry in log.entries {
                plan.apply(entry.position, entry.payload);
            }
            plan
        }
    };
    if plan.cluster() != identity.cluster {
        return Err(meta(format!("the copy is of cluster {:?}, the node of {:?}", plan.cluster(), identity.cluster)));
    }
    if !plan.export.state.nodes.contains_key(&identity.node_id) {
        return Err(meta(format!("the copy does not know this node, {}", identity.node_id)));
    }
    Ok(plan)
}

impl Plan {
    fn apply(&mut self, position: Position, payload: Payload) {
        let at = (position.term, position.leader, position.index);
        if self.export.position.is_some_and(|known| known.2 >= position.index) {
            return;
        }
        self.export.position = Some(at);
        if let Payload::Normal(bytes) = payload
            && let Ok(command) = decode::<Command>("command", &bytes)
        {
            drop(self.export.state.apply(command));
        }
    }

    /// The state as it goes on, with this node's new replica as the only one of the metadata.
    fn become_sole(mut self, node: u64, now_ns: i64) -> Result<(Export, Position), Error> {
        let state = &mut self.export.state;
        let replica =
            state.next_replica.checked_add(IDS_SKIPPED).ok_or_else(|| meta("replica ids are used up".into()))?;
        state.unknown_replicas.push((state.next_replica, replica));
        state.next_replica = replica + 1;
        // Lost replicas may have settled more than this copy knows of, up to about now: no spread begins in what they settled.
        state.places.settle_for_recovery(now_ns.saturating_add(HORIZON_SKIPPED_NS));
        state.meta = ShardRecord {
            generation: state.meta.generation + 1,
            founder: replica,
            replicas: vec![ReplicaRecord { replica, node }],
            leaving: Vec::new(),
        };
        let index = self.export.position.map_or(0, |p| p.2) + 1;
        let at = Position { term: self.term + 1, leader: replica, index };
        let triple = (at.term, at.leader, at.index);
        let membership = sole_voter(ReplicaId(replica), NodeId(node)).map_err(|e| meta(e.to_string()))?;
        self.export.position = Some(triple);
        self.export.membership = Some((triple, membership.to_vec()));
        Ok((self.export, at))
    }
}

/// Makes `plan` the metadata of the node in `data_dir`, with it as the only voter. `confirmed` must name the cluster.
pub async fn recover_metadata(data_dir: &Path, plan: Plan, confirmed: &str) -> Result<(), Error> {
    if confirmed != plan.cluster() {
        return Err(meta(format!("this is cluster {}, not {confirmed}; nothing was done", plan.cluster())));
    }
    let mut identity = member(data_dir)?;
    let cluster = identity.cluster.clone();
    let (export, at) = plan.become_sole(identity.node_id, crate::spread::now_ns())?;
    let healing = Healing::open(data_dir).map_err(io_error("open the quarantine in", data_dir))?;
    let (dir, new) = (data_dir.join("meta"), data_dir.join("meta.recovered"));
    if new.exists() {
        fs::remove_dir_all(&new).map_err(io_error("remove", &new))?;
    }
    fs::create_dir_all(&new).map_err(io_error("create", &new))?;
    write_export(&new, &export).map_err(io_error("write the metadata in", &new))?;
    let (log_dir, replica) = (new.join("log"), ReplicaId(at.leader));
    let made = tokio::task::spawn_blocking(move || create_store(&log_dir, &cluster, replica, at)).await;
    made.map_err(|e| meta(e.to_string()))?.map_err(|e| meta(e.to_string()))?;
    let found = Found {
        kind: Kind::Metadata,
        shard: None,
        what: format!("metadata replica {}", identity.meta_replica),
        reason: "majority_lost",
        detail: "an operator made this copy the only one".into(),
    };
    let id = healing.found(found);
    // The identity last: until then the old store, back in its place, is still this node's.
    healing.quarantine(id, &dir).map_err(io_error("quarantine", &dir))?;
    fs::rename(&new, &dir).map_err(io_error("rename", &new))?;
    (identity.meta_replica, identity.meta_opened) = (at.leader, true);
    identity.save(data_dir)?;
    healing.update(id, State::Healed, format!("metadata replica {} goes on as the only one", at.leader));
    Ok(())
}

fn member(data_dir: &Path) -> Result<Identity, Error> {
    let identity = Identity::read(data_dir)?;
    match identity.cluster.is_empty() {
        true => Err(meta(format!("{} belongs to no cluster", data_dir.display()))),
        false => Ok(identity),
    }
}

fn meta(reason: String) -> Error {
    Error::Meta { reason }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trine_raft::{GroupId, Multi, MultiConfig, PeerBook, Storage};

    use super::*;
    use crate::meta::{MetaMachine, NodeRecord, encode};

    fn node(id: u64) -> NodeRecord {
        let s = String::new;
        NodeRecord { id, name: format!("n{id}"), rpc: s(), http: s(), zone: s(), version: s() }
    }

    async fn open(dir: &Path, node: u64, replica: u64) -> (Multi, trine_raft::Group, Arc<MetaMachine>) {
        let multi = Multi::start(MultiConfig::new("c", NodeId(node)), Arc::new(PeerBook::new())).unwrap();
        let machine = Arc::new(MetaMachine::open(&dir.join("meta")).unwrap());
        let storage = Storage::Sled(dir.join("meta/log"));
        let group = multi.open(GroupId(0), ReplicaId(replica), storage, machine.clone()).await.unwrap();
        (multi, group, machine)
    }

    /// A node that had one vote of three, the other two lost.
    async fn survivor(dir: &Path) {
        let mut identity = Identity::load_or_create(dir, "n1").unwrap();
        (identity.node_id, identity.cluster, identity.meta_replica, identity.meta_opened) = (1, "c".into(), 1, true);
        identity.save(dir).unwrap();
        fs::create_dir_all(dir.join("meta")).unwrap();
        let (multi, group, _) = open(dir, 1, 1).await;
        group.initialize([(ReplicaId(1), NodeId(1))].into()).await.unwrap();
        group.watch().wait_for(|s| s.is_leader).await.unwrap();
        let create = Command::CreateCluster { cluster: "c".into(), founder: node(1), meta_replica: 1, shards_count: 4 };
        for command in [create, Command::UpsertNode(node(2)), Command::UpsertNode(node(3))] {
            group.propose(encode(&command).into()).unwrap().await.unwrap();
        }
        multi.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_surviving_copy_leads_alone_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        survivor(dir.path()).await;
        let plan = read_plan(dir.path(), None).await.unwrap();
        assert_eq!((plan.cluster(), plan.export.state.nodes.len()), ("c", 3));
        let older = Plan { export: Export { position: Some((1, 1, 2)), ..plan.export.clone() }, ..plan.clone() };
        let said = older.is_older_than(&plan).unwrap();
        assert!(said.contains("ends at entry 2, the node's own copy at entry"), "{said}");
        assert_eq!((plan.is_older_than(&plan), plan.is_older_than(&older)), (None, None));
        let other = recover_metadata(dir.path(), plan.clone(), "d").await;
        assert!(other.is_err() && dir.path().join("meta/log").exists(), "another cluster's name does nothing");
        recover_metadata(dir.path(), plan, "c").await.unwrap();
        let identity = Identity::read(dir.path()).unwrap();
        assert!(identity.meta_replica > IDS_SKIPPED);
        let (multi, group, machine) = open(dir.path(), 1, identity.meta_replica).await;
        let led = tokio::time::timeout(std::time::Duration::from_secs(20), async {
            group.watch().wait_for(|s| s.is_leader).await.map(drop)
        });
        led.await.unwrap().unwrap();
        group.propose(encode(&Command::UpsertNode(node(4))).into()).unwrap().await.unwrap();
        let state = machine.watch().borrow().clone();
        assert_eq!((state.nodes.len(), state.shards.len(), state.meta.replicas.len()), (4, 4, 1));
        assert!(state.is_gone(1), "the old replica of the metadata");
        assert!(!state.is_gone(identity.meta_replica - 1), "what may have been given away is left alone");
        multi.stop().await;
        assert!(dir.path().join("quarantine/000001/meta/log").exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_export_replaces_a_damaged_store() {
        let dir = tempfile::tempdir().unwrap();
        survivor(dir.path()).await;
        let plan = read_plan(dir.path(), None).await.unwrap();
        let backup = dir.path().join("backup");
        fs::write(&backup, crate::meta::encode_export(&plan.export)).unwrap();
        fs::write(dir.path().join("meta/log/db"), b"nothing").unwrap();
        assert!(read_plan(dir.path(), None).await.is_err());
        let plan = read_plan(dir.path(), Some(&backup)).await.unwrap();
        recover_metadata(dir.path(), plan, "c").await.unwrap();
        assert!(read_plan(dir.path(), None).await.is_ok());
        fs::write(&backup, b"TRNX").unwrap();
        assert!(read_plan(dir.path(), Some(&backup)).await.is_err());
    }
}
