//! The same over the row engine: spans in blocks, runs and tails.
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::executor::block_on;
use futures::stream::BoxStream;
use trine_store::model::signal::key_hash;
use trine_store::model::{Signal, Value, intrinsic};
use trine_store::part::{PartRef, RowsPartBuilder};
use trine_store::rows::{Block, HeadConfig, RowsHead, RowsView, seal};
use trine_store::shard::ShardView;

use super::support::{SpanBuilder, context};
use crate::error::Result;
use crate::fragment::{Fragment, FragmentLimits, run_fragment};
use crate::scatter::{Item, QueryContext, Scatter, ShardAnswer};
use crate::traceql::model::{SearchQuery, SearchRequest, SpanRow};
use crate::traceql::search;

const TENANT: &str = "t";

/// One node with some shards.
pub(super) struct RowsCluster {
    shards: Vec<Arc<ShardView>>,
}

impl RowsCluster {
    /// Spreads traces over `count` shards; a third of each shard's spans is sealed, a third frozen, the rest in the tail.
    pub(super) fn new(spans: &[SpanRow], count: usize) -> Self {
        let shard = |n: usize| {
            let own: Vec<&SpanRow> = spans.iter().filter(|s| usize::from(s.trace_id()[0]) % count == n).collect();
            let (sealed, open) = own.split_at(own.len() / 3);
            let (frozen, tail) = open.split_at(open.len() / 2);
            let mut old = head();
            append(&mut old, 0, sealed);
            freeze(&mut old);
            let mut file = Vec::new();
            seal(&old.view(), &mut file).unwrap();
            let mut head = head();
            append(&mut head, 1000, frozen);
            freeze(&mut head);
            append(&mut head, 2000, tail);
            let mut traces = RowsView::new(Signal::Traces);
            traces.blocks.push(Arc::new(Block::open(Arc::new(Bytes::from(file))).unwrap()));
            traces.heads.push(head.view());
            Arc::new(ShardView { shard: n as u32, traces, ..ShardView::default() })
        };
        Self { shards: (0..count).map(shard).collect() }
    }
}

fn head() -> RowsHead {
    let config = HeadConfig { tail_batches_max: 1, granule_rows_max: 128, ..HeadConfig::default() };
    RowsHead::new(Signal::Traces, config)
}

fn freeze(head: &mut RowsHead) {
    if let Some(job) = head.freeze_job() {
        let frozen = job.run().unwrap();
        head.install(frozen);
    }
}

/// Appends spans in parts of 100, as the log would.
fn append(head: &mut RowsHead, position: u64, spans: &[&SpanRow]) {
    let tenant = Arc::from(TENANT);
    for (n, spans) in spans.chunks(100).enumerate() {
        let mut builder = RowsPartBuilder::new(Signal::Traces, TENANT);
        for span in spans {
            let key = span.stream.key.as_bytes();
            let stream = builder.stream(key_hash(TENANT, key), key);
            let attrs = span.attrs.iter().map(|a| (a.scope, a.key.as_str(), &a.value));
            builder.row(stream, span.time_ns, b"", attrs);
        }
        let bytes = builder.finish();
        let part = PartRef::decode(&bytes).unwrap();
        let refs: Vec<_> = part.defs.iter().map(|d| head.resolve(&tenant, d.hash, d.key).unwrap()).collect();
        head.append(&tenant, position + n as u64, &refs, part.body, 0).unwrap();
    }
}

impl Scatter for RowsCluster {
    fn scatter(&self, ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, Result<Item>> {
        let limits = FragmentLimits::new(u64::MAX, ctx.deadline, ctx.memory.clone());
        let mut items = Vec::new();
        let result = run_fragment(&fragment, &ctx.tenant, &self.shards, &limits, &mut |frame| {
            items.push(Ok(Item::Frame(frame)));
            Ok(())
        });
        let done = |s: &Arc<ShardView>| ShardAnswer {
            shard: s.shard,
            node: "n".to_owned(),
            replica: 1,
            position: 0,
            error: None,
        };
        match result {
            Ok(()) => items.extend(self.shards.iter().map(|s| Ok(Item::ShardDone(done(s))))),
            Err(error) => items.push(Err(error)),
        }
        futures::stream::iter(items).boxed()
    }
}

#[test]
fn granules_are_not_skipped_when_an_array_matches() {
    let words = |words: &[&str]| Value::Array(words.iter().map(|w| Value::Str((*w).to_owned())).collect());
    let span = |id: u8| {
        SpanBuilder::new(id, id, 0, "a")
            .attr("tags", words(&["x", "y"]))
            .attr("sizes", Value::Array(vec![Value::Int(5), Value::Double(7.5)]))
            .intrinsic(intrinsic::NAME, Value::Str("n".to_owned()))
            .build()
    };
    let scatter: Arc<dyn Scatter> = Arc::new(RowsCluster::new(&(1..=9).map(span).collect::<Vec<_>>(), 1));
    for query in ["{ span.tags = \"x\" }", "{ .tags = \"y\" }", "{ span.sizes > 6 }", "{ span.sizes = 5 }"] {
        let query = SearchQuery::TraceQl(query.to_owned());
        let request = SearchRequest { query, start_ns: 0, end_ns: i64::MAX, limit: 100, spans_per_set: 3 };
        let answer = block_on(search(&scatter, &context(), &request)).unwrap();
        assert_eq!(answer.traces.len(), 9, "{:?}", request.query);
    }
}
