//! Debian's Prometheus scrapes its node exporter and itself, and remote-writes all of it to node 1. Then every node must
//! answer what Prometheus answers from its own storage.
//!
//! Prometheus 2.42 still includes a range's left edge where 3.x (and Trine) leave it out, so every question is asked
//! for times that fall between scrapes.
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Cluster, Http, Program, assert_vectors_agree, free_tcp_ports, installed, until};

/// Scrapes of each target before the comparison: two more than the longest range of any step of the range queries, as
/// 2.42 also extrapolates differently to the beginning of a series.
const SCRAPES: usize = 20;
/// How far range queries reach back from the time of the comparison.
const STEPS_MS: i64 = 5000;
const PATIENCE: Duration = Duration::from_secs(90);

/// Instant and range expressions that both must agree on.
const EXPRESSIONS: [&str; 12] = [
    "sum by (mode) (rate(node_cpu_seconds_total[10s]))",
    "up",
    "count by (job) ({job=~\".+\"})",
    "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
    "avg_over_time(node_load1[10s])",
    "histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket{handler=\"/metrics\"}[10s])))",
    "topk(3, max by (mode) (node_cpu_seconds_total))",
    "increase(prometheus_tsdb_head_samples_appended_total[10s])",
    "scrape_samples_scraped{job=\"node\"} > bool 100",
    "node_uname_info * on (instance) group_left () node_boot_time_seconds",
    "delta(go_goroutines[10s])",
    "max_over_time((2 * go_goroutines)[10s:1s])",
];

/// Prometheus and the exporter that it scrapes.
struct Source {
    prometheus: Http,
    _programs: [Program; 2],
}

fn start_source(write_url: &str, dir: &Path) -> Source {
    let ports = free_tcp_ports(2);
    let (prometheus_at, exporter_at) = (format!("127.0.0.1:{}", ports[0]), format!("127.0.0.1:{}", ports[1]));
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- {{job_name: node, static_configs: [{{targets: ['{exporter_at}']}}]}}
- {{job_name: prometheus, static_configs: [{{targets: ['{prometheus_at}']}}]}}
remote_write:
- url: {write_url}
  queue_config: {{batch_send_deadline: 200ms, min_backoff: 50ms, max_backoff: 500ms}}
  metadata_config: {{send_interval: 1s}}
"
    );
    let config_path = dir.join("prometheus.yml");
    std::fs::write(&config_path, config).expect("the configuration can be written");
    let mut exporter = Command::new(installed("prometheus-node-exporter", "prometheus-node-exporter"));
    exporter.arg(format!("--web.listen-address={exporter_at}"));
    let mut prometheus = Command::new(installed("prometheus", "prometheus"));
    prometheus
        .arg(format!("--config.file={}", config_path.display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
        .arg(format!("--web.listen-address={prometheus_at}"))
        .arg("--log.level=info");
    let programs =
        [Program::start("node-exporter", &mut exporter, dir), Program::start("prometheus", &mut prometheus, dir)];
    Source { prometheus: Http::new(&format!("http://{prometheus_at}")), _programs: programs }
}

/// Times (ms) of `up` of one job's scrapes so far, oldest first.
async fn scrapes(of: &Http, job: &str) -> Result<Vec<i64>, String> {
    let query = format!("up{{job=\"{job}\"}}[5m]");
    let answer = of.try_get("/api/v1/query", &[("query", &query)]).await?.success()?.json();
    let values = answer["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
    Ok(values.iter().filter_map(|v| v[0].as_f64()).map(|s| (s * 1000.0).round() as i64).collect())
}

/// The time (ms) of the comparison: about two seconds before the newest scrape, as far as can be from both jobs' grids.
fn between_scrapes(node: &[i64], prometheus: &[i64]) -> i64 {
    let newest = node.last().expect("scrapes").min(prometheus.last().expect("scrapes"));
    let second = newest.div_euclid(1000) * 1000 - 2000;
    let gap = |t: i64| {
        let apart = node.iter().chain(prometheus).map(|s| (s - t).rem_euclid(1000));
        apart.map(|d| d.min(1000 - d)).min().unwrap_or(0)
    };
    let best = (0..100).map(|k| second + 10 * k).max_by_key(|t| gap(*t)).expect("a hundred candidates");
    assert!(gap(best) > 0, "every candidate is on a grid: {node:?} {prometheus:?}");
    best
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Every sample up to `at`, as the answer of both APIs to a range selector.
async fn samples(of: &Http, at: &str) -> Result<Value, String> {
    let query = [("query", "{job=~\".+\"}[5m]"), ("time", at)];
    Ok(of.try_get("/api/v1/query", &query).await?.success()?.json())
}

/// (series, samples) of such an answer.
fn size_of(answer: &Value) -> (usize, usize) {
    let series = answer["data"]["result"].as_array().map_or(&[][..], Vec::as_slice);
    (series.len(), series.iter().filter_map(|s| s["values"].as_array()).map(Vec::len).sum())
}

#[tokio::test]
async fn every_node_answers_as_the_prometheus_that_writes_to_it() {
    let cluster = Cluster::start().await;
    let source = start_source(&format!("{}/api/v1/write", cluster.first().url), cluster.dir());
    let first = &cluster.first().http;
    let (node, own) = until("scrapes that reach Trine", PATIENCE, || async {
        let (node, own) = (scrapes(first, "node").await?, scrapes(first, "prometheus").await?);
        let few = node.len() < SCRAPES || own.len() < SCRAPES;
        if few { Err(format!("{} and {} scrapes", node.len(), own.len())) } else { Ok((node, own)) }
    })
    .await;
    let at_ms = between_scrapes(&node, &own);
    let at = seconds(at_ms);
    // Its queue has several senders, so the newest scrape does not mean that every series has come so far.
    let expected = until("as many samples as Prometheus has", PATIENCE, || async {
        let (ours, theirs) = (samples(first, &at).await?, samples(&source.prometheus, &at).await?);
        let sizes = (size_of(&ours), size_of(&theirs));
        if sizes.0 == sizes.1 { Ok(theirs) } else { Err(format!("(series, samples): {sizes:?}")) }
    })
    .await;
    answers_agree(&cluster, &source.prometheus, at_ms, &expected).await;
    cluster.flush().await;
    answers_agree(&cluster, &source.prometheus, at_ms, &expected).await;
}

async fn answers_agree(cluster: &Cluster, prometheus: &Http, at_ms: i64, every_sample: &Value) {
    for node in &cluster.nodes {
        let ours = samples(&node.http, &seconds(at_ms)).await.expect("the node answers");
        assert_vectors_agree("every sample", &ours, every_sample);
        values_agree(&node.http, prometheus, at_ms).await;
        names_agree(&node.http, prometheus, at_ms).await;
        metadata_agrees(&node.http, prometheus).await;
    }
}

async fn values_agree(ours: &Http, theirs: &Http, at_ms: i64) {
    let (start, end) = (seconds(at_ms - STEPS_MS), seconds(at_ms));
    for expression in EXPRESSIONS {
        let instant = [("query", expression), ("time", end.as_str())];
        let theirs_now = theirs.json("/api/v1/query", &instant).await;
        assert_ne!(theirs_now["data"]["result"], Value::Array(Vec::new()), "{expression} compares nothing");
        assert_vectors_agree(expression, &ours.json("/api/v1/query", &instant).await, &theirs_now);
        let range = [("query", expression), ("start", &start), ("end", &end), ("step", "1")];
        let ours_range = ours.post_form("/api/v1/query_range", &range).await.json();
        assert_vectors_agree(expression, &ours_range, &theirs.json("/api/v1/query_range", &range).await);
    }
}

/// Metric names, label names and series of the node exporter, whose metrics do not come and go.
async fn names_agree(ours: &Http, theirs: &Http, at_ms: i64) {
    let (start, end) = (seconds(at_ms - STEPS_MS), seconds(at_ms));
    let about = [("match[]", "{job=\"node\"}"), ("start", start.as_str()), ("end", end.as_str())];
    for path in ["/api/v1/label/__name__/values", "/api/v1/labels", "/api/v1/series"] {
        let (got, expected) = (ours.json(path, &about).await, theirs.json(path, &about).await);
        let (got, expected) = (set_of(&got["data"]), set_of(&expected["data"]));
        assert!(!expected.is_empty(), "{path} compares nothing");
        let missing: Vec<_> = expected.difference(&got).collect();
        let more: Vec<_> = got.difference(&expected).collect();
        assert!(missing.is_empty() && more.is_empty(), "{path}: missing {missing:?}, too many {more:?}");
    }
}

fn set_of(array: &Value) -> BTreeSet<String> {
    array.as_array().unwrap_or_else(|| panic!("not an array: {array}")).iter().map(Value::to_string).collect()
}

/// Metadata is sent apart from samples, once a second here.
async fn metadata_agrees(ours: &Http, theirs: &Http) {
    let about = [("metric", "node_cpu_seconds_total")];
    let expected = theirs.json("/api/v1/metadata", &about).await;
    assert_eq!(expected["data"]["node_cpu_seconds_total"][0]["type"], "counter");
    until("metadata", PATIENCE, || async {
        let got = ours.try_get("/api/v1/metadata", &about).await?.success()?.json();
        if got == expected { Ok(()) } else { Err(format!("{got}, Prometheus says {expected}")) }
    })
    .await;
}
