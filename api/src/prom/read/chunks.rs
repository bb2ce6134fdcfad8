//! A series' records cut into chunks.
use trine_query::promql::SeriesRecords;
use trine_store::part::SampleKind;

use super::{histogram_chunk, xor};
use crate::error::ApiError;
use crate::prom::histogram::{self, Histogram};

/// Samples of a chunk, as Prometheus has it.
const SAMPLES_MAX: usize = 120;

/// What a chunk's bytes are; numbers of `prometheus.Chunk.Encoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Xor = 1,
    Histogram = 2,
    FloatHistogram = 3,
}

/// Samples of some time.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) min_ms: i64,
    pub(super) max_ms: i64,
    pub(super) encoding: Encoding,
    pub(super) data: Vec<u8>,
}

/// The chunks of a series, by time.
pub(super) fn of(series: &SeriesRecords) -> Result<Vec<Chunk>, ApiError> {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    series.floats_into(&mut times, &mut values)?;
    let mut chunks: Vec<Chunk> = Vec::new();
    for (times, values) in times.chunks(SAMPLES_MAX).zip(values.chunks(SAMPLES_MAX)) {
        let (min_ms, max_ms) = (times[0], times[times.len() - 1]);
        chunks.push(Chunk { min_ms, max_ms, encoding: Encoding::Xor, data: xor::encode(times, values) });
    }
    for kind in [SampleKind::IntHistogram, SampleKind::FloatHistogram] {
        let mut open: Vec<Histogram> = Vec::new();
        for (time_ms, payload) in series.blobs(kind) {
            // Bytes were checked when they were taken in; the record's time is the histogram's.
            let Ok(histogram) = histogram::read(payload) else { continue };
            let histogram = Histogram { time_ms, ..histogram };
            let continues = open.last().is_none_or(|before| histogram_chunk::continues(before, &histogram));
            if !continues || open.len() == SAMPLES_MAX {
                chunks.extend(close(&mut open));
            }
            open.push(histogram);
        }
        chunks.extend(close(&mut open));
    }
    chunks.sort_by_key(|chunk| chunk.min_ms);
    Ok(chunks)
}

fn close(open: &mut Vec<Histogram>) -> Option<Chunk> {
    let (first, last) = (open.first()?, open.last()?);
    let encoding = if first.is_float { Encoding::FloatHistogram } else { Encoding::Histogram };
    let (min_ms, max_ms) = (first.time_ms, last.time_ms);
    let data = histogram_chunk::encode(open);
    open.clear();
    Some(Chunk { min_ms, max_ms, encoding, data })
}
