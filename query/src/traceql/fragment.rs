//! What a node is asked and what it sends back, as protobuf. Field numbers are for ever; a new meaning needs a new version.
use prost::Message;

use crate::error::{Error, Result};

/// Version of these messages; a node refuses any other.
pub(crate) const VERSION: u32 = 1;

/// A request to the shards of a node.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(oneof = "Ask", tags = "2, 3, 4, 5, 6")]
    pub(crate) ask: Option<Ask>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Ask {
    /// Trace id, 16 bytes.
    #[prost(bytes, tag = "2")]
    Trace(Vec<u8>),
    #[prost(message, tag = "3")]
    Search(Search),
    #[prost(message, tag = "4")]
    TagSearch(TagSearch),
    #[prost(message, tag = "5")]
    Tags(Tags),
    #[prost(message, tag = "6")]
    TagValues(TagValues),
}

/// Closed range in Unix ns and how much to send.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Bounds {
    #[prost(sint64, tag = "1")]
    pub(crate) start_ns: i64,
    #[prost(sint64, tag = "2")]
    pub(crate) end_ns: i64,
    /// Most traces, names a scope, or values; 0 for no limit.
    #[prost(uint64, tag = "3")]
    pub(crate) limit: u64,
    /// Spans a span set; 0 for all.
    #[prost(uint64, tag = "4")]
    pub(crate) spans_per_set: u64,
}

/// Traces that a TraceQL query matches.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Search {
    #[prost(string, tag = "1")]
    pub(crate) query: String,
    #[prost(message, required, tag = "2")]
    pub(crate) bounds: Bounds,
}

/// Traces that have all tags.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TagSearch {
    #[prost(message, repeated, tag = "1")]
    pub(crate) tags: Vec<Pair>,
    #[prost(sint64, optional, tag = "2")]
    pub(crate) min_duration_ns: Option<i64>,
    #[prost(sint64, optional, tag = "3")]
    pub(crate) max_duration_ns: Option<i64>,
    #[prost(message, required, tag = "4")]
    pub(crate) bounds: Bounds,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Pair {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

/// Names of attributes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Tags {
    /// [`trine_store::model::Scope`] as a number; absent for all.
    #[prost(uint32, optional, tag = "1")]
    pub(crate) scope: Option<u32>,
    /// A TraceQL filter, or "".
    #[prost(string, tag = "2")]
    pub(crate) filter: String,
    #[prost(message, required, tag = "3")]
    pub(crate) bounds: Bounds,
}

/// Values of fields, given as TraceQL; several for an attribute in any scope.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TagValues {
    #[prost(string, repeated, tag = "1")]
    pub(crate) fields: Vec<String>,
    #[prost(string, tag = "2")]
    pub(crate) filter: String,
    #[prost(message, required, tag = "3")]
    pub(crate) bounds: Bounds,
}

/// One message back; each part may be empty.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Frame {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    /// Keys of the streams that `spans` refer to.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) streams: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) spans: Vec<SpanMessage>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) traces: Vec<TraceMessage>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) names: Vec<NameMessage>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) values: Vec<ValueMessage>,
    #[prost(message, optional, tag = "7")]
    pub(crate) metrics: Option<MetricsMessage>,
}

/// A span as it is kept.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SpanMessage {
    /// Position in [`Frame::streams`].
    #[prost(uint32, tag = "1")]
    pub(crate) stream: u32,
    #[prost(sint64, tag = "2")]
    pub(crate) time_ns: i64,
    /// Encoding of [`trine_store::model::Attrs`].
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) attrs: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TraceMessage {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) id: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(crate) root_service: String,
    #[prost(string, tag = "3")]
    pub(crate) root_name: String,
    #[prost(sint64, tag = "4")]
    pub(crate) start_ns: i64,
    #[prost(uint64, tag = "5")]
    pub(crate) duration_ms: u64,
    #[prost(message, repeated, tag = "6")]
    pub(crate) sets: Vec<SetMessage>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) services: Vec<ServiceMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SetMessage {
    #[prost(message, repeated, tag = "1")]
    pub(crate) spans: Vec<SpanHitMessage>,
    #[prost(uint32, tag = "2")]
    pub(crate) matched: u32,
    /// Encoding of [`trine_store::model::Attrs`].
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) attrs: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SpanHitMessage {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) id: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(sint64, tag = "3")]
    pub(crate) start_ns: i64,
    #[prost(uint64, tag = "4")]
    pub(crate) duration_ns: u64,
    /// Encoding of [`trine_store::model::Attrs`].
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) attrs: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ServiceMessage {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint32, tag = "2")]
    pub(crate) span_count: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) error_count: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NameMessage {
    /// [`trine_store::model::Scope`] as a number.
    #[prost(uint32, tag = "1")]
    pub(crate) scope: u32,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ValueMessage {
    /// Position in [`TAG_TYPES`](super::wire::TAG_TYPES).
    #[prost(uint32, tag = "1")]
    pub(crate) tag_type: u32,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

/// Sent once a shard.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct MetricsMessage {
    #[prost(uint64, tag = "1")]
    pub(crate) inspected_traces: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) inspected_spans: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) inspected_bytes: u64,
    /// More exists than the limit let through.
    #[prost(bool, tag = "4")]
    pub(crate) truncated: bool,
}

fn corrupt(reason: impl std::fmt::Display) -> Error {
    Error::Corrupt { what: "TraceQL message", reason: reason.to_string() }
}

fn check(version: u32) -> Result<()> {
    if version == VERSION { Ok(()) } else { Err(corrupt(format_args!("version {version} is not known"))) }
}

impl Request {
    pub(crate) fn new(ask: Ask) -> Self {
        Self { version: VERSION, ask: Some(ask) }
    }

    /// Refuses another version.
    pub(crate) fn read(bytes: &[u8]) -> Result<Ask> {
        let request = Self::decode(bytes).map_err(corrupt)?;
        check(request.version)?;
        request.ask.ok_or_else(|| corrupt("nothing is asked"))
    }
}

impl Frame {
    /// Refuses another version.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let frame = Self::decode(bytes).map_err(corrupt)?;
        check(frame.version).map(|()| frame)
    }
}
