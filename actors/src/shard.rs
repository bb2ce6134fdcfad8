//! A shard's replica on this node: the actor that owns its state, the machine that raft drives, the proposer that makes
//! log entries of parts, and the handle that everybody else holds.
mod actor;
mod arbiters;
mod fetch;
mod handle;
mod keeper;
mod machine;
mod pool;
mod proposer;
mod replica;
mod reply;

pub use actor::ShardActor;
pub use arbiters::Arbiters;
pub use fetch::{BlockSource, FetchCounts, Fetches};
pub use handle::{ShardHandle, SubmitError};
pub use pool::Pool;
pub use replica::{Replica, ReplicaContext, directory};
