//! Collects a shard's results into frames of a bounded size.
use std::collections::BTreeMap;

use bytes::Bytes;
use hashbrown::HashSet;
use prost::Message;
use trine_store::model::Labels;
use trine_store::part::SampleKind;

use super::{Left, is_oddly_named_counter};
use crate::error::Result;
use crate::fragment::Sink;
use crate::promql::columns;
use crate::promql::counts::StepCounts;
use crate::promql::fragment::{
    CountsMessage, FRAME_BYTES, Frame, NonCounter, NoteMessage, RecordsMessage, SAMPLES_PER_MESSAGE, STEPS_PER_MESSAGE,
    SamplesMessage, StepCountsMessage, StepHistograms, TotalsMessage, VERSION, VectorMessage,
};
use crate::promql::functions::native::{Note, Samples};
use crate::promql::histogram::wire::HistogramMessage;
use crate::promql::histogram::{Histogram, HistogramColumn};
use crate::promql::metadata::FamilyMetadata;
use crate::promql::parser::METRIC_NAME;

/// Metrics named in notes of one kind, a fragment: Prometheus shows ten.
const NON_COUNTERS_MAX: usize = 100;
const NOTES_MAX: usize = 500;
/// Bytes of histograms in one message.
const HISTOGRAMS_BYTES: u64 = 128 << 10;

pub(super) struct Frames<'a, 's> {
    frame: Frame,
    /// About the encoded size of `frame`.
    bytes: usize,
    left: &'a Left,
    non_counters: HashSet<(u32, String)>,
    /// How often by selector, kind and metric; sent at the end.
    notes: BTreeMap<(u32, Note, String), u64>,
    sink: &'a mut Sink<'s>,
}

impl<'a, 's> Frames<'a, 's> {
    pub(super) fn new(left: &'a Left, sink: &'a mut Sink<'s>) -> Self {
        let frame = Frame { version: VERSION, ..Frame::default() };
        Self { frame, bytes: 0, left, non_counters: HashSet::new(), notes: BTreeMap::new(), sink }
    }

    /// What follows is from this shard.
    pub(super) fn begin(&mut self, shard: u32) -> Result<()> {
        if self.frame.shard != shard {
            self.flush()?;
            self.frame.shard = shard;
        }
        Ok(())
    }

    pub(super) fn read(&mut self, samples: u64) {
        self.frame.samples_read += samples;
    }

    /// Sends what was collected, if anything was.
    pub(super) fn flush(&mut self) -> Result<()> {
        let shard = self.frame.shard;
        let empty = Frame { version: VERSION, shard, ..Frame::default() };
        if self.frame == empty {
            return Ok(());
        }
        let encoded = std::mem::replace(&mut self.frame, empty).encode_to_vec();
        self.bytes = 0;
        self.left.reply(encoded.len() as u64)?;
        (self.sink)(Bytes::from(encoded))
    }

    fn grew(&mut self, bytes: usize) -> Result<()> {
        self.bytes += bytes + 16;
        if self.bytes >= FRAME_BYTES { self.flush() } else { Ok(()) }
    }

    /// Floats of one series, by time.
    pub(super) fn floats(&mut self, select: u32, labels: &Labels, times_ms: &[i64], values: &[f64]) -> Result<()> {
        for (ts, vs) in times_ms.chunks(SAMPLES_PER_MESSAGE).zip(values.chunks(SAMPLES_PER_MESSAGE)) {
            let labels = labels.as_bytes().to_vec();
            let samples = columns::encode_samples(ts, vs);
            let bytes = labels.len() + samples.len();
            self.frame.samples.push(SamplesMessage { select, labels, samples, histograms: Vec::new() });
            self.grew(bytes)?;
        }
        Ok(())
    }

    /// All samples of one series.
    pub(super) fn samples(&mut self, select: u32, labels: &Labels, samples: &Samples) -> Result<()> {
        self.floats(select, labels, &samples.times_ms, &samples.values)?;
        let mut rest = samples.histogram_times_ms.iter().zip(&samples.histograms).peekable();
        while rest.peek().is_some() {
            let (mut histograms, mut bytes) = (Vec::new(), labels.as_bytes().len() as u64);
            while bytes < HISTOGRAMS_BYTES
                && let Some((time_ms, h)) = rest.next()
            {
                histograms.push(HistogramMessage { timestamp: *time_ms, ..HistogramMessage::from(&**h) });
                bytes += message_bytes(h);
            }
            let labels = labels.as_bytes().to_vec();
            self.frame.samples.push(SamplesMessage { select, labels, samples: Vec::new(), histograms });
            self.grew(bytes as usize)?;
        }
        Ok(())
    }

    /// Step columns of one series or group, all of the same length, and the histograms of a series.
    pub(super) fn vector(
        &mut self,
        select: u32,
        labels: &Labels,
        step_columns: &[&[f64]],
        histograms: &HistogramColumn,
        is_loose: bool,
    ) -> Result<()> {
        let steps = step_columns.first().map_or(0, |column| column.len());
        let mut first = 0;
        while first < steps {
            let mut end = (first + STEPS_PER_MESSAGE).min(steps);
            let (mut runs, mut histogram_bytes) = (Vec::new(), 0);
            if !histograms.is_empty() {
                (runs, end, histogram_bytes) = runs_of(histograms, first, end);
            }
            let columns: Vec<Vec<u8>> = step_columns.iter().map(|c| columns::encode_steps(&c[first..end])).collect();
            let labels = labels.as_bytes().to_vec();
            let bytes = labels.len() + columns.iter().map(Vec::len).sum::<usize>() + histogram_bytes as usize;
            self.frame.vectors.push(VectorMessage {
                select,
                labels,
                columns,
                first_step: first as u64,
                steps: (end - first) as u64,
                histograms: runs,
                is_loose,
            });
            self.grew(bytes)?;
            first = end;
        }
        Ok(())
    }

    /// What a function says of the series' metric.
    pub(super) fn note(&mut self, select: u32, labels: &Labels, note: Note, count: u64) {
        let metric = match note {
            Note::HistogramInfoMetric => labels.to_string(),
            _ => labels.get(METRIC_NAME).unwrap_or_default().to_owned(),
        };
        let full = self.notes.len() >= NOTES_MAX;
        match self.notes.entry((select, note, metric)) {
            std::collections::btree_map::Entry::Occupied(mut known) => *known.get_mut() += count,
            std::collections::btree_map::Entry::Vacant(_) if full => {}
            std::collections::btree_map::Entry::Vacant(new) => drop(new.insert(count)),
        }
    }

    /// Sends the rest. Samples that were read and have no frame to tell of them.
    pub(super) fn finish_shard(&mut self) -> Result<u64> {
        let read = std::mem::take(&mut self.frame.samples_read);
        let shard = self.frame.shard;
        let is_empty = self.notes.is_empty() && self.frame == Frame { version: VERSION, shard, ..Frame::default() };
        if is_empty {
            return Ok(read);
        }
        self.frame.samples_read = read;
        self.finish().map(|()| 0)
    }

    /// Sends the rest.
    pub(super) fn finish(&mut self) -> Result<()> {
        for ((select, note, metric), count) in std::mem::take(&mut self.notes) {
            self.frame.notes.push(NoteMessage { select, note: note as u32, metric, count });
        }
        self.flush()
    }

    /// Names the series' metric once if it does not look like a counter. Whether it does not.
    pub(super) fn non_counter(&mut self, select: u32, labels: &Labels) -> bool {
        let Some(name) = is_oddly_named_counter(labels) else { return false };
        if self.non_counters.len() < NON_COUNTERS_MAX && self.non_counters.insert((select, name.to_owned())) {
            self.frame.non_counters.push(NonCounter { select, name: name.to_owned() });
            self.bytes += name.len() + 16;
        }
        true
    }

    /// Samples by step of a selector.
    pub(super) fn step_counts(&mut self, select: u32, counts: &StepCounts) -> Result<()> {
        let parts = counts.queryable.chunks(STEPS_PER_MESSAGE).zip(counts.read.chunks(STEPS_PER_MESSAGE));
        for (part, (queryable, read)) in parts.enumerate() {
            let (first_step, bytes) = ((part * STEPS_PER_MESSAGE) as u64, 2 * size_of_val(queryable));
            let (queryable, read) = (queryable.to_vec(), read.to_vec());
            self.frame.step_counts.push(StepCountsMessage { select, first_step, queryable, read });
            self.grew(bytes)?;
        }
        Ok(())
    }

    pub(super) fn label_set(&mut self, labels: &Labels) -> Result<()> {
        self.frame.label_sets.push(labels.as_bytes().to_vec());
        self.grew(labels.as_bytes().len())
    }

    pub(super) fn text(&mut self, text: String) -> Result<()> {
        let bytes = text.len();
        self.frame.texts.push(text);
        self.grew(bytes)
    }

    pub(super) fn family(&mut self, family: FamilyMetadata) -> Result<()> {
        let bytes = family.family.len() + family.help.len() + family.unit.len();
        self.frame.families.push(family.into());
        self.grew(bytes)
    }

    /// Records of one kind of a series, (ms, payload) by time.
    pub(super) fn records(
        &mut self,
        set: u32,
        labels: &Labels,
        kind: SampleKind,
        records: &mut Vec<(i64, Vec<u8>)>,
    ) -> Result<()> {
        let mut rest = records.drain(..).peekable();
        while rest.peek().is_some() {
            let mut message =
                RecordsMessage { set, labels: labels.as_bytes().to_vec(), kind: kind as u32, ..Default::default() };
            let mut bytes = message.labels.len();
            while let Some((time_ms, payload)) = rest.next_if(|_| bytes < FRAME_BYTES) {
                bytes += payload.len() + 12;
                message.times_ms.push(time_ms);
                message.payloads.push(payload);
            }
            self.frame.records.push(message);
            self.grew(bytes)?;
        }
        Ok(())
    }

    /// Series by value of one label.
    pub(super) fn counts(&mut self, name: &str, counts: impl Iterator<Item = (String, u64)>) -> Result<()> {
        let mut counts = counts.peekable();
        while counts.peek().is_some() {
            let mut message = CountsMessage { name: name.to_owned(), ..CountsMessage::default() };
            let mut bytes = name.len();
            while let Some((value, series)) = counts.next_if(|_| bytes < FRAME_BYTES) {
                bytes += value.len() + 8;
                message.values.push(value);
                message.series.push(series);
            }
            self.frame.counts.push(message);
            self.grew(bytes)?;
        }
        Ok(())
    }

    /// What the shard has in all; once a shard.
    pub(super) fn totals(&mut self, totals: TotalsMessage) {
        self.frame.totals = Some(totals);
        self.bytes += 32;
    }
}

/// About the bytes of a histogram in a message.
fn message_bytes(h: &Histogram) -> u64 {
    h.bytes() + 8 * h.bounds().len() as u64
}

/// The histograms of steps from `first` on, each with how many steps in a row it stands for; the step before which they
/// end, at most `end`, and about their bytes.
fn runs_of(column: &HistogramColumn, first: usize, end: usize) -> (Vec<StepHistograms>, usize, u64) {
    let mut runs: Vec<StepHistograms> = Vec::new();
    let (mut last, mut bytes) = (None, 0);
    for step in first..end {
        let Some(h) = column.get(step) else {
            last = None;
            continue;
        };
        match (last, runs.last_mut()) {
            (Some(last), Some(run)) if std::sync::Arc::ptr_eq(last, h) => run.count += 1,
            _ if bytes >= HISTOGRAMS_BYTES => return (runs, step, bytes),
            _ => {
                bytes += message_bytes(h);
                let histogram = Some(HistogramMessage::from(&**h));
                runs.push(StepHistograms { step: (step - first) as u64, count: 1, histogram });
            }
        }
        last = Some(h);
    }
    (runs, end, bytes)
}
