//! Whole queries over the store's own views: part sealed into a block, part in the open head.
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::executor::block_on;
use futures::stream::BoxStream;
use trine_store::model::signal::key_hash;
use trine_store::model::{Labels, Scope, Signal, Value};
use trine_store::part::{PartRef, RowsPartBuilder};
use trine_store::rows::{Block, HeadConfig, RowsHead, RowsView, seal};
use trine_store::shard::ShardView;

use crate::error::Result;
use crate::fragment::{Fragment, FragmentLimits, run_fragment};
use crate::logql::{Direction, LogInstant, LogQuery, LogValue, index_stats, instant, label_values, query_range};
use crate::memory::Account;
use crate::scatter::{Item, QueryContext, Scatter, ShardAnswer};

const S: i64 = 1_000_000_000;
const T0: i64 = 1_700_000_000;

/// One node that runs fragments as nodes do.
struct Node(Vec<Arc<ShardView>>);

impl Scatter for Node {
    fn scatter(&self, ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, Result<Item>> {
        let limits = FragmentLimits::new(64 << 20, ctx.deadline, ctx.memory.clone());
        let mut items = Vec::new();
        let ran = run_fragment(&fragment, &ctx.tenant, &self.0, &limits, &mut |frame| {
            items.push(Ok(Item::Frame(frame)));
            Ok(())
        });
        items.extend(ran.err().map(Err));
        items.extend(self.0.iter().map(|s| {
            let answer =
                ShardAnswer { shard: s.shard, node: "n".to_owned(), replica: 1, position: s.position, error: None };
            Ok(Item::ShardDone(answer))
        }));
        futures::stream::iter(items).boxed()
    }
}

/// Appends `count` entries of two streams from second `from` on.
fn fill(head: &mut RowsHead, tenant: &str, from: i64, count: i64) {
    let mut builder = RowsPartBuilder::new(Signal::Logs, tenant);
    for (i, (app, level)) in [("api", "info"), ("db", "warn")].into_iter().enumerate() {
        let labels = Labels::from_pairs([("app", app), ("level", level)]).unwrap();
        let stream = builder.stream(key_hash(tenant, labels.as_bytes()), labels.as_bytes());
        assert_eq!(stream as usize, i);
    }
    for i in from..from + count {
        let attrs = [
            (Scope::Record, "trace_id", Value::Str(format!("t{i}"))),
            (Scope::Record, "attempt", Value::Int(i)),
            (Scope::Intrinsic, "flags", Value::Int(1)),
        ];
        for stream in 0..2 {
            let line = format!("{{\"n\":{i},\"stream\":{stream}}}");
            builder.row(stream, (T0 + i) * S, line.as_bytes(), attrs.iter().map(|(s, k, v)| (*s, *k, v)));
        }
    }
    let part = builder.finish();
    let part = PartRef::decode(&part).unwrap();
    let tenant: Arc<str> = Arc::from(part.tenant);
    let refs: Vec<_> = part.defs.iter().map(|d| head.resolve(&tenant, d.hash, d.key).unwrap()).collect();
    head.append(&tenant, 1, &refs, part.body, part.assigned_ns).unwrap();
}

/// Seconds 0 to 99 of tenant `t`: the first half in a block, the second in the head. Another tenant beside it.
fn node() -> Arc<dyn Scatter> {
    let mut sealed = RowsHead::new(Signal::Logs, HeadConfig::default());
    fill(&mut sealed, "t", 0, 50);
    fill(&mut sealed, "other", 0, 50);
    let mut file = Vec::new();
    seal(&sealed.view(), &mut file).unwrap();
    let mut open = RowsHead::new(Signal::Logs, HeadConfig::default());
    fill(&mut open, "t", 50, 50);
    let logs = RowsView {
        heads: vec![open.view()],
        blocks: vec![Arc::new(Block::open(Arc::new(Bytes::from(file))).unwrap())],
        ..RowsView::new(Signal::Logs)
    };
    Arc::new(Node(vec![Arc::new(ShardView { shard: 3, position: 7, logs, ..ShardView::default() })]))
}

fn ctx() -> QueryContext {
    QueryContext {
        tenant: Arc::from("t"),
        deadline: Instant::now() + Duration::from_secs(60),
        strict: false,
        no_cache: false,
        count_steps: false,
        memory: Account::unbounded(),
    }
}

#[test]
fn log_queries_read_blocks_and_heads_in_either_direction() {
    let node = node();
    for (direction, expected) in [(Direction::Forward, [48, 49, 50, 51]), (Direction::Backward, [53, 52, 51, 50])] {
        let query = LogQuery {
            query: "{app=\"db\"} | json | n >= 48 | n < 54".to_owned(),
            start_ns: T0 * S,
            end_ns: (T0 + 100) * S,
            step_ms: 0,
            interval_ns: 0,
            limit: 4,
            direction,
        };
        let answer = block_on(query_range(&node, &ctx(), &query)).unwrap();
        assert_eq!(answer.completeness.shards[0].position, 7);
        let LogValue::Streams(streams) = answer.value else { panic!("no streams") };
        assert_eq!(streams.len(), 1);
        let entries = &streams[0].entries;
        assert_eq!(entries.iter().map(|e| e.time_ns / S - T0).collect::<Vec<_>>(), expected);
        let n = expected[0].to_string();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        // Attributes of other scopes are no structured metadata; numbers are given as text.
        assert_eq!(entries[0].structured_metadata, [pair("attempt", &n), pair("trace_id", &format!("t{n}"))]);
        assert_eq!(entries[0].parsed, [pair("n", &n), pair("stream", "1")]);
    }
}

#[test]
fn metric_queries_and_calls_about_streams_read_the_store() {
    let node = node();
    for (query, expected) in [
        ("sum(count_over_time({app=~\".+\"}[1h]))", 200.0),
        ("sum(count_over_time({app=\"db\"} |= \"\\\"n\\\":7\" [1h]))", 11.0),
        ("sum(count_over_time({app=\"db\"} | attempt > 90 [1h]))", 9.0),
        ("sum(max_over_time({app=\"api\"} | json | unwrap n [1h]) by (app))", 99.0),
        ("sum(count_over_time({app=\"api\"} | trace_id=\"t70\" [1h]))", 1.0),
        ("sum(count_over_time({app=\"api\"} | trace_id=~\"t10|t70\" [1h]))", 2.0),
        ("sum(count_over_time({app=\"api\"} | trace_id=\"t10\" or attempt=\"70\" [1h]))", 2.0),
        ("sum(count_over_time({app=\"api\"} | attempt=\"70\" | trace_id!=\"\" [1h]))", 1.0),
        ("sum(count_over_time({app=~\".+\"} | level=\"warn\" [1h]))", 100.0),
        ("sum(count_over_time({app=\"db\"} | json | n=\"7\" [1h]))", 1.0),
        ("count(count_over_time({app=\"api\"} | drop trace_id, attempt [1h]))", 1.0),
    ] {
        let query_at =
            LogInstant { query: query.to_owned(), time_ns: (T0 + 100) * S, limit: 1, direction: Direction::Forward };
        let answer = block_on(instant(&node, &ctx(), &query_at)).unwrap();
        let LogValue::Vector(samples) = answer.value else { panic!("no vector") };
        assert_eq!(samples.iter().map(|s| s.value).collect::<Vec<_>>(), [expected], "{query}");
    }
    let (start, end) = (T0 * S, (T0 + 100) * S);
    assert_eq!(block_on(label_values(&node, &ctx(), "level", None, start, end)).unwrap().value, ["info", "warn"]);
    let stats = block_on(index_stats(&node, &ctx(), "{app=\"db\"}", start, end)).unwrap().value;
    assert_eq!((stats.streams, stats.entries), (1, 100));
}
