//! A fragment: what a query asks of every shard of a node, in one message; and how a node runs it.
use bytes::Bytes;
use trine_store::shard::ShardView;

use crate::error::Result;

/// Whose messages a fragment carries. On the wire: never reuse a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Language {
    PromQl = 1,
    LogQl = 2,
    TraceQl = 3,
}

impl Language {
    pub fn from_u8(v: u8) -> Option<Self> {
        [Self::PromQl, Self::LogQl, Self::TraceQl].into_iter().find(|l| *l as u8 == v)
    }
}

/// An encoded request of one language's `fragment` module; opaque to the transport.
#[derive(Clone, Debug)]
pub struct Fragment {
    pub language: Language,
    pub payload: Bytes,
}

/// Bounds under which a fragment runs on a node.
#[derive(Clone, Copy, Debug)]
pub struct FragmentLimits {
    /// Encoded bytes of frames that one fragment may send; beyond it the query fails with [`crate::Error::Limit`].
    pub reply_bytes_max: u64,
    /// Monotonic instant after which the fragment gives up with [`crate::Error::Timeout`].
    pub deadline: std::time::Instant,
}

/// Takes frames as they are made; an error means that nobody waits for more.
pub type Sink<'a> = dyn FnMut(Bytes) -> Result<()> + 'a;

/// Runs a fragment over the views of one node's shards. Synchronous: call it on the read pool. Frames are at most about
/// 1 MiB each; the order of frames is the language's own.
pub fn run_fragment(
    fragment: &Fragment,
    tenant: &str,
    shards: &[std::sync::Arc<ShardView>],
    limits: &FragmentLimits,
    sink: &mut Sink<'_>,
) -> Result<()> {
    match fragment.language {
        Language::PromQl => crate::promql::local::run(&fragment.payload, tenant, shards, limits, sink),
        Language::LogQl => crate::logql::local::run(&fragment.payload, tenant, shards, limits, sink),
        Language::TraceQl => crate::traceql::local::run(fragment, tenant, shards, limits, sink),
    }
}
