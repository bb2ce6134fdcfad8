//! One shard in memory behind the surfaces and engines: what is written is applied and forgotten, what is read is fixed.
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use trine_api::admin::model::{AdminCluster, AdminNode, AdminScrub, AdminShard, FlushReport};
use trine_api::backend::{Backend, ShardPart, WriteError};
use trine_query::fragment::{Fragment, FragmentLimits, run_fragment};
use trine_query::memory::QueryMemory;
use trine_query::scatter::{Item, QueryContext, Scatter, ShardAnswer};
use trine_store::model::Slot;
use trine_store::shard::{PartOutcome, ShardView};

use crate::apply::Log;

/// What a query may hold: little, so that a query that asks for much is refused soon.
pub(crate) const QUERY_BYTES_MAX: u64 = 16 << 20;
/// Bytes that a fragment may send.
const REPLY_BYTES_MAX: u64 = 16 << 20;

/// Runs fragments over one view.
#[derive(Clone, Debug)]
pub(crate) struct Here(pub(crate) Arc<ShardView>);

impl Scatter for Here {
    fn scatter(&self, ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, trine_query::Result<Item>> {
        let limits = FragmentLimits::new(REPLY_BYTES_MAX, ctx.deadline, ctx.memory.clone());
        let mut items = Vec::new();
        let mut sink = |frame: Bytes| {
            items.push(Ok(Item::Frame(frame)));
            Ok(())
        };
        let run = run_fragment(&fragment, &ctx.tenant, std::slice::from_ref(&self.0), &limits, &mut sink);
        items.push(run.map(|()| Item::ShardDone(done(self.0.position))));
        stream::iter(items).boxed()
    }
}

/// Answers every fragment with the same frames.
#[derive(Clone, Debug)]
pub(crate) struct Said(pub(crate) Vec<Bytes>);

impl Scatter for Said {
    fn scatter(&self, _: &QueryContext, _: Fragment) -> BoxStream<'static, trine_query::Result<Item>> {
        let frames = self.0.clone().into_iter().map(|frame| Ok(Item::Frame(frame)));
        stream::iter(frames.chain([Ok(Item::ShardDone(done(1)))])).boxed()
    }
}

fn done(position: u64) -> ShardAnswer {
    ShardAnswer { node: "n1".to_owned(), replica: 1, position, ..ShardAnswer::default() }
}

/// The cluster of one shard.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// What queries see.
    view: Arc<ShardView>,
    /// What was written, where it is kept: to make the sample.
    kept: Option<Mutex<Log>>,
    memory: QueryMemory,
}

impl Cluster {
    /// Reads see `view`; each write goes to a shard of its own.
    pub(crate) fn reading(view: Arc<ShardView>) -> Self {
        Self { view, kept: None, memory: QueryMemory::new(QUERY_BYTES_MAX, QUERY_BYTES_MAX) }
    }

    /// Writes are kept.
    pub(crate) fn writing() -> Self {
        Self { kept: Some(Mutex::default()), ..Self::reading(Arc::default()) }
    }

    /// Does something with what was kept; none where nothing is.
    pub(crate) fn with_log<T>(&self, run: impl FnOnce(&mut Log) -> T) -> Option<T> {
        self.kept.as_ref().map(|log| run(&mut log.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[async_trait]
impl Backend for Cluster {
    fn shard_of(&self, _: Slot) -> u32 {
        0
    }

    async fn write(&self, parts: Vec<ShardPart>) -> Result<Vec<PartOutcome>, WriteError> {
        let write = |log: &mut Log| {
            parts.iter().map(|p| log.write(&p.part).expect("parts that a surface made are applied")).collect()
        };
        Ok(self.with_log(write).unwrap_or_else(|| write(&mut Log::default())))
    }

    fn scatter(&self) -> Arc<dyn Scatter> {
        Arc::new(Here(self.view.clone()))
    }

    fn query_memory(&self) -> &QueryMemory {
        &self.memory
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    async fn cluster(&self) -> AdminCluster {
        AdminCluster { id: "c".to_owned(), nodes_count: 1, shards_count: 1, ..AdminCluster::default() }
    }

    async fn nodes(&self) -> Vec<AdminNode> {
        Vec::new()
    }

    async fn shards(&self) -> Vec<AdminShard> {
        Vec::new()
    }

    async fn scrub(&self, _: bool) -> AdminScrub {
        AdminScrub::default()
    }

    async fn flush(&self) -> Result<FlushReport, String> {
        Ok(FlushReport::default())
    }
}
