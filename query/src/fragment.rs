//! A fragment: what a query asks of every shard of a node, in one message; and how a node runs it.
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use trine_store::shard::ShardView;

use crate::error::Result;
use crate::helpers::Helpers;
use crate::memory::{self, Account};
use crate::promql::SegmentCache;
use crate::stop::Stop;

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
#[derive(Clone, Debug)]
pub struct FragmentLimits {
    /// Encoded bytes of frames that one fragment may send; beyond it the query fails with [`crate::Error::Limit`].
    pub reply_bytes_max: u64,
    /// What the query holds on this node.
    pub memory: Account,
    /// Until when to run.
    pub stop: Stop,
    /// Threads that may take shards over.
    pub helpers: Helpers,
    /// Where answers over sealed data are kept, if they are.
    pub segments: Option<SegmentCache>,
    /// A PromQL fragment that reads more samples than this fails with [`crate::Error::Limit`], whatever the query may read.
    pub samples_max: u64,
}

impl FragmentLimits {
    /// Limits of a fragment that may run until `deadline`, on the thread that calls alone.
    pub fn new(reply_bytes_max: u64, deadline: Instant, memory: Account) -> Self {
        let (stop, helpers) = (Stop::at(deadline), Helpers::none());
        Self { reply_bytes_max, memory, stop, helpers, segments: None, samples_max: u64::MAX }
    }

    /// The same with threads that may take shards over.
    pub fn with_helpers(self, helpers: Helpers) -> Self {
        Self { helpers, ..self }
    }

    /// The same for a try: with fewer samples, and on the thread that calls alone.
    pub fn trying(&self, samples_max: u64) -> Self {
        Self { samples_max, helpers: Helpers::none(), ..self.clone() }
    }

    /// The same with answers that are kept from before.
    pub fn with_segments(self, segments: SegmentCache) -> Self {
        Self { segments: Some(segments), ..self }
    }
}

/// Takes frames as they are made; an error means that nobody waits for more.
pub type Sink<'a> = dyn FnMut(Bytes) -> Result<()> + 'a;

/// Runs a fragment over the views of one node's shards. Synchronous: call it on the read pool. Frames are at most about
/// 1 MiB each and charged until they are dropped; the order of frames is the language's own.
pub fn run_fragment(
    fragment: &Fragment,
    tenant: &str,
    shards: &[Arc<ShardView>],
    limits: &FragmentLimits,
    sink: &mut Sink<'_>,
) -> Result<()> {
    limits.stop.check()?;
    let _running = limits.memory.charge(memory::FRAGMENT_BYTES)?;
    let mut held = |frame: Bytes| sink(memory::hold(&limits.memory, frame)?);
    match fragment.language {
        Language::PromQl => crate::promql::local::run(&fragment.payload, tenant, shards, limits, &mut held),
        Language::LogQl => crate::logql::local::run(&fragment.payload, tenant, shards, limits, &mut held),
        Language::TraceQl => crate::traceql::local::run(fragment, tenant, shards, limits, &mut held),
    }
}
