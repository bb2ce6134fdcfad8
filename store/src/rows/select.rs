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

impl Selection {
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
