//! What a sample costs: CPU time to append, freeze and seal it, time to read it back, bytes at rest with the index.
//!
//! A generated fleet in the manner of node_exporter: 100 hosts, 100 series each, 240 scrapes, 15 s apart with some ms of
//! jitter, one part a scrape. `cargo bench -p trine-store --bench tsdb`
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use trine_store::index::{MatchOp, Matcher};
use trine_store::limits::Limits;
use trine_store::model::{Labels, signal::key_hash};
use trine_store::part::{MetricsPartBuilder, PartRef};
use trine_store::tsdb::{Block, BlockSizes, HeadConfig, MetricsHead, MetricsView, SeriesRef, compact, seal};

const HOSTS: usize = 100;
const SCRAPES: i64 = 240;
const TENANT: &str = "default";

/// How the values of a series move from one scrape to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Constant,
    /// Seconds with two decimals, steady with some noise.
    CpuCounter,
    /// Bytes and packets: large, noisy steps.
    BusyCounter,
    /// Moves in few scrapes.
    QuietCounter,
    /// Bucket of a histogram of few observations.
    Bucket,
    /// Multiples of a page.
    MemoryGauge,
    /// One or two decimals.
    SmallGauge,
}

struct Generated {
    kind: Kind,
    labels: Labels,
    hash: u64,
    value: i64,
    pace: i64,
    decimals: i32,
}

fn host(host: usize, rng: &mut StdRng) -> Vec<Generated> {
    let mut all = Vec::new();
    let mut add = |kind: Kind, count: usize, family: &str, label: &str, value: i64, pace: i64, decimals: i32| {
        for i in 0..count {
            let of = i.to_string();
            let instance = format!("node-{host:03}.example.net:9100");
            let mut pairs = vec![("__name__", family), ("instance", &instance), ("job", "node")];
            if !label.is_empty() {
                pairs.push((label, &of));
            }
            let labels = Labels::from_pairs(pairs).expect("distinct names");
            let hash = key_hash(TENANT, labels.as_bytes());
            all.push(Generated { kind, labels, hash, value, pace: pace * (i as i64 + 1), decimals });
        }
    };
    let seed = rng.random_range(1..1_000_000i64);
    add(Kind::Constant, 10, "node_os_info", "field", 1, 0, 0);
    add(Kind::Constant, 10, "node_filesystem_size_bytes", "device", 4096 * seed, 0, 0);
    add(Kind::Constant, 5, "node_network_mtu_bytes", "device", 1500, 0, 0);
    add(Kind::Constant, 1, "node_boot_time_seconds", "", 160_000_000_000 + seed, 0, 2);
    add(Kind::CpuCounter, 12, "node_cpu_seconds_total", "cpu", seed, 60, 2);
    add(Kind::BusyCounter, 4, "node_network_receive_bytes_total", "device", seed, 20_000, 0);
    add(Kind::BusyCounter, 4, "node_network_transmit_packets_total", "device", seed, 150, 0);
    add(Kind::BusyCounter, 2, "node_context_switches_total", "cpu", seed, 5_000, 0);
    add(Kind::QuietCounter, 8, "node_network_receive_errs_total", "device", seed % 7, 1, 0);
    add(Kind::QuietCounter, 6, "node_disk_writes_completed_total", "device", seed, 3, 0);
    add(Kind::Bucket, 14, "http_request_duration_seconds_bucket", "le", seed % 100, 1, 0);
    add(Kind::MemoryGauge, 10, "node_memory_bytes", "kind", 1_000_000 + seed, 16, 0);
    add(Kind::SmallGauge, 3, "node_load", "window", 120, 8, 2);
    add(Kind::SmallGauge, 6, "node_hwmon_temp_celsius", "sensor", 450, 5, 1);
    add(Kind::SmallGauge, 5, "node_procs", "state", 150, 4, 0);
    all
}

impl Generated {
    fn step(&mut self, rng: &mut StdRng) -> u64 {
        let pace = self.pace;
        match self.kind {
            Kind::Constant => {}
            Kind::CpuCounter | Kind::BusyCounter | Kind::QuietCounter | Kind::Bucket if rng.random_bool(0.0005) => {
                self.value = 0;
            }
            Kind::CpuCounter => self.value += pace + rng.random_range(-pace / 4..=pace / 4),
            Kind::BusyCounter => self.value += rng.random_range(pace / 2..=pace * 3 / 2),
            Kind::QuietCounter => {
                if rng.random_bool(0.1) {
                    self.value += rng.random_range(1..=pace.max(1) * 2);
                }
            }
            Kind::Bucket => self.value += rng.random_range(0..=pace.min(6)),
            Kind::MemoryGauge => self.value += rng.random_range(-pace..=pace),
            Kind::SmallGauge => self.value += rng.random_range(-pace / 2..=pace / 2),
        }
        let value = match self.kind {
            Kind::MemoryGauge => (self.value * 4096) as f64,
            _ => self.value as f64 / 10f64.powi(self.decimals),
        };
        value.to_bits()
    }
}

/// Encoded parts, scrape after scrape of each host.
fn fleet(only: Option<Kind>) -> Vec<Vec<u8>> {
    let mut rng = StdRng::seed_from_u64(7);
    let mut hosts: Vec<Vec<Generated>> = (0..HOSTS).map(|at| host(at, &mut rng)).collect();
    if let Some(kind) = only {
        hosts.iter_mut().for_each(|host| host.retain(|series| series.kind == kind));
    }
    scrapes(&mut hosts, &mut rng, 0..SCRAPES)
}

fn scrapes(hosts: &mut [Vec<Generated>], rng: &mut StdRng, scrapes: std::ops::Range<i64>) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    for scrape in scrapes {
        for (at, host) in hosts.iter_mut().enumerate() {
            let time_ms = 1_700_000_000_000 + at as i64 * 150 + scrape * 15_000 + rng.random_range(0..3);
            let mut part = MetricsPartBuilder::new(TENANT);
            for series in host {
                let bits = series.step(rng);
                let position = part.series(series.hash, series.labels.as_bytes());
                part.floats(position, [(time_ms, bits)].into_iter());
            }
            parts.push(part.finish());
        }
    }
    parts
}

/// CPU time of this thread, where the kernel tells it: other load on the machine then disturbs less. Else the clock.
fn cpu_now(since: Instant) -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let on_cpu = stat.split(' ').next().and_then(|ns| ns.parse().ok()).map(Duration::from_nanos);
    on_cpu.unwrap_or_else(|| since.elapsed())
}

struct Spent {
    /// Resolving series, appending, publishing a view for each part.
    apply: Duration,
    freeze: Duration,
}

/// A head that took all parts, freezing when it asks for it.
fn load(parts: &[Vec<u8>], since: Instant) -> (MetricsHead, Spent) {
    let tenant: Arc<str> = TENANT.into();
    let mut head = MetricsHead::new(HeadConfig::default());
    let mut freeze = Duration::ZERO;
    let mut refs: Vec<SeriesRef> = Vec::new();
    let start = cpu_now(since);
    for (position, part) in (1..).zip(parts) {
        let part = PartRef::decode(part).expect("a part just encoded");
        refs.clear();
        for def in &part.defs {
            refs.push(head.resolve(&tenant, def.hash, def.key).expect("canonical labels"));
        }
        head.append(&tenant, position, &refs, part.body).expect("a body just encoded");
        head.view();
        if let Some(job) = head.freeze_job() {
            let start = cpu_now(since);
            head.install(job.run().expect("runs decode"));
            freeze += cpu_now(since) - start;
        }
    }
    let apply = cpu_now(since) - start - freeze;
    (head, Spent { apply, freeze })
}

fn main() {
    let parts = fleet(None);
    let samples: u64 = parts.iter().map(|p| u64::from(PartRef::decode(p).expect("a part").facts_count)).sum();
    let ns = |spent: Duration, of: u64| spent.as_nanos() as f64 / of as f64;
    let since = Instant::now();
    let (mut head, spent) = load(&parts, since);
    println!("{samples} samples, {} parts", parts.len());
    println!(
        "apply       {:7.1} ns/sample (series resolved, samples appended, views published)",
        ns(spent.apply, samples)
    );
    println!("freeze      {:7.1} ns/sample (merges included)", ns(spent.freeze, samples));
    println!("head memory {:7.2} bytes/sample", head.stats().bytes as f64 / samples as f64);
    let view = head.view();
    let mut bytes = Vec::new();
    let start = cpu_now(since);
    let summary = seal(&view, &mut bytes).expect("writing to memory");
    println!("seal        {:7.1} ns/sample", ns(cpu_now(since) - start, summary.facts));
    println!("block       {:7.3} bytes/sample, index included", summary.bytes as f64 / summary.facts as f64);
    let block = Arc::new(Block::open(Arc::new(Bytes::from(bytes))).expect("a block just written"));
    sizes(&block);
    for (name, view) in [
        ("head", MetricsView { heads: vec![view], ..MetricsView::default() }),
        ("block", MetricsView { blocks: vec![block], ..MetricsView::default() }),
    ] {
        read(name, &view);
    }
    [4, 32].into_iter().for_each(|seals| compaction(since, seals));
    use Kind::*;
    for kind in [Constant, CpuCounter, BusyCounter, QuietCounter, Bucket, MemoryGauge, SmallGauge] {
        let mut bytes = Vec::new();
        let summary = seal(&load(&fleet(Some(kind)), since).0.view(), &mut bytes).expect("writing to memory");
        println!("  {kind:?}: {:.3} bytes/sample", summary.bytes as f64 / summary.facts as f64);
    }
}

/// Eight hours of the fleet, sealed again and again, then merged into one block.
fn compaction(since: Instant, seals: i64) {
    const SCRAPES_IN_ALL: i64 = 8 * SCRAPES;
    let mut rng = StdRng::seed_from_u64(7);
    let mut hosts: Vec<Vec<Generated>> = (0..HOSTS).map(|at| host(at, &mut rng)).collect();
    let (mut blocks, mut sealed_bytes) = (Vec::new(), 0);
    for at in 0..seals {
        let parts = scrapes(&mut hosts, &mut rng, at * SCRAPES_IN_ALL / seals..(at + 1) * SCRAPES_IN_ALL / seals);
        let mut bytes = Vec::new();
        seal(&load(&parts, since).0.view(), &mut bytes).expect("writing to memory");
        sealed_bytes += bytes.len();
        blocks.push(Arc::new(Block::open(Arc::new(Bytes::from(bytes))).expect("a block just written")));
    }
    let (mut bytes, start) = (Vec::new(), cpu_now(since));
    let (summary, _) =
        compact(&blocks, &Limits::default(), &mut |_| Ok(()), &mut bytes).expect("reading and writing memory");
    let spent = cpu_now(since) - start;
    let each = |bytes: usize| bytes as f64 / summary.facts as f64;
    println!(
        "compact     {:7.1} ns/sample; 8 h in {seals} blocks, {:.3} bytes/sample, become one, {:.3} bytes/sample",
        spent.as_nanos() as f64 / summary.facts as f64,
        each(sealed_bytes),
        each(bytes.len())
    );
    sizes(&Arc::new(Block::open(Arc::new(Bytes::from(bytes))).expect("a block just written")));
}

/// Bytes a sample by what they are.
fn sizes(block: &Arc<Block>) {
    let facts = block.summary().facts as f64;
    let sizes = block.sizes().expect("a block just written");
    let BlockSizes { values, times, series, times_table, symbols, postings, metadata, frame } = sizes;
    let each = [values, times, series, times_table, symbols, postings, metadata, frame].map(|n| n as f64 / facts);
    let [values, times, series, times_table, symbols, postings, metadata, frame] = each;
    println!(
        "            values {values:.4}, times {times:.4} and their table {times_table:.4}, series {series:.4}, \
         symbols {symbols:.4}, postings {postings:.4}, metadata {metadata:.4}, frame {frame:.4}"
    );
}

fn read(name: &str, view: &MetricsView) {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    let one = [
        Matcher::new("__name__", MatchOp::Eq, "node_load").expect("a matcher"),
        Matcher::new("instance", MatchOp::Eq, "node-050.example.net:9100").expect("a matcher"),
    ];
    for (what, matchers) in [("everything", &[][..]), ("one family", &one[..1]), ("one host's family", &one[..])] {
        let mut samples = 0u64;
        let mut once = || {
            let start = Instant::now();
            samples = 0;
            for series in view.select(TENANT, matchers, i64::MIN, i64::MAX).expect("a sound view") {
                series.samples_into(&mut times, &mut values).expect("sound samples");
                samples += times.len() as u64;
            }
            start.elapsed()
        };
        // The quickest of some: short, so other load on the machine shows.
        let spent = (0..7).map(|_| once()).min().unwrap_or_default();
        println!(
            "read {name}, {what}: {samples} samples, {spent:?}, {:.1} ns/sample",
            spent.as_nanos() as f64 / samples as f64
        );
    }
}
