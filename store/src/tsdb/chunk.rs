//! Compressed columns of one series: times, float values, and payloads of the other kinds of records.
//!
//! Lossless to the bit. Byte tables: `docs/formats/metrics-block.md`.
mod bits;
pub(super) mod blobs;
pub(super) mod floats;
pub(super) mod ints;

/// Most samples a chunk may have, so that a hostile count cannot make a reader allocate much.
pub(super) const CHUNK_SAMPLES_LIMIT: usize = u16::MAX as usize;
/// Samples that a writer puts into one chunk at most.
pub(super) const CHUNK_SAMPLES_MAX: usize = 1024;

/// Buffers that encoders and decoders reuse from one chunk to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    ints: Vec<i64>,
    residuals: ints::Residuals,
}
