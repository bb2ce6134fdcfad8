//! What dashboards ask of a fleet, from the text of a query to its value, over sealed blocks in memory: no network, no JSON.
//!
//! A generated fleet in the manner of node_exporter: 100 hosts of 100 series, scraped every 15 s, in as many blocks as there are
//! shards. Without helpers, CPU time is told. `cargo bench -p trine-query --bench promql -- [hours] [shards] [helpers]`, 3, 16 and 0 unless given.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::executor::block_on;
use futures::stream::{self, BoxStream};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use trine_query::Result;
use trine_query::fragment::{Fragment, FragmentLimits, run_fragment};
use trine_query::helpers::Helpers;
use trine_query::memory::Account;
use trine_query::promql::{self, Answer, InstantQuery, RangeQuery, Value};
use trine_query::scatter::{Item, QueryContext, Scatter};
use trine_store::model::signal::key_hash;
use trine_store::model::{Labels, Signal};
use trine_store::part::{MetricsPartBuilder, PartRef};
use trine_store::rows::RowsView;
use trine_store::shard::ShardView;
use trine_store::tsdb::{Block, HeadConfig, MetricsHead, MetricsView, seal};

const TENANT: &str = "default";
const HOSTS: usize = 100;
const START_MS: i64 = 1_700_000_000_000;
const INTERVAL_MS: i64 = 15_000;
/// Scrapes in one part.
const SCRAPES_IN_PART: i32 = 60;
const REPEAT: usize = 9;

/// One node that answers on the thread that asks.
struct Node {
    shards: Vec<Arc<ShardView>>,
    helpers: Helpers,
}

impl Scatter for Node {
    fn scatter(&self, ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, Result<Item>> {
        let limits = FragmentLimits::new(u64::MAX, ctx.deadline, ctx.memory.clone()).with_helpers(self.helpers.clone());
        let mut items = Vec::new();
        let mut sink = |frame: Bytes| {
            items.push(Ok(Item::Frame(frame)));
            Ok(())
        };
        let ran = run_fragment(&fragment, TENANT, &self.shards, &limits, &mut sink);
        items.extend(ran.err().map(Err));
        stream::iter(items).boxed()
    }
}

struct Generated {
    labels: Labels,
    value: i64,
    pace: i64,
    decimals: i32,
    is_counter: bool,
}

impl Generated {
    fn step(&mut self, rng: &mut StdRng) -> u64 {
        if self.is_counter && rng.random_bool(0.0005) {
            self.value = 0;
        }
        let least = if self.is_counter { 0 } else { -self.pace };
        self.value += rng.random_range(least..=self.pace);
        (self.value as f64 / 10f64.powi(self.decimals)).to_bits()
    }
}

fn host(number: usize, rng: &mut StdRng) -> Vec<Generated> {
    let instance = format!("10.20.{}.{}:9100", number / 200, number % 200 + 10);
    let pod = format!("node-exporter-{:05x}", rng.random_range(0..0x10_0000));
    let mut all = Vec::new();
    let mut add = |name: &str, own: &[(&str, &str)], pace: i64, decimals: i32, is_counter: bool| {
        let target = [
            ("__name__", name),
            ("cluster", "prod-eu-1"),
            ("instance", instance.as_str()),
            ("job", "node"),
            ("pod", pod.as_str()),
        ];
        let pairs = target.iter().chain(own).copied();
        let labels = Labels::from_pairs(pairs).expect("distinct names");
        all.push(Generated { labels, value: rng.random_range(1..1_000_000), pace, decimals, is_counter });
    };
    for cpu in ["0", "1"] {
        for (pace, mode) in (0..).zip(["irq", "steal", "softirq", "iowait", "system", "user", "nice", "idle"]) {
            add("node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)], pace * 180, 2, true);
        }
    }
    for handler in ["/api/a", "/api/b"] {
        for (pace, le) in
            (0..).zip(["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"])
        {
            add("http_request_duration_seconds_bucket", &[("handler", handler), ("le", le)], pace * 6, 0, true);
        }
    }
    for device in 0..30 {
        let device = format!("eth{device}");
        add("node_network_receive_bytes_total", &[("device", &device)], 3_000_000, 0, true);
        add("node_network_up", &[("device", &device)], 0, 0, false);
    }
    all
}

/// The fleet in sealed blocks, one a shard.
fn shards(hours: i64, count: usize) -> Vec<Arc<ShardView>> {
    let mut rng = StdRng::seed_from_u64(7);
    let mut of_shards: BTreeMap<usize, Vec<(i64, Generated)>> = BTreeMap::new();
    for number in 0..HOSTS {
        let offset_ms = rng.random_range(0..INTERVAL_MS);
        for series in host(number, &mut rng) {
            let shard = key_hash(TENANT, series.labels.as_bytes()) as usize % count;
            of_shards.entry(shard).or_default().push((offset_ms, series));
        }
    }
    of_shards.into_iter().map(|(shard, series)| shard_of(shard as u32, series, hours, &mut rng)).collect()
}

fn shard_of(shard: u32, mut series: Vec<(i64, Generated)>, hours: i64, rng: &mut StdRng) -> Arc<ShardView> {
    let tenant: Arc<str> = TENANT.into();
    let mut head = MetricsHead::new(HeadConfig::default());
    let part_ms = i64::from(SCRAPES_IN_PART) * INTERVAL_MS;
    for part_number in 0..hours * 3_600_000 / part_ms {
        let mut part = MetricsPartBuilder::new(TENANT);
        for (offset_ms, series) in &mut series {
            let at = part.series(key_hash(TENANT, series.labels.as_bytes()), series.labels.as_bytes());
            let first_ms = START_MS + *offset_ms + part_number * part_ms;
            part.floats(at, (0..SCRAPES_IN_PART).map(|n| (first_ms + i64::from(n) * INTERVAL_MS, series.step(rng))));
        }
        let bytes = part.finish();
        let part = PartRef::decode(&bytes).expect("a part just encoded");
        let resolved = part.defs.iter().map(|d| head.resolve(&tenant, d.hash, d.key).expect("canonical labels"));
        let refs: Vec<_> = resolved.collect();
        head.append(&tenant, part_number as u64 + 1, &refs, part.body).expect("a body just encoded");
        if let Some(job) = head.freeze_job() {
            head.install(job.run().expect("runs decode"));
        }
    }
    let mut file = Vec::new();
    seal(&head.view(), &mut file).expect("writing to memory");
    let block = Block::open(Arc::new(Bytes::from(file))).expect("a block just written");
    let metrics = MetricsView { blocks: vec![Arc::new(block)], ..MetricsView::default() };
    let (logs, traces) = (RowsView::new(Signal::Logs), RowsView::new(Signal::Traces));
    Arc::new(ShardView { shard, position: 1, metrics, logs, traces })
}

fn argument(nth: usize, default: usize) -> usize {
    std::env::args().filter(|a| a != "--bench").nth(nth).and_then(|a| a.parse().ok()).unwrap_or(default)
}

fn main() {
    let (hours, count, helping) = (argument(1, 3) as i64, argument(2, 16), argument(3, 0));
    let started = Instant::now();
    let node = Node { shards: shards(hours, count), helpers: Helpers::new(helping) };
    println!("{hours} h of 10000 series in {count} shards, {helping} helpers; made in {:?}", started.elapsed());
    let scatter: Arc<dyn Scatter> = Arc::new(node);
    let end_ms = START_MS + hours * 3_600_000 - INTERVAL_MS;
    for (name, query, span_ms, step_ms) in [
        ("sum by (mode) of rate", "sum by (mode) (rate(node_cpu_seconds_total[5m]))", hours * 3_600_000, 60_000),
        (
            "histogram_quantile, 1 h",
            "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
            3_600_000,
            60_000,
        ),
        ("regex, instant", r#"count({instance=~"10[.]20[.].*"})"#, 0, 0),
        ("one series raw, 1 h", r#"node_network_up{instance="10.20.0.10:9100",device="eth0"}[1h]"#, 0, 0),
        (
            "max by (mode) over 1 h",
            "max by (mode) (max_over_time(node_cpu_seconds_total[1h]))",
            hours * 3_600_000,
            60_000,
        ),
        ("every series, 10 steps", "node_network_receive_bytes_total", 600_000, 60_000),
    ] {
        let once = || block_on(ask(&scatter, query, (end_ms - span_ms, end_ms), step_ms)).expect("an answer");
        let answer = once();
        let mut took: Vec<Duration> = (0..REPEAT).map(|_| timed(once, helping == 0)).collect();
        took.sort_unstable();
        println!(
            "{name}: {:.2} ms (least {:.2}), {} samples, {} results",
            took[REPEAT / 2].as_secs_f64() * 1e3,
            took[0].as_secs_f64() * 1e3,
            answer.stats.samples_read,
            match &answer.value {
                Value::Vector(vector) => vector.len(),
                Value::Matrix(matrix) => matrix.len(),
                Value::Scalar(..) | Value::String(..) => 1,
            },
        );
    }
}

/// CPU time of this thread, where the kernel tells it: other load on the machine then disturbs less. Else the clock.
fn cpu_now(since: Instant) -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let on_cpu = stat.split(' ').next().and_then(|ns| ns.parse().ok()).map(Duration::from_nanos);
    on_cpu.unwrap_or_else(|| since.elapsed())
}

/// By the clock if other threads help.
fn timed<T>(once: impl Fn() -> T, alone: bool) -> Duration {
    let started = Instant::now();
    let before = cpu_now(started);
    let answer = once();
    let took = if alone { cpu_now(started) - before } else { started.elapsed() };
    drop(answer);
    took
}

/// `step_ms` 0: at the end of the range.
async fn ask(scatter: &Arc<dyn Scatter>, query: &str, range: (i64, i64), step_ms: i64) -> Result<Answer> {
    let ctx = QueryContext {
        tenant: Arc::from(TENANT),
        deadline: Instant::now() + Duration::from_secs(60),
        strict: true,
        no_cache: false,
        count_steps: false,
        memory: Account::unbounded(),
    };
    let (query, lookback_ms, limit) = (query.to_owned(), promql::LOOKBACK_MS_DEFAULT, 0);
    if step_ms == 0 {
        return promql::instant(scatter, &ctx, &InstantQuery { query, time_ms: range.1, lookback_ms, limit }).await;
    }
    let (start_ms, end_ms) = range;
    promql::range(scatter, &ctx, &RangeQuery { query, start_ms, end_ms, step_ms, lookback_ms, limit }).await
}
