//! Shards in memory that a test's query is scattered over.
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use trine_query::Result;
use trine_query::fragment::{Fragment, FragmentLimits};
use trine_query::memory::Account;
use trine_query::promql::FamilyMetadata;
use trine_query::promql::functions::native::Samples;
use trine_query::promql::histogram::Histogram;
use trine_query::promql::local::run_over;
use trine_query::promql::source::{SeriesSource, Visit, Wants, settle_histograms};
use trine_query::scatter::{Item as ScatterItem, QueryContext, Scatter, ShardAnswer};
use trine_store::index::Matcher;
use trine_store::model::Labels;

use crate::load::Series;

struct Shard(Vec<Series>);

impl Shard {
    fn matching<'a>(&'a self, matchers: &'a [Matcher], min_ms: i64, max_ms: i64) -> impl Iterator<Item = &'a Series> {
        let inside = move |t: &i64| (min_ms..=max_ms).contains(t);
        self.0.iter().filter(move |s| {
            let mut times = s.floats.iter().map(|f| &f.0).chain(s.histograms.iter().map(|h| &h.0));
            matchers.iter().all(|m| m.matches(s.labels.get(&m.name).unwrap_or_default())) && times.any(inside)
        })
    }
}

/// The samples in a range, as a shard's view gives them.
fn samples(s: &Series, (min_ms, max_ms): (i64, i64), wants: Wants) -> Samples {
    let inside = |t: i64| (min_ms..=max_ms).contains(&t);
    let mut out = Samples::default();
    let floats: Vec<_> = s.floats.iter().filter(|(t, ..)| inside(*t)).collect();
    out.times_ms = floats.iter().map(|f| f.0).collect();
    out.values = floats.iter().map(|f| f.1).collect();
    if wants.starts && floats.iter().any(|f| f.2 != 0) {
        out.starts_ms = floats.iter().map(|f| f.2).collect();
    }
    let native: Vec<_> = s.histograms.iter().filter(|(t, ..)| inside(*t)).collect();
    let mut histograms: Vec<Histogram> = native.iter().map(|(_, h, _)| Histogram::clone(h)).collect();
    out.histogram_times_ms = native.iter().map(|h| h.0).collect();
    let mut before: Vec<(i64, Option<&Histogram>)> = s.floats.iter().map(|f| (f.0, None)).collect();
    before.extend(s.histograms.iter().map(|(t, h, _)| (*t, Some(&**h))));
    before.sort_by_key(|(t, _)| *t);
    let before = before.into_iter().filter(|(t, _)| *t < min_ms);
    let times = &out.histogram_times_ms;
    settle_histograms(before, min_ms, &out.times_ms, times, &mut histograms, wants.stats_only);
    out.histograms = histograms.into_iter().map(Arc::new).collect();
    if wants.starts {
        out.histogram_starts_ms = native.iter().map(|h| h.2).collect();
    }
    out
}

impl SeriesSource for Shard {
    fn for_each(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
        wants: Wants,
        _memory: &Account,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        self.matching(matchers, range.0, range.1).try_for_each(|s| visit(&s.labels, &mut samples(s, range, wants)))
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
