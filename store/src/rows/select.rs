//! The streams of a scan, numbered by key over all sources, and which of each source's references they are.
use std::sync::Arc;

use super::piece::Source;
use super::scan::StreamSelector;
use super::stream::{StreamInfo, StreamRef};

/// Mark of a reference that is not selected.
pub(crate) const NOT_SELECTED: u32 = u32::MAX;

/// Selected streams in key order.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    pub(crate) streams: Vec<Arc<StreamInfo>>,
    /// Of each source: stream number of each reference, or [`NOT_SELECTED`].
    numbers: Vec<Vec<u32>>,
}

/// Bytes that a selection keeps for a stream of a source, selected or not, and a merge for a piece.
const STREAM_BYTES: u64 = 24;
const PIECE_BYTES: u64 = 96;

impl Selection {
    /// About the memory of a merge over `sources` before it has opened any piece: at most.
    pub(crate) fn bytes(sources: &[Source]) -> u64 {
        let of = |s: &Source| u64::from(s.streams.len()) * STREAM_BYTES + s.pieces.len() as u64 * PIECE_BYTES;
        sources.iter().map(of).sum()
    }

    pub(crate) fn new(tenant: &str, selector: &StreamSelector, sources: &[Source]) -> Self {
        let mut found: Vec<(Arc<StreamInfo>, u32, u32)> = Vec::new();
        for (at, source) in sources.iter().enumerate() {
            let refs = source.streams.select(tenant, selector);
            found.extend(
                refs.into_iter().filter_map(|r| Some((source.streams.get(StreamRef(r))?.clone(), at as u32, r))),
            );
        }
        found.sort_by(|a, b| a.0.key().cmp(b.0.key()));
        let mut selection = Self {
            streams: Vec::new(),
            numbers: sources.iter().map(|s| vec![NOT_SELECTED; s.streams.len() as usize]).collect(),
        };
        for (stream, source, at) in found {
            if selection.streams.last().is_none_or(|last| last.key() != stream.key()) {
                selection.streams.push(stream);
            }
            selection.numbers[source as usize][at as usize] = selection.streams.len() as u32 - 1;
        }
        selection
    }

    /// Number of a source's stream, or [`NOT_SELECTED`].
    pub(crate) fn number(&self, source: usize, stream_ref: u32) -> u32 {
        self.numbers[source].get(stream_ref as usize).copied().unwrap_or(NOT_SELECTED)
    }
}
