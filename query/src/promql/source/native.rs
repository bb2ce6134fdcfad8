//! Histograms and start timestamps out of a view.
use std::sync::Arc;

use hashbrown::HashMap;
use trine_store::codec;
use trine_store::index::Matcher;
use trine_store::model::Labels;
use trine_store::part::SampleKind;
use trine_store::tsdb::Series;

use super::{Samples, StoreSource, Wants, read_error, settle_histograms};
use crate::error::{Error, Result};
use crate::memory::{Account, Charge};
use crate::promql::histogram::Histogram;
use crate::promql::histogram::wire::decode_stored;

/// Kinds of records that are histograms.
pub(super) const HISTOGRAMS: [SampleKind; 2] = [SampleKind::IntHistogram, SampleKind::FloatHistogram];

/// How far before a range the sample is looked for that says whether the first histogram in it is a counter's reset.
const BEFORE_MS: i64 = 60 * 60 * 1000;

/// The last sample before the range: its time, and the histogram if it is one.
type Before = (i64, Option<Histogram>);

/// Reads the histograms of a selection. What lies before the range is read once there is a series that has any.
pub(super) struct Reader<'a> {
    source: &'a StoreSource<'a>,
    matchers: &'a [Matcher],
    range: (i64, i64),
    wants: Wants,
    memory: &'a Account,
    before: Option<HashMap<Labels, Before>>,
    /// For the histograms of the series that is being visited, and for `before`.
    held: Charge,
    held_before: Charge,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        source: &'a StoreSource<'a>,
        matchers: &'a [Matcher],
        range: (i64, i64),
        wants: Wants,
        memory: &'a Account,
    ) -> Self {
        let (held, held_before) = (memory.open(), memory.open());
        Self { source, matchers, range, wants, memory, before: None, held, held_before }
    }

    /// Fills in the histograms of a series whose floats are there already.
    pub(super) fn histograms_into(&mut self, series: &Series, samples: &mut Samples) -> Result<()> {
        let mut all = decode(series)?;
        // Of two samples at one time the float stays: that is what a reader of floats has always seen.
        all.retain(|(time_ms, ..)| samples.times_ms.binary_search(time_ms).is_err());
        if all.is_empty() {
            return Ok(());
        }
        self.held.set(all.iter().map(|(_, h, _)| h.bytes()).sum())?;
        let before = self.before(&series.labels)?;
        let before = before.iter().map(|(time_ms, h)| (*time_ms, h.as_ref()));
        let times: Vec<i64> = all.iter().map(|(time_ms, ..)| *time_ms).collect();
        let starts: Vec<i64> = all.iter().map(|(.., start_ms)| *start_ms).collect();
        let mut histograms: Vec<Histogram> = all.into_iter().map(|(_, h, _)| h).collect();
        let stats_only = self.wants.stats_only;
        settle_histograms(before, self.range.0, &samples.times_ms, &times, &mut histograms, stats_only);
        samples.histogram_times_ms = times;
        samples.histograms = histograms.into_iter().map(Arc::new).collect();
        if self.wants.starts {
            samples.histogram_starts_ms = starts;
        }
        Ok(())
    }

    fn before(&mut self, labels: &Labels) -> Result<Option<Before>> {
        if self.before.is_none() {
            self.before = Some(self.read_before()?);
        }
        Ok(self.before.as_mut().and_then(|all| all.remove(labels)))
    }

    /// The last sample of each series before the range, where histograms are among them.
    fn read_before(&mut self) -> Result<HashMap<Labels, Before>> {
        let end = self.range.0.saturating_sub(1);
        let range = (end.saturating_sub(BEFORE_MS), end);
        let StoreSource { view, tenant } = self.source;
        let mut out = HashMap::new();
        let (mut times, mut values) = (Vec::new(), Vec::new());
        for series in view.select_charged(tenant, self.matchers, range, self.memory).map_err(read_error)? {
            if !HISTOGRAMS.iter().any(|kind| series.has(*kind)) {
                continue;
            }
            let Some((time_ms, h, _)) = decode(&series)?.pop() else { continue };
            series.samples_into(&mut times, &mut values).map_err(read_error)?;
            let before = match times.last() {
                Some(float_ms) if *float_ms >= time_ms => (*float_ms, None),
                _ => (time_ms, Some(h)),
            };
            let weight = before.1.as_ref().map_or(0, Histogram::bytes) + crate::memory::labels_bytes(&series.labels);
            self.held_before.add(weight)?;
            out.insert(series.labels, before);
        }
        Ok(out)
    }
}

/// Time, histogram and start timestamp of all records, by time.
fn decode(series: &Series) -> Result<Vec<(i64, Histogram, i64)>> {
    let mut out: Vec<(i64, Histogram, i64)> = Vec::new();
    let mut blobs = Vec::new();
    for kind in HISTOGRAMS {
        if !series.has(kind) {
            continue;
        }
        series.blobs_into(kind, &mut blobs).map_err(read_error)?;
        let is_first = out.is_empty();
        for (time_ms, payload) in blobs.drain(..) {
            let (h, start_ms) = decode_stored(&payload)?;
            out.push((time_ms, h, start_ms));
        }
        if !is_first {
            out.sort_by_key(|(time_ms, ..)| *time_ms);
            out.dedup_by_key(|(time_ms, ..)| *time_ms);
        }
    }
    Ok(out)
}

/// Fills in the start timestamps of a series' floats.
pub(super) fn starts_into(series: &Series, samples: &mut Samples) -> Result<()> {
    let mut blobs = Vec::new();
    series.blobs_into(SampleKind::StartTimestamp, &mut blobs).map_err(read_error)?;
    if blobs.is_empty() || samples.times_ms.is_empty() {
        return Ok(());
    }
    samples.starts_ms = vec![0; samples.times_ms.len()];
    // A record belongs to the sample at its time, and to no other.
    let mut at = 0;
    for (time_ms, payload) in blobs {
        while at < samples.times_ms.len() && samples.times_ms[at] < time_ms {
            at += 1;
        }
        if samples.times_ms.get(at) == Some(&time_ms) {
            samples.starts_ms[at] = start_of(&payload)?;
        }
    }
    Ok(())
}

/// The payload of a start timestamp's record: Unix ms.
fn start_of(payload: &[u8]) -> Result<i64> {
    let start_ms = codec::Reader::new(payload).ivarint("start timestamp");
    start_ms.map_err(|e| Error::Corrupt { what: "start timestamp", reason: e.to_string() })
}
