//! Hostile queries are refused by a small account and answered under a large one; accounts are empty afterwards (P6).
#![expect(clippy::unwrap_used, reason = "a test may panic")]
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::executor::block_on;
use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt, channel::mpsc};
use trine_query::fragment::{Fragment, FragmentLimits, run_fragment};
use trine_query::logql::{self, Direction, LogInstant, LogQuery};
use trine_query::memory::{Exceeded, FRAGMENT_BYTES, QueryMemory};
use trine_query::promql::{self, InstantQuery, RangeQuery};
use trine_query::scatter::{Item, QueryContext, Scatter, ShardAnswer};
use trine_query::traceql::{self, SearchQuery, SearchRequest};
use trine_query::{Error, Result};
use trine_store::model::signal::key_hash;
use trine_store::model::{AttrsBuilder, Labels, Scope, Signal, Value, intrinsic};
use trine_store::part::{MetricsPartBuilder, PartRef, RowsPartBuilder};
use trine_store::rows::{self, RowsHead, RowsView};
use trine_store::shard::ShardView;
use trine_store::tsdb::{self, MetricsHead, MetricsView};

const TENANT: &str = "t";
const S: i64 = 1_000_000_000;
/// Start of the data in seconds; it spans ten minutes.
const T0: i64 = 1_700_000_000;
const SERIES: i64 = 5000;
const SAMPLES: i64 = 100;
const LINES: i64 = 40_000;
const TRACES: i64 = 500;
const SPANS: i64 = 20;

const SMALL: u64 = 3 << 20;
/// Less than the samples, lines or spans that pass through it.
const STREAMING: u64 = 5 << 20;
const LARGE: u64 = 1 << 30;

/// One node that runs each fragment on a thread and waits while its frames are not taken.
#[derive(Clone)]
struct Node(Arc<ShardView>);

impl Scatter for Node {
    fn scatter(&self, ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, Result<Item>> {
        let (mut tx, rx) = mpsc::channel(1);
        let (view, ctx) = (self.0.clone(), ctx.clone());
        std::thread::spawn(move || {
            let limits = FragmentLimits::new(u64::MAX, ctx.deadline, ctx.memory.clone());
            drop(ctx);
            let mut frames = tx.clone();
            let mut sink = |frame: Bytes| block_on(frames.send(Ok(Item::Frame(frame)))).map_err(|_| Error::Canceled);
            let ran = run_fragment(&fragment, TENANT, std::slice::from_ref(&view), &limits, &mut sink);
            drop(limits);
            let answer = ShardAnswer { shard: 0, node: "n".to_owned(), replica: 1, position: 1, error: None };
            // The reader may be gone.
            drop(block_on(tx.send(ran.map(|()| Item::ShardDone(answer)))));
        });
        rx.boxed()
    }
}

fn node() -> Arc<dyn Scatter> {
    let view = ShardView { shard: 0, position: 1, metrics: metrics(), logs: logs(), traces: traces() };
    Arc::new(Node(Arc::new(view)))
}

fn metrics() -> MetricsView {
    let mut builder = MetricsPartBuilder::new(TENANT);
    for i in 0..SERIES {
        let i_text = i.to_string();
        let labels = Labels::from_pairs([("__name__", "m"), ("i", i_text.as_str()), ("job", "j")]).unwrap();
        let at = builder.series(key_hash(TENANT, labels.as_bytes()), labels.as_bytes());
        builder
            .floats(at, (0..SAMPLES as i32).map(i64::from).map(|n| ((T0 + n * 6) * 1000, ((i * n) as f64).to_bits())));
    }
    for le in ["1", "2", "+Inf"] {
        let labels = Labels::from_pairs([("__name__", "h_bucket"), ("le", le)]).unwrap();
        let at = builder.series(key_hash(TENANT, labels.as_bytes()), labels.as_bytes());
        builder.floats(at, (0..SAMPLES as i32).map(i64::from).map(|n| ((T0 + n * 6) * 1000, 5f64.to_bits())));
    }
    let bytes = builder.finish();
    let part = PartRef::decode(&bytes).unwrap();
    let (tenant, mut head) = (Arc::from(TENANT), MetricsHead::new(tsdb::HeadConfig::default()));
    let refs: Vec<_> = part.defs.iter().map(|d| head.resolve(&tenant, d.hash, d.key).unwrap()).collect();
    head.append(&tenant, 1, &refs, part.body).unwrap();
    let mut file = Vec::new();
    tsdb::seal(&head.view(), &mut file).unwrap();
    let block = tsdb::Block::open(Arc::new(Bytes::from(file))).unwrap();
    MetricsView { blocks: vec![Arc::new(block)], ..MetricsView::default() }
}

/// Rows of parts that `fill` makes, sealed.
fn sealed(signal: Signal, fill: impl FnOnce(&mut RowsPartBuilder)) -> RowsView {
    let mut builder = RowsPartBuilder::new(signal, TENANT);
    fill(&mut builder);
    let bytes = builder.finish();
    let part = PartRef::decode(&bytes).unwrap();
    let (tenant, mut head) = (Arc::from(TENANT), RowsHead::new(signal, rows::HeadConfig::default()));
    let refs: Vec<_> = part.defs.iter().map(|d| head.resolve(&tenant, d.hash, d.key).unwrap()).collect();
    head.append(&tenant, 1, &refs, part.body, part.assigned_ns).unwrap();
    let mut file = Vec::new();
    rows::seal(&head.view(), &mut file).unwrap();
    let block = rows::Block::open(Arc::new(Bytes::from(file))).unwrap();
    RowsView { blocks: vec![Arc::new(block)], ..RowsView::new(signal) }
}

fn logs() -> RowsView {
    sealed(Signal::Logs, |builder| {
        for app in 0..4 {
            let labels = Labels::from_pairs([("app", app.to_string().as_str())]).unwrap();
            builder.stream(key_hash(TENANT, labels.as_bytes()), labels.as_bytes());
        }
        for i in 0..LINES {
            let line = format!(r#"{{"id":"{i}","n":{i},"text":"{}"}}"#, "some more words ".repeat(12));
            builder.row((i % 4) as u32, T0 * S + i * 15_000_000, line.as_bytes(), std::iter::empty());
        }
    })
}

fn traces() -> RowsView {
    sealed(Signal::Traces, |builder| {
        let mut key = AttrsBuilder::default();
        key.push(Scope::Resource, "service.name", &Value::Str("s".into()));
        let key = key.build();
        let stream = builder.stream(key_hash(TENANT, key.as_bytes()), key.as_bytes());
        for trace in 0..TRACES {
            for span in 0..SPANS {
                let id = |n: i64| Value::Bytes((n as u64).to_be_bytes().to_vec());
                let parent = if span == 0 { Value::Bytes(Vec::new()) } else { id(trace * 100 + span) };
                let attrs = [
                    (
                        Scope::Intrinsic,
                        intrinsic::TRACE_ID,
                        Value::Bytes(u128::to_be_bytes(trace as u128 + 1).to_vec()),
                    ),
                    (Scope::Intrinsic, intrinsic::SPAN_ID, id(trace * 100 + span + 1)),
                    (Scope::Intrinsic, intrinsic::PARENT_SPAN_ID, parent),
                    (Scope::Intrinsic, intrinsic::NAME, Value::Str(format!("span {span}"))),
                    (Scope::Intrinsic, intrinsic::DURATION_NS, Value::Int(S)),
                    (Scope::Record, "id", Value::Str(format!("{trace} {span} {}", "x".repeat(100)))),
                ];
                let time_ns = (T0 + trace) * S + span;
                builder.row(stream, time_ns, b"", attrs.iter().map(|(s, k, v)| (*s, *k, v)));
            }
        }
    })
}

fn context(memory: &QueryMemory) -> QueryContext {
    let deadline = Instant::now() + Duration::from_secs(120);
    QueryContext {
        tenant: Arc::from(TENANT),
        deadline,
        strict: true,
        no_cache: false,
        count_steps: false,
        memory: memory.account(),
    }
}

/// Waits until nothing is held: a fragment's thread may end after its query.
fn wait_until_empty(memory: &QueryMemory, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while memory.held_bytes() > 0 {
        assert!(Instant::now() < deadline, "{what}: {} bytes are held", memory.held_bytes());
        std::thread::yield_now();
    }
}

/// Runs one query; its answer is dropped.
type Run = fn(&Arc<dyn Scatter>, &QueryContext, &str) -> Result<()>;

fn check(runs: &[(Run, &[&str])], small: u64, expect_refused: bool) {
    let scatter = node();
    for (run, query) in runs.iter().flat_map(|(run, queries)| queries.iter().map(move |q| (run, *q))) {
        let memory = QueryMemory::new(LARGE, small);
        let result = run(&scatter, &context(&memory), query);
        match (expect_refused, &result) {
            (true, Err(Error::Memory(Exceeded::Query { bytes_max }))) => assert_eq!(*bytes_max, small),
            (false, Ok(())) => {}
            _ => panic!("{query}: {result:?}"),
        }
        wait_until_empty(&memory, query);
        if expect_refused {
            let memory = QueryMemory::new(LARGE, LARGE);
            run(&scatter, &context(&memory), query).unwrap_or_else(|e| panic!("{query}: {e}"));
            wait_until_empty(&memory, query);
        }
    }
}

fn range(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, query: &str) -> Result<()> {
    let (start_ms, end_ms) = (T0 * 1000, (T0 + 600) * 1000);
    let lookback_ms = promql::LOOKBACK_MS_DEFAULT;
    let query = RangeQuery { query: query.to_owned(), start_ms, end_ms, step_ms: 6000, lookback_ms, limit: 0 };
    block_on(promql::range(scatter, ctx, &query)).map(drop)
}

fn at_end(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, query: &str) -> Result<()> {
    let (time_ms, lookback_ms) = ((T0 + 590) * 1000, promql::LOOKBACK_MS_DEFAULT);
    let query = InstantQuery { query: query.to_owned(), time_ms, lookback_ms, limit: 0 };
    block_on(promql::instant(scatter, ctx, &query)).map(drop)
}

fn series(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, selector: &str) -> Result<()> {
    let sets = [promql::parse_selector(selector)?];
    block_on(promql::series(scatter, ctx, &sets, i64::MIN, i64::MAX, 0)).map(drop)
}

#[test]
fn promql_is_refused_by_a_small_account() {
    // Doubles a label again and again.
    let mut doubled = "h_bucket".to_owned();
    for _ in 0..20 {
        doubled = format!(r#"label_replace({doubled}, "le", "$1$1", "le", "(.*)")"#);
    }
    check(
        &[(
            range,
            &[
                "m",
                "rate(m[5m])",
                "sum by (i) (m)",
                "avg by (i) (rate(m[5m]))",
                r#"count_values("v", m)"#,
                "quantile(0.5, m)",
                "sort(m)",
                "topk(2, m)",
                r#"label_replace(m, "x", "$1$1$1", "i", "(.*)")"#,
                "m * on (i) group_left m",
                "m or m",
                "max_over_time(m[5m:10s])",
                "sum_over_time(vector(1)[10d:1s])",
                "sum_over_time(vector(time())[10d:1s])",
            ],
        )],
        SMALL,
        true,
    );
    check(
        &[(at_end, &[r#"count_values("v", m)"#, r#"label_join(m, "x", "-", "i", "i", "i", "i", "i", "i")"#, "m[10m]"])],
        SMALL / 2,
        true,
    );
    check(&[(series, &[r#"{i=~".+"}"#])], SMALL / 10, true);
    let memory = QueryMemory::new(64 << 20, 16 << 20);
    let refused = at_end(&node(), &context(&memory), &doubled);
    assert!(matches!(refused, Err(Error::Memory(Exceeded::Query { .. }))), "{refused:?}");
    wait_until_empty(&memory, "doubled labels");
}

fn lines(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, query: &str) -> Result<()> {
    let query = LogQuery {
        query: query.to_owned(),
        start_ns: T0 * S,
        end_ns: (T0 + 600) * S,
        step_ms: 1000,
        interval_ns: 0,
        limit: 5000,
        direction: Direction::Backward,
    };
    block_on(logql::query_range(scatter, ctx, &query)).map(drop)
}

fn count(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, query: &str) -> Result<()> {
    let (time_ns, direction) = ((T0 + 600) * S, Direction::Backward);
    let query = LogInstant { query: query.to_owned(), time_ns, limit: 100, direction };
    block_on(logql::instant(scatter, ctx, &query)).map(drop)
}

#[test]
fn logql_is_refused_by_a_small_account() {
    let rendered = format!(r#"{{app=~".+"}} | line_format `{}`"#, "{{__line__}}".repeat(40));
    let labelled: Vec<String> = (0..20).map(|n| format!("l{n}=`{{{{__line__}}}}{{{{__line__}}}}`")).collect();
    let labelled = format!(r#"{{app=~".+"}} | label_format {}"#, labelled.join(","));
    let texts: [&str; 7] = [
        &rendered,
        &labelled,
        r#"{app=~".+"} | json"#,
        r#"{app=~".+"} | regexp `"id":"(?P<id>[0-9]+)"`"#,
        r#"count(sum by (id) (count_over_time({app=~".+"} | json [1m])))"#,
        r#"topk(3, count_over_time({app=~".+"} | json | line_format "{{.id}}" [1m]))"#,
        r#"count(sum by (id) (rate({app=~".+"} | json [1m])) / sum by (id) (rate({app=~".+"} | json [1m])))"#,
    ];
    // The metric queries keep far fewer series in their second run: one step.
    check(&[(lines, &texts[..4]), (count, &texts[4..])], SMALL, true);
    // One line alone may be rendered beyond any bound.
    let repeated = format!(r#"{{app="0"}} | line_format `{}`"#, r#"{{ "x" | repeat 1000000 }}"#.repeat(50));
    let memory = QueryMemory::new(LARGE, 16 << 20);
    let refused = lines(&node(), &context(&memory), &repeated);
    assert!(matches!(refused, Err(Error::Memory(_))), "{refused:?}");
    wait_until_empty(&memory, "a repeated text");
}

fn search(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, query: &str) -> Result<()> {
    let request = SearchRequest {
        query: SearchQuery::TraceQl(query.to_owned()),
        start_ns: T0 * S,
        end_ns: (T0 + 1000) * S,
        limit: 1000,
        spans_per_set: 0,
    };
    block_on(traceql::search(scatter, ctx, &request)).map(drop)
}

#[test]
fn traceql_is_refused_by_a_small_account() {
    let queries = ["{}", "{} | by(span.id)", "{} >> {} | select(span.id)", "{ span.id != nil } | count() > 0"];
    check(&[(search, &queries)], SMALL, true);
}

#[test]
fn what_holds_little_passes_over_much_data() {
    let one_a_day = r#"sum(count_over_time({app=~".+"} [10m]))"#;
    let queries: [(Run, &[&str]); 4] = [
        (at_end, &["count(m)", "sum(count_over_time(m[10m]))", "max(rate(m[5m]))"]),
        (range, &["count(m)", "sum(rate(m[5m]))"]),
        (count, &[one_a_day, r#"sum by (app) (count_over_time({app=~".+"} | json | n > 5 [10m]))"#]),
        (search, &[r#"{ span.id = "none" }"#, r#"{ name = "nobody" } >> {}"#]),
    ];
    check(&queries, STREAMING, false);
}

#[test]
fn the_node_refuses_with_its_own_words_when_others_hold_its_memory() {
    let memory = QueryMemory::new(4 << 20, 4 << 20);
    let other = memory.account();
    let held = other.charge(3 << 20).unwrap();
    let scatter = node();
    let refused = range(&scatter, &context(&memory), "m");
    assert!(matches!(refused, Err(Error::Memory(Exceeded::Node { bytes_max })) if bytes_max == 4 << 20), "{refused:?}");
    drop(held);
    at_end(&scatter, &context(&memory), "count(m)").unwrap();
    wait_until_empty(&memory, "after others");
}

/// Passes one frame on and never ends.
struct Stalling(Arc<dyn Scatter>);

impl Scatter for Stalling {
    fn scatter(&self, ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, Result<Item>> {
        self.0.scatter(ctx, fragment).take(1).chain(futures::stream::pending()).boxed()
    }
}

#[test]
fn a_query_that_is_dropped_half_way_gives_everything_back() {
    let scatter: Arc<dyn Scatter> = Arc::new(Stalling(node()));
    let memory = QueryMemory::new(LARGE, LARGE);
    for query in ["m", "rate(m[5m])"] {
        let ctx = context(&memory);
        let (start_ms, end_ms) = (T0 * 1000, (T0 + 600) * 1000);
        let lookback_ms = promql::LOOKBACK_MS_DEFAULT;
        let query = RangeQuery { query: query.to_owned(), start_ms, end_ms, step_ms: 6000, lookback_ms, limit: 0 };
        block_on(async {
            let mut running = std::pin::pin!(promql::range(&scatter, &ctx, &query));
            // The first frame arrives, and the query holds what it brought.
            while memory.held_bytes() < 64 << 10 {
                assert!(futures::poll!(running.as_mut()).is_pending());
                std::thread::yield_now();
            }
        });
        drop(ctx);
        wait_until_empty(&memory, "a dropped query");
    }
}

/// Keeps the fragment that an engine sends.
struct Capture(Mutex<Option<Fragment>>);

impl Scatter for Capture {
    fn scatter(&self, _: &QueryContext, fragment: Fragment) -> BoxStream<'static, Result<Item>> {
        *self.0.lock().unwrap() = Some(fragment);
        futures::stream::empty().boxed()
    }
}

#[test]
fn a_fragment_that_sends_nothing_stops_once_it_is_cancelled() {
    let view = Arc::new(ShardView { metrics: metrics(), logs: logs(), traces: traces(), ..ShardView::default() });
    let queries: [(Run, &str); 3] = [
        (range, "sum by (i) (quantile_over_time(0.9, m[10m]))"),
        (count, r#"sum by (app) (count_over_time({app=~".+"} | json [10m]))"#),
        (search, r#"{ name =~ ".*nobody.*" } >> {}"#),
    ];
    for (run, query) in queries {
        let capture = Arc::new(Capture(Mutex::new(None)));
        let asked: Arc<dyn Scatter> = capture.clone();
        run(&asked, &context(&QueryMemory::unbounded()), query).unwrap();
        let fragment = capture.0.lock().unwrap().take().unwrap();
        let memory = QueryMemory::new(LARGE, LARGE);
        let limits = FragmentLimits::new(u64::MAX, Instant::now() + Duration::from_secs(120), memory.account());
        let stop = limits.stop.clone();
        let result = std::thread::scope(|scope| {
            let view = std::slice::from_ref(&view);
            let running = scope.spawn(move || run_fragment(&fragment, TENANT, view, &limits, &mut |_| Ok(())));
            // It has begun to read once it holds more than every fragment does.
            while memory.held_bytes() <= FRAGMENT_BYTES && !running.is_finished() {
                std::thread::yield_now();
            }
            stop.cancel();
            running.join().unwrap()
        });
        assert!(matches!(result, Err(Error::Canceled)), "{query}: {result:?}");
        assert_eq!(memory.held_bytes(), 0, "{query}");
    }
}
