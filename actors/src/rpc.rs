//! The node-to-node protocol: messages, clients of peers, and the service that answers them.
mod client;
mod refusal;
mod server;

/// Generated from `proto/node.proto`.
#[expect(unused_qualifications, reason = "generated code")]
pub mod proto {
    tonic::include_proto!("trine.node.v1");
}

pub(crate) use client::listed;
pub use client::{Peers, connect};
pub(crate) use refusal::{LATE, refusal};
pub use server::NodeService;
