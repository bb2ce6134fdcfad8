//! The same series in the shards' real engine: one open head, one with runs, one sealed block.
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use prost::Message;
use trine_query::Result;
use trine_query::fragment::{Fragment, FragmentLimits, run_fragment};
use trine_query::memory::Account;
use trine_query::promql::histogram::wire::HistogramMessage;
use trine_query::scatter::{Item, QueryContext, Scatter, ShardAnswer};
use trine_store::codec::put_ivarint;
use trine_store::model::signal::key_hash;
use trine_store::part::{MetricsPartBuilder, PartRef, SampleKind};
use trine_store::shard::ShardView;
use trine_store::tsdb::{Block, HeadConfig, MetricsHead, MetricsView, seal};

use crate::load::Series;

pub(crate) const TENANT: &str = "tenant";

/// Shards with views of their own; a fragment runs on each as on a node.
pub(crate) struct StoreScatter(Vec<Arc<ShardView>>);

impl StoreScatter {
    pub(crate) fn new(series: &[Series], shards: usize) -> Self {
        let view = |n: usize| {
            let own: Vec<&Series> = series.iter().skip(n).step_by(shards).collect();
            let mut head = head(&own);
            let metrics = match n % 3 {
                0 => MetricsView { heads: vec![head.view()], blocks: Vec::new() },
                1 => {
                    while let Some(job) = head.freeze_job() {
                        head.install(job.run().unwrap());
                    }
                    MetricsView { heads: vec![head.view()], blocks: Vec::new() }
                }
                _ => {
                    let mut file = Vec::new();
                    seal(&head.view(), &mut file).unwrap();
                    let block = Block::open(Arc::new(Bytes::from(file))).unwrap();
                    MetricsView { heads: Vec::new(), blocks: vec![Arc::new(block)] }
                }
            };
            Arc::new(ShardView { shard: n as u32, position: 1, metrics, ..ShardView::default() })
        };
        Self((0..shards).map(view).collect())
    }
}

impl StoreScatter {
    /// One shard that has the same series in a sealed block and in its open head.
    pub(crate) fn in_pieces(block: &[Series], open: &[Series]) -> Self {
        let all = |series: &'_ [Series]| head(&series.iter().collect::<Vec<_>>());
        let mut file = Vec::new();
        seal(&all(block).view(), &mut file).unwrap();
        let block = Block::open(Arc::new(Bytes::from(file))).unwrap();
        let metrics = MetricsView { heads: vec![all(open).view()], blocks: vec![Arc::new(block)] };
        Self(vec![Arc::new(ShardView { shard: 0, position: 1, metrics, ..ShardView::default() })])
    }
}

fn head(series: &[&Series]) -> MetricsHead {
    let tenant: Arc<str> = Arc::from(TENANT);
    let mut builder = MetricsPartBuilder::new(TENANT);
    for s in series {
        let key = s.labels.as_bytes();
        let position = builder.series(key_hash(TENANT, key), key);
        builder.floats(position, s.floats.iter().map(|(t, v, _)| (*t, v.to_bits())));
        for (time_ms, _, start_ms) in s.floats.iter().filter(|(.., start_ms)| *start_ms != 0) {
            let mut payload = Vec::new();
            put_ivarint(&mut payload, *start_ms);
            builder.blob(position, SampleKind::StartTimestamp, *time_ms, &payload);
        }
        for (time_ms, h, start_ms) in &s.histograms {
            let message = HistogramMessage { start_timestamp: *start_ms, ..HistogramMessage::from(&**h) };
            builder.blob(position, SampleKind::FloatHistogram, *time_ms, &message.encode_to_vec());
        }
    }
    let bytes = builder.finish();
    let part = PartRef::decode(&bytes).unwrap();
    let mut head = MetricsHead::new(HeadConfig::default());
    let refs: Vec<_> = part.defs.iter().map(|d| head.resolve(&tenant, d.hash, d.key).unwrap()).collect();
    head.append(&tenant, 1, &refs, part.body).unwrap();
    head
}

impl Scatter for StoreScatter {
    fn scatter(&self, ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, Result<Item>> {
        let limits = FragmentLimits::new(1 << 30, Instant::now() + Duration::from_secs(60), Account::unbounded());
        let mut items: Vec<Result<Item>> = Vec::new();
        for view in &self.0 {
            let mut frames = Vec::new();
            let done = run_fragment(&fragment, &ctx.tenant, std::slice::from_ref(view), &limits, &mut |frame| {
                frames.push(Ok(Item::Frame(frame)));
                Ok(())
            });
            items.extend(frames);
            let answer = ShardAnswer {
                shard: view.shard,
                node: "here".to_owned(),
                replica: 1,
                position: view.position,
                error: None,
            };
            items.push(done.map(|()| Item::ShardDone(answer)));
        }
        stream::iter(items).boxed()
    }
}
