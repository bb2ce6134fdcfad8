//! Messages of remote write and remote read, written down here on their own so that a mistake of ours is not repeated.
use prost::Message;

pub(crate) fn uvarint(out: &mut Vec<u8>, v: u64) {
    trine_store::codec::put_uvarint(out, v);
}

pub(crate) fn message(out: &mut Vec<u8>, number: u32, body: &[u8]) {
    uvarint(out, u64::from(number << 3 | 2));
    trine_store::codec::put_bytes(out, body);
}

pub(crate) fn snappy(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).unwrap()
}

pub(crate) fn label(name: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, 1, name.as_bytes());
    message(&mut out, 2, value.as_bytes());
    out
}

pub(crate) fn sample(time_ms: i64, value: f64) -> Vec<u8> {
    let mut out = vec![9];
    out.extend_from_slice(&value.to_bits().to_le_bytes());
    out.push(16);
    uvarint(&mut out, time_ms as u64);
    out
}

pub(crate) fn exemplar(labels: &[(&str, &str)], value: f64, time_ms: i64) -> Vec<u8> {
    let mut out = Vec::new();
    labels.iter().for_each(|(n, v)| message(&mut out, 1, &label(n, v)));
    out.push(0x11);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
    out.push(0x18);
    uvarint(&mut out, time_ms as u64);
    out
}

/// An integer histogram with `count` observations in one bucket.
pub(crate) fn histogram(time_ms: i64, count: u8) -> Vec<u8> {
    let mut out = vec![0x08, count, 0x20, 6, 0x5a, 4, 0x08, 0, 0x10, 1, 0x62, 1, count << 1, 15 << 3];
    uvarint(&mut out, time_ms as u64);
    out
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Label {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sample {
    #[prost(double, tag = "1")]
    pub(crate) value: f64,
    #[prost(int64, tag = "2")]
    pub(crate) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(crate) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) samples: Vec<Sample>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(crate) histograms: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    pub(crate) timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) results: Vec<QueryResult>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Chunk {
    #[prost(int64, tag = "1")]
    pub(crate) min_time_ms: i64,
    #[prost(int64, tag = "2")]
    pub(crate) max_time_ms: i64,
    #[prost(int32, tag = "3")]
    pub(crate) encoding: i32,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChunkedSeries {
    #[prost(message, repeated, tag = "1")]
    pub(crate) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) chunks: Vec<Chunk>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChunkedReadResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) chunked_series: Vec<ChunkedSeries>,
    #[prost(int64, tag = "2")]
    pub(crate) query_index: i64,
}

fn text(labels: &[Label]) -> String {
    labels.iter().map(|l| format!("{}={:?}", l.name, l.value)).collect::<Vec<_>>().join(",")
}

impl TimeSeries {
    pub(crate) fn labels(&self) -> String {
        text(&self.labels)
    }
}

impl ChunkedSeries {
    pub(crate) fn labels(&self) -> String {
        text(&self.labels)
    }
}

impl ReadResponse {
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        <Self as Message>::decode(bytes).unwrap()
    }
}

/// Frames of a streamed answer: a length, four bytes of checksum, the message.
pub(crate) fn frames(bytes: &[u8]) -> Vec<ChunkedReadResponse> {
    let mut r = trine_store::codec::Reader::new(bytes);
    let mut out = Vec::new();
    while !r.is_empty() {
        let len = r.uvarint("length").unwrap() as usize;
        r.take(4, "checksum").unwrap();
        out.push(<ChunkedReadResponse as Message>::decode(r.take(len, "message").unwrap()).unwrap());
    }
    out
}
