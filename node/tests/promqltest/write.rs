//! Remote write 2.0, written down here on its own so that a mistake in ours is not repeated by its test.
use prost::Message;
use trine_query::promql::histogram::{Buckets, Histogram};

use crate::load::Series;

/// `io.prometheus.write.v2.Request`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<WireHistogram>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
    #[prost(int64, tag = "3")]
    start_timestamp: i64,
}

/// A histogram with float counts.
#[derive(Clone, PartialEq, Message)]
struct WireHistogram {
    #[prost(double, optional, tag = "2")]
    count_float: Option<f64>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(double, optional, tag = "7")]
    zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<Span>,
    #[prost(double, repeated, tag = "10")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<Span>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    reset_hint: i32,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    custom_values: Vec<f64>,
    #[prost(int64, tag = "17")]
    start_timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// The body of a request with these series.
pub(crate) fn encode(all: &[Series]) -> Vec<u8> {
    let mut request = Request { symbols: vec![String::new()], timeseries: Vec::new() };
    for s in all {
        let mut labels_refs = Vec::new();
        for text in s.labels.iter().flat_map(|(name, value)| [name, value]) {
            labels_refs.push(request.symbols.len() as u32);
            request.symbols.push(text.to_owned());
        }
        let sample = |(timestamp, value, start_timestamp): &(i64, f64, i64)| Sample {
            value: *value,
            timestamp: *timestamp,
            start_timestamp: *start_timestamp,
        };
        let samples: Vec<Sample> = s.floats.iter().map(sample).collect();
        let histograms: Vec<WireHistogram> =
            s.histograms.iter().map(|(t, h, start)| histogram(h, *t, *start)).collect();
        if !(samples.is_empty() && histograms.is_empty()) {
            request.timeseries.push(TimeSeries { labels_refs, samples, histograms });
        }
    }
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).expect("a short message can be compressed")
}

fn histogram(h: &Histogram, timestamp: i64, start_timestamp: i64) -> WireHistogram {
    WireHistogram {
        count_float: Some(h.count),
        sum: h.sum,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count_float: Some(h.zero_count),
        negative_spans: spans(&h.negative),
        negative_counts: h.negative.count.clone(),
        positive_spans: spans(&h.positive),
        positive_counts: h.positive.count.clone(),
        reset_hint: h.hint as i32,
        timestamp,
        custom_values: h.bounds().to_vec(),
        start_timestamp,
    }
}

/// A span for each bucket: as good as fewer.
fn spans(buckets: &Buckets) -> Vec<Span> {
    let before = std::iter::once(-1).chain(buckets.index.iter().copied());
    let gap = |(before, index): (i32, &i32)| Span { offset: index - before - 1, length: 1 };
    before.zip(&buckets.index).map(gap).collect()
}
