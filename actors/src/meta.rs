//! The metadata group: nodes, slots, shards and their replicas. Raft is the truth, gossip a hint.
mod command;
mod demotion;
mod election;
mod export;
mod machine;
mod spread;
mod state;

pub use command::{Command, CommandError, ONLY_REPLICA, Reply, decode, encode};
pub(crate) use demotion::LEAD_MS;
pub use demotion::{DemotionRecord, DemotionTable};
pub use election::{Claim, ClaimError, Elected, Elections, PAIRS_MAX};
pub(crate) use export::{Export, decode_export, encode_export, mend_export, read_export, write_export};
pub use machine::MetaMachine;
pub use spread::{SpreadRecord, StreamPlaces};
pub use state::{GoneNode, LeavingReplica, MetaState, NodeRecord, ReplicaRecord, ShardRecord};

/// Shard number that stands for the metadata group in statuses.
pub const META_SHARD: u32 = u32::MAX;
