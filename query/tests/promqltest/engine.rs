//! What the scripts do not show: metadata, limits, deadlines, missing shards, and messages cut into pieces.
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use trine_query::fragment::Fragment;
use trine_query::promql::histogram::{Buckets, Histogram, ResetHint};
use trine_query::promql::{self, Answer, InstantQuery, RangeQuery, Value, parse_selector};
use trine_query::scatter::{Item, QueryContext, Scatter, ShardAnswer};
use trine_query::{Error, Result};
use trine_store::model::Labels;

use crate::load::Series;
use crate::memory::MemoryScatter;
use crate::stored::{StoreScatter, TENANT};
use trine_query::memory::Account;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).unwrap()
}

fn series(pairs: &[(&str, &str)], samples: impl Iterator<Item = (i64, f64)>) -> Series {
    Series { floats: samples.map(|(t, v)| (t, v, 0)).collect(), ..Series::new(labels(pairs)) }
}

fn three_series() -> Vec<Series> {
    let samples = || (0..10).map(|i| (i * 60_000, i as f64));
    vec![
        series(&[("__name__", "a"), ("job", "x")], samples()),
        series(&[("__name__", "a"), ("job", "y")], samples()),
        series(&[("__name__", "b"), ("zone", "eu")], samples()),
    ]
}

fn ctx() -> QueryContext {
    QueryContext {
        tenant: Arc::from(TENANT),
        deadline: Instant::now() + Duration::from_secs(60),
        strict: false,
        no_cache: false,
        count_steps: false,
        memory: Account::unbounded(),
    }
}

async fn instant(scatter: &Arc<dyn Scatter>, query: &str, time_ms: i64) -> Result<Answer> {
    let query = InstantQuery { query: query.to_owned(), time_ms, lookback_ms: promql::LOOKBACK_MS_DEFAULT, limit: 0 };
    promql::instant(scatter, &ctx(), &query).await
}

#[tokio::test]
async fn what_exists() {
    let scatter: Arc<dyn Scatter> = Arc::new(StoreScatter::new(&three_series(), 3));
    let sets = [parse_selector("a").unwrap()];
    let (ctx, end) = (ctx(), 600_000);
    let found = promql::series(&scatter, &ctx, &sets, 0, end, 0).await.unwrap();
    let texts: Vec<String> = found.value.iter().map(Labels::to_string).collect();
    assert_eq!(texts, [r#"{__name__="a", job="x"}"#, r#"{__name__="a", job="y"}"#]);
    assert_eq!(found.completeness.shards.len(), 3);

    let names = promql::label_names(&scatter, &ctx, &[], 0, end, 0).await.unwrap();
    assert_eq!(names.value, ["__name__", "job", "zone"]);
    let names = promql::label_names(&scatter, &ctx, &sets, 0, end, 1).await.unwrap();
    assert_eq!((names.value, names.truncated), (vec!["__name__".to_owned()], true));

    let values = promql::label_values(&scatter, &ctx, "job", &[], 0, end, 0).await.unwrap();
    assert_eq!(values.value, ["x", "y"]);
    let both = [parse_selector("b").unwrap(), parse_selector("{job='y'}").unwrap()];
    let values = promql::label_values(&scatter, &ctx, "__name__", &both, 0, end, 0).await.unwrap();
    assert_eq!(values.value, ["a", "b"]);
    assert!(promql::metric_metadata(&scatter, &ctx, None, 0).await.unwrap().value.is_empty());
}

#[tokio::test]
async fn long_series_travel_in_pieces() {
    let count = 50_000;
    let long = [series(&[("__name__", "long")], (0..count).map(|i| (i * 1000, (i % 977) as f64 * 1.1)))];
    let scatter: Arc<dyn Scatter> = Arc::new(MemoryScatter::new(&long, 1));
    let end_ms = (count - 1) * 1000;
    let answer = instant(&scatter, "long[20h]", end_ms).await.unwrap();
    let Value::Matrix(series) = &answer.value else { panic!("{:?}", answer.value) };
    assert_eq!(series[0].points.len(), count as usize);
    assert!(series[0].points.iter().enumerate().all(|(i, p)| *p == (i as i64 * 1000, (i % 977) as f64 * 1.1)));
    assert_eq!(answer.stats.samples_read, count as u64);

    // Steps and partial sums, too.
    for query in ["long", "sum(long)", "avg(long)", "max(long)"] {
        let range =
            RangeQuery { query: query.to_owned(), start_ms: 0, end_ms, step_ms: 1000, lookback_ms: 1000, limit: 0 };
        let answer = promql::range(&scatter, &ctx(), &range).await.unwrap();
        let Value::Matrix(series) = &answer.value else { panic!("{:?}", answer.value) };
        assert_eq!(series[0].points.len(), count as usize, "{query}");
        assert!(series[0].points.iter().enumerate().all(|(i, p)| p.1 == (i % 977) as f64 * 1.1), "{query}");
    }
}

#[tokio::test]
async fn limits_are_kept() {
    let scatter: Arc<dyn Scatter> = Arc::new(MemoryScatter::new(&three_series(), 2));
    let huge = instant(&scatter, "max_over_time(a[100y:1ms])", 0).await;
    assert!(matches!(huge, Err(Error::Limit { message }) if message.contains("too many samples")));

    let query = InstantQuery { query: "a".to_owned(), time_ms: 60_000, lookback_ms: 300_000, limit: 1 };
    let answer = promql::instant(&scatter, &ctx(), &query).await.unwrap();
    assert!(answer.truncated && matches!(&answer.value, Value::Vector(v) if v.len() == 1));
    assert_eq!(answer.warnings, ["results truncated due to limit"]);

    let late = QueryContext { deadline: Instant::now(), ..ctx() };
    assert!(matches!(promql::instant(&scatter, &late, &query).await, Err(Error::Timeout)));

    let matrix = RangeQuery {
        query: "a[5m]".to_owned(),
        start_ms: 0,
        end_ms: 60_000,
        step_ms: 1000,
        lookback_ms: 300_000,
        limit: 0,
    };
    let refused = promql::range(&scatter, &ctx(), &matrix).await.unwrap_err().to_string();
    assert_eq!(refused, "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector");
}

#[tokio::test]
async fn a_query_of_many_samples_is_refused_in_prometheus_words() {
    let scatter: Arc<dyn Scatter> = Arc::new(MemoryScatter::new(&three_series(), 2));
    let text = "query processing would load too many samples into memory in query execution";
    // Five samples of each series are in the range.
    for (query, samples_max, is_enough) in [
        ("a[5m]", 10, true),
        ("a[5m]", 9, false),
        ("sum_over_time(a[5m])", 30, true),
        ("sum_over_time(a[5m])", 9, false),
        ("max_over_time(a[10s:1s])", 200, true),
        ("1", 0, false),
    ] {
        let query = InstantQuery { query: query.to_owned(), time_ms: 300_000, lookback_ms: 300_000, limit: 0 };
        match promql::instant_within(&scatter, &ctx(), &query, samples_max).await {
            Ok(_) => assert!(is_enough, "{query:?}"),
            Err(Error::Limit { message }) => assert_eq!((message.as_str(), is_enough), (text, false), "{query:?}"),
            Err(other) => panic!("{query:?}: {other}"),
        }
    }
}

#[tokio::test]
async fn what_is_named_twice_is_read_once() {
    let scatter: Arc<dyn Scatter> = Arc::new(StoreScatter::new(&three_series(), 3));
    let once = instant(&scatter, "rate(a[5m])", 300_000).await.unwrap();
    let twice = instant(&scatter, "rate(a[5m]) + rate(a[5m]) + sum(b) * 0 + sum(b)", 300_000).await;
    assert!(matches!(&twice.unwrap().value, Value::Vector(v) if v.is_empty()), "labels of a and b do not match");
    let twice = instant(&scatter, "rate(a[5m]) + rate(a[5m])", 300_000).await.unwrap();
    assert_eq!(twice.stats.samples_read, once.stats.samples_read);
    assert_eq!((once.infos.len(), &once.infos), (1, &twice.infos));
    let (Value::Vector(once), Value::Vector(twice)) = (&once.value, &twice.value) else { panic!("no vectors") };
    assert_eq!(once.len(), 2);
    for (one, two) in once.iter().zip(twice) {
        assert_eq!((&one.labels, one.value * 2.0), (&two.labels, two.value));
    }
    // Another range or function is another thing.
    let other = instant(&scatter, "a - max_over_time(a[5m]) + a offset 1m", 300_000).await.unwrap();
    assert!(matches!(&other.value, Value::Vector(v) if v.len() == 2 && v[0].value == 4.0), "{:?}", other.value);
}

#[tokio::test]
async fn the_deepest_expressions_fit_the_stack() {
    let scatter: Arc<dyn Scatter> = Arc::new(MemoryScatter::new(&three_series(), 2));
    let chain = vec!["b"; 249].join(" + ");
    let nested = format!("{}b{}", "abs(-(".repeat(32), "))".repeat(32));
    for query in [chain, nested] {
        let answer = instant(&scatter, &query, 60_000).await.unwrap();
        assert!(matches!(&answer.value, Value::Vector(v) if v.len() == 1), "{:?}", answer.value);
        promql::format(&query).unwrap();
    }
}

/// Answers as another scatter does, and that one shard is missing.
struct OneMissing(MemoryScatter);

impl Scatter for OneMissing {
    fn scatter(&self, ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, Result<Item>> {
        let missing = ShardAnswer {
            shard: 9,
            node: "n3".to_owned(),
            replica: 0,
            position: 0,
            error: Some("no leader".to_owned()),
        };
        self.0.scatter(ctx, fragment).chain(stream::iter([Ok(Item::ShardDone(missing))])).boxed()
    }
}

#[tokio::test]
async fn a_missing_shard_is_named() {
    let scatter: Arc<dyn Scatter> = Arc::new(OneMissing(MemoryScatter::new(&three_series(), 2)));
    let answer = instant(&scatter, "count(a)", 60_000).await.unwrap();
    assert_eq!(answer.warnings, ["shard 9 is missing from this answer (node n3): no leader"]);
    assert!(matches!(&answer.value, Value::Vector(v) if v[0].value == 2.0));
}

/// Sends what no node sends.
struct Garbage;

impl Scatter for Garbage {
    fn scatter(&self, _ctx: &QueryContext, _fragment: Fragment) -> BoxStream<'static, Result<Item>> {
        let frames = [&b"\x08\x01\x22\x03\x08\x63\x12"[..], b"garbage", b"\x08\x07"];
        stream::iter(frames.map(|f| Ok(Item::Frame(f.into())))).boxed()
    }
}

#[tokio::test]
async fn garbage_is_refused() {
    let scatter: Arc<dyn Scatter> = Arc::new(Garbage);
    assert!(matches!(instant(&scatter, "a", 0).await, Err(Error::Corrupt { .. })));
    let names = promql::label_names(&scatter, &ctx(), &[], 0, 1, 0).await;
    assert!(matches!(names, Err(Error::Corrupt { .. })));
}

fn counts(times_and_counts: &[(i64, f64)]) -> Series {
    let histogram = |(minute, count): &(i64, f64)| {
        let positive = Buckets { index: vec![0], count: vec![*count] };
        // What the writer says of resets is of another neighbour than the one that is here.
        let h = Histogram { count: *count, sum: *count, positive, hint: ResetHint::NotReset, ..Histogram::default() };
        (minute * 60_000, Arc::new(h), 0)
    };
    Series { histograms: times_and_counts.iter().map(histogram).collect(), ..Series::new(labels(&[("__name__", "h")])) }
}

#[tokio::test]
async fn resets_are_found_between_pieces_of_a_series() {
    use ResetHint::{NotReset, Unknown};
    let (block, open) = ([counts(&[(0, 1.0), (2, 2.0), (4, 7.0)])], [counts(&[(1, 5.0), (3, 6.0), (5, 3.0)])]);
    let scatter: Arc<dyn Scatter> = Arc::new(StoreScatter::in_pieces(&block, &open));
    let answer = instant(&scatter, "h[1h]", 300_000).await.unwrap();
    let Value::Matrix(series) = &answer.value else { panic!("{:?}", answer.value) };
    let hints: Vec<ResetHint> = series[0].histograms.iter().map(|(_, h)| h.hint).collect();
    assert_eq!(hints, [Unknown, NotReset, Unknown, NotReset, NotReset, Unknown]);
    for (query, time_ms, want) in [
        ("resets(h[1h])", 300_000, 2.0),
        ("histogram_count(increase(h[5m] anchored))", 300_000, 4.0 + 2.0 + 4.0 + 1.0 + 3.0),
        ("histogram_count(irate(h[2m])) * 60", 120_000, 2.0),
        ("histogram_count(irate(h[2m])) * 60", 240_000, 1.0),
    ] {
        let answer = instant(&scatter, query, time_ms).await.unwrap();
        assert!(matches!(&answer.value, Value::Vector(v) if (v[0].value - want).abs() < 1e-9), "{query} {answer:?}");
    }
    // The sample before a range says what its first one is.
    let answer = instant(&scatter, "h", 60_000).await.unwrap();
    assert!(matches!(&answer.value, Value::Vector(v) if v[0].histogram.as_ref().unwrap().hint == NotReset));
}
