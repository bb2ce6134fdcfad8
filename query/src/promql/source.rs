//! Where a fragment's series come from: a shard's view, or memory in tests.
mod native;

use trine_store::codec;
use trine_store::index::Matcher;
use trine_store::model::Labels;
use trine_store::part::SampleKind;
use trine_store::tsdb::{self, FloatReader, MetricsView, TextSet};

use super::functions::native::Samples;
use super::histogram::{Histogram, Seen, settle_hints};
use super::metadata::FamilyMetadata;
use crate::error::{Error, Result};
use crate::memory::Account;

/// What a sample weighs while its series is decoded: time, value, and the bits that it is decoded from, which grow.
const SAMPLE_BYTES: u64 = 40;

/// What a visitor wants to know of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Start timestamps, where there are any.
    pub starts: bool,
    /// Of histograms only count and sum.
    pub stats_only: bool,
}

/// The series of one tenant on one shard.
pub trait SeriesSource {
    /// Calls `visit` for every series that satisfies all matchers and has samples in `min_ms..=max_ms`, in label order.
    /// Stale markers are among the samples; hints of histograms are those of [`settle_histograms`].
    /// `memory` is charged for the selection and for the columns while they are visited.
    fn for_each(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
        wants: Wants,
        memory: &Account,
        visit: &mut Visit<'_>,
    ) -> Result<()>;

    /// A name for what the samples of a range are read from, where that is immutable: nothing else ever has it. `None` where there
    /// may be other samples later.
    fn sealed(&self, _range: (i64, i64)) -> Option<Vec<u8>> {
        None
    }

    /// Calls `visit` for every series that matches and has records of one of `kinds` in the range, in label order.
    /// `memory` is charged for the selection and for a series' records while they are visited. None by default.
    fn for_each_recorded(
        &self,
        _matchers: &[Matcher],
        _range: (i64, i64),
        _kinds: &[SampleKind],
        _memory: &Account,
        _visit: &mut VisitRecorded<'_>,
    ) -> Result<()> {
        Ok(())
    }

    /// Calls `visit(labels, compressed pieces, kinds of samples)` for every series that matches and has samples in the range.
    fn for_each_series(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
        memory: &Account,
        visit: &mut VisitSeries<'_>,
    ) -> Result<()> {
        let series = self.series_labels(matchers, range, memory)?;
        series.iter().try_for_each(|labels| visit(labels, 1, &[SampleKind::Float]))
    }

    /// Labels of the series that match and have samples in the range.
    fn series_labels(&self, matchers: &[Matcher], range: (i64, i64), memory: &Account) -> Result<Vec<Labels>>;

    /// Adds the names of labels of the series that match.
    fn label_names(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
        memory: &Account,
        names: &mut TextSet,
    ) -> Result<()> {
        for labels in self.series_labels(matchers, range, memory)? {
            labels.iter().for_each(|(name, _)| names.see(name));
        }
        Ok(names.check()?)
    }

    /// Adds the values of a label of the series that match.
    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: (i64, i64),
        memory: &Account,
        values: &mut TextSet,
    ) -> Result<()> {
        for labels in self.series_labels(matchers, range, memory)? {
            labels.get(name).into_iter().for_each(|value| values.see(value));
        }
        Ok(values.check()?)
    }

    /// Metadata of one family or of all.
    fn metadata(&self, family: Option<&str>) -> Result<Vec<FamilyMetadata>>;
}

/// Takes one series: labels and samples. It may change the columns; they are the visitor's until it returns.
pub type Visit<'a> = dyn FnMut(&Labels, &mut Samples) -> Result<()> + 'a;

/// Makes histograms, as their writers sent them, ready for evaluation: their hints say what their neighbours say, and with
/// `stats_only` there is nothing but count and sum. `before` are the samples before the range, `None` for a float; of the
/// range's own, floats come by their times.
pub fn settle_histograms<'a>(
    before: impl Iterator<Item = (i64, Option<&'a Histogram>)>,
    min_ms: i64,
    float_times: &[i64],
    times: &[i64],
    histograms: &mut [Histogram],
    stats_only: bool,
) {
    let mut seen = Seen::default();
    for (time_ms, sample) in before {
        match sample {
            None => seen.float(),
            // A reader of statistics looks no further back than the open left edge.
            Some(h) => seen.histogram(h, time_ms >= min_ms.saturating_sub(1)),
        }
    }
    settle_hints(seen, float_times, times, histograms, stats_only);
}

/// Takes one series and gives back an error to stop.
pub type VisitRecorded<'a> = dyn FnMut(&Labels, &mut Recorded) -> Result<()> + 'a;

/// Takes one series: labels, compressed pieces, kinds of its samples.
pub type VisitSeries<'a> = dyn FnMut(&Labels, u64, &[SampleKind]) -> Result<()> + 'a;

/// Records that are bytes: (ms, payload) by time.
pub type Blobs = Vec<(i64, Vec<u8>)>;

/// What a series has in a range, as it is stored.
#[derive(Debug, Default)]
pub struct Recorded {
    pub times_ms: Vec<i64>,
    /// Floats, stale markers included.
    pub values: Vec<f64>,
    /// Of each other kind that was asked for: (ms, payload) by time.
    pub blobs: Vec<(SampleKind, Blobs)>,
    /// Compressed pieces that it was read from.
    pub chunks: u64,
}

/// A tenant's part of a shard's view.
#[derive(Debug)]
pub(super) struct StoreSource<'a> {
    pub view: &'a MetricsView,
    pub tenant: &'a str,
}

fn read_error(error: tsdb::Error) -> Error {
    match error {
        tsdb::Error::Read { block, section, source } => {
            let text = format!("{section} of metrics block {block}: {source}");
            Error::Io(std::io::Error::new(source.kind(), text))
        }
        tsdb::Error::Memory(exceeded) => Error::Memory(exceeded),
        other => Error::Corrupt { what: "metrics", reason: other.to_string() },
    }
}

impl SeriesSource for StoreSource<'_> {
    fn for_each(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
        wants: Wants,
        memory: &Account,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let mut samples = Samples::default();
        let (mut reader, mut decoded) = (FloatReader::new(memory), memory.open());
        let mut native = native::Reader::new(self, matchers, range, wants, memory);
        for series in self.view.select_charged(self.tenant, matchers, range, memory).map_err(read_error)? {
            // The columns keep the size of the longest series so far.
            let bytes = series.samples_max().map_err(read_error)? * SAMPLE_BYTES;
            decoded.set(bytes.max(decoded.bytes()))?;
            samples.clear();
            series.read(&mut reader, &mut samples.times_ms, &mut samples.values).map_err(read_error)?;
            if native::HISTOGRAMS.iter().any(|kind| series.has(*kind)) {
                native.histograms_into(&series, &mut samples)?;
            }
            if wants.starts && series.has(SampleKind::StartTimestamp) {
                native::starts_into(&series, &mut samples)?;
            }
            if !samples.is_empty() {
                visit(&series.labels, &mut samples)?;
            }
        }
        Ok(())
    }

    fn sealed(&self, range: (i64, i64)) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        codec::put_bytes(&mut name, self.tenant.as_bytes());
        self.view.sealed(self.tenant, range)?.for_each(|block| codec::put_uvarint(&mut name, block));
        Some(name)
    }

    fn for_each_recorded(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
        kinds: &[SampleKind],
        memory: &Account,
        visit: &mut VisitRecorded<'_>,
    ) -> Result<()> {
        let (mut recorded, mut decoded) = (Recorded::default(), memory.open());
        let mut reader = FloatReader::new(memory);
        for series in self.view.select_kinds(self.tenant, matchers, range, kinds, memory).map_err(read_error)? {
            let mut bytes = 0;
            recorded.times_ms.clear();
            recorded.values.clear();
            recorded.blobs.clear();
            recorded.chunks = series.chunks_count();
            for kind in kinds.iter().filter(|kind| series.has(**kind)) {
                if *kind == SampleKind::Float {
                    bytes += series.samples_max().map_err(read_error)? * SAMPLE_BYTES;
                    decoded.set(bytes.max(decoded.bytes()))?;
                    series.read(&mut reader, &mut recorded.times_ms, &mut recorded.values).map_err(read_error)?;
                    continue;
                }
                let mut blobs = Vec::new();
                series.blobs_into(*kind, &mut blobs).map_err(read_error)?;
                bytes += blobs.iter().map(|(_, payload)| payload.len() as u64 + SAMPLE_BYTES).sum::<u64>();
                decoded.set(bytes.max(decoded.bytes()))?;
                if !blobs.is_empty() {
                    recorded.blobs.push((*kind, blobs));
                }
            }
            if !(recorded.times_ms.is_empty() && recorded.blobs.is_empty()) {
                visit(&series.labels, &mut recorded)?;
            }
        }
        Ok(())
    }

    fn for_each_series(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
        memory: &Account,
        visit: &mut VisitSeries<'_>,
    ) -> Result<()> {
        let all = [SampleKind::Float, SampleKind::IntHistogram, SampleKind::FloatHistogram];
        for series in self.view.select_kinds(self.tenant, matchers, range, &all, memory).map_err(read_error)? {
            let kinds: Vec<SampleKind> = all.into_iter().filter(|kind| series.has(*kind)).collect();
            visit(&series.labels, series.chunks_count(), &kinds)?;
        }
        Ok(())
    }

    fn series_labels(&self, matchers: &[Matcher], range: (i64, i64), memory: &Account) -> Result<Vec<Labels>> {
        self.view.series_labels(self.tenant, matchers, range, memory).map_err(read_error)
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
        memory: &Account,
        names: &mut TextSet,
    ) -> Result<()> {
        self.view.label_names(self.tenant, matchers, range, memory, names).map_err(read_error)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: (i64, i64),
        memory: &Account,
        values: &mut TextSet,
    ) -> Result<()> {
        self.view.label_values(self.tenant, name, matchers, range, memory, values).map_err(read_error)
    }

    fn metadata(&self, family: Option<&str>) -> Result<Vec<FamilyMetadata>> {
        let found = self.view.metadata(self.tenant, family).map_err(read_error)?;
        let put = |(family, m): (String, tsdb::FamilyMetadata)| FamilyMetadata {
            family,
            metric_type: m.metric_type,
            help: m.help,
            unit: m.unit,
        };
        Ok(found.into_iter().map(put).collect())
    }
}
