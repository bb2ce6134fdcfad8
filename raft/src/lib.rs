//! Raft groups: their log stores, the network between nodes, snapshots and read points.
//!
//! Start at [`Multi`]: all groups of a node, on a runtime of their own. A group replicates a [`Machine`]; its log is on a
//! [`LogDevice`] or in a sled directory. This crate knows nothing of what is replicated, of files other than sled's, or of
//! who runs the gRPC server it offers.

#[cfg(feature = "fault-injection")]
mod bugs;
mod config;
mod confirm;
mod connections;
mod device;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod group;
mod hand_over;
mod ids;
mod kept;
mod log_store;
mod machine;
mod multi;
mod network;
mod peers;
mod progress;
mod record;
mod registry;
mod replay;
mod server;
#[doc(hidden)]
pub mod sim;
mod sled_store;
mod state_machine;
mod status;
mod type_config;
mod wire;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use config::{Admit, MultiConfig};
pub use device::{Bounds, Done, LogDevice, Mark};
pub use error::{Error, NoReadPoint, NotLeader, ProposeError};
pub use group::{Group, LEARNER_BEHIND_MAX, Proposed};
pub use ids::{GroupId, NodeId, Position, ReplicaId};
pub use log_store::READ_BYTES_MAX;
pub use machine::{Committed, Machine, Payload, Recovered, SnapshotManifest};
pub use multi::{Multi, Storage};
pub use peers::PeerBook;
pub use server::{MESSAGE_BYTES_MAX, RaftServer};
pub use sled_store::{StoredLog, check_store, create_store, read_stored_log, sole_voter};
pub use status::{GroupStatus, Stopped};
