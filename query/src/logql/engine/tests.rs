//! Whole queries over shards in memory: several nodes, several shards a node.
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::executor::block_on;
use futures::stream::BoxStream;
use proptest::prelude::*;

use crate::error::{Error, Result};
use crate::fragment::{Fragment, FragmentLimits};
use crate::logql::local::run_over;
use crate::logql::source::LogSource;
use crate::logql::source::memory::{MemoryRow, MemorySource};
use crate::logql::{
    Direction, LogAnswer, LogInstant, LogQuery, LogValue, VolumeBy, VolumeQuery, index_stats, index_volume, instant,
    label_values, labels, query_range, series,
};
use crate::memory::Account;
use crate::scatter::{Item, QueryContext, Scatter, ShardAnswer};

const S: i64 = 1_000_000_000;
/// Start of the data in seconds.
const T0: i64 = 1_700_000_000;

/// Nodes of shards; runs every fragment on each node.
struct Nodes(Vec<Vec<MemorySource>>);

impl Nodes {
    fn run(&self, ctx: &QueryContext, fragment: &Fragment) -> Vec<Result<Item>> {
        let mut items = Vec::new();
        let limits = FragmentLimits::new(64 << 20, ctx.deadline, ctx.memory.clone());
        let mut shard = 0;
        for node in &self.0 {
            let sources: Vec<&dyn LogSource> = node.iter().map(|s| s as &dyn LogSource).collect();
            let mut frames = Vec::new();
            let ran = run_over(&fragment.payload, &ctx.tenant, &sources, &limits, &mut |frame| {
                assert!(frame.len() < 4 << 20);
                frames.push(frame);
                Ok(())
            });
            items.extend(frames.into_iter().map(|f| Ok(Item::Frame(f))));
            if let Err(error) = ran {
                items.push(Err(error));
            }
            for _ in node {
                items.push(Ok(Item::ShardDone(ShardAnswer {
                    shard,
                    node: "n".to_owned(),
                    replica: 1,
                    position: 1,
                    error: None,
                })));
                shard += 1;
            }
        }
        items
    }
}

impl Scatter for Nodes {
    fn scatter(&self, ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, Result<Item>> {
        futures::stream::iter(self.run(ctx, &fragment)).boxed()
    }
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

/// Two nodes, three shards: api and db streams, one entry each ten seconds for two minutes.
fn shop() -> Arc<dyn Scatter> {
    let mut shards = vec![MemorySource::default(); 3];
    for i in 0..12 {
        let time = (T0 + 10 * i) * S;
        let json =
            format!(r#"{{"status":{},"took":"{}ms","size":"{}KB"}}"#, if i % 3 == 0 { 500 } else { 200 }, i * 10, i);
        shards[0].push(&[("app", "api"), ("pod", "a")], time, &json, &[("trace_id", "t1")]);
        shards[1].push(&[("app", "api"), ("pod", "b")], time, "status=200 v=3", &[]);
        shards[2].push(&[("app", "db")], time, &format!("v={i}"), &[]);
    }
    let second = shards.split_off(2);
    Arc::new(Nodes(vec![shards, second]))
}

fn at(scatter: &Arc<dyn Scatter>, query: &str, seconds: i64) -> Result<LogAnswer> {
    let query =
        LogInstant { query: query.to_owned(), time_ns: seconds * S, limit: 100, direction: Direction::Backward };
    block_on(instant(scatter, &ctx(), &query))
}

fn over(scatter: &Arc<dyn Scatter>, query: &str, start: i64, end: i64, step: i64) -> Result<LogAnswer> {
    block_on(query_range(scatter, &ctx(), &log_query(query, start * S, end * S, step * 1000, 1000, Direction::Forward)))
}

fn log_query(query: &str, start_ns: i64, end_ns: i64, step_ms: i64, limit: usize, direction: Direction) -> LogQuery {
    LogQuery { query: query.to_owned(), start_ns, end_ns, step_ms, interval_ns: 0, limit, direction }
}

fn show(answer: Result<LogAnswer>) -> String {
    match answer.map(|a| a.value) {
        Err(error) => error.to_string().lines().next().unwrap_or("").to_owned(),
        Ok(LogValue::Scalar(_, value)) => value.to_string(),
        Ok(LogValue::Vector(samples)) => {
            samples.iter().map(|s| format!("{} {}", s.labels, s.value)).collect::<Vec<_>>().join("; ")
        }
        Ok(LogValue::Matrix(series)) => series
            .iter()
            .map(|s| {
                let points: Vec<_> = s.points.iter().map(|(t, v)| format!("{}:{v}", t / 1000 - T0)).collect();
                format!("{} {}", s.labels, points.join(" "))
            })
            .collect::<Vec<_>>()
            .join("; "),
        Ok(LogValue::Streams(streams)) => streams
            .iter()
            .map(|s| {
                let lines: Vec<_> = s.entries.iter().map(|e| format!("{}:{}", e.time_ns / S - T0, e.line)).collect();
                format!("{} {}", s.labels, lines.join(" "))
            })
            .collect::<Vec<_>>()
            .join("; "),
    }
}

#[test]
fn grafanas_health_query_answers_at_any_time() {
    for seconds in [0, T0, 4_000_000_000] {
        let answer = at(&shop(), "vector(1)+vector(1)", seconds).unwrap();
        let LogValue::Vector(samples) = answer.value else { panic!("no vector") };
        assert_eq!(samples.len(), 1);
        assert_eq!((samples[0].labels.is_empty(), samples[0].time_ms, samples[0].value), (true, seconds * 1000, 2.0));
    }
}

#[test]
fn instant_queries() {
    let shop = shop();
    let end = T0 + 60;
    for (query, expected) in [
        // Windows exclude their start: entries at 10, 20, … 60 but not at 0.
        ("count_over_time({app=\"db\"}[1m])", r#"{app="db"} 6"#),
        ("count_over_time({app=\"db\"}[1m] offset 10s)", r#"{app="db"} 6"#),
        ("count_over_time({app=\"db\"}[1m] offset -1h)", ""),
        ("rate({app=\"db\"}[1m])", r#"{app="db"} 0.1"#),
        ("sum(count_over_time({app=~\".+\"}[1m]))", "{} 18"),
        ("sum by (app) (count_over_time({app=~\".+\"}[1m]))", r#"{app="api"} 12; {app="db"} 6"#),
        ("sum without (app, trace_id) (count_over_time({app=\"api\"}[1m]))", r#"{pod="a"} 6; {pod="b"} 6"#),
        ("count_over_time({app=\"api\", pod=\"a\"}[1m])", r#"{app="api", pod="a", trace_id="t1"} 6"#),
        ("count by (app) (rate({app=~\".+\"}[1m]))", r#"{app="api"} 2; {app="db"} 1"#),
        ("bytes_over_time({app=\"db\"}[20s])", r#"{app="db"} 6"#),
        ("bytes_rate({app=\"db\"}[20s])", r#"{app="db"} 0.3"#),
        ("sum by (status) (count_over_time({pod=\"a\"} | json [1m]))", r#"{status="200"} 4; {status="500"} 2"#),
        ("sum(count_over_time({pod=\"a\"} | json | took >= 50ms [1m]))", "{} 2"),
        ("sum(count_over_time({pod=\"a\"} | json | size < 2KB [1m]))", "{} 1"),
        ("avg_over_time({app=\"db\"} | logfmt | unwrap v [1m])", r#"{app="db"} 3.5"#),
        ("sum_over_time({app=\"db\"} | logfmt | unwrap v [1m])", r#"{app="db"} 21"#),
        ("rate({app=\"db\"} | logfmt | unwrap v [1m])", r#"{app="db"} 0.35"#),
        ("min_over_time({app=\"db\"} | logfmt | unwrap v [1m])", r#"{app="db"} 1"#),
        ("max_over_time({app=\"db\"} | logfmt | unwrap v [1m]) by ()", "{} 6"),
        ("first_over_time({app=\"db\"} | logfmt | unwrap v [1m])", r#"{app="db"} 1"#),
        ("last_over_time({app=\"db\"} | logfmt | unwrap v [1m])", r#"{app="db"} 6"#),
        ("stdvar_over_time({app=\"db\"} | logfmt | unwrap v [20s])", r#"{app="db"} 0.25"#),
        ("quantile_over_time(0.5, {app=\"db\"} | logfmt | unwrap v [1m])", r#"{app="db"} 3.5"#),
        ("max(max_over_time({pod=\"a\"} | json | unwrap duration(took) [1m]))", "{} 0.06"),
        ("sum(sum_over_time({pod=\"a\"} | json | unwrap bytes(size) [20s]))", "{} 11000"),
        ("sum(sum_over_time({app=~\"db|api\"} | logfmt | unwrap v [20s]))", "{} 17"),
        ("absent_over_time({app=\"none\", pod=~\".+\"}[1m])", r#"{app="none"} 1"#),
        ("absent_over_time({app=\"db\"}[1m])", ""),
        ("topk(1, sum by (app) (count_over_time({app=~\".+\"}[1m])))", r#"{app="api"} 12"#),
        ("bottomk(1, sum by (app) (count_over_time({app=~\".+\"}[1m])))", r#"{app="db"} 6"#),
        ("sort(sum by (app) (count_over_time({app=~\".+\"}[1m])))", r#"{app="db"} 6; {app="api"} 12"#),
        ("sort_desc(sum by (app) (count_over_time({app=~\".+\"}[1m])))", r#"{app="api"} 12; {app="db"} 6"#),
        ("stddev(sum by (app) (count_over_time({app=~\".+\"}[1m])))", "{} 3"),
        ("2 * count_over_time({app=\"db\"}[1m]) + 1", r#"{app="db"} 13"#),
        ("count_over_time({app=\"db\"}[1m]) > 6", ""),
        ("count_over_time({app=\"db\"}[1m]) >= bool 6", r#"{app="db"} 1"#),
        ("5 < count_over_time({app=\"db\"}[1m])", r#"{app="db"} 6"#),
        (
            "sum by (app) (count_over_time({app=~\".+\"}[1m])) / sum by (app) (count_over_time({app=~\".+\"}[20s]))",
            r#"{app="api"} 3; {app="db"} 3"#,
        ),
        (
            "sum by (app, pod) (count_over_time({app=~\".+\"}[1m])) / on (app) group_left () sum by (app) (count_over_time({app=~\".+\"}[1m]))",
            r#"{app="api", pod="a"} 0.5; {app="api", pod="b"} 0.5; {app="db"} 1"#,
        ),
        (
            "sum by (app) (count_over_time({app=\"db\"}[1m])) + on (app) sum by (app, pod) (count_over_time({app=~\".+\"}[1m]))",
            r#"{app="db"} 12"#,
        ),
        (
            "sum by (app) (count_over_time({app=\"api\"}[1m])) + on (app) sum by (app, pod) (count_over_time({app=~\".+\"}[1m]))",
            "found duplicate series on the right hand-side for the match group {app=\"api\"};many-to-many matching not allowed: matching labels must be unique on one side",
        ),
        ("sum(count_over_time({app=\"none\"}[1m])) or vector(0)", "{} 0"),
        ("count_over_time({app=\"db\"}[1m]) and on (app) sum by (app) (rate({app=\"api\"}[1m]))", ""),
        ("count_over_time({app=\"db\"}[1m]) unless vector(1)", r#"{app="db"} 6"#),
        (
            "label_replace(sum by (app) (count_over_time({app=\"db\"}[1m])), \"x\", \"<$1>\", \"app\", \"(.).*\")",
            r#"{app="db", x="<d>"} 6"#,
        ),
        ("1 + 2 * 3", "7"),
        ("vector(2) > 1", "{} 2"),
        ("sum(count_over_time({app=~\".+\"} | drop pod, app [1m]))", "{} 18"),
        (
            "max_over_time({app=~\".+\"} | logfmt | unwrap v | __error__=\"\" [20s]) by (app)",
            r#"{app="api"} 3; {app="db"} 6"#,
        ),
        (
            "sum(count_over_time({pod=\"b\"} | json [1m]))",
            "pipeline error: 'JSONParserErr' for series: '{__error__=\"JSONParserErr\", __error_details__=\"expecting json object, but it is not\", app=\"api\", pod=\"b\"}'.",
        ),
        ("sum(count_over_time({pod=\"b\"} | json | __error__=\"\" [1m])) or vector(0)", "{} 0"),
        ("sum(count_over_time({pod=\"b\"} | json | drop __error__, __error_details__ [1m]))", "{} 6"),
        (
            "sum_over_time({app=\"db\"} | unwrap app [1m])",
            "pipeline error: 'SampleExtractionErr' for series: '{__error__=\"SampleExtractionErr\", __error_details__=\"cannot read the value of app: \\\"db\\\"\", app=\"db\"}'.",
        ),
        ("sum_over_time({app=\"db\"} | unwrap app | __error__=\"\" [1m])", ""),
        ("rate_counter({app=\"db\"} | logfmt | unwrap v [1m])", "unsupported: rate_counter"),
        ("approx_topk(2, rate({app=\"db\"}[1m]))", "unsupported: approx_topk"),
        (
            "sum(rate({app=\"db\"} | line_format \"{{ range .x }}y{{ end }}\" [1m]))",
            "unsupported: template expression \"range .x\"",
        ),
        (
            "{app=\"db\"}",
            "log queries are not supported as an instant query type, please change your query to a range query type",
        ),
    ] {
        assert_eq!(show(at(&shop, query, end)), expected, "{query}");
    }
}

#[test]
fn range_queries() {
    let shop = shop();
    for (query, expected) in [
        ("count_over_time({app=\"db\"}[30s])", r#"{app="db"} 0:1 30:3 60:3 90:3 120:2"#),
        ("sum(count_over_time({app=\"db\"} |= \"1\" [30s]))", "{} 30:1 120:2"),
        ("quantile_over_time(1, {app=\"db\"} | logfmt | unwrap v [30s])", r#"{app="db"} 0:0 30:3 60:6 90:9 120:11"#),
        ("absent_over_time({app=\"db\"} |= \"11\" [30s])", r#"{app="db"} 0:1 30:1 60:1 90:1"#),
        ("1 + 1", "{} 0:2 30:2 60:2 90:2 120:2"),
        (
            "topk(1, sum by (app) (sum_over_time({app=~\".+\"} | logfmt | unwrap v [30s])))",
            r#"{app="api"} 0:3 30:9; {app="db"} 60:15 90:24 120:21"#,
        ),
    ] {
        assert_eq!(show(over(&shop, query, T0, T0 + 120, 30)), expected, "{query}");
    }
}

#[test]
fn log_queries() {
    let shop = shop();
    for (query, expected) in [
        ("{app=\"db\"} |= \"1\"", r#"{app="db"} 10:v=1 100:v=10"#),
        ("{app=\"db\"} | logfmt | v > 8 | line_format \"<{{.v}}>\"", r#"{app="db"} 90:<9> 100:<10>"#),
        ("{app=\"nobody\"}", ""),
    ] {
        // The end is exclusive: nothing of second 110.
        assert_eq!(show(over(&shop, query, T0, T0 + 110, 1)), expected, "{query}");
    }
    let backward = log_query("{app=~\".+\"}", T0 * S, (T0 + 110) * S, 0, 4, Direction::Backward);
    let answer = block_on(query_range(&shop, &ctx(), &backward)).unwrap();
    assert_eq!(answer.stats.entries_returned, 4);
    assert_eq!(answer.stats.shards, 3);
    assert_eq!(answer.completeness.shards.len(), 3);
    assert!(answer.stats.lines_processed >= 4 && answer.stats.bytes_processed > 0);
    let LogValue::Streams(streams) = answer.value else { panic!("no streams") };
    let newest: Vec<_> = streams.iter().flat_map(|s| &s.entries).map(|e| e.time_ns / S - T0).collect();
    assert_eq!(newest.iter().filter(|t| **t == 100).count(), 3);
    assert_eq!(newest.iter().filter(|t| **t == 90).count(), 1);

    let thinned = LogQuery {
        interval_ns: 30 * S,
        limit: 10,
        ..log_query("{app=\"db\"}", T0 * S, (T0 + 110) * S, 0, 0, Direction::Forward)
    };
    assert_eq!(show(block_on(query_range(&shop, &ctx(), &thinned))), r#"{app="db"} 0:v=0 30:v=3 60:v=6 90:v=9"#);
}

#[test]
fn entries_carry_metadata_and_parsed_labels_apart() {
    let answer = over(&shop(), "{pod=\"a\"} | json | status=500", T0, T0 + 10, 1).unwrap();
    let LogValue::Streams(streams) = answer.value else { panic!("no streams") };
    let entry = &streams[0].entries[0];
    assert_eq!(streams[0].labels.to_string(), r#"{app="api", pod="a"}"#);
    assert_eq!(entry.structured_metadata, [("trace_id".to_owned(), "t1".to_owned())]);
    let parsed: Vec<_> = entry.parsed.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(parsed, ["size=0KB", "status=500", "took=0ms"]);
}

#[test]
fn calls_about_streams() {
    let (shop, ctx) = (shop(), ctx());
    let (start, end) = (T0 * S, (T0 + 120) * S);
    assert_eq!(block_on(labels(&shop, &ctx, None, start, end)).unwrap().value, ["app", "pod"]);
    assert_eq!(block_on(labels(&shop, &ctx, Some("{app=\"db\"}"), start, end)).unwrap().value, ["app"]);
    assert!(block_on(labels(&shop, &ctx, None, 0, 1)).unwrap().value.is_empty());
    assert_eq!(block_on(label_values(&shop, &ctx, "app", None, start, end)).unwrap().value, ["api", "db"]);
    let sets =
        [crate::logql::parse_selector("{pod=\"a\"}").unwrap(), crate::logql::parse_selector("{app=\"db\"}").unwrap()];
    let found = block_on(series(&shop, &ctx, &sets, start, end)).unwrap().value;
    assert_eq!(found.iter().map(|l| l.to_string()).collect::<Vec<_>>(), [r#"{app="api", pod="a"}"#, r#"{app="db"}"#]);
    assert_eq!(block_on(series(&shop, &ctx, &[], start, end)).unwrap().value.len(), 3);
    let stats = block_on(index_stats(&shop, &ctx, "{app=\"db\"}", start, end)).unwrap().value;
    assert_eq!((stats.streams, stats.entries, stats.bytes), (1, 12, 38));

    let volume = |query: &str, by, targets: &[&str], step_ms| {
        let query = VolumeQuery {
            query: query.to_owned(),
            start_ns: start,
            end_ns: end,
            limit: 10,
            target_labels: targets.iter().map(|t| (*t).to_owned()).collect(),
            by,
            step_ms,
        };
        let volumes = block_on(index_volume(&shop, &ctx, &query)).unwrap().value;
        volumes.iter().map(|v| format!("{:?}={}x{}", v.labels, v.bytes(), v.points.len())).collect::<Vec<_>>().join(" ")
    };
    let fixed = r#"{"status":500,"took":"ms","size":"KB"}"#.len() + "status=200 v=3".len();
    let api: usize = (0..12).map(|i| fixed + (i * 10).to_string().len() + i.to_string().len()).sum();
    let expected = format!("[(\"app\", \"api\")]={api}x1 [(\"app\", \"db\")]=38x1");
    assert_eq!(volume("{app=~\".+\"}", VolumeBy::Series, &[], None), expected);
    assert_eq!(volume("{}", VolumeBy::Labels, &["pod"], None), format!("[(\"pod\", \"\")]={api}x1"));
    assert_eq!(volume("{app=\"db\"}", VolumeBy::Series, &[], Some(30_000)), "[(\"app\", \"db\")]=35x4");
}

#[test]
fn bounds() {
    let mut shard = MemorySource::default();
    for i in 0..501 {
        shard.push(&[("app", "x"), ("id", &i.to_string())], T0 * S, "l", &[]);
    }
    let scatter: Arc<dyn Scatter> = Arc::new(Nodes(vec![vec![shard]]));
    let answer = at(&scatter, "count_over_time({app=\"x\"}[1m])", T0);
    assert!(
        matches!(&answer, Err(Error::Limit { message }) if message.starts_with("maximum number of series (500) reached for a single query; "))
    );
    assert_eq!(show(at(&scatter, "count(count_over_time({app=\"x\"}[1m]))", T0)), "{} 501");
    assert!(matches!(over(&scatter, "vector(1)", T0, T0 + 11_001, 1), Err(Error::Limit { .. })));
    assert!(matches!(over(&scatter, "vector(1)", T0, T0 + 10, 0), Err(Error::Execution { .. })));
    let late = QueryContext { deadline: Instant::now(), ..ctx() };
    let query = log_query("{app=\"x\"}", T0 * S, (T0 + 1) * S, 0, 10, Direction::Forward);
    assert!(matches!(block_on(query_range(&scatter, &late, &query)), Err(Error::Timeout)));
}

#[test]
fn broken_frames_are_errors() {
    use crate::logql::fragment::{decode_frame, decode_request};
    for bytes in [&b""[..], b"\x08\x01", b"\x08\x02\x12\x00", b"\xff\xff\xff", b"\x12\x05\x0a"] {
        assert!(decode_frame(bytes::Bytes::from_static(bytes)).is_err());
        assert!(decode_request(&bytes::Bytes::from_static(bytes)).is_err());
    }
}

/// A system's name and its lines.
type System = (String, Vec<String>);

/// Real lines, a stream a system, a line a second; one shard each.
fn loghub() -> (Arc<dyn Scatter>, Vec<System>) {
    let root = std::env::var_os("TRINE_SHARED").map_or_else(
        || std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        std::path::PathBuf::from,
    );
    let mut shards = Vec::new();
    let mut systems = Vec::new();
    for system in ["Apache", "OpenSSH", "HDFS", "Zookeeper"] {
        let text = std::fs::read(root.join(format!("data/loghub/{system}_2k.log"))).unwrap();
        let lines: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        let mut shard = MemorySource::default();
        for (i, line) in lines.iter().enumerate() {
            shard.push(&[("app", system)], (T0 + i as i64) * S, line, &[]);
        }
        shards.push(shard);
        systems.push((system.to_owned(), lines));
    }
    let second = shards.split_off(2);
    (Arc::new(Nodes(vec![shards, second])), systems)
}

#[test]
fn pipelines_over_real_lines_agree_with_plain_code() {
    let (scatter, systems) = loghub();
    let count = |system: &str, keep: &dyn Fn(&str) -> bool| {
        systems.iter().filter(|(s, _)| s == system).flat_map(|(_, lines)| lines).filter(|l| keep(l)).count()
    };
    let failed = |l: &str| l.contains("Failed password");
    let from = |l: &str| l.split(" from ").nth(1).and_then(|r| r.split(' ').next()).unwrap_or("").to_owned();
    for (query, expected) in [
        ("{app=\"OpenSSH\"} |= \"Failed password\"", count("OpenSSH", &failed)),
        (
            "{app=\"OpenSSH\"} |= \"Failed password\" != \"invalid\"",
            count("OpenSSH", &|l| failed(l) && !l.contains("invalid")),
        ),
        (
            "{app=\"OpenSSH\"} |~ \"Failed .* root\"",
            count("OpenSSH", &|l| l.find("Failed ").is_some_and(|i| l[i + 7..].contains(" root"))),
        ),
        (
            "{app=\"OpenSSH\"} |= \"Failed password\" | pattern \"<_> from <addr> port <_>\" | addr=\"183.62.140.253\"",
            count("OpenSSH", &|l| failed(l) && from(l) == "183.62.140.253"),
        ),
        (
            "{app=\"OpenSSH\"} |= \"Failed password\" | regexp \" from (?P<addr>\\\\S+) port (?P<port>\\\\d+)\" | port > 50000",
            count("OpenSSH", &|l| {
                failed(l)
                    && l.split(" port ")
                        .nth(1)
                        .and_then(|r| r.split(' ').next()?.parse::<u32>().ok())
                        .is_some_and(|p| p > 50_000)
            }),
        ),
        ("{app=\"OpenSSH\"} |= ip(\"183.62.140.0/24\")", count("OpenSSH", &|l| l.contains("183.62.140."))),
        (
            "{app=\"Apache\"} | pattern \"[<_>] [<level>] <_>\" | level=\"error\"",
            count("Apache", &|l| l.contains("] [error] ")),
        ),
        (
            "{app=\"HDFS\"} |= \"blk_\" |= \"WARN\" or \"terminating\"",
            count("HDFS", &|l| l.contains("blk_") && (l.contains("WARN") || l.contains("terminating"))),
        ),
        ("{app=\"Zookeeper\"} != \"INFO\"", count("Zookeeper", &|l| !l.contains("INFO"))),
    ] {
        let total =
            at(&scatter, &format!("sum(count_over_time({query} [1h])) or vector(0)"), T0 + 3000).map(|a| a.value);
        let Ok(LogValue::Vector(samples)) = total else { panic!("{query}: {total:?}") };
        assert_eq!(samples[0].value, expected as f64, "{query}");
        assert!(expected > 0, "{query}");
        let all = log_query(query, T0 * S, (T0 + 3000) * S, 0, 5000, Direction::Backward);
        let Ok(LogValue::Streams(streams)) = block_on(query_range(&scatter, &ctx(), &all)).map(|a| a.value) else {
            panic!("{query}")
        };
        assert_eq!(streams.iter().map(|s| s.entries.len()).sum::<usize>(), expected, "{query}");
    }
}

/// Rows of some streams at few times, so that ties are common.
fn rows() -> impl Strategy<Value = Vec<(u8, i64, u8)>> {
    proptest::collection::vec((0u8..5, 0i64..40, 0u8..4), 0..80)
}

/// A stream is whole in one shard; `spread` decides in which.
fn cluster(rows: &[(u8, i64, u8)], spread: u8) -> (Arc<dyn Scatter>, Vec<MemoryRow>) {
    let mut shards = vec![MemorySource::default(); 4];
    let mut all = MemorySource::default();
    for (i, (stream, time, value)) in rows.iter().enumerate() {
        let stream_name = stream.to_string();
        let labels = [("app", "x"), ("s", stream_name.as_str())];
        let line = format!("n={i} v={value}");
        shards[usize::from(stream.wrapping_mul(spread) % 4)].push(&labels, T0 * S + time, &line, &[]);
        all.push(&labels, T0 * S + time, &line, &[]);
    }
    let second = shards.split_off(1 + usize::from(spread % 3));
    (Arc::new(Nodes(vec![shards, second])), all.rows)
}

proptest! {
    #[test]
    fn log_queries_agree_with_the_naive_answer(rows in rows(), spread in 0u8..8, limit in 1usize..30, backward: bool, start in 0i64..20, len in 0i64..40) {
        let (scatter, all) = cluster(&rows, spread);
        let (start_ns, end_ns) = (T0 * S + start, T0 * S + start + len);
        let direction = if backward { Direction::Backward } else { Direction::Forward };
        let query = log_query("{app=\"x\"} | logfmt | v > 0", start_ns, end_ns, 0, limit, direction);
        let answer = block_on(query_range(&scatter, &ctx(), &query)).unwrap();
        let LogValue::Streams(streams) = answer.value else { panic!("no streams") };

        let mut naive: Vec<&MemoryRow> = all
            .iter()
            .filter(|r| r.time_ns >= start_ns && r.time_ns < end_ns && !r.line.ends_with("v=0"))
            .collect();
        naive.sort_by_key(|r| if backward { -r.time_ns } else { r.time_ns });
        let mut times: Vec<i64> = streams.iter().flat_map(|s| &s.entries).map(|e| e.time_ns).collect();
        times.sort_by_key(|t| if backward { -t } else { *t });
        prop_assert_eq!(&times, &naive.iter().take(limit).map(|r| r.time_ns).collect::<Vec<_>>());
        // Among entries with the last time any may be missing; all others must be there, in their stream and order.
        let last = times.last().copied();
        for stream in &streams {
            let is_sorted = stream.entries.is_sorted_by_key(|e| if backward { -e.time_ns } else { e.time_ns });
            prop_assert!(is_sorted);
            let lines: Vec<&str> =
                stream.entries.iter().filter(|e| Some(e.time_ns) != last).map(|e| e.line.as_str()).collect();
            let expected: Vec<&str> = naive
                .iter()
                .take(limit)
                .filter(|r| r.labels == stream.labels && Some(r.time_ns) != last)
                .map(|r| r.line.as_str())
                .collect();
            prop_assert_eq!(lines, expected);
        }
    }

    #[test]
    fn metric_queries_do_not_depend_on_the_shards(rows in rows(), spread in 1u8..8) {
        let (one, _) = cluster(&rows, 0);
        let (several, _) = cluster(&rows, spread);
        for query in [
            "count_over_time({app=\"x\"}[1s])",
            "sum(count_over_time({app=\"x\"} | drop s [1s]))",
            "count_over_time({app=\"x\"} | drop s [1s])",
            "sum by (v) (count_over_time({app=\"x\"} | logfmt [1s]))",
            "max by (s) (max_over_time({app=\"x\"} | logfmt | unwrap v [1s]))",
            "avg_over_time({app=\"x\"} | logfmt | unwrap v [1s]) by (app)",
            "quantile_over_time(0.5, {app=\"x\"} | logfmt | unwrap v [1s]) by (app)",
            "topk(2, sum by (s) (sum_over_time({app=\"x\"} | logfmt | unwrap v [1s])))",
        ] {
            let (a, b) = (over(&one, query, T0, T0 + 2, 1), over(&several, query, T0, T0 + 2, 1));
            prop_assert_eq!(show(a), show(b), "{}", query);
        }
    }

    #[test]
    fn aggregations_beside_the_data_agree_with_those_above_it(rows in rows(), spread in 0u8..8, at_s in 0i64..3) {
        let (scatter, _) = cluster(&rows, spread);
        for (op, range) in [
            ("sum by (v)", "count_over_time({app=\"x\"} | logfmt [1s])"),
            ("sum by (s, v)", "rate({app=\"x\"} | logfmt | n > 3 [1s])"),
            ("sum without (n, s)", "bytes_over_time({app=\"x\"} | logfmt [1s])"),
            ("sum", "sum_over_time({app=\"x\"} | logfmt | unwrap v [1s])"),
            ("min by (s)", "min_over_time({app=\"x\"} | logfmt | label_format k=n | unwrap v [1s])"),
            ("max without (k)", "max_over_time({app=\"x\"} | logfmt | line_format \"{{.n}}\" | unwrap v | s > 1 [1s]) by (s, n)"),
        ] {
            // The label_replace does nothing, but it stands between the aggregations.
            let above = format!("{op} (label_replace({range}, \"none\", \"\", \"none\", \"\"))");
            let folded = at(&scatter, &format!("{op} ({range})"), T0 + at_s);
            prop_assert_eq!(show(folded), show(at(&scatter, &above, T0 + at_s)), "{} ({})", op, range);
        }
    }

    #[test]
    fn no_bytes_panic_as_messages(bytes: Vec<u8>) {
        let shard = MemorySource::default();
        let limits = FragmentLimits::new(1 << 20, Instant::now() + Duration::from_secs(60), Account::unbounded());
        let payload = bytes::Bytes::from(bytes);
        drop(crate::logql::fragment::decode_frame(payload.clone()));
        drop(run_over(&payload, "t", &[&shard], &limits, &mut |_| Ok(())));
    }

    #[test]
    fn counts_agree_with_the_naive_count(rows in rows(), spread in 0u8..8, range in 1i64..30, step in 1i64..10, offset in -5i64..5) {
        let (scatter, all) = cluster(&rows, spread);
        // Times of the data are nanoseconds apart and steps are milliseconds, so the data is stretched.
        let query = format!("sum(count_over_time({{app=\"x\"}}[{range}ns] offset {offset}ns))");
        for i in 0..4 {
            let at_ns = T0 * S + i * step * 3;
            let instant_query = LogInstant { query: query.clone(), time_ns: at_ns, limit: 1, direction: Direction::Forward };
            let answer = block_on(instant(&scatter, &ctx(), &instant_query)).unwrap();
            let LogValue::Vector(samples) = answer.value else { panic!("no vector") };
            let end = at_ns - offset;
            let naive = all.iter().filter(|r| r.time_ns > end - range && r.time_ns <= end).count();
            prop_assert_eq!(samples.first().map_or(0.0, |s| s.value), naive as f64);
        }
    }
}
