//! What both servers are told: counters that reset, gauges, histograms, series that come and go, and odd numbers.
//!
//! Values are multiples of 1/64, so that sums are exact in whatever order they are made. What the data must not have, because
//! the servers rightly differ there, is in [`crate::rules`].
use rand::Rng;
use rand::rngs::StdRng;

use crate::harness::remote::{Label, Sample, TimeSeries};

/// How long the data is, ms.
pub(crate) const SPAN_MS: i64 = 90 * 60_000;
/// What ends a series.
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);
/// Samples before a missing one, and at the start, in which a counter does not reset: rule `near zero`.
const CALM: usize = 8;
const CALM_START: usize = 40;

/// What the samples of a family are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    /// Small integers, many of them equal.
    Steps,
    /// NaN, infinities, and the very large and small. A -0 comes as 0: protobuf leaves both out.
    Odd,
    Bucket,
    /// Always 1.
    Info,
}

/// Series of one name.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static [(&'static str, &'static [&'static str])],
    interval_ms: i64,
    /// No sample lies on a whole second. Otherwise all lie on multiples of the interval.
    pub(crate) is_jittered: bool,
    /// Some samples are missing.
    has_gaps: bool,
}

const JOBS: (&str, &[&str]) = ("job", &["api", "web", "db"]);
const INSTANCES: (&str, &[&str]) = ("instance", &["a:1", "b:1", "c:2"]);
const BOUNDS: (&str, &[&str]) = ("le", &["0.005", "0.01", "0.1", "0.5", "1", "5", "+Inf"]);

const fn family(name: &'static str, kind: Kind, labels: &'static [(&'static str, &'static [&'static str])]) -> Family {
    Family { name, kind, labels, interval_ms: 15_000, is_jittered: true, has_gaps: true }
}

pub(crate) const FAMILIES: &[Family] = &[
    family("requests_total", Kind::Counter, &[JOBS, INSTANCES, ("code", &["200", "404", "500"])]),
    Family { is_jittered: false, ..family("bytes_total", Kind::Counter, &[JOBS, INSTANCES]) },
    family("temperature", Kind::Gauge, &[("zone", &["north", "south"]), INSTANCES]),
    Family { interval_ms: 30_000, ..family("load", Kind::Gauge, &[JOBS, INSTANCES]) },
    Family { interval_ms: 30_000, is_jittered: false, ..family("queue_depth", Kind::Steps, &[JOBS, INSTANCES]) },
    Family { is_jittered: false, ..family("up", Kind::Steps, &[JOBS, INSTANCES]) },
    Family {
        is_jittered: false,
        ..family("odd", Kind::Odd, &[("kind", &["nan", "inf", "mixed", "tiny"]), ("instance", &["a:1", "b:1"])])
    },
    Family {
        has_gaps: false,
        ..family("latency_seconds_bucket", Kind::Bucket, &[("job", &["api", "web"]), INSTANCES, BOUNDS])
    },
    Family {
        is_jittered: false,
        interval_ms: 60_000,
        ..family("build_info", Kind::Info, &[JOBS, INSTANCES, ("version", &["1.0", "1.1"])])
    },
];

/// All series, with samples after `start_ms`, which is a whole hour.
pub(crate) fn generate(start_ms: i64, rng: &mut StdRng) -> Vec<TimeSeries> {
    let mut out = Vec::new();
    for family in FAMILIES {
        if family.kind == Kind::Bucket {
            histograms(family, start_ms, rng, &mut out);
            continue;
        }
        for pairs in combinations(family.labels) {
            let life = Life::of(&pairs, rng);
            let times = times(family, &life, start_ms, rng);
            let missing = if family.has_gaps { missing(times.len(), rng) } else { vec![false; times.len()] };
            let values = values(family, &pairs, &missing, rng);
            let samples = times.iter().zip(values).zip(&missing).filter(|(_, missing)| !**missing);
            let samples = samples.map(|((t, value), _)| Sample { value, timestamp: *t }).collect();
            out.push(series(family.name, &pairs, life.end(samples, family)));
        }
    }
    out
}

type Pairs = Vec<(&'static str, &'static str)>;

fn combinations(labels: &'static [(&'static str, &'static [&'static str])]) -> Vec<Pairs> {
    let mut out = vec![Pairs::new()];
    for (name, values) in labels {
        let with = |pairs: &Pairs| {
            let pairs = pairs.clone();
            values.iter().map(move |value| [pairs.clone(), vec![(*name, *value)]].concat())
        };
        out = out.iter().flat_map(with).collect();
    }
    out
}

fn series(name: &str, pairs: &[(&str, &str)], samples: Vec<Sample>) -> TimeSeries {
    let mut labels: Vec<(&str, &str)> = [&[("__name__", name)], pairs].concat();
    labels.sort_unstable();
    let label = |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
    TimeSeries { labels: labels.into_iter().map(label).collect(), samples, histograms: Vec::new() }
}

/// When a series is there, as parts of the span; it may end with a stale marker.
struct Life {
    from: f64,
    to: f64,
    ends_stale: bool,
}

impl Life {
    /// Instance `c:2` is churn: it comes late or leaves early. A version follows another.
    fn of(pairs: &[(&str, &str)], rng: &mut StdRng) -> Self {
        let has = |name, value| pairs.contains(&(name, value));
        let (mut from, mut to) = (0.0, 1.0);
        if has("instance", "c:2") {
            if rng.random_bool(0.5) { from = rng.random_range(0.2..0.6) } else { to = rng.random_range(0.4..0.8) }
        }
        if has("version", "1.0") {
            to = f64::min(to, 0.55);
        } else if has("version", "1.1") {
            from = f64::max(from, 0.56);
        }
        Self { from, to, ends_stale: rng.random_bool(0.5) }
    }

    fn holds(&self, at_ms: i64) -> bool {
        let part = at_ms as f64 / SPAN_MS as f64;
        self.from <= part && part <= self.to
    }

    fn end(&self, mut samples: Vec<Sample>, family: &Family) -> Vec<Sample> {
        if let (true, true, Some(last)) = (self.ends_stale, self.to < 1.0, samples.last()) {
            samples.push(Sample { value: STALE, timestamp: last.timestamp + family.interval_ms });
        }
        samples
    }
}

fn times(family: &Family, life: &Life, start_ms: i64, rng: &mut StdRng) -> Vec<i64> {
    let phase = if family.is_jittered { 1000 * rng.random_range(0..family.interval_ms / 1000) } else { 0 };
    let at = (0..SPAN_MS / family.interval_ms).map(|i| i * family.interval_ms + phase).filter(|t| life.holds(*t));
    at.map(|t| start_ms + t + if family.is_jittered { rng.random_range(1..250) } else { 0 }).collect()
}

/// Single samples, and now and then a stretch that is longer than the lookback.
fn missing(count: usize, rng: &mut StdRng) -> Vec<bool> {
    let mut out: Vec<bool> = (0..count).map(|_| rng.random_bool(0.02)).collect();
    if count > 100 && rng.random_bool(0.4) {
        let from = rng.random_range(20..count - 40);
        out[from..from + rng.random_range(5..30)].fill(true);
    }
    out
}

/// To a multiple of 1/64.
fn dyadic(value: f64) -> f64 {
    (value * 64.0).round() / 64.0
}

fn values(family: &Family, pairs: &[(&str, &str)], missing: &[bool], rng: &mut StdRng) -> Vec<f64> {
    let has = |value| pairs.iter().any(|p| p.1 == value);
    match family.kind {
        Kind::Counter => counter(family.name == "bytes_total", missing, rng),
        Kind::Gauge => {
            let mut at = rng.random_range(-20.0..80.0);
            let mut next = || {
                at += rng.random_range(-2.0..2.0);
                dyadic(at)
            };
            missing.iter().map(|_| next()).collect()
        }
        Kind::Steps if family.name == "up" => missing.iter().map(|_| f64::from(rng.random_bool(0.95))).collect(),
        Kind::Steps => missing.iter().map(|_| f64::from(rng.random_range(0..6))).collect(),
        Kind::Odd => {
            let odd: &[f64] = match () {
                () if has("nan") => &[f64::NAN],
                () if has("inf") => &[f64::INFINITY, f64::NEG_INFINITY],
                () if has("tiny") => &[-0.0, 1e-300, -1e-300, 0.0],
                // Rule `rests`: no -1e300 beside 1e300.
                () => &[f64::NAN, f64::INFINITY, 1e300, 7.0],
            };
            let mut next = || if rng.random_bool(0.5) { odd[rng.random_range(0..odd.len())] } else { 3.0 };
            missing.iter().map(|_| next()).collect()
        }
        Kind::Bucket | Kind::Info => vec![1.0; missing.len()],
    }
}

/// Rises by like amounts, from far above them; resets where no sample is missing for a while (rule `near zero`).
fn counter(is_large: bool, missing: &[bool], rng: &mut StdRng) -> Vec<f64> {
    let rate: f64 = if is_large { 1e6 } else { rng.random_range(1.0..50.0) };
    let mut at = if is_large { 1e10 } else { dyadic(1000.0 * rate) };
    let mut out = Vec::with_capacity(missing.len());
    for i in 0..missing.len() {
        let is_calm = i > CALM_START && i + CALM < missing.len() && !missing[i - 1..i + CALM].contains(&true);
        if is_calm && rng.random_bool(0.008) {
            at = [0.0, dyadic(0.3 * rate), dyadic(5.0 * rate)][rng.random_range(0..3)];
        } else {
            at += dyadic(rate * rng.random_range(0.5..1.5));
        }
        out.push(at);
    }
    out
}

/// Buckets, and the `_sum` and `_count` beside them; all of a target have the same times and resets.
fn histograms(family: &Family, start_ms: i64, rng: &mut StdRng, out: &mut Vec<TimeSeries>) {
    let (bounds, others) = family.labels.split_last().expect("buckets have labels");
    for pairs in combinations(others) {
        let life = Life::of(&pairs, rng);
        let times = times(family, &life, start_ms, rng);
        let mut counts: Vec<u64> = (1..=bounds.1.len() as u64).map(|i| 10_000 * i).collect();
        let mut sum = 12_345.0;
        let mut columns = vec![Vec::new(); counts.len() + 2];
        for i in 0..times.len() {
            if i > CALM_START && rng.random_bool(0.004) {
                counts.fill(0);
                sum = 0.0;
            }
            let mut so_far = 0;
            for count in &mut counts {
                so_far += rng.random_range(0..9);
                *count += so_far;
            }
            sum += dyadic(so_far as f64 * rng.random_range(0.1..2.0));
            for (column, count) in columns.iter_mut().zip(&counts) {
                column.push(*count as f64);
            }
            let total = counts[counts.len() - 1] as f64;
            columns[counts.len()].push(sum);
            columns[counts.len() + 1].push(total);
        }
        let samples = |column: &[f64]| {
            let samples = times.iter().zip(column).map(|(t, value)| Sample { value: *value, timestamp: *t }).collect();
            life.end(samples, family)
        };
        for (bound, column) in bounds.1.iter().zip(&columns) {
            out.push(series(family.name, &[&pairs[..], &[("le", *bound)]].concat(), samples(column)));
        }
        for (name, column) in ["latency_seconds_sum", "latency_seconds_count"].iter().zip(&columns[bounds.1.len()..]) {
            out.push(series(name, &pairs, samples(column)));
        }
    }
}

/// The samples of `all` in requests by time, so that each server sees them grow.
pub(crate) fn slices(all: &[TimeSeries], start_ms: i64, count: i64) -> Vec<Vec<TimeSeries>> {
    let width = (SPAN_MS + 60_000) / count + 1;
    let slice = |n: i64| {
        let range = start_ms + n * width..start_ms + (n + 1) * width;
        let cut = |s: &TimeSeries| {
            let samples: Vec<Sample> = s.samples.iter().filter(|x| range.contains(&x.timestamp)).cloned().collect();
            TimeSeries { labels: s.labels.clone(), samples, histograms: Vec::new() }
        };
        all.iter().map(cut).filter(|s| !s.samples.is_empty()).collect()
    };
    (0..count).map(slice).collect()
}
