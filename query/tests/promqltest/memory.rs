//! Shards in memory that a test's query is scattered over.
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use trine_query::fragment::{Fragment, FragmentLimits};
use trine_query::promql::FamilyMetadata;
use trine_query::promql::local::run_over;
use trine_query::promql::source::{SeriesSource, Visit};
use trine_query::scatter::{Item as ScatterItem, QueryContext, Scatter, ShardAnswer};
use trine_query::{Error, Result};
use trine_store::index::{Matcher, compare_labels};
use trine_store::model::{Labels, STALE_NAN_BITS};

use crate::script::{Item, Loaded};
use trine_query::memory::Account;

/// One series; `None` stands for a sample that the engine does not know yet.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) samples: Vec<(i64, Option<f64>)>,
}

/// Adds what a `load` says.
pub(crate) fn load(series: &mut Vec<Series>, loaded: Vec<Loaded>) {
    // A metric that one `load` spells out twice has the later samples.
    let later = |i: usize| loaded[i + 1..].iter().any(|l| l.labels == loaded[i].labels);
    let last: Vec<&Loaded> = loaded.iter().enumerate().filter(|(i, _)| !later(*i)).map(|(_, l)| l).collect();
    for l in last {
        let value = |item: &Item| match item {
            Item::Missing => None,
            Item::Float(_) if l.has_starts => Some(None),
            Item::Float(v) => Some(Some(*v)),
            Item::Stale => Some(Some(f64::from_bits(STALE_NAN_BITS))),
            Item::Histogram => Some(None),
        };
        let samples: Vec<(i64, Option<f64>)> =
            l.items.iter().enumerate().filter_map(|(i, item)| value(item).map(|v| (i as i64 * l.step_ms, v))).collect();
        if l.with_nhcb
            && let Some(native) = native_labels(&l.labels)
        {
            add(series, native, samples.iter().map(|(t, _)| (*t, None)).collect());
        }
        add(series, l.labels.clone(), samples);
    }
    series.sort_by(|a, b| compare_labels(a.labels.as_bytes(), b.labels.as_bytes()));
}

fn add(series: &mut Vec<Series>, labels: Labels, samples: Vec<(i64, Option<f64>)>) {
    let position = series.iter().position(|s| s.labels == labels).unwrap_or_else(|| {
        series.push(Series { labels, samples: Vec::new() });
        series.len() - 1
    });
    let all = &mut series[position].samples;
    all.extend(samples);
    all.sort_by_key(|(t, _)| *t);
    all.dedup_by_key(|(t, _)| *t);
}

/// Labels of the native histogram that Prometheus makes of a classic bucket.
fn native_labels(bucket: &Labels) -> Option<Labels> {
    let name = bucket.get("__name__")?.strip_suffix("_bucket")?.to_owned();
    let rest = bucket.iter().filter(|(n, _)| *n != "__name__" && *n != "le");
    Labels::from_pairs(rest.chain(std::iter::once(("__name__", name.as_str())))).ok()
}

struct Shard(Vec<Series>);

impl Shard {
    fn matching<'a>(&'a self, matchers: &'a [Matcher], min_ms: i64, max_ms: i64) -> impl Iterator<Item = &'a Series> {
        self.0.iter().filter(move |s| {
            matchers.iter().all(|m| m.matches(s.labels.get(&m.name).unwrap_or_default()))
                && s.samples.iter().any(|(t, _)| (min_ms..=max_ms).contains(t))
        })
    }
}

impl SeriesSource for Shard {
    fn for_each(
        &self,
        matchers: &[Matcher],
        (min_ms, max_ms): (i64, i64),
        _memory: &Account,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        for s in self.matching(matchers, min_ms, max_ms) {
            let (mut ts, mut vs) = (Vec::new(), Vec::new());
            for (t, v) in s.samples.iter().filter(|(t, _)| (min_ms..=max_ms).contains(t)) {
                let v = v.ok_or_else(|| Error::Unsupported { what: "native histograms".to_owned() })?;
                ts.push(*t);
                vs.push(v);
            }
            visit(&s.labels, &mut ts, &mut vs)?;
        }
        Ok(())
    }

    fn series_labels(
        &self,
        matchers: &[Matcher],
        (min_ms, max_ms): (i64, i64),
        _memory: &Account,
    ) -> Result<Vec<Labels>> {
        Ok(self.matching(matchers, min_ms, max_ms).map(|s| s.labels.clone()).collect())
    }

    fn metadata(&self, _family: Option<&str>) -> Result<Vec<FamilyMetadata>> {
        Ok(Vec::new())
    }
}

/// Series spread over shards by position, each shard a node of its own.
pub(crate) struct MemoryScatter(Vec<Shard>);

impl MemoryScatter {
    pub(crate) fn new(series: &[Series], shards: usize) -> Self {
        let shard = |n: usize| Shard(series.iter().skip(n).step_by(shards).cloned().collect());
        Self((0..shards).map(shard).collect())
    }
}

impl Scatter for MemoryScatter {
    fn scatter(&self, _ctx: &QueryContext, fragment: Fragment) -> BoxStream<'static, Result<ScatterItem>> {
        let limits = FragmentLimits::new(1 << 30, Instant::now() + Duration::from_secs(60), Account::unbounded());
        let mut items: Vec<Result<ScatterItem>> = Vec::new();
        for (number, shard) in self.0.iter().enumerate() {
            let mut frames = Vec::new();
            let sources: [(u32, &dyn SeriesSource); 1] = [(number as u32, shard)];
            let done = run_over(&fragment.payload, &sources, &limits, &mut |frame| {
                frames.push(Ok(ScatterItem::Frame(frame)));
                Ok(())
            });
            items.extend(frames);
            let answer =
                ShardAnswer { shard: number as u32, node: "memory".to_owned(), replica: 1, position: 1, error: None };
            items.push(done.map(|()| ScatterItem::ShardDone(answer)));
        }
        stream::iter(items).boxed()
    }
}
