//! Engines over a small shard, and over frames that a peer may send.
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::executor::block_on;
use trine_query::fragment::{Fragment, FragmentLimits, Language, run_fragment};
use trine_query::logql::{self, Direction, LogInstant, LogQuery, VolumeBy, VolumeQuery};
use trine_query::memory::QueryMemory;
use trine_query::promql::{self, InstantQuery, RangeQuery, SegmentCache};
use trine_query::scatter::{QueryContext, Scatter};
use trine_query::traceql::{self, SearchQuery, SearchRequest, TagScope, TraceFilter};

use crate::cluster::{Here, QUERY_BYTES_MAX, Said};
use crate::sample::{self, NOW_S, TENANT};
use crate::split::{frames, texts};

pub(crate) const TARGETS: [crate::Decoder; 10] = [
    ("promql_ask", |bytes| ask(Language::PromQl, bytes)),
    ("logql_ask", |bytes| ask(Language::LogQl, bytes)),
    ("traceql_ask", |bytes| ask(Language::TraceQl, bytes)),
    ("promql_frame", promql_frame),
    ("logql_frame", logql_frame),
    ("traceql_frame", traceql_frame),
    ("promql_eval", |bytes| texts(bytes, |[query, _]| promql_eval(&here(), query))),
    ("logql_eval", |bytes| texts(bytes, |[query, _]| logql_eval(&here(), query))),
    ("log_line", |bytes| texts(bytes, |[line, query]| log_line(line, query))),
    ("traceql_eval", |bytes| texts(bytes, |[query, tag]| traceql_eval(&here(), query, tag))),
];

const NOW_MS: i64 = NOW_S * 1000;
const NOW_NS: i64 = NOW_MS * 1_000_000;
const HOUR_NS: i64 = 3_600_000_000_000;
/// Far beyond what an input may take: hangs are found by the clock of whoever runs the target.
const DEADLINE: Duration = Duration::from_secs(600);

fn context() -> QueryContext {
    let memory = QueryMemory::new(QUERY_BYTES_MAX, QUERY_BYTES_MAX).account();
    QueryContext {
        tenant: Arc::from(TENANT),
        deadline: Instant::now() + DEADLINE,
        strict: true,
        no_cache: false,
        count_steps: false,
        memory,
    }
}

fn here() -> Arc<dyn Scatter> {
    Arc::new(Here(sample::view()))
}

/// A fragment that a peer asks for.
fn ask(language: Language, bytes: &[u8]) {
    let memory = QueryMemory::new(QUERY_BYTES_MAX, QUERY_BYTES_MAX).account();
    let limits = FragmentLimits::new(QUERY_BYTES_MAX, Instant::now() + DEADLINE, memory.clone());
    let fragment = Fragment { language, payload: Bytes::copy_from_slice(bytes) };
    drop(run_fragment(&fragment, TENANT, &[sample::view()], &limits, &mut |_| Ok(())));
    if language == Language::PromQl {
        // Once to keep what can be kept, once with what is kept.
        let limits = limits.with_segments(SegmentCache::new(1 << 20));
        for _ in 0..2 {
            drop(run_fragment(&fragment, TENANT, &[sample::view()], &limits, &mut |_| Ok(())));
        }
    }
    assert_eq!(memory.held_bytes(), 0, "a fragment that ended holds memory");
}

fn promql_eval(scatter: &Arc<dyn Scatter>, query: &str) {
    let ctx = context();
    let lookback_ms = promql::LOOKBACK_MS_DEFAULT;
    let instant = InstantQuery { query: query.to_owned(), time_ms: NOW_MS, lookback_ms, limit: 0 };
    drop(block_on(promql::instant(scatter, &ctx, &instant)));
    let (start_ms, end_ms) = (NOW_MS - 600_000, NOW_MS);
    let range = RangeQuery { query: query.to_owned(), start_ms, end_ms, step_ms: 30_000, lookback_ms, limit: 0 };
    drop(block_on(promql::range(scatter, &ctx, &range)));
    assert_eq!(ctx.memory.held_bytes(), 0, "a query that ended holds memory: {query:?}");
}

fn log_query(query: &str, direction: Direction) -> LogQuery {
    LogQuery {
        query: query.to_owned(),
        start_ns: NOW_NS - HOUR_NS,
        end_ns: NOW_NS,
        step_ms: 60_000,
        interval_ns: 0,
        limit: 100,
        direction,
    }
}

fn logql_eval(scatter: &Arc<dyn Scatter>, query: &str) {
    let ctx = context();
    drop(block_on(logql::query_range(scatter, &ctx, &log_query(query, Direction::Backward))));
    let direction = Direction::Forward;
    let instant = LogInstant { query: query.to_owned(), time_ns: NOW_NS, limit: 100, direction };
    drop(block_on(logql::instant(scatter, &ctx, &instant)));
    assert_eq!(ctx.memory.held_bytes(), 0, "a query that ended holds memory: {query:?}");
}

/// A line that somebody logged, under a query that takes it apart: one of some, or its own.
fn log_line(line: &str, query: &str) {
    const QUERIES: [&str; 6] = [
        r#"{app=~".+"} | json | logfmt | unpack"#,
        r#"{app=~".+"} | json a="b[0].c", d="e" | logfmt f="g" | a > 1.5 or d >= 5ms or f < 2KB"#,
        r#"{app=~".+"} | pattern "<a> [<_>] <b> <c>" | regexp "(?P<x>\\w+)=(?P<y>\\S*)" | decolorize"#,
        r#"{app=~".+"} |= ip("10.0.0.0/8") or "a" !~ "[0-9]{3}" | line_format "{{ .a | upper | trunc 3 }} {{ __line__ | sha1sum }}""#,
        r#"sum by (level) (sum_over_time({app=~".+"} | logfmt | json | unwrap duration(d) | __error__="" [1h]))"#,
        r#"quantile_over_time(0.5, {app=~".+"} | json | unwrap bytes(size) [1h]) by (app)"#,
    ];
    let scatter: Arc<dyn Scatter> = Arc::new(Here(sample::with_line(line)));
    let queries: &[&str] = if query.is_empty() { &QUERIES } else { &[query] };
    for query in queries {
        drop(block_on(logql::query_range(&scatter, &context(), &log_query(query, Direction::Backward))));
    }
}

fn search_of(query: SearchQuery) -> SearchRequest {
    let (start_ns, end_ns) = (NOW_NS - HOUR_NS, NOW_NS);
    SearchRequest { query, start_ns, end_ns, limit: 20, spans_per_set: 3 }
}

fn traceql_eval(scatter: &Arc<dyn Scatter>, query: &str, tag: &str) {
    let (ctx, start_ns, end_ns) = (context(), NOW_NS - HOUR_NS, NOW_NS);
    drop(block_on(traceql::search(scatter, &ctx, &search_of(SearchQuery::TraceQl(query.to_owned())))));
    let tags = vec![("service.name".to_owned(), tag.to_owned())];
    let tags = SearchQuery::Tags { tags, min_duration_ns: Some(1), max_duration_ns: None };
    drop(block_on(traceql::search(scatter, &ctx, &search_of(tags))));
    drop(block_on(traceql::tags(scatter, &ctx, TagScope::Any, query, start_ns, end_ns, 100)));
    drop(block_on(traceql::tag_values(scatter, &ctx, tag, query, start_ns, end_ns, 100)));
    drop(block_on(traceql::tag_values_v1(scatter, &ctx, tag, start_ns, end_ns, 100)));
    if let Ok(trace) = block_on(traceql::trace_by_id(scatter, &ctx, sample::TRACE_ID)) {
        let filter =
            TraceFilter { query: query.to_owned(), match_depth: Some(1), keep_hierarchy: true, ancestor_depth: None };
        drop(traceql::filter_trace(trace.spans, &filter));
    }
    assert_eq!(ctx.memory.held_bytes(), 0, "a query that ended holds memory: {query:?}");
}

/// Frames of a peer in answer to one of the calls; the first byte chooses.
fn promql_frame(bytes: &[u8]) {
    let Some((scatter, choice)) = said(bytes) else { return };
    promql_call(&scatter, &context(), choice % 8);
}

fn promql_call(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, choice: u8) {
    let (start_ms, end_ms, limit) = (NOW_MS - 600_000, NOW_MS, 10);
    match choice {
        5 => drop(block_on(promql::series(scatter, ctx, &[], start_ms, end_ms, limit))),
        6 => drop(block_on(promql::label_names(scatter, ctx, &[], start_ms, end_ms, limit))),
        7 => drop(block_on(promql::metric_metadata(scatter, ctx, None, limit))),
        choice => promql_eval(scatter, PROMQL[usize::from(choice) % PROMQL.len()]),
    }
    assert_eq!(ctx.memory.held_bytes(), 0, "a call that ended holds memory");
}

fn logql_frame(bytes: &[u8]) {
    let Some((scatter, choice)) = said(bytes) else { return };
    logql_call(&scatter, &context(), choice % 12);
}

fn logql_call(scatter: &Arc<dyn Scatter>, ctx: &QueryContext, choice: u8) {
    let (start_ns, end_ns) = (NOW_NS - HOUR_NS, NOW_NS);
    let volume = |step_ms| VolumeQuery {
        query: r#"{app="a"}"#.to_owned(),
        start_ns,
        end_ns,
        limit: 10,
        target_labels: Vec::new(),
        by: VolumeBy::Series,
        step_ms,
    };
    match choice {
        6 => drop(block_on(logql::labels(scatter, ctx, None, start_ns, end_ns))),
        7 => drop(block_on(logql::label_values(scatter, ctx, "app", None, start_ns, end_ns))),
        8 => drop(block_on(logql::series(scatter, ctx, &[], start_ns, end_ns))),
        9 => drop(block_on(logql::index_stats(scatter, ctx, r#"{app="a"}"#, start_ns, end_ns))),
        10 => drop(block_on(logql::index_volume(scatter, ctx, &volume(None)))),
        11 => drop(block_on(logql::index_volume(scatter, ctx, &volume(Some(60_000))))),
        choice => logql_eval(scatter, LOGQL[usize::from(choice) % LOGQL.len()]),
    }
    assert_eq!(ctx.memory.held_bytes(), 0, "a call that ended holds memory");
}

fn traceql_frame(bytes: &[u8]) {
    let Some((scatter, choice)) = said(bytes) else { return };
    traceql_eval(&scatter, TRACEQL[usize::from(choice) % TRACEQL.len()], ".a");
}

fn said(bytes: &[u8]) -> Option<(Arc<dyn Scatter>, u8)> {
    let (choice, bytes) = bytes.split_first()?;
    Some((Arc::new(Said(frames(bytes).into_iter().map(Bytes::copy_from_slice).collect())), *choice))
}

/// Asks a scatter all that an engine can ask, to see what it sends and gets.
pub(crate) fn ask_everything(language: Language, scatter: &Arc<dyn Scatter>) {
    let (ctx, start_ns, end_ns) = (context(), NOW_NS - HOUR_NS, NOW_NS);
    match language {
        Language::PromQl => {
            PROMQL.iter().for_each(|query| promql_eval(scatter, query));
            (0..8).for_each(|choice| promql_call(scatter, &ctx, choice));
        }
        Language::LogQl => {
            LOGQL.iter().for_each(|query| logql_eval(scatter, query));
            (0..12).for_each(|choice| logql_call(scatter, &ctx, choice));
        }
        Language::TraceQl => {
            TRACEQL.iter().for_each(|query| traceql_eval(scatter, query, ".http.method"));
            drop(block_on(traceql::tags_v1(scatter, &ctx, TagScope::Span, start_ns, end_ns, 9)));
        }
    }
}

const PROMQL: [&str; 5] = [
    "up",
    "sum by (job) (rate(http_requests_total[5m]))",
    "histogram_quantile(0.9, x_bucket)",
    "topk(2, avg_over_time(up[10m:1m]))",
    "temperature > 5 or absent(nothing)",
];
const LOGQL: [&str; 5] = [
    r#"{app="a"} | json"#,
    r#"sum by (app) (rate({app=~".+"}[5m]))"#,
    r#"quantile_over_time(0.9, {app="a"} | logfmt | unwrap duration(e) [5m]) by (level)"#,
    r#"topk(2, avg_over_time({app="a"} | json | unwrap f [1h]))"#,
    r#"first_over_time({app="a"} | json | unwrap f [1h])"#,
];
const TRACEQL: [&str; 3] = [
    "{ span.http.status_code = 500 } | avg(duration) > 1s",
    "{ } >> { kind = server }",
    "{ } | count() > 1 | select(.a)",
];
