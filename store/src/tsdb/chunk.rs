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

impl Scratch {
    /// For columns that stay in memory and are encoded again before long: quick to make, a little longer.
    pub(super) fn quick() -> Self {
        let mut scratch = Self::default();
        scratch.residuals.effort = ints::Effort::Quick;
        scratch
    }
}

/// Runs every decoder of a column over bytes that no checksum vouches for. The first two say how many samples it has.
pub(crate) fn decode_columns(bytes: &[u8]) {
    let Some((count, bytes)) = bytes.split_first_chunk() else { return };
    let count = usize::from(u16::from_le_bytes(*count));
    let (mut ints, mut floats, mut blobs) = (Vec::new(), Vec::new(), Vec::new());
    let is_whole = ints::decode(bytes, count, &mut ints).is_ok();
    assert!(!is_whole || ints.len() == count, "ints");
    let (range, mut part) = (count / 3..count / 2, Vec::new());
    if ints::decode_range(bytes, count, range.clone(), &mut part).is_ok() && is_whole {
        assert_eq!(part, ints[range], "a range of ints");
    }
    part.clear();
    drop(ints::decode_between(bytes, count, (i64::MIN / 2, 1 << 40), &mut part));
    if floats::decode(bytes, count, &mut Scratch::default(), &mut floats).is_ok() {
        assert_eq!(floats.len(), count, "floats");
    }
    if blobs::decode(bytes, count, &mut blobs).is_ok() {
        assert_eq!(blobs.len(), count, "payloads");
    }
}
