//! The metadata group: nodes, slots, shards and their replicas. Raft is the truth, gossip a hint.
mod command;
mod machine;
mod state;

pub use command::{Command, CommandError, Reply, decode, encode};
pub use machine::MetaMachine;
pub use state::{MetaState, NodeRecord, ReplicaRecord, ShardRecord};

/// Shard number that stands for the metadata group in statuses.
pub const META_SHARD: u32 = u32::MAX;
