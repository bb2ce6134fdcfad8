//! Collects a shard's results into frames of a bounded size.
use bytes::Bytes;
use hashbrown::HashSet;
use prost::Message;
use trine_store::model::Labels;
use trine_store::part::SampleKind;

use super::{is_oddly_named_counter, too_many_samples};
use crate::error::Result;
use crate::fragment::Sink;
use crate::promql::columns;
use crate::promql::fragment::{
    CountsMessage, FRAME_BYTES, Frame, NonCounter, RecordsMessage, SAMPLES_PER_MESSAGE, STEPS_PER_MESSAGE,
    SamplesMessage, TotalsMessage, VERSION, VectorMessage,
};
use crate::promql::metadata::FamilyMetadata;

/// Metrics named as possible non-counters, a fragment: Prometheus shows ten.
const NON_COUNTERS_MAX: usize = 100;

pub(super) struct Frames<'a, 's> {
    frame: Frame,
    /// About the encoded size of `frame`.
    bytes: usize,
    reply_bytes_left: u64,
    non_counters: HashSet<(u32, String)>,
    sink: &'a mut Sink<'s>,
}

impl<'a, 's> Frames<'a, 's> {
    pub(super) fn new(reply_bytes_max: u64, sink: &'a mut Sink<'s>) -> Self {
        let frame = Frame { version: VERSION, ..Frame::default() };
        Self { frame, bytes: 0, reply_bytes_left: reply_bytes_max, non_counters: HashSet::new(), sink }
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
        self.reply_bytes_left = self.reply_bytes_left.checked_sub(encoded.len() as u64).ok_or_else(too_many_samples)?;
        (self.sink)(Bytes::from(encoded))
    }

    fn grew(&mut self, bytes: usize) -> Result<()> {
        self.bytes += bytes + 16;
        if self.bytes >= FRAME_BYTES { self.flush() } else { Ok(()) }
    }

    pub(super) fn samples(&mut self, select: u32, labels: &Labels, ts: &[i64], vs: &[f64]) -> Result<()> {
        for (ts, vs) in ts.chunks(SAMPLES_PER_MESSAGE).zip(vs.chunks(SAMPLES_PER_MESSAGE)) {
            let labels = labels.as_bytes().to_vec();
            let samples = columns::encode_samples(ts, vs);
            let bytes = labels.len() + samples.len();
            self.frame.samples.push(SamplesMessage { select, labels, samples });
            self.grew(bytes)?;
        }
        Ok(())
    }

    /// Step columns of one series or group, all of the same length.
    pub(super) fn vector(&mut self, select: u32, labels: &Labels, step_columns: &[Vec<f64>]) -> Result<()> {
        let steps = step_columns.first().map_or(0, Vec::len);
        for first in (0..steps).step_by(STEPS_PER_MESSAGE) {
            let end = (first + STEPS_PER_MESSAGE).min(steps);
            let columns: Vec<Vec<u8>> = step_columns.iter().map(|c| columns::encode_steps(&c[first..end])).collect();
            let labels = labels.as_bytes().to_vec();
            let bytes = labels.len() + columns.iter().map(Vec::len).sum::<usize>();
            self.frame.vectors.push(VectorMessage {
                select,
                labels,
                columns,
                first_step: first as u64,
                steps: (end - first) as u64,
            });
            self.grew(bytes)?;
        }
        Ok(())
    }

    /// Names the series' metric once if it does not look like a counter.
    pub(super) fn non_counter(&mut self, select: u32, labels: &Labels) {
        let Some(name) = is_oddly_named_counter(labels) else { return };
        if self.non_counters.len() < NON_COUNTERS_MAX && self.non_counters.insert((select, name.to_owned())) {
            self.frame.non_counters.push(NonCounter { select, name: name.to_owned() });
            self.bytes += name.len() + 16;
        }
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
