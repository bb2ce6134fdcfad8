//! What can go wrong with a query, in facts; `api` words it for each protocol.

use crate::completeness::ShardAnswer;
use crate::memory::Exceeded;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not a query; the message has the language's own words and position.
    #[error("{message}")]
    Parse { message: String },
    /// The query is valid but a value or combination in it is not.
    #[error("{message}")]
    Execution { message: String },
    /// A construct that this version does not evaluate; never a wrong result.
    #[error("unsupported: {what}")]
    Unsupported { what: String },
    /// The query, or all queries of a node, hold as much memory as they may.
    #[error(transparent)]
    Memory(#[from] Exceeded),
    /// The node has too much to do; the same query may pass later.
    #[error("{reason}")]
    Overloaded { reason: String },
    /// A bound on the query's cost was reached.
    #[error("{message}")]
    Limit { message: String },
    #[error("query timed out")]
    Timeout,
    #[error("query was canceled")]
    Canceled,
    /// A shard did not answer, or not in full, and the request asked for strictness. Boxed, since recursive parsers have an
    /// error's size on the stack for each level.
    #[error("{}", .0.account().unwrap_or_default())]
    ShardMissing(Box<ShardAnswer>),
    /// No shard answered at all: that is no answer, whatever the request asked for.
    #[error("none of {shards_count} shards answered: {}", first.account().unwrap_or_default())]
    NoShard { shards_count: usize, first: Box<ShardAnswer> },
    /// A message between nodes or bytes on disk do not decode.
    #[error("corrupt {what}: {reason}")]
    Corrupt { what: &'static str, reason: String },
    #[error("read a block: {0}")]
    Io(#[from] std::io::Error),
}

pub type Result<T> = std::result::Result<T, Error>;
