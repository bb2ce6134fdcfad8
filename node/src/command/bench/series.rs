//! The series of one host and how their values move.
//!
//! Half are counters (of which some stand still, as on any machine), a quarter gauges that walk, and there are histograms
//! and constants. A host restarts now and then; its counters begin again.
use rand::Rng;
use rand::rngs::StdRng;

use super::wire;
use crate::error::Error;

/// One host with the state of its series.
pub(super) struct Host {
    series: Vec<Series>,
    histograms: Vec<Histogram>,
    /// When in the interval it is scraped.
    pub(super) offset_ms: i64,
}

/// A host restarts once in so many scrapes.
const RESTART_SCRAPES: u32 = 2_000;

struct Series {
    /// The encoded labels of a `TimeSeries`.
    labels: Vec<u8>,
    value: Value,
}

enum Value {
    /// Never moves.
    Constant(f64),
    /// Whole things counted.
    Counter { now: f64, per_scrape: f64 },
    /// Seconds counted, in hundredths.
    Seconds { now_hundredths: u64, share: f64 },
    /// A walk within `0..=high`, rounded to a multiple of `step`.
    Gauge { now: f64, high: f64, stride: f64, step: f64 },
    /// Observations up to a bound of a histogram, or all.
    Bucket { histogram: usize, upto: usize },
    /// Sum of a histogram's observations.
    Sum { histogram: usize },
}

/// Upper bounds of the buckets below +Inf, in seconds.
const BOUNDS: [(&str, f64); 11] = [
    ("0.005", 0.005),
    ("0.01", 0.01),
    ("0.025", 0.025),
    ("0.05", 0.05),
    ("0.1", 0.1),
    ("0.25", 0.25),
    ("0.5", 0.5),
    ("1", 1.0),
    ("2.5", 2.5),
    ("5", 5.0),
    ("10", 10.0),
];

struct Histogram {
    /// Observations in each bucket, the last is above all bounds.
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
    per_scrape: f64,
    /// Of an observation, in seconds.
    median: f64,
}

impl Histogram {
    fn observe(&mut self, rng: &mut StdRng) {
        let observations = around(rng, self.per_scrape).round() as u64;
        for _ in 0..observations.min(200) {
            // A long tail, as latencies have.
            let seconds = self.median * (2.5 * spread(rng)).exp();
            let bucket = BOUNDS.iter().position(|(_, bound)| seconds <= *bound).unwrap_or(BOUNDS.len());
            self.counts[bucket] += 1;
            self.sum += seconds;
        }
    }

    fn reset(&mut self) {
        self.counts = [0; BOUNDS.len() + 1];
        self.sum = 0.0;
    }
}

/// About normal, mean 0, within -1.5..1.5.
fn spread(rng: &mut StdRng) -> f64 {
    rng.random::<f64>() + rng.random::<f64>() + rng.random::<f64>() - 1.5
}

fn around(rng: &mut StdRng, mean: f64) -> f64 {
    (mean * (1.0 + 0.4 * spread(rng))).max(0.0)
}

impl Host {
    /// Gives the encoded labels and the value of each series at the next scrape.
    pub(super) fn scrape(
        &mut self,
        rng: &mut StdRng,
        mut give: impl FnMut(&[u8], f64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if rng.random_ratio(1, RESTART_SCRAPES) {
            self.restart();
        }
        for histogram in &mut self.histograms {
            histogram.observe(rng);
        }
        for series in &mut self.series {
            let value = series.value.next(rng, &self.histograms);
            give(&series.labels, value)?;
        }
        Ok(())
    }

    fn restart(&mut self) {
        self.histograms.iter_mut().for_each(Histogram::reset);
        for series in &mut self.series {
            match &mut series.value {
                Value::Counter { now, .. } => *now = 0.0,
                Value::Seconds { now_hundredths, .. } => *now_hundredths = 0,
                Value::Constant(_) | Value::Gauge { .. } | Value::Bucket { .. } | Value::Sum { .. } => {}
            }
        }
    }
}

impl Value {
    fn next(&mut self, rng: &mut StdRng, histograms: &[Histogram]) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Counter { now, per_scrape } => {
                if *per_scrape > 0.0 {
                    *now += around(rng, *per_scrape).round();
                }
                *now
            }
            Self::Seconds { now_hundredths, share } => {
                *now_hundredths += around(rng, *share * 1_500.0).round() as u64;
                *now_hundredths as f64 / 100.0
            }
            Self::Gauge { now, high, stride, step } => {
                *now = (*now + *stride * spread(rng)).clamp(0.0, *high);
                // Divided where the step is a fraction: 0.3 is printed so, 3 * 0.1 is not.
                if *step < 1.0 {
                    (*now / *step).round() / (1.0 / *step).round()
                } else {
                    (*now / *step).round() * *step
                }
            }
            Self::Bucket { histogram, upto } => histograms[*histogram].counts[..*upto].iter().sum::<u64>() as f64,
            Self::Sum { histogram } => histograms[*histogram].sum,
        }
    }
}

/// Lays out `count` series of host number `host`.
pub(super) fn plan(rng: &mut StdRng, host: u32, count: u32) -> Host {
    let mut planner = Planner {
        target: target_labels(rng, host),
        host: Host { series: Vec::new(), histograms: Vec::new(), offset_ms: rng.random_range(0..15_000) },
        count: count as usize,
    };
    let mut block = 0;
    while planner.host.series.len() < planner.count {
        planner.block(rng, block);
        block += 1;
    }
    planner.host
}

fn target_labels(rng: &mut StdRng, host: u32) -> Vec<(String, String)> {
    let pair = |name: &str, value: String| (name.to_owned(), value);
    vec![
        pair("cluster", "prod-eu-1".into()),
        pair("instance", format!("10.20.{}.{}:9100", host / 200, host % 200 + 10)),
        pair("job", "node".into()),
        pair("namespace", "monitoring".into()),
        pair("pod", format!("node-exporter-{:05x}", rng.random_range(0..0x10_0000))),
    ]
}

struct Planner {
    target: Vec<(String, String)>,
    host: Host,
    count: usize,
}

impl Planner {
    fn add(&mut self, name: &str, own: &[(&str, &str)], value: Value) {
        if self.host.series.len() == self.count {
            return;
        }
        let mut labels: Vec<(&str, &str)> = self.target.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        labels.push(("__name__", name));
        labels.extend_from_slice(own);
        labels.sort_unstable();
        let mut encoded = Vec::new();
        for (name, value) in labels {
            let mut label = Vec::new();
            wire::bytes(&mut label, 1, name.as_bytes());
            wire::bytes(&mut label, 2, value.as_bytes());
            wire::bytes(&mut encoded, 1, &label);
        }
        self.host.series.push(Series { labels: encoded, value });
    }

    /// Fifty series of everything; `n` numbers the device, CPU or handler that they are of.
    fn block(&mut self, rng: &mut StdRng, n: usize) {
        self.cpu(rng, n);
        self.devices(rng, n);
        self.gauges(rng, n);
        self.constants(n);
        self.handler(rng, n);
    }

    fn cpu(&mut self, rng: &mut StdRng, n: usize) {
        let cpu = n.to_string();
        let busy: f64 = rng.random_range(0.05..0.7);
        let modes = [
            ("idle", 1.0 - busy),
            ("user", 0.7 * busy),
            ("system", 0.2 * busy),
            ("iowait", 0.05 * busy),
            ("softirq", 0.03 * busy),
            ("steal", 0.01 * busy),
            ("irq", 0.0),
            ("nice", 0.0),
        ];
        for (mode, share) in modes {
            let now_hundredths = if share > 0.0 { rng.random_range(0..200_000_000) } else { 0 };
            let value = Value::Seconds { now_hundredths, share };
            self.add("node_cpu_seconds_total", &[("cpu", &cpu), ("mode", mode)], value);
        }
    }

    fn devices(&mut self, rng: &mut StdRng, n: usize) {
        let counter = |rng: &mut StdRng, per_second: f64| {
            // A device may be idle, and rates differ by magnitudes.
            let per_scrape = if rng.random_ratio(1, 5) { 0.0 } else { per_second * 15.0 * (2.0 * spread(rng)).exp() };
            Value::Counter { now: (per_scrape * rng.random_range(0.0..100_000.0)).round(), per_scrape }
        };
        let net = format!("eth{n}");
        for (direction, per_second) in [("receive", 200_000.0), ("transmit", 90_000.0)] {
            let own = [("device", net.as_str())];
            self.add(&format!("node_network_{direction}_bytes_total"), &own, counter(rng, per_second));
            self.add(&format!("node_network_{direction}_packets_total"), &own, counter(rng, per_second / 600.0));
            self.add(&format!("node_network_{direction}_errs_total"), &own, Value::Constant(0.0));
        }
        let disk = format!("nvme{n}n1");
        let own = [("device", disk.as_str())];
        self.add("node_disk_reads_completed_total", &own, counter(rng, 20.0));
        self.add("node_disk_read_bytes_total", &own, counter(rng, 300_000.0));
        self.add("node_disk_written_bytes_total", &own, counter(rng, 800_000.0));
        let share = rng.random_range(0.001..0.1);
        let value = Value::Seconds { now_hundredths: rng.random_range(0..20_000_000), share };
        self.add("node_disk_io_time_seconds_total", &own, value);
        let handler = format!("/api/v1/resource{n}");
        for (code, per_second) in [("200", 12.0), ("500", 0.02)] {
            let own = [("code", code), ("handler", handler.as_str()), ("method", "GET")];
            self.add("http_requests_total", &own, counter(rng, per_second));
        }
    }

    fn gauges(&mut self, rng: &mut StdRng, n: usize) {
        const GIB: f64 = (1u64 << 30) as f64;
        let mut gauge = |high: f64, stride: f64, step: f64| Value::Gauge {
            now: rng.random_range(0.1..0.9) * high,
            high,
            stride,
            step,
        };
        let node = n.to_string();
        let mount = format!("/var/lib/data{n}");
        let fs = [("device", "/dev/nvme0n1p1"), ("fstype", "ext4"), ("mountpoint", mount.as_str())];
        let memory = [("numa_node", node.as_str())];
        let pages = [
            ("node_memory_MemFree_bytes", 8.0 * GIB, 0.02 * GIB),
            ("node_memory_MemAvailable_bytes", 32.0 * GIB, 0.01 * GIB),
            ("node_memory_Cached_bytes", 16.0 * GIB, 0.002 * GIB),
            ("node_memory_Dirty_bytes", 0.1 * GIB, 0.01 * GIB),
        ];
        for (name, high, stride) in pages {
            self.add(name, &memory, gauge(high, stride, 4096.0));
        }
        self.add("node_filesystem_avail_bytes", &fs, gauge(400.0 * GIB, 0.001 * GIB, 4096.0));
        self.add("node_filesystem_files_free", &fs, gauge(26_000_000.0, 20.0, 1.0));
        self.add("node_load1", &memory, gauge(8.0, 0.2, 0.01));
        self.add("node_load5", &memory, gauge(8.0, 0.05, 0.01));
        self.add("node_load15", &memory, gauge(8.0, 0.02, 0.01));
        self.add("node_hwmon_temp_celsius", &[("chip", "coretemp"), ("sensor", &node)], gauge(90.0, 0.8, 0.5));
        self.add("go_goroutines", &memory, gauge(400.0, 3.0, 1.0));
        self.add("process_resident_memory_bytes", &memory, gauge(0.5 * GIB, 0.001 * GIB, 4096.0));
    }

    fn constants(&mut self, n: usize) {
        let node = n.to_string();
        self.add("node_memory_MemTotal_bytes", &[("numa_node", &node)], Value::Constant(33_565_356_032.0));
        let fs = [("device", "/dev/nvme0n1p1"), ("fstype", "ext4"), ("mountpoint", "/")];
        self.add(
            "node_filesystem_size_bytes",
            &[fs.as_slice(), &[("numa_node", &node)]].concat(),
            Value::Constant(527_371_075_584.0),
        );
        self.add("node_boot_time_seconds", &[("numa_node", &node)], Value::Constant(1_762_000_000.0));
        self.add(
            "node_exporter_build_info",
            &[("goversion", "go1.22.4"), ("numa_node", &node), ("version", "1.8.2")],
            Value::Constant(1.0),
        );
    }

    fn handler(&mut self, rng: &mut StdRng, n: usize) {
        let histogram = self.host.histograms.len();
        let per_scrape = 60.0 * (1.5 * spread(rng)).exp();
        let median = 0.02 * (1.5 * spread(rng)).exp();
        self.host.histograms.push(Histogram { counts: [0; BOUNDS.len() + 1], sum: 0.0, per_scrape, median });
        let handler = format!("/api/v1/resource{n}");
        let own = [("handler", handler.as_str()), ("method", "GET")];
        for upto in 1..=BOUNDS.len() + 1 {
            let le = BOUNDS.get(upto - 1).map_or("+Inf", |(text, _)| text);
            let labels = [("handler", handler.as_str()), ("le", le), ("method", "GET")];
            self.add("http_request_duration_seconds_bucket", &labels, Value::Bucket { histogram, upto });
        }
        let upto = BOUNDS.len() + 1;
        self.add("http_request_duration_seconds_sum", &own, Value::Sum { histogram });
        self.add("http_request_duration_seconds_count", &own, Value::Bucket { histogram, upto });
    }
}
