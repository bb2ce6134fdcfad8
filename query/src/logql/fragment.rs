//! Messages between the asking node and the shards. On the wire: never reuse a field number.
//!
//! A request carries LogQL text that the shard side parses again: simple, and readable over versions. Replies are frames of
//! at most about [`FRAME_BYTES`] each, in no order between shards.
use bytes::Bytes;
use prost::Message;

use crate::error::{Error, Result};
use crate::fragment::{Fragment, Language};

/// Version of requests and frames that this build writes and reads.
pub const VERSION: u32 = 1;
/// Size at which a frame is sent.
pub const FRAME_BYTES: usize = 1 << 20;

/// What is asked of every shard of a node.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(oneof = "Ask", tags = "2, 3, 4, 5, 6")]
    pub ask: Option<Ask>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Ask {
    #[prost(message, tag = "2")]
    Logs(LogsAsk),
    #[prost(message, tag = "3")]
    Metric(MetricAsk),
    #[prost(message, tag = "4")]
    Streams(StreamsAsk),
    #[prost(message, tag = "5")]
    Stats(StatsAsk),
    #[prost(message, tag = "6")]
    Volume(VolumeAsk),
}

/// The first `limit` entries of `start_ns <= t < end_ns` in the direction; 0 for all.
#[derive(Clone, PartialEq, Message)]
pub struct LogsAsk {
    #[prost(string, tag = "1")]
    pub query: String,
    #[prost(sfixed64, tag = "2")]
    pub start_ns: i64,
    #[prost(sfixed64, tag = "3")]
    pub end_ns: i64,
    #[prost(bool, tag = "4")]
    pub backward: bool,
    #[prost(uint64, tag = "5")]
    pub limit: u64,
}

/// A range aggregation, or a vector aggregation over one that can be merged from parts, at `start_ns + i * step_ns`.
#[derive(Clone, PartialEq, Message)]
pub struct MetricAsk {
    #[prost(string, tag = "1")]
    pub query: String,
    #[prost(sfixed64, tag = "2")]
    pub start_ns: i64,
    #[prost(sfixed64, tag = "3")]
    pub step_ns: i64,
    #[prost(uint32, tag = "4")]
    pub steps: u32,
}

/// Streams of any of the selectors; all without selectors.
#[derive(Clone, PartialEq, Message)]
pub struct StreamsAsk {
    #[prost(string, repeated, tag = "1")]
    pub selectors: Vec<String>,
    #[prost(sfixed64, tag = "2")]
    pub start_ns: i64,
    #[prost(sfixed64, tag = "3")]
    pub end_ns: i64,
    /// 0 label names, 1 values of `name`, 2 label sets.
    #[prost(uint32, tag = "4")]
    pub want: u32,
    #[prost(string, tag = "5")]
    pub name: String,
}

/// Values of [`StreamsAsk::want`].
pub const WANT_NAMES: u32 = 0;
pub const WANT_VALUES: u32 = 1;
pub const WANT_LABEL_SETS: u32 = 2;

#[derive(Clone, PartialEq, Message)]
pub struct StatsAsk {
    #[prost(string, tag = "1")]
    pub selector: String,
    #[prost(sfixed64, tag = "2")]
    pub start_ns: i64,
    #[prost(sfixed64, tag = "3")]
    pub end_ns: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct VolumeAsk {
    #[prost(string, tag = "1")]
    pub selector: String,
    #[prost(sfixed64, tag = "2")]
    pub start_ns: i64,
    #[prost(sfixed64, tag = "3")]
    pub end_ns: i64,
    #[prost(string, repeated, tag = "4")]
    pub target_labels: Vec<String>,
    /// Group by label name instead of by the labels' values.
    #[prost(bool, tag = "5")]
    pub by_label: bool,
}

/// One piece of an answer.
#[derive(Clone, PartialEq, Message)]
pub struct Frame {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(oneof = "Reply", tags = "2, 3, 4, 5, 6, 7, 8")]
    pub reply: Option<Reply>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Reply {
    #[prost(message, tag = "2")]
    Entries(Entries),
    #[prost(message, tag = "3")]
    Series(SeriesList),
    #[prost(message, tag = "4")]
    Texts(Texts),
    #[prost(message, tag = "5")]
    LabelSets(LabelSets),
    #[prost(message, tag = "6")]
    Stats(Stats),
    #[prost(message, tag = "7")]
    Volumes(Volumes),
    #[prost(message, tag = "8")]
    Cost(Cost),
}

/// Entries in the query's direction.
#[derive(Clone, PartialEq, Message)]
pub struct Entries {
    /// Canonical label sets that entries refer to.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub streams: Vec<Bytes>,
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    /// Position in [`Entries::streams`].
    #[prost(uint32, tag = "1")]
    pub stream: u32,
    #[prost(sfixed64, tag = "2")]
    pub time_ns: i64,
    #[prost(string, tag = "3")]
    pub line: String,
    /// Name, value, name, value, …
    #[prost(string, repeated, tag = "4")]
    pub structured_metadata: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    pub parsed: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SeriesList {
    #[prost(message, repeated, tag = "1")]
    pub series: Vec<SeriesPart>,
}

/// States of one series; a series may come in several parts.
#[derive(Clone, PartialEq, Message)]
pub struct SeriesPart {
    /// Canonical label set.
    #[prost(bytes = "bytes", tag = "1")]
    pub labels: Bytes,
    /// Positions on the grid, rising; empty for raw samples.
    #[prost(uint32, repeated, tag = "2")]
    pub steps: Vec<u32>,
    /// As many for each step as the state has, or one for each raw sample.
    #[prost(double, repeated, tag = "3")]
    pub values: Vec<f64>,
    /// Times in ns of first and last values and of raw samples.
    #[prost(sfixed64, repeated, tag = "4")]
    pub times_ns: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Texts {
    #[prost(string, repeated, tag = "1")]
    pub texts: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LabelSets {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub sets: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Stats {
    /// Streams that [`Self::hashes`] does not name.
    #[prost(uint64, tag = "1")]
    pub streams: u64,
    #[prost(uint64, tag = "2")]
    pub chunks: u64,
    #[prost(uint64, tag = "3")]
    pub bytes: u64,
    #[prost(uint64, tag = "4")]
    pub entries: u64,
    /// Canonical hashes of streams: one that is spread is in several shards and counts once.
    #[prost(fixed64, repeated, tag = "5")]
    pub hashes: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Volumes {
    #[prost(message, repeated, tag = "1")]
    pub volumes: Vec<VolumePart>,
}

#[derive(Clone, PartialEq, Message)]
pub struct VolumePart {
    /// Name, value, name, value, …
    #[prost(string, repeated, tag = "1")]
    pub labels: Vec<String>,
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
}

/// What the fragment cost on one node; its last frame.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Cost {
    #[prost(uint64, tag = "1")]
    pub bytes: u64,
    #[prost(uint64, tag = "2")]
    pub lines: u64,
    #[prost(uint64, tag = "3")]
    pub structured_metadata_bytes: u64,
    #[prost(uint64, tag = "4")]
    pub post_filter_lines: u64,
}

/// A request as a fragment.
pub fn encode_request(ask: Ask) -> Fragment {
    let payload = Request { version: VERSION, ask: Some(ask) }.encode_to_vec();
    Fragment { language: Language::LogQl, payload: Bytes::from(payload) }
}

/// The request of a fragment. Fails with [`Error::Corrupt`], and with [`Error::Unsupported`] for another version.
pub fn decode_request(payload: &Bytes) -> Result<Ask> {
    let request = Request::decode(payload.clone()).map_err(|e| corrupt("LogQL request", &e.to_string()))?;
    check_version(request.version)?;
    request.ask.ok_or_else(|| corrupt("LogQL request", "nothing is asked"))
}

pub fn encode_frame(reply: Reply) -> Bytes {
    Bytes::from(Frame { version: VERSION, reply: Some(reply) }.encode_to_vec())
}

/// The content of a frame. Fails as [`decode_request`].
pub fn decode_frame(frame: Bytes) -> Result<Reply> {
    let frame = Frame::decode(frame).map_err(|e| corrupt("LogQL frame", &e.to_string()))?;
    check_version(frame.version)?;
    frame.reply.ok_or_else(|| corrupt("LogQL frame", "nothing is in it"))
}

fn check_version(version: u32) -> Result<()> {
    if version == VERSION {
        Ok(())
    } else {
        Err(Error::Unsupported { what: format!("LogQL fragment version {version}") })
    }
}

pub(super) fn corrupt(what: &'static str, reason: &str) -> Error {
    Error::Corrupt { what, reason: reason.to_owned() }
}
