//! A shard's replica on this node: the actor that owns its state, the machine that raft drives, the proposer that makes
//! log entries of parts, and the handle that everybody else holds.
mod actor;
mod arbiters;
mod compactor;
mod fetch;
mod handle;
mod healer;
mod keeper;
mod machine;
mod merger;
mod pool;
mod proposer;
mod repair;
mod replica;
mod reply;

pub(crate) use actor::LedgerCut;
pub use actor::ShardActor;
pub use arbiters::Arbiters;
pub use compactor::{CompactorConfig, Retention};
pub use fetch::{BlockSource, FetchCounts, Fetches, ListedBlock, ListedBlocks};
pub use handle::{ShardHandle, SubmitError};
pub(crate) use healer::Complaint;
pub(crate) use keeper::SealPolicy;
pub use merger::{MergeCounts, Merges};
pub use pool::{Pool, PoolError};
pub use replica::{Replica, ReplicaContext, directory};
pub(crate) use reply::EntryReply;
