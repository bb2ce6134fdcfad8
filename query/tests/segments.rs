//! Answers over sealed data that are kept by segment: whatever is kept, an answer is what it is without.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::executor::block_on;
use futures::stream::{self, BoxStream};
use trine_query::Result;
use trine_query::fragment::{Fragment, FragmentLimits, run_fragment};
use trine_query::memory::Account;
use trine_query::promql::{self, Answer, RangeQuery, SegmentCache};
use trine_query::scatter::{Item, QueryContext, Scatter, ShardAnswer};
use trine_store::limits::{DeleteSeries, Limits, Tombstone};
use trine_store::model::Labels;
use trine_store::model::signal::key_hash;
use trine_store::part::{MetricsPartBuilder, PartRef};
use trine_store::shard::ShardView;
use trine_store::tsdb::{Block, HeadConfig, MetricsHead, MetricsView, seal};

const TENANT: &str = "t";
const MINUTE_MS: i64 = 60_000;
/// Blocks end here, a head begins.
const SEALED_MS: i64 = 400 * MINUTE_MS;
const END_MS: i64 = 500 * MINUTE_MS;

const QUERIES: &[&str] = &[
    "sum by (of) (rate(counter_total[5m]))",
    "sum(increase(counter_total[7m] offset 11m))",
    "avg by (of) (gauge)",
    "avg(avg_over_time(gauge[30m]))",
    "min without (series) (gauge)",
    "max(max_over_time(gauge[13m]))",
    "count by (of) (gauge) + sum by (of) (gauge)",
    "group(counter_total)",
    "sum(predict_linear(gauge[10m], 600))",
    "sum by (of) (rate(gauge[5m]))",
    "sum(rate(counter_total[5m] @ 9000))",
    "sum by (of) (rate(counter_total[5m:]))",
];

/// A value that depends on series and time alone; neighbours differ in size, so that sums depend on their order.
fn value(series: u32, n: i64) -> f64 {
    let mixed = (n as u64 ^ (u64::from(series) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    mixed as f64 * 1.1f64.powi((series % 40) as i32)
}

/// The samples of `range`, in ms; those of a gauge end for a while, of a counter it is reset.
fn part(range: std::ops::Range<i64>) -> Vec<u8> {
    let mut part = MetricsPartBuilder::new(TENANT);
    for series in 0..40u32 {
        let is_counter = series % 2 == 0;
        let name = if is_counter { "counter_total" } else { "gauge" };
        let (text, of) = (series.to_string(), (series % 5).to_string());
        let labels = Labels::from_pairs([("__name__", name), ("series", &text), ("of", &of)]).unwrap();
        let at = part.series(key_hash(TENANT, labels.as_bytes()), labels.as_bytes());
        let phase = i64::from(series % 3) * 1_000;
        let times =
            (range.start / 30_000..range.end / 30_000).filter(|n| is_counter || (n / 50) % 4 != i64::from(series % 7));
        let samples: Vec<(i64, u64)> = times
            .map(|n| {
                let v = if is_counter { (n % 97) as f64 * 3.7 + value(series, 0) } else { value(series, n) };
                (n * 30_000 + phase, v.to_bits())
            })
            .collect();
        part.floats(at, samples.into_iter());
    }
    part.finish()
}

fn head(parts: &[Vec<u8>]) -> MetricsHead {
    let (tenant, mut head) = (Arc::from(TENANT), MetricsHead::new(HeadConfig::default()));
    for (position, bytes) in (1..).zip(parts) {
        let part = PartRef::decode(bytes).unwrap();
        let refs: Vec<_> = part.defs.iter().map(|d| head.resolve(&tenant, d.hash, d.key).unwrap()).collect();
        head.append(&tenant, position, &refs, part.body).unwrap();
    }
    head
}

fn block(range: std::ops::Range<i64>) -> Arc<Block> {
    let mut file = Vec::new();
    seal(&head(&[part(range)]).view(), &mut file).unwrap();
    Arc::new(Block::open(Arc::new(Bytes::from(file))).unwrap())
}

fn view() -> MetricsView {
    let blocks = [0..150, 150..280, 280..400].map(|r| block(r.start * MINUTE_MS..r.end * MINUTE_MS));
    MetricsView {
        blocks: blocks.into(),
        heads: vec![head(&[part(SEALED_MS..END_MS)]).view()],
        ..MetricsView::default()
    }
}

/// One shard, and what is kept of its answers.
struct Node {
    shard: Arc<ShardView>,
    segments: SegmentCache,
}

impl Scatter for Node {
    fn scatter(&self, ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, Result<Item>> {
        let limits =
            FragmentLimits::new(1 << 30, ctx.deadline, Account::unbounded()).with_segments(self.segments.clone());
        let mut items: Vec<Result<Item>> = Vec::new();
        let done = run_fragment(&fragment, TENANT, std::slice::from_ref(&self.shard), &limits, &mut |frame| {
            items.push(Ok(Item::Frame(frame)));
            Ok(())
        });
        let answer = ShardAnswer { node: "here".to_owned(), ..ShardAnswer::default() };
        items.push(done.map(|()| Item::ShardDone(answer)));
        stream::iter(items).boxed()
    }
}

fn node(metrics: MetricsView, segments: &SegmentCache) -> Arc<dyn Scatter> {
    let shard = Arc::new(ShardView { metrics, ..ShardView::default() });
    Arc::new(Node { shard, segments: segments.clone() })
}

fn ask(node: &Arc<dyn Scatter>, query: &str, (start_ms, end_ms, step_ms): (i64, i64, i64), no_cache: bool) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(120);
    let ctx = QueryContext {
        tenant: Arc::from(TENANT),
        deadline,
        strict: true,
        no_cache,
        count_steps: false,
        memory: Account::unbounded(),
    };
    let lookback_ms = promql::LOOKBACK_MS_DEFAULT;
    let query = RangeQuery { query: query.to_owned(), start_ms, end_ms, step_ms, lookback_ms, limit: 0 };
    block_on(promql::range(node, &ctx, &query)).unwrap()
}

/// The same to the bit, whatever is kept.
fn check(node: &Arc<dyn Scatter>, query: &str, grid: (i64, i64, i64)) {
    let expected = ask(node, query, grid, true);
    let got = ask(node, query, grid, false);
    assert_eq!(format!("{:?}", got.value), format!("{:?}", expected.value), "{query} over {grid:?}");
    assert_eq!((got.warnings, got.infos), (expected.warnings, expected.infos), "{query} over {grid:?}");
}

#[test]
fn answers_are_those_without() {
    let segments = SegmentCache::new(64 << 20);
    let node = node(view(), &segments);
    for query in QUERIES {
        for step_ms in [MINUTE_MS, 45_000] {
            // A panel that moves on, then one that looks further back, then one of another phase.
            for (start_ms, end_ms) in [(100, 450), (104, 454), (10, 454), (300, 499), (0, 500)] {
                check(&node, query, (start_ms * MINUTE_MS, end_ms * MINUTE_MS, step_ms));
            }
            check(&node, query, (50 * MINUTE_MS + 7, 460 * MINUTE_MS + 7, step_ms));
        }
    }
    let (hits, misses) = segments.hits_and_misses();
    assert!(hits > 150 && misses > 100, "{hits} of {}", hits + misses);
}

#[test]
fn what_comes_late_or_is_deleted_is_seen() {
    let segments = SegmentCache::new(64 << 20);
    let grid = (0, END_MS, MINUTE_MS);
    let before = view();
    for query in QUERIES {
        check(&node(before.clone(), &segments), query, grid);
    }
    let hits = |segments: &SegmentCache| segments.hits_and_misses().0;
    let before_late = hits(&segments);
    // Half of the series again, half an hour in the middle, at other times.
    let late = part(200 * MINUTE_MS..230 * MINUTE_MS);
    let late = head(&[part(SEALED_MS..END_MS), late]).view();
    let with_late = MetricsView { heads: vec![late], ..before.clone() };
    let tombstone = Tombstone {
        index: u64::MAX,
        delete: DeleteSeries {
            id: 1,
            tenant: TENANT.into(),
            matchers: promql::parse_selector(r#"{of="3"}"#).unwrap(),
            min_ms: 100 * MINUTE_MS,
            max_ms: 120 * MINUTE_MS,
        },
    };
    let limits = Limits { tombstones: vec![Arc::new(tombstone)], ..Limits::default() };
    let with_deleted = MetricsView { limits: Arc::new(limits), ..before.clone() };
    // One block of another content in the place of one of the old ones.
    let mut with_other = before.clone();
    with_other.blocks[1] = block(150 * MINUTE_MS..200 * MINUTE_MS);
    for view in [with_late, with_deleted, with_other, before] {
        let node = node(view, &segments);
        for query in QUERIES {
            check(&node, query, grid);
            check(&node, query, grid);
        }
    }
    assert!(hits(&segments) > before_late, "nothing was kept");
}
