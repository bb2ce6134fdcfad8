//! How an engine reaches the shards: one fragment to every node that leads one, frames back as they are made.
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::error::Result;
use crate::fragment::Fragment;
use crate::memory::Account;

/// Who asks, and until when.
#[derive(Clone, Debug)]
pub struct QueryContext {
    pub tenant: Arc<str>,
    pub deadline: Instant,
    /// Fail instead of answering in part when a shard does not answer.
    pub strict: bool,
    /// What the query holds on this node: frames on their way, what the engine makes of them, and fragments that run here.
    pub memory: Account,
}

/// One shard's account of its part in an answer (P4).
#[derive(Clone, Debug)]
pub struct ShardAnswer {
    pub shard: u32,
    /// Name of the node that answered, or was asked last.
    pub node: String,
    /// Log index up to which the answer is complete.
    pub position: u64,
    /// Why the shard is missing from the answer.
    pub error: Option<String>,
}

/// What comes back from a scatter.
#[derive(Clone, Debug)]
pub enum Item {
    Frame(Bytes),
    ShardDone(ShardAnswer),
}

/// Implemented by the cluster in `actors`, and by tests over views in memory.
pub trait Scatter: Send + Sync + 'static {
    /// Sends `fragment` to the owners of all shards. The stream ends once every shard has answered, in part or whole: a
    /// missing shard is an [`Item::ShardDone`] with an error, and an `Err` only when `ctx.strict`, on the deadline, or for
    /// an error of the fragment itself. Dropping the stream cancels the work.
    fn scatter(&self, ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, Result<Item>>;
}

/// What an engine learnt about its answer besides the answer; `api` puts it into each protocol's place.
#[derive(Clone, Debug, Default)]
pub struct Completeness {
    pub shards: Vec<ShardAnswer>,
}

impl Completeness {
    /// One sentence for each shard that is missing from the answer.
    pub fn warnings(&self) -> Vec<String> {
        self.shards
            .iter()
            .filter_map(|s| {
                s.error
                    .as_ref()
                    .map(|e| format!("shard {} is missing from this answer (node {}): {e}", s.shard, s.node))
            })
            .collect()
    }
}
