//! Tail batches: the decoded columns of recently applied parts, in log order.
use super::pieces::Piece;
use crate::part::SampleKind;

/// Samples as they came. The three float columns are equally long.
#[derive(Clone, Debug, Default)]
pub(in crate::tsdb) struct Batch {
    pub(in crate::tsdb) series: Vec<u32>,
    pub(in crate::tsdb) times_ms: Vec<i64>,
    pub(in crate::tsdb) bits: Vec<u64>,
    pub(in crate::tsdb) blobs: Vec<BlobRecord>,
    payloads: Vec<u8>,
}

/// A histogram, start timestamp or exemplar; its payload lies in the batch.
#[derive(Clone, Copy, Debug)]
pub(in crate::tsdb) struct BlobRecord {
    pub(in crate::tsdb) series: u32,
    pub(in crate::tsdb) kind: SampleKind,
    pub(in crate::tsdb) time_ms: i64,
    start: usize,
    len: usize,
}

impl Batch {
    pub(super) fn with_capacity(floats: usize) -> Self {
        Self {
            series: Vec::with_capacity(floats),
            times_ms: Vec::with_capacity(floats),
            bits: Vec::with_capacity(floats),
            ..Self::default()
        }
    }

    #[inline]
    pub(super) fn push(&mut self, series: u32, time_ms: i64, bits: u64) {
        self.series.push(series);
        self.times_ms.push(time_ms);
        self.bits.push(bits);
    }

    pub(super) fn push_blob(&mut self, series: u32, kind: SampleKind, time_ms: i64, payload: &[u8]) {
        let start = self.payloads.len();
        self.payloads.extend_from_slice(payload);
        self.blobs.push(BlobRecord { series, kind, time_ms, start, len: payload.len() });
    }

    pub(in crate::tsdb) fn payload(&self, record: &BlobRecord) -> &[u8] {
        &self.payloads[record.start..record.start + record.len]
    }

    /// Samples of all kinds.
    pub(in crate::tsdb) fn len(&self) -> usize {
        self.series.len() + self.blobs.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.series.len() * 20 + self.blobs.len() * size_of::<BlobRecord>() + self.payloads.len()
    }
}

impl Piece for Batch {
    fn size(&self) -> usize {
        self.len()
    }

    fn append(&mut self, newer: Self) {
        self.series.extend_from_slice(&newer.series);
        self.times_ms.extend_from_slice(&newer.times_ms);
        self.bits.extend_from_slice(&newer.bits);
        let shift = self.payloads.len();
        self.payloads.extend_from_slice(&newer.payloads);
        self.blobs.extend(newer.blobs.iter().map(|b| BlobRecord { start: b.start + shift, ..*b }));
    }
}
