//! What `load` puts into an engine.
use std::collections::BTreeMap;
use std::sync::Arc;

use trine_query::promql::histogram::{Buckets, CUSTOM, Histogram};
use trine_store::index::compare_labels;
use trine_store::model::{Labels, STALE_NAN_BITS};

use crate::script::{Item, Loaded};

/// Samples of one series, each with its start timestamp in ms, 0 for none.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) floats: Vec<(i64, f64, i64)>,
    pub(crate) histograms: Vec<(i64, Arc<Histogram>, i64)>,
}

impl Series {
    pub(crate) fn new(labels: Labels) -> Self {
        Self { labels, floats: Vec::new(), histograms: Vec::new() }
    }
}

/// The series that one `load` describes, in label order.
pub(crate) fn series_of(loaded: Vec<Loaded>) -> Vec<Series> {
    // A metric that one `load` spells out twice has the later samples.
    let later = |i: usize| loaded[i + 1..].iter().any(|l| l.labels == loaded[i].labels);
    let last: Vec<&Loaded> = loaded.iter().enumerate().filter(|(i, _)| !later(*i)).map(|(_, l)| l).collect();
    let mut out: Vec<Series> = last.iter().map(|l| samples_of(l)).collect();
    let classics: Vec<Series> =
        out.iter().zip(&last).filter(|(_, l)| l.with_nhcb).map(|(series, _)| series.clone()).collect();
    out.extend(native_of(&classics));
    out.sort_by(|a, b| compare_labels(a.labels.as_bytes(), b.labels.as_bytes()));
    out
}

fn samples_of(l: &Loaded) -> Series {
    let mut out = Series::new(l.labels.clone());
    for (i, item) in l.items.iter().enumerate() {
        let time_ms = i as i64 * l.step_ms;
        let start_ms = l.starts.get(i).copied().flatten().map_or(0, |offset| time_ms + offset);
        match item {
            Item::Missing => {}
            Item::Float(v) => out.floats.push((time_ms, *v, start_ms)),
            Item::Stale => out.floats.push((time_ms, f64::from_bits(STALE_NAN_BITS), start_ms)),
            Item::Histogram(h, _) => out.histograms.push((time_ms, h.clone(), start_ms)),
        }
    }
    out
}

/// A classic histogram at one time.
#[derive(Default)]
struct Classic {
    /// (upper bound, cumulative count)
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The native histograms with custom buckets that classic ones are converted to.
fn native_of(classics: &[Series]) -> Vec<Series> {
    let mut all: BTreeMap<String, (Labels, BTreeMap<i64, Classic>)> = BTreeMap::new();
    for s in classics {
        let name = s.labels.get("__name__").unwrap_or_default();
        let suffix = ["_bucket", "_sum", "_count"].into_iter().find(|suffix| name.ends_with(suffix));
        let Some(suffix) = suffix else { continue };
        let bound = s.labels.get("le").and_then(crate::script::number);
        if suffix == "_bucket" && bound.is_none_or(f64::is_nan) {
            continue;
        }
        let base = name.strip_suffix(suffix).unwrap();
        let rest = s.labels.iter().filter(|(n, _)| *n != "__name__" && *n != "le");
        let labels = Labels::from_pairs(rest.chain([("__name__", base)])).unwrap();
        let (_, times) = all.entry(labels.to_string()).or_insert_with(|| (labels, BTreeMap::new()));
        for (time_ms, value, _) in &s.floats {
            let classic = times.entry(*time_ms).or_default();
            match suffix {
                "_bucket" => classic.buckets.push((bound.unwrap(), *value)),
                "_sum" => classic.sum = *value,
                _ => classic.count = Some(*value),
            }
        }
    }
    let convert = |(labels, times): (Labels, BTreeMap<i64, Classic>)| {
        let histograms = times.into_iter().map(|(time_ms, classic)| (time_ms, Arc::new(classic.native()), 0));
        Series { histograms: histograms.collect(), ..Series::new(labels) }
    };
    all.into_values().map(convert).collect()
}

impl Classic {
    fn native(mut self) -> Histogram {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by(|next, kept| next.0 == kept.0);
        let count = self.count.unwrap_or_else(|| self.buckets.last().map_or(0.0, |b| b.1));
        if self.buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut positive = Buckets::default();
        let mut before = 0.0;
        for (i, (_, cumulative)) in self.buckets.iter().enumerate() {
            positive.index.push(i as i32);
            positive.count.push(cumulative - before);
            before = *cumulative;
        }
        let bounds: Vec<f64> = self.buckets.iter().map(|b| b.0).filter(|b| b.is_finite()).collect();
        let custom = Some(Arc::from(bounds));
        Histogram { schema: CUSTOM, count, sum: self.sum, positive, custom, ..Histogram::default() }.compacted()
    }
}
