//! `prometheus.ChunkedReadResponse`: frames, each with its length and checksum, in label order.
use std::vec::IntoIter;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use tokio::sync::SemaphorePermit;
use trine_query::memory::{Account, hold};
use trine_query::promql::{Found, SeriesRecords};
use trine_query::scatter::{Completeness, QueryContext};
use trine_store::codec::{put_bytes, put_uvarint};
use trine_store::model::Labels;

use super::chunks::{self, Chunk};
use super::crc32c::crc32c;
use crate::call::Outcome;
use crate::error::ApiError;
use crate::reply;

/// Bytes of chunks after which a frame is closed, and of frames that are made at a time.
const FRAME_BYTES: usize = 1 << 20;
const CONTENT_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// A stream of all results; `slot` is given back with its end.
pub(super) fn respond(
    ctx: &QueryContext,
    results: Vec<Found>,
    external: Vec<(String, String)>,
    slot: SemaphorePermit<'static>,
) -> Outcome {
    let mut completeness = Completeness::default();
    results.iter().for_each(|found| completeness.add_all(found.completeness.clone()));
    let frames = Frames { query: 0, results: results.into_iter(), open: None, external, memory: ctx.memory.clone() };
    let body = stream::try_unfold((frames, slot), |(frames, slot)| async move {
        // Encoding a megabyte takes milliseconds: not on a thread that answers requests.
        let made = tokio::task::spawn_blocking(move || {
            let mut frames = frames;
            let batch = frames.batch();
            (frames, batch)
        });
        let (frames, batch) = made.await.map_err(|e| ApiError::Internal(format!("remote read: {e}")))?;
        Ok::<_, ApiError>(batch?.map(|bytes| (bytes, (frames, slot))))
    });
    let response = reply::with_type(http::StatusCode::OK, CONTENT_TYPE, Body::from_stream(body));
    Ok(reply::complete(response, &completeness))
}

struct Frames {
    /// Number of the open result.
    query: u64,
    results: IntoIter<Found>,
    open: Option<(Found, usize)>,
    external: Vec<(String, String)>,
    memory: Account,
}

impl Frames {
    /// About a megabyte of frames; `None` at the end.
    fn batch(&mut self) -> Result<Option<Bytes>, ApiError> {
        let mut out = Vec::new();
        while out.len() < FRAME_BYTES {
            if self.open.is_none() {
                self.open = self.results.next().map(|found| (found, 0));
            }
            let Some((found, at)) = &mut self.open else { break };
            match found.series.get(*at) {
                Some(series) => {
                    put_series(&mut out, series, &self.external, self.query)?;
                    *at += 1;
                }
                None => {
                    self.open = None;
                    self.query += 1;
                }
            }
        }
        if out.is_empty() {
            return Ok(None);
        }
        Ok(Some(hold(&self.memory, out.into()).map_err(trine_query::Error::from)?))
    }
}

/// The frames of one series.
fn put_series(
    out: &mut Vec<u8>,
    series: &SeriesRecords,
    external: &[(String, String)],
    query: u64,
) -> Result<(), ApiError> {
    let mut labels = Vec::new();
    put_labels(&mut labels, &series.labels, external);
    let mut message = labels.clone();
    for chunk in chunks::of(series)? {
        if message.len() >= FRAME_BYTES {
            put_frame(out, &message, query);
            message.clone_from(&labels);
        }
        message.push(0x12);
        put_bytes(&mut message, &encode_chunk(&chunk));
    }
    put_frame(out, &message, query);
    Ok(())
}

/// Length, checksum, and the message with one ChunkedSeries.
fn put_frame(out: &mut Vec<u8>, series: &[u8], query: u64) {
    let mut message = Vec::with_capacity(series.len() + 16);
    message.push(0x0a);
    put_bytes(&mut message, series);
    if query > 0 {
        message.push(0x10);
        put_uvarint(&mut message, query);
    }
    put_uvarint(out, message.len() as u64);
    out.extend_from_slice(&crc32c(&message).to_be_bytes());
    out.extend_from_slice(&message);
}

fn encode_chunk(chunk: &Chunk) -> Vec<u8> {
    let mut out = Vec::with_capacity(chunk.data.len() + 32);
    for (tag, time_ms) in [(0x08, chunk.min_ms), (0x10, chunk.max_ms)] {
        out.push(tag);
        put_uvarint(&mut out, time_ms as u64);
    }
    out.extend_from_slice(&[0x18, chunk.encoding as u8, 0x22]);
    put_bytes(&mut out, &chunk.data);
    out
}

/// Field 1, repeated: labels in name order, with the external ones that a series does not have itself.
pub(super) fn put_labels(out: &mut Vec<u8>, labels: &Labels, external: &[(String, String)]) {
    let added = external.iter().filter(|(name, _)| labels.get(name).is_none());
    let mut all: Vec<(&str, &str)> =
        labels.iter().chain(added.map(|(name, value)| (name.as_str(), value.as_str()))).collect();
    all.sort_unstable();
    for (name, value) in all {
        let mut label = vec![0x0a];
        put_bytes(&mut label, name.as_bytes());
        label.push(0x12);
        put_bytes(&mut label, value.as_bytes());
        out.push(0x0a);
        put_bytes(out, &label);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_labels_stand_back_and_all_are_in_order() {
        let labels = Labels::from_pairs([("__name__", "up"), ("zone", "a")]).unwrap();
        let external = [("cluster", "x"), ("zone", "b")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let mut out = Vec::new();
        put_labels(&mut out, &labels, &external);
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.find("__name__") < text.find("cluster") && text.find("cluster") < text.find("zone"));
        assert!(text.contains("a") && out.ends_with(b"zone\x12\x01a"));
    }

    #[test]
    fn a_frame_has_its_length_and_checksum() {
        let mut out = Vec::new();
        put_frame(&mut out, b"abc", 2);
        assert_eq!(out[0], 7);
        assert_eq!(out[1..5], crc32c(&out[5..]).to_be_bytes());
        assert_eq!(out[5..], [0x0a, 3, b'a', b'b', b'c', 0x10, 2]);
    }
}
