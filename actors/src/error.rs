//! Errors of the cluster layer: facts with their ids; `api` words them for each protocol.
use std::time::Duration;

/// Boot and background errors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what} {path}")]
    Io { what: &'static str, path: String, source: std::io::Error },
    #[error("identity file {path} is damaged: {reason}; remove the data directory to join as a new node")]
    Identity { path: String, reason: String },
    #[error("data directory {path} belongs to node {found:?}, but this node is named {expected:?}")]
    NodeName { path: String, found: String, expected: String },
    #[error("listen on {address}")]
    Listen { address: String, source: std::io::Error },
    #[error("open the write-ahead log in {path}")]
    Wal { path: String, source: std::io::Error },
    #[error("shard {shard}")]
    ShardFiles { shard: u32, source: Box<trine_store::shard::FileError> },
    #[error("raft group {group}: {reason}")]
    Raft { group: u64, reason: String },
    #[error("metadata: {reason}")]
    Meta { reason: String },
    #[error("gossip: {reason}")]
    Gossip { reason: String },
    #[error("cannot join a cluster: {reason}")]
    Join { reason: String },
    #[error(
        "{what} in {path} is damaged ({reason}) and --join names no other node that could have a copy; restore the data \
         directory from a backup, or see docs/operations/recovery.md for `trine admin recover-metadata`"
    )]
    OnlyCopy { what: &'static str, path: String, reason: String },
    /// Nothing can be written to the data directory, so nothing in it is judged.
    #[error(
        "cannot write to {path}: {source}. Nothing in it was changed or given up: make room (or mend what the error names) and start \
         this node again"
    )]
    NotWritable { path: String, source: std::io::Error },
    /// A shard's replica whose files or log are damaged or lost: it must be replaced.
    #[error("replica of shard {shard} is damaged ({reason}): {detail}")]
    Damaged { shard: u32, reason: &'static str, detail: String },
}

/// Why a write was not acknowledged. Everything but `Invalid` may have been applied in part; repeating it completes it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// Over a memory bound; nothing was kept of the refused parts.
    #[error("{what} is over its memory bound")]
    Busy { what: String, retry_after: Duration },
    /// The disk of the shard's leader is full; nothing was kept of the refused parts.
    #[error("{reason}")]
    DiskFull { reason: String, retry_after: Duration },
    /// No leader could be reached within the deadline.
    #[error("shard {shard} has no reachable leader: {reason}")]
    Unavailable { shard: u32, reason: String, retry_after: Duration },
    /// The part cannot be kept by any shard.
    #[error("invalid part: {reason}")]
    Invalid { reason: String },
}
