//! Real clusters of real processes under faults, with a client-side oracle.
//!
//! A [`scenario`] starts a [`cluster`] of `trine` processes, writes uniquely numbered [`fact`]s of all three signals
//! through a [`client`] while it breaks things, and asks the [`oracle`] whether what is read afterwards through any
//! node agrees with what was acknowledged. Nothing of that looks inside a node: it sees what an agent or Grafana sees.
//!
//! Only [`sim`] does: it plays a node's pure decisions and its log by seeds, without a process.
pub mod admin;
pub mod audit;
pub mod binary;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod disk;
mod error;
pub mod fact;
pub mod healing;
mod machine_lock;
pub mod nemesis;
pub mod net;
mod node;
pub mod oracle;
pub mod readers;
pub mod report;
pub mod scenario;
pub mod settings;
pub mod sim;
pub mod wait;
pub mod wire;
pub mod writers;

pub use error::{Error, Result};
