//! The messages of Loki's push, written down here on their own so that a mistake in ours is not repeated by its test.

/// `logproto.PushRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LokiPush {
    #[prost(message, repeated, tag = "1")]
    pub(crate) streams: Vec<LokiStream>,
}

/// `logproto.StreamAdapter`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LokiStream {
    #[prost(string, tag = "1")]
    pub(crate) labels: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) entries: Vec<LokiEntry>,
}

/// `logproto.EntryAdapter`; bytes for the line, so that a test can send what is not UTF-8.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LokiEntry {
    #[prost(message, optional, tag = "1")]
    pub(crate) timestamp: Option<LokiTime>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) line: Vec<u8>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LokiTime {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}
