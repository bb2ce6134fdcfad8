//! The cluster that runs the engines: shard actors, router, placement, gossip, and the node-to-node protocol.
//!
//! Start at [`Cluster`], which boots one node and is what `api` and `node` hold. [`shard`] owns a shard's replica on this
//! node, [`meta`] the metadata group, [`router`] the way of a write, [`scatter`] the way of a query.
pub mod blocks;
pub mod budget;
pub mod cluster;
pub mod config;
pub mod device;
pub mod disk;
pub mod error;
#[doc(hidden)]
pub mod fuzz;
pub mod gossip;
pub mod healing;
pub mod identity;
pub mod ledger;
pub mod meta;
mod pace;
pub mod placement;
pub mod recover;
pub mod retention;
pub mod router;
pub mod rpc;
pub mod scatter;
mod scrub;
pub mod shard;
#[doc(hidden)]
pub mod sim;
pub mod spread;
pub mod steward;

pub use cluster::Cluster;
pub use config::ClusterConfig;
pub use error::{Error, WriteError};
