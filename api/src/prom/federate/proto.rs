//! `io.prometheus.client.MetricFamily`, delimited: the only format with native histograms.
use prost::Message;

use super::names::Escaping;
use super::{Sample, Value, classic_buckets, count_of, families};
use crate::prom::histogram::{Histogram as Native, ResetHint};

const UNTYPED: i32 = 3;
const HISTOGRAM: i32 = 4;
const GAUGE_HISTOGRAM: i32 = 5;

#[derive(Clone, PartialEq, prost::Message)]
struct LabelPair {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Untyped {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Bucket {
    #[prost(double, optional, tag = "2")]
    upper_bound: Option<f64>,
    #[prost(double, optional, tag = "4")]
    cumulative_count_float: Option<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BucketSpan {
    #[prost(sint32, optional, tag = "1")]
    offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    length: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Histogram {
    #[prost(double, optional, tag = "2")]
    sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(double, optional, tag = "4")]
    sample_count_float: Option<f64>,
    #[prost(sint32, optional, tag = "5")]
    schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    zero_threshold: Option<f64>,
    #[prost(double, optional, tag = "8")]
    zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "9")]
    negative_span: Vec<BucketSpan>,
    #[prost(double, repeated, packed = "false", tag = "11")]
    negative_count: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    #[prost(double, repeated, packed = "false", tag = "14")]
    positive_count: Vec<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<Untyped>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

/// All samples, each family behind its length.
pub(super) fn page(samples: &[Sample], escaping: Escaping) -> Vec<u8> {
    let mut out = Vec::new();
    for family in families(samples) {
        let Some(first) = family.first() else { continue };
        let kind = match &first.value {
            Value::Float(_) => UNTYPED,
            Value::Classic(h) | Value::Native(h) if h.reset_hint == ResetHint::Gauge => GAUGE_HISTOGRAM,
            Value::Classic(_) | Value::Native(_) => HISTOGRAM,
        };
        let metric = family.iter().map(|sample| metric(sample, escaping)).collect();
        let family = MetricFamily { name: Some(escaping.name(&first.name)), kind: Some(kind), metric };
        out.extend_from_slice(&family.encode_length_delimited_to_vec());
    }
    out
}

fn metric(sample: &Sample, escaping: Escaping) -> Metric {
    let pair =
        |(name, value): &(String, String)| LabelPair { name: Some(escaping.name(name)), value: Some(value.clone()) };
    let (untyped, histogram) = match &sample.value {
        Value::Float(value) => (Some(Untyped { value: Some(*value) }), None),
        Value::Classic(h) => (None, Some(classic(h))),
        Value::Native(h) => (None, Some(native(h))),
    };
    Metric { label: sample.labels.iter().map(pair).collect(), untyped, timestamp_ms: Some(sample.time_ms), histogram }
}

fn classic(h: &Native) -> Histogram {
    let bucket = |(bound, count)| Bucket { upper_bound: Some(bound), cumulative_count_float: Some(count) };
    Histogram {
        sample_sum: Some(h.sum),
        sample_count_float: Some(count_of(h)),
        bucket: classic_buckets(h).into_iter().map(bucket).collect(),
        ..Histogram::default()
    }
}

fn native(h: &Native) -> Histogram {
    let spans = |side: &crate::prom::histogram::Side| {
        let span = |(offset, length): &(i64, u64)| BucketSpan {
            offset: i32::try_from(*offset).ok(),
            length: u32::try_from(*length).ok(),
        };
        side.spans.iter().map(span).collect()
    };
    let counts = |side: &crate::prom::histogram::Side| {
        if h.is_float { side.counts.clone() } else { side.absolute().into_iter().map(|c| c as f64).collect() }
    };
    Histogram {
        sample_sum: Some(h.sum),
        bucket: Vec::new(),
        sample_count_float: Some(count_of(h)),
        schema: i32::try_from(h.schema).ok(),
        zero_threshold: Some(h.zero_threshold),
        zero_count_float: Some(if h.is_float { h.zero_float } else { h.zero_int as f64 }),
        negative_span: spans(&h.negative),
        negative_count: counts(&h.negative),
        positive_span: spans(&h.positive),
        positive_count: counts(&h.positive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_read_back() {
        let sample = Sample {
            name: "up".to_owned(),
            labels: vec![("instance".to_owned(), String::new())],
            time_ms: 5,
            value: Value::Float(2.5),
        };
        let native = Sample { value: Value::Native(Native { schema: 3, ..Native::default() }), ..sample.clone() };
        let bytes = page(&[sample.clone(), sample, native], Escaping::Underscores);
        let mut rest = &bytes[..];
        let first = MetricFamily::decode_length_delimited(&mut rest).unwrap();
        let second = MetricFamily::decode_length_delimited(&mut rest).unwrap();
        assert_eq!((first.kind, first.metric.len()), (Some(UNTYPED), 2));
        assert_eq!(first.metric[0].untyped.as_ref().unwrap().value, Some(2.5));
        assert_eq!(second.metric[0].histogram.as_ref().unwrap().schema, Some(3));
        assert!(rest.is_empty());
    }
}
