//! `io.prometheus.client.MetricFamily`: the only model of a page with native histograms. How its bytes look is
//! [`super::delimited`]'s and [`super::prototext`]'s.
use super::names::Escaping;
use super::{Sample, Value, classic_buckets, count_of};
use crate::prom::histogram::{Histogram as Native, ResetHint};

/// Of `MetricType`.
pub(super) const UNTYPED: i32 = 3;
const HISTOGRAM: i32 = 4;
const GAUGE_HISTOGRAM: i32 = 5;

/// The name of a type.
pub(super) fn kind_name(kind: i32) -> &'static str {
    match kind {
        HISTOGRAM => "HISTOGRAM",
        GAUGE_HISTOGRAM => "GAUGE_HISTOGRAM",
        _ => "UNTYPED",
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LabelPair {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) value: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Untyped {
    #[prost(double, optional, tag = "1")]
    pub(super) value: Option<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Bucket {
    #[prost(double, optional, tag = "2")]
    pub(super) upper_bound: Option<f64>,
    #[prost(double, optional, tag = "4")]
    pub(super) cumulative_count_float: Option<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BucketSpan {
    #[prost(sint32, optional, tag = "1")]
    pub(super) offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) length: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Histogram {
    #[prost(double, optional, tag = "2")]
    pub(super) sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    pub(super) bucket: Vec<Bucket>,
    #[prost(double, optional, tag = "4")]
    pub(super) sample_count_float: Option<f64>,
    #[prost(sint32, optional, tag = "5")]
    pub(super) schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    pub(super) zero_threshold: Option<f64>,
    #[prost(double, optional, tag = "8")]
    pub(super) zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "9")]
    pub(super) negative_span: Vec<BucketSpan>,
    #[prost(double, repeated, packed = "false", tag = "11")]
    pub(super) negative_count: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    pub(super) positive_span: Vec<BucketSpan>,
    #[prost(double, repeated, packed = "false", tag = "14")]
    pub(super) positive_count: Vec<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(super) label: Vec<LabelPair>,
    #[prost(message, optional, tag = "5")]
    pub(super) untyped: Option<Untyped>,
    #[prost(int64, optional, tag = "6")]
    pub(super) timestamp_ms: Option<i64>,
    #[prost(message, optional, tag = "7")]
    pub(super) histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(int32, optional, tag = "3")]
    pub(super) kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    pub(super) metric: Vec<Metric>,
}

/// The families of a page, one at a time.
pub(super) fn families(samples: &[Sample], escaping: Escaping) -> impl Iterator<Item = MetricFamily> {
    super::families(samples).filter_map(move |family| {
        let first = family.first()?;
        let kind = match &first.value {
            Value::Float(_) => UNTYPED,
            Value::Classic(h) | Value::Native(h) if h.reset_hint == ResetHint::Gauge => GAUGE_HISTOGRAM,
            Value::Classic(_) | Value::Native(_) => HISTOGRAM,
        };
        let metric = family.iter().map(|sample| metric(sample, escaping)).collect();
        Some(MetricFamily { name: Some(escaping.name(&first.name)), kind: Some(kind), metric })
    })
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
