//! Changes of the metadata: what is proposed to the metadata group, and what applying it does.
use serde::{Deserialize, Serialize};
use trine_store::model::SLOTS;

use super::META_SHARD;
use super::demotion::DemotionRecord;
use super::election::Claim;
use super::state::{GoneNode, LeavingReplica, MetaState, NodeRecord, ReplicaRecord, ShardRecord};

/// Version byte before the bincode of a command, a reply or a state.
const ENVELOPE_VERSION: u8 = 1;
/// Longest accepted encoding, so that hostile lengths cannot make a decoder allocate.
const COMMAND_BYTES_MAX: usize = 1 << 20;

/// A change of the metadata. Variants are added at the end only: their number is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// First command of a cluster: its founder holds every shard alone.
    CreateCluster { cluster: String, founder: NodeRecord, meta_replica: u64, shards_count: u32 },
    /// Adds a node or updates what is known of it.
    UpsertNode(NodeRecord),
    /// Gives a node a replica of a shard ([`META_SHARD`]: of this group); repeating it gives the same replica.
    AddReplica { shard: u32, node: u64 },
    /// Takes a replica away; nothing comes in its place.
    RemoveReplica { shard: u32, replica: u64 },
    /// These replicas exist on their node's disk from now on.
    MarkOpened { replicas: Vec<u64> },
    /// Another replica, on `node`, takes the place of this one. `lost`: this one must not be opened again.
    ReplaceReplica { shard: u32, replica: u64, node: u64, lost: bool },
    /// Raft's membership is without a leaving replica.
    DropReplica { shard: u32, replica: u64 },
    /// `node` takes the place of the dead node `old` of the same name, whose disk is lost, and of all its replicas.
    /// Answers the new node's replica of the metadata group.
    ReplaceNode { old: u64, node: NodeRecord },
    /// The node is to hold nothing any more; it is forgotten once it does.
    RetireNode { node: u64 },
    /// A retiring node holds nothing any more.
    ForgetNode { node: u64 },
    /// From now on no stream's spread may begin before `to_ns`: entries before it have their slots for good.
    RaiseHorizon { to_ns: i64 },
    /// Spreads a log stream over `slots` slots from `from_ns` on; 0: as early as possible. `earliest_ns` is the newest entry
    /// time that surfaces accept as the proposer's clock has it: no spread begins before it.
    SpreadStream { tenant: String, stream: Vec<u8>, from_ns: i64, slots: u16, earliest_ns: i64 },
    /// A replica of a pair of agents sent something: see [`super::Elections`].
    ClaimReplica(Claim),
    /// Series are to be deleted in every shard; `id` is drawn by whoever asks, `delete` an encoded
    /// [`trine_store::limits::DeleteSeries`].
    RequestDelete { id: u64, delete: Vec<u8> },
    /// Every shard has applied a request to delete series.
    FinishDelete { id: u64 },
    /// Samples of a metric lose a label from a time on; `until_ms` is not looked at.
    Demote(DemotionRecord),
    /// They keep it again from `until_ms` on.
    Restore { tenant: String, metric: String, label: String, until_ms: i64 },
}

/// What a command answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Replica(u64),
    Refused(String),
    /// The stream is spread from this entry time on, in ns.
    SpreadFrom(i64),
    /// The replica of a pair that counts.
    Elected(String),
    /// A label is lost, or kept again, from this sample time on, in ms.
    LabelFrom(i64),
}

/// Bytes that are no command of this version.
#[derive(Clone, Debug, thiserror::Error)]
#[error("metadata {what}: {reason}")]
pub struct CommandError {
    pub what: &'static str,
    pub reason: String,
}

/// Why a replica cannot be replaced: there is nothing to make another one of.
pub const ONLY_REPLICA: &str = "it is the only replica of its shard";

/// Version byte, then bincode.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = vec![ENVELOPE_VERSION];
    bincode::serde::encode_into_std_write(value, &mut out, bincode::config::standard())
        .expect("plain data in memory always encodes");
    out
}

/// Inverse of [`encode`]; refuses another version and trailing bytes.
pub fn decode<T: for<'a> Deserialize<'a>>(what: &'static str, bytes: &[u8]) -> Result<T, CommandError> {
    let error = |reason: String| CommandError { what, reason };
    let (version, body) = bytes.split_first().ok_or_else(|| error("empty".into()))?;
    if *version != ENVELOPE_VERSION {
        return Err(error(format!("unknown version {version}")));
    }
    let config = bincode::config::standard().with_limit::<{ 64 * COMMAND_BYTES_MAX }>();
    let (value, used) = bincode::serde::decode_from_slice(body, config).map_err(|e| error(e.to_string()))?;
    if used == body.len() { Ok(value) } else { Err(error(format!("{} bytes too many", body.len() - used))) }
}

impl MetaState {
    /// Applies a command. Deterministic.
    pub fn apply(&mut self, command: Command) -> Reply {
        match command {
            Command::CreateCluster { cluster, founder, meta_replica, shards_count } => {
                self.create(cluster, founder, meta_replica, shards_count)
            }
            Command::UpsertNode(node) => match self.gone.get(&node.id) {
                Some(gone) => Reply::Refused(gone.refusal()),
                // Two that ask at a time both look free to who asks for them.
                None if !self.nodes.contains_key(&node.id) && self.namesake(node.id, &node.name).is_some() => {
                    Reply::Refused(format!("node name {:?} is in use by another node", node.name))
                }
                None => {
                    self.nodes.insert(node.id, node);
                    Reply::Done
                }
            },
            Command::AddReplica { shard, node } => self.add_replica(shard, node),
            Command::RemoveReplica { shard, replica } => {
                if let Some(record) = self.record_mut(shard)
                    && let Some(at) = record.replicas.iter().position(|r| r.replica == replica)
                {
                    // It may vote until raft's membership is without it.
                    let ReplicaRecord { replica, node } = record.replicas.remove(at);
                    record.leaving.push(LeavingReplica { replica, node, successor: 0, lost: false });
                    record.generation += 1;
                }
                Reply::Done
            }
            Command::MarkOpened { replicas } => {
                self.opened.extend(replicas.into_iter().filter(|r| *r < self.next_replica));
                Reply::Done
            }
            Command::ReplaceReplica { shard, replica, node, lost } => {
                if lost && self.record(shard).is_some_and(|r| r.misses_another(replica)) {
                    // What breaks one replica after the other, like an entry that none can apply, must not cost all of them.
                    return Reply::Refused(format!(
                        "another replica of shard {shard} is being replaced; this one waits"
                    ));
                }
                self.replace_replica(shard, replica, node, lost)
            }
            Command::DropReplica { shard, replica } => {
                if let Some(record) = self.record_mut(shard)
                    && let Some(at) = record.leaving.iter().position(|r| r.replica == replica)
                {
                    let dropped = record.leaving.remove(at);
                    // Whose place it was to take, its own successor takes now: it stays one place, whoever it was promised to.
                    for before in record.leaving.iter_mut().filter(|r| r.successor == replica) {
                        before.successor = dropped.successor;
                    }
                    record.generation += 1;
                    self.opened.remove(&replica);
                }
                Reply::Done
            }
            Command::ReplaceNode { old, node } => self.replace_node(old, node),
            Command::RetireNode { node } => {
                if !self.nodes.contains_key(&node) {
                    return Reply::Refused(format!("node {node} is not in the cluster"));
                }
                self.retiring.insert(node);
                Reply::Done
            }
            Command::ForgetNode { node } => self.forget_node(node),
            Command::RaiseHorizon { to_ns } => {
                self.places.raise(to_ns);
                Reply::Done
            }
            Command::SpreadStream { tenant, stream, from_ns, slots, earliest_ns } => {
                match self.places.spread(tenant, stream, from_ns, slots, earliest_ns) {
                    Ok(from_ns) => Reply::SpreadFrom(from_ns),
                    Err(refusal) => Reply::Refused(refusal.to_string()),
                }
            }
            Command::ClaimReplica(claim) => match self.elections.claim(claim) {
                Ok(elected) => Reply::Elected(elected.replica.clone()),
                Err(error) => Reply::Refused(error.to_string()),
            },
            Command::RequestDelete { id, delete } => {
                if self.deletes.len() >= Self::DELETES_MAX && !self.deletes.contains_key(&id) {
                    return Reply::Refused(format!(
                        "{} requests to delete series are not done yet; wait for them",
                        Self::DELETES_MAX
                    ));
                }
                self.deletes.insert(id, delete);
                Reply::Done
            }
            Command::FinishDelete { id } => {
                self.deletes.remove(&id);
                Reply::Done
            }
            Command::Demote(row) => match self.demotions.demote(row) {
                Ok(from_ms) => Reply::LabelFrom(from_ms),
                Err(refusal) => Reply::Refused(refusal.to_string()),
            },
            Command::Restore { tenant, metric, label, until_ms } => {
                match self.demotions.restore(&tenant, &metric, &label, until_ms) {
                    Ok(until_ms) => Reply::LabelFrom(until_ms),
                    Err(refusal) => Reply::Refused(refusal.to_string()),
                }
            }
        }
    }

    fn create(&mut self, cluster: String, founder: NodeRecord, meta_replica: u64, shards_count: u32) -> Reply {
        if !self.cluster.is_empty() {
            return Reply::Refused(format!("cluster {} exists already", self.cluster));
        }
        if shards_count == 0 || shards_count > u32::from(SLOTS) {
            return Reply::Refused(format!("{shards_count} shards; 1 to {SLOTS} are possible"));
        }
        self.cluster = cluster;
        self.next_replica = meta_replica + 1;
        self.meta = self.founded(founder.id, Some(meta_replica));
        for shard in 0..shards_count {
            let record = self.founded(founder.id, None);
            self.shards.insert(shard, record);
            let first = u64::from(shard) * u64::from(SLOTS) / u64::from(shards_count);
            self.slots.push((first as u16, shard));
        }
        self.slots_generation = 1;
        self.nodes.insert(founder.id, founder);
        Reply::Done
    }

    fn founded(&mut self, node: u64, replica: Option<u64>) -> ShardRecord {
        let replica = replica.unwrap_or_else(|| self.draw_replica());
        ShardRecord {
            generation: 1,
            founder: replica,
            replicas: vec![ReplicaRecord { replica, node }],
            leaving: vec![],
        }
    }

    fn draw_replica(&mut self) -> u64 {
        self.next_replica += 1;
        self.next_replica - 1
    }

    fn record_mut(&mut self, shard: u32) -> Option<&mut ShardRecord> {
        if shard == META_SHARD { Some(&mut self.meta) } else { self.shards.get_mut(&shard) }
    }

    fn add_replica(&mut self, shard: u32, node: u64) -> Reply {
        if !self.nodes.contains_key(&node) {
            return Reply::Refused(format!("node {node} is not in the cluster"));
        }
        match self.record_mut(shard).map(|r| r.on_node(node)) {
            None => Reply::Refused(format!("no shard {shard}")),
            Some(Some(existing)) => Reply::Replica(existing.replica),
            Some(None) => {
                let replica = self.draw_replica();
                if let Some(record) = self.record_mut(shard) {
                    record.replicas.push(ReplicaRecord { replica, node });
                    record.generation += 1;
                }
                Reply::Replica(replica)
            }
        }
    }
}

/// Replacing replicas and nodes.
impl MetaState {
    fn replace_replica(&mut self, shard: u32, replica: u64, node: u64, lost: bool) -> Reply {
        if !self.nodes.contains_key(&node) {
            return Reply::Refused(format!("node {node} is not in the cluster"));
        }
        let Some(record) = self.record_mut(shard) else { return Reply::Refused(format!("no shard {shard}")) };
        if let Some(leaving) = record.leaving.iter_mut().find(|r| r.replica == replica) {
            leaving.lost |= lost;
            return Reply::Replica(leaving.successor);
        }
        let Some(at) = record.replicas.iter().position(|r| r.replica == replica) else {
            return Reply::Refused(format!("shard {shard} has no replica {replica}"));
        };
        // A sound one that is leaving has the data until its successor has it too.
        if lost && record.replicas.len() == 1 && record.leaving.iter().all(|r| r.lost) {
            return Reply::Refused(ONLY_REPLICA.into());
        }
        if record.replicas.iter().any(|r| r.node == node && r.replica != replica) {
            return Reply::Refused(format!("node {node} has another replica of shard {shard}"));
        }
        let successor = self.draw_replica();
        if let Some(record) = self.record_mut(shard) {
            let before = std::mem::replace(&mut record.replicas[at], ReplicaRecord { replica: successor, node });
            record.leaving.push(LeavingReplica { replica, node: before.node, successor, lost });
            record.generation += 1;
        }
        Reply::Replica(successor)
    }

    /// Shards that only the old node had stay its own: nobody else has their data, and an empty replica must not pass for it.
    fn replace_node(&mut self, old: u64, node: NodeRecord) -> Reply {
        if let Some(gone) = self.gone.get(&node.id) {
            return Reply::Refused(gone.refusal());
        }
        let Some(before) = self.nodes.get(&old) else {
            return Reply::Refused(format!("node {old} is not in the cluster"));
        };
        if old == node.id || before.name != node.name {
            return Reply::Refused(format!("node {old} is not another one of the name {:?}", node.name));
        }
        let (id, name) = (node.id, before.name.clone());
        self.nodes.insert(id, node);
        let held: Vec<(u32, u64)> =
            self.records().filter_map(|(shard, r)| Some((shard, r.on_node(old)?.replica))).collect();
        for (shard, replica) in held {
            // Refused for an only replica: see above.
            drop(self.replace_replica(shard, replica, id, true));
        }
        let shards: Vec<u32> = self.records().map(|(shard, _)| shard).collect();
        for shard in shards {
            let leaving = self.record_mut(shard).map(|r| r.leaving.iter_mut()).into_iter().flatten();
            leaving.filter(|r| r.node == old).for_each(|r| r.lost = true);
        }
        self.nodes.remove(&old);
        self.retiring.remove(&old);
        self.gone.insert(old, GoneNode { name, replaced_by: id });
        self.add_replica(META_SHARD, id)
    }

    fn forget_node(&mut self, node: u64) -> Reply {
        let leaves = |r: &ShardRecord| r.leaving.iter().any(|l| l.node == node);
        let holds = |(shard, r): (u32, &ShardRecord)| (r.on_node(node).is_some() || leaves(r)).then_some(shard);
        if let Some(shard) = self.records().find_map(holds) {
            return Reply::Refused(format!("node {node} still has a replica of shard {shard}"));
        }
        self.retiring.remove(&node);
        if let Some(before) = self.nodes.remove(&node) {
            self.gone.insert(node, GoneNode { name: before.name, replaced_by: 0 });
        }
        Reply::Done
    }
}

#[cfg(test)]
mod tests {
    use trine_store::model::Slot;

    use super::*;

    fn node(id: u64) -> NodeRecord {
        let s = String::new;
        NodeRecord { id, name: format!("n{id}"), rpc: s(), http: s(), zone: s(), version: s() }
    }

    #[test]
    fn a_cluster_is_created_once_and_replicas_are_never_reused() {
        let mut m = MetaState::default();
        let create =
            |c: &str| Command::CreateCluster { cluster: c.into(), founder: node(1), meta_replica: 1, shards_count: 16 };
        assert_eq!(m.apply(create("a")), Reply::Done);
        assert!(matches!(m.apply(create("b")), Reply::Refused(_)));
        assert_eq!(m.shard_of(Slot(0)), 0);
        assert_eq!(m.shard_of(Slot(4095)), 15);
        assert_eq!(m.shard_of(Slot(256)), 1);
        assert!(matches!(m.apply(Command::AddReplica { shard: 0, node: 2 }), Reply::Refused(_)));
        m.apply(Command::UpsertNode(node(2)));
        let second = NodeRecord { name: "n2".into(), ..node(7) };
        assert!(matches!(m.apply(Command::UpsertNode(second)), Reply::Refused(_)), "a name is one node's");
        let Reply::Replica(first) = m.apply(Command::AddReplica { shard: 0, node: 2 }) else { panic!() };
        assert_eq!(m.apply(Command::AddReplica { shard: 0, node: 2 }), Reply::Replica(first));
        m.apply(Command::RemoveReplica { shard: 0, replica: first });
        let Reply::Replica(second) = m.apply(Command::AddReplica { shard: 0, node: 2 }) else { panic!() };
        assert!(second > first);
    }

    fn three_nodes() -> MetaState {
        let mut m = MetaState::default();
        m.apply(Command::CreateCluster { cluster: "c".into(), founder: node(1), meta_replica: 1, shards_count: 2 });
        for id in [2, 3] {
            m.apply(Command::UpsertNode(node(id)));
            for shard in [0, META_SHARD] {
                m.apply(Command::AddReplica { shard, node: id });
            }
        }
        m
    }

    #[test]
    fn a_lost_replica_is_followed_by_a_new_id_in_its_place_and_dropped_once() {
        let mut m = three_nodes();
        let lost = m.shards[&0].replicas[1];
        let replace = Command::ReplaceReplica { shard: 0, replica: lost.replica, node: 2, lost: true };
        let Reply::Replica(new) = m.apply(replace.clone()) else { panic!() };
        assert_eq!(m.apply(replace), Reply::Replica(new), "repeating it changes nothing");
        assert!(new > lost.replica);
        assert_eq!(m.shards[&0].replicas[1], ReplicaRecord { replica: new, node: 2 });
        assert_eq!(m.shards[&0].opened_on(2).map(|r| r.replica), Some(new));
        assert!(m.shards[&0].knows(lost.replica) && !m.is_gone(lost.replica));
        m.apply(Command::DropReplica { shard: 0, replica: new });
        assert!(m.shards[&0].knows(new), "only leaving replicas are dropped");
        m.apply(Command::DropReplica { shard: 0, replica: lost.replica });
        assert!(m.is_gone(lost.replica) && !m.is_gone(m.next_replica));
        let [a, b] = [0, 2].map(|i| m.shards[&0].replicas[i]);
        let lose =
            |r: ReplicaRecord| Command::ReplaceReplica { shard: 0, replica: r.replica, node: r.node, lost: true };
        assert!(matches!(m.apply(lose(a)), Reply::Replica(_)));
        assert!(matches!(m.apply(lose(b)), Reply::Refused(_)), "one at a time");
        // Who was to take the place is lost, too, before it could: it is the same place that is missing.
        for _ in 0..2 {
            let next = m.shards[&0].replicas[0];
            assert!(matches!(m.apply(lose(next)), Reply::Replica(newer) if newer > next.replica));
            assert!(matches!(m.apply(lose(b)), Reply::Refused(_)), "still one at a time");
        }
        for gone in m.shards[&0].leaving.clone() {
            m.apply(Command::DropReplica { shard: 0, replica: gone.replica });
        }
        assert!(matches!(m.apply(lose(b)), Reply::Replica(_)));
        let only = m.shards[&1].replicas[0].replica;
        let refused = m.apply(Command::ReplaceReplica { shard: 1, replica: only, node: 1, lost: true });
        assert_eq!(refused, Reply::Refused(ONLY_REPLICA.into()));
    }

    #[test]
    fn a_wiped_node_takes_the_place_of_its_old_self_which_never_returns() {
        let mut m = three_nodes();
        let again = NodeRecord { name: "n1".into(), ..node(9) };
        let other_name = Command::ReplaceNode { old: 1, node: node(9) };
        assert!(matches!(m.apply(other_name), Reply::Refused(_)));
        let Reply::Replica(meta) = m.apply(Command::ReplaceNode { old: 1, node: again }) else { panic!() };
        assert_eq!(m.meta.on_node(9).map(|r| r.replica), Some(meta));
        assert_eq!((m.shards[&0].replicas.len(), m.shards[&0].replicas[0].node), (3, 9));
        assert!(m.shards[&0].leaving.iter().all(|r| r.lost && r.node == 1));
        assert_eq!(m.shards[&1].replicas[0].node, 1, "what only the old node had does not begin again empty");
        assert!(!m.nodes.contains_key(&1));
        assert!(matches!(m.apply(Command::UpsertNode(node(1))), Reply::Refused(_)));
        assert!(matches!(m.apply(Command::AddReplica { shard: 0, node: 1 }), Reply::Refused(_)));
    }

    #[test]
    fn a_successor_of_a_lost_replica_that_is_lost_in_its_turn_is_replaced() {
        let mut m = three_nodes();
        let [a, b, _] = [0, 1, 2].map(|i| m.shards[&0].replicas[i]);
        let lose = |replica: u64, node: u64| Command::ReplaceReplica { shard: 0, replica, node, lost: true };
        let Reply::Replica(successor) = m.apply(lose(a.replica, a.node)) else { panic!() };
        assert!(matches!(m.apply(lose(b.replica, b.node)), Reply::Refused(_)), "one at a time");
        let Reply::Replica(next) = m.apply(lose(successor, a.node)) else { panic!() };
        // Raft never took the first successor in, so it is forgotten before the one whose place it had: still one place.
        m.apply(Command::DropReplica { shard: 0, replica: successor });
        assert_eq!(
            m.shards[&0].leaving.iter().map(|r| (r.replica, r.successor)).collect::<Vec<_>>(),
            [(a.replica, next)]
        );
        assert!(matches!(m.apply(lose(next, a.node)), Reply::Replica(_)));
        assert!(matches!(m.apply(lose(b.replica, b.node)), Reply::Refused(_)));
    }

    #[test]
    fn a_successor_that_is_lost_before_it_has_the_data_is_replaced() {
        let mut m = three_nodes();
        let only = m.shards[&1].replicas[0].replica;
        let replace = |replica: u64, node: u64, lost| Command::ReplaceReplica { shard: 1, replica, node, lost };
        let Reply::Replica(successor) = m.apply(replace(only, 2, false)) else { panic!() };
        let Reply::Replica(next) = m.apply(replace(successor, 3, true)) else { panic!("its data is where it was") };
        assert_eq!(m.shards[&1].replicas, [ReplicaRecord { replica: next, node: 3 }]);
        m.apply(Command::DropReplica { shard: 1, replica: only });
        assert!(matches!(m.apply(replace(next, 2, true)), Reply::Refused(_)), "now it is the only one");
    }

    #[test]
    fn a_retiring_node_is_forgotten_once_it_holds_nothing() {
        let mut m = three_nodes();
        m.apply(Command::UpsertNode(node(4)));
        m.apply(Command::RetireNode { node: 3 });
        assert!(matches!(m.apply(Command::ForgetNode { node: 3 }), Reply::Refused(_)));
        let left = m.shards[&0].on_node(3).unwrap().replica;
        m.apply(Command::ReplaceReplica { shard: 0, replica: left, node: 4, lost: false });
        assert_eq!(m.shards[&0].opened_on(3).map(|r| r.replica), Some(left), "it serves until it is replaced");
        let replica = m.meta.on_node(3).unwrap().replica;
        m.apply(Command::RemoveReplica { shard: META_SHARD, replica });
        assert!(matches!(m.apply(Command::ForgetNode { node: 3 }), Reply::Refused(_)), "it votes until it is replaced");
        m.apply(Command::DropReplica { shard: 0, replica: left });
        assert!(
            matches!(m.apply(Command::ForgetNode { node: 3 }), Reply::Refused(_)),
            "the metadata may need its vote"
        );
        m.apply(Command::DropReplica { shard: META_SHARD, replica });
        assert_eq!(m.apply(Command::ForgetNode { node: 3 }), Reply::Done);
        assert!(m.gone.contains_key(&3) && m.retiring.is_empty());
    }

    #[test]
    fn the_envelope_refuses_what_it_does_not_know() {
        let bytes = encode(&Command::UpsertNode(node(7)));
        assert_eq!(decode::<Command>("command", &bytes).unwrap(), Command::UpsertNode(node(7)));
        let mut other = bytes.clone();
        other[0] = 2;
        assert!(decode::<Command>("command", &other).is_err());
        let mut longer = bytes;
        longer.push(0);
        assert!(decode::<Command>("command", &longer).is_err());
        assert!(decode::<Command>("command", &[]).is_err());
    }
}
