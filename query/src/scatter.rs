//! How an engine reaches the shards: one fragment to every node that leads one, frames back as they are made.
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::stream::BoxStream;

pub use crate::completeness::{Completeness, ShardAnswer};
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
    /// Evaluate all anew, whatever is kept from before.
    pub no_cache: bool,
    /// Count the samples of each step, for the statistics of a query.
    pub count_steps: bool,
    /// What the query holds on this node: frames on their way, what the engine makes of them, and fragments that run here.
    pub memory: Account,
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
