//! What readers see of the metrics of one shard.
use std::sync::Arc;

use super::{Block, HeadView, Result};
use crate::index::Matcher;
use crate::model::Labels;
use crate::part::SampleKind;

/// Heads being sealed, the open head, and sealed blocks of one shard: a consistent cut.
///
/// Where a series has two values at one time, the one of the lowest log position is seen: blocks before heads, each in
/// the order of its list.
#[derive(Clone, Debug, Default)]
pub struct MetricsView {
    /// Oldest first; the last one is open.
    pub heads: Vec<Arc<HeadView>>,
    /// In seal order.
    pub blocks: Vec<Arc<Block>>,
}

/// Type, help and unit of a metric family, as the newest write gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyMetadata {
    /// As in remote write: 0 unknown, 1 counter, 2 gauge, 3 histogram, …
    pub metric_type: u8,
    pub help: String,
    pub unit: String,
}

/// Sizes of a view, before duplicates across blocks are removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewStats {
    pub series: u64,
    pub facts: u64,
    pub blocks: u64,
    pub bytes: u64,
}

impl MetricsView {
    /// Series of `tenant` that satisfy all matchers and have a chunk that overlaps `min_ms..=max_ms`, in the order of
    /// [`crate::index::compare_labels`]. Samples are decoded series by series, when asked for.
    pub fn select(&self, _tenant: &str, _matchers: &[Matcher], _min_ms: i64, _max_ms: i64) -> Result<SeriesSet> {
        Ok(SeriesSet { left: Vec::new().into_iter() })
    }

    /// Labels of the series that have samples (not only exemplars) in chunks overlapping the range; sorted.
    pub fn series_labels(&self, _tenant: &str, _matchers: &[Matcher], _min_ms: i64, _max_ms: i64) -> Result<Vec<Labels>> {
        Ok(Vec::new())
    }

    /// Names of labels of the series that match, sorted. Without matchers at the granularity of blocks.
    pub fn label_names(&self, _tenant: &str, _matchers: &[Matcher], _min_ms: i64, _max_ms: i64) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Values of label `name` of the series that match, sorted. Without matchers at the granularity of blocks.
    pub fn label_values(
        &self,
        _tenant: &str,
        _name: &str,
        _matchers: &[Matcher],
        _min_ms: i64,
        _max_ms: i64,
    ) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Metadata of one family or of all, by family name.
    pub fn metadata(&self, _tenant: &str, _family: Option<&str>) -> Result<Vec<(String, FamilyMetadata)>> {
        Ok(Vec::new())
    }

    /// Tenants with series or metadata, sorted.
    pub fn tenants(&self) -> Result<Vec<Arc<str>>> {
        Ok(Vec::new())
    }

    pub fn stats(&self) -> ViewStats {
        ViewStats::default()
    }
}

/// Selected series, in label order.
#[derive(Debug)]
pub struct SeriesSet {
    left: std::vec::IntoIter<Series>,
}

impl Iterator for SeriesSet {
    type Item = Series;

    fn next(&mut self) -> Option<Series> {
        self.left.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

/// One selected series; its samples are decoded on demand.
#[derive(Debug)]
pub struct Series {
    pub labels: Labels,
}

impl Series {
    /// Replaces the columns' contents by the float samples in the selected range: times strictly rising, values bit
    /// for bit as they came (stale markers included).
    pub fn samples_into(&self, times_ms: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<()> {
        times_ms.clear();
        values.clear();
        Ok(())
    }

    /// Replaces the contents of `out` by (time in ms, payload) of records of `kind` (not floats), by time.
    pub fn blobs_into(&self, _kind: SampleKind, out: &mut Vec<(i64, Vec<u8>)>) -> Result<()> {
        out.clear();
        Ok(())
    }

    /// Whether there may be records of `kind` in the selected range.
    pub fn has(&self, _kind: SampleKind) -> bool {
        false
    }
}
