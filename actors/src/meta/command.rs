//! Changes of the metadata: what is proposed to the metadata group, and what applying it does.
use serde::{Deserialize, Serialize};
use trine_store::model::SLOTS;

use super::META_SHARD;
use super::state::{MetaState, NodeRecord, ReplicaRecord, ShardRecord};

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
    /// Takes a replica away.
    RemoveReplica { shard: u32, replica: u64 },
}

/// What a command answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Replica(u64),
    Refused(String),
}

/// Bytes that are no command of this version.
#[derive(Clone, Debug, thiserror::Error)]
#[error("metadata {what}: {reason}")]
pub struct CommandError {
    pub what: &'static str,
    pub reason: String,
}

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
            Command::UpsertNode(node) => {
                self.nodes.insert(node.id, node);
                Reply::Done
            }
            Command::AddReplica { shard, node } => self.add_replica(shard, node),
            Command::RemoveReplica { shard, replica } => {
                if let Some(record) = self.record_mut(shard)
                    && record.replicas.iter().any(|r| r.replica == replica)
                {
                    record.replicas.retain(|r| r.replica != replica);
                    record.generation += 1;
                }
                Reply::Done
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
        ShardRecord { generation: 1, founder: replica, replicas: vec![ReplicaRecord { replica, node }] }
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
        let Reply::Replica(first) = m.apply(Command::AddReplica { shard: 0, node: 2 }) else { panic!() };
        assert_eq!(m.apply(Command::AddReplica { shard: 0, node: 2 }), Reply::Replica(first));
        m.apply(Command::RemoveReplica { shard: 0, replica: first });
        let Reply::Replica(second) = m.apply(Command::AddReplica { shard: 0, node: 2 }) else { panic!() };
        assert!(second > first);
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
