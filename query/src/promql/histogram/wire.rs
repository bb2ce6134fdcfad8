//! Histograms as bytes: remote write's message, in which samples are stored and in which they travel between nodes.
use std::sync::Arc;

use prost::Message;

use super::{Buckets, CUSTOM, Compensated, Histogram, ResetHint, SCHEMA_MAX, SCHEMA_MIN};
use crate::error::{Error, Result};

/// Remote write's `Histogram`, 1.0 and 2.0. Field numbers are the protocol's.
#[derive(Clone, PartialEq, Message)]
pub struct HistogramMessage {
    #[prost(uint64, optional, tag = "1")]
    pub count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub count_float: Option<f64>,
    #[prost(double, tag = "3")]
    pub sum: f64,
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    pub zero_count_int: Option<u64>,
    #[prost(double, optional, tag = "7")]
    pub zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<SpanMessage>,
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<SpanMessage>,
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    /// Number of a [`ResetHint`].
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    /// Unix ms.
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
    /// Unix ms, 0 if unknown.
    #[prost(int64, tag = "17")]
    pub start_timestamp: i64,
}

/// Buckets in a row, after a gap.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct SpanMessage {
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

fn corrupt(reason: &str) -> Error {
    Error::Corrupt { what: "native histogram", reason: reason.to_owned() }
}

/// A stored sample: the histogram and its start timestamp in ms, 0 if unknown.
pub(in crate::promql) fn decode_stored(payload: &[u8]) -> Result<(Histogram, i64)> {
    let message = HistogramMessage::decode(payload).map_err(|e| corrupt(&e.to_string()))?;
    let start_ms = message.start_timestamp;
    Ok((message.into_histogram()?, start_ms))
}

impl HistogramMessage {
    /// The histogram, in a schema that is evaluated. Refuses what no receiver accepts.
    pub fn into_histogram(self) -> Result<Histogram> {
        let custom = self.schema == CUSTOM;
        if !custom && self.schema < SCHEMA_MIN {
            return Err(corrupt("unknown schema"));
        }
        let is_float = self.count_float.is_some();
        let side = |spans: &[SpanMessage], deltas: &[i64], counts: &[f64]| {
            if is_float { join(spans, counts.iter().copied()) } else { join(spans, absolute(deltas)) }
        };
        let positive = side(&self.positive_spans, &self.positive_deltas, &self.positive_counts)?;
        let negative = side(&self.negative_spans, &self.negative_deltas, &self.negative_counts)?;
        if custom && positive.index.iter().any(|i| !usize::try_from(*i).is_ok_and(|i| i <= self.custom_values.len())) {
            return Err(corrupt("a bucket beyond the custom bounds"));
        }
        let histogram = Histogram {
            hint: ResetHint::from_i32(self.reset_hint),
            schema: self.schema,
            // Nothing can be said of a zero bucket of no width that makes sense.
            zero_threshold: if self.zero_threshold >= 0.0 { self.zero_threshold } else { 0.0 },
            zero_count: self.zero_count_float.unwrap_or_else(|| self.zero_count_int.unwrap_or(0) as f64),
            count: self.count_float.unwrap_or_else(|| self.count_int.unwrap_or(0) as f64),
            sum: self.sum,
            positive,
            negative,
            custom: custom.then(|| Arc::from(self.custom_values)),
        };
        let hint = histogram.hint;
        Ok(if histogram.schema > SCHEMA_MAX { histogram.to_schema(SCHEMA_MAX).with_hint(hint) } else { histogram })
    }
}

fn absolute(deltas: &[i64]) -> impl ExactSizeIterator<Item = f64> + '_ {
    let mut count = 0i64;
    deltas.iter().map(move |delta| {
        count = count.wrapping_add(*delta);
        count as f64
    })
}

fn join(spans: &[SpanMessage], mut counts: impl ExactSizeIterator<Item = f64>) -> Result<Buckets> {
    let mut out = Buckets::default();
    let mut next = 0i64;
    for span in spans {
        next += i64::from(span.offset);
        if u64::from(span.length) > counts.len() as u64 {
            return Err(corrupt("spans of more buckets than there are"));
        }
        for count in counts.by_ref().take(span.length as usize) {
            let index = i32::try_from(next).map_err(|_| corrupt("bucket index out of range"))?;
            if out.index.last().is_some_and(|last| *last >= index) {
                return Err(corrupt("spans that overlap"));
            }
            out.push(index, count);
            next += 1;
        }
    }
    if counts.len() == 0 { Ok(out) } else { Err(corrupt("buckets without a span")) }
}

impl From<&Histogram> for HistogramMessage {
    fn from(h: &Histogram) -> Self {
        Self {
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
            custom_values: h.bounds().to_vec(),
            ..Self::default()
        }
    }
}

fn spans(buckets: &Buckets) -> Vec<SpanMessage> {
    let mut out: Vec<SpanMessage> = Vec::new();
    let mut next = 0i32;
    for index in &buckets.index {
        match out.last_mut() {
            Some(span) if next == *index => span.length += 1,
            _ => out.push(SpanMessage { offset: index.wrapping_sub(next), length: 1 }),
        }
        next = index.wrapping_add(1);
    }
    out
}

impl Compensated {
    /// The compensated sum of histograms of one kind, for tests of merging.
    #[cfg(test)]
    pub(in crate::promql) fn of(all: &[Histogram]) -> Histogram {
        let mut sum = Self::new(all[0].clone());
        all[1..].iter().for_each(|h| {
            sum.add(h).unwrap();
        });
        sum.value()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram() -> impl Strategy<Value = Histogram> {
        let side = || {
            prop::collection::btree_map(-50i32..50, 0f64..1e6, 0..10).prop_map(|buckets| {
                let (index, count) = buckets.into_iter().unzip();
                Buckets { index, count }
            })
        };
        let numbers = (SCHEMA_MIN..=SCHEMA_MAX, 0f64..1.0, 0f64..1e6, 0f64..1e9, -1e9..1e9, 0i32..4);
        (numbers, side(), side()).prop_map(
            |((schema, zero_threshold, zero_count, count, sum, hint), positive, negative)| {
                let hint = ResetHint::from_i32(hint);
                Histogram { hint, schema, zero_threshold, zero_count, count, sum, positive, negative, custom: None }
            },
        )
    }

    proptest! {
        #[test]
        fn histograms_come_back(h in histogram()) {
            let bytes = HistogramMessage::from(&h).encode_to_vec();
            prop_assert_eq!(decode_stored(&bytes).unwrap(), (h, 0));
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _unchecked = decode_stored(&bytes);
        }

        /// Counts and sums do not depend on the order, but for rounding.
        #[test]
        fn order_does_not_matter(all in prop::collection::vec(histogram(), 2..6)) {
            let forth = Compensated::of(&all);
            let back = Compensated::of(&all.into_iter().rev().collect::<Vec<_>>());
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(1.0);
            prop_assert_eq!(forth.schema, back.schema);
            prop_assert!(close(forth.count, back.count) && close(forth.sum, back.sum));
        }
    }

    #[test]
    fn integer_buckets_are_deltas() {
        let message = HistogramMessage {
            count_int: Some(6),
            positive_spans: vec![SpanMessage { offset: -1, length: 2 }, SpanMessage { offset: 2, length: 1 }],
            positive_deltas: vec![1, 1, 1],
            start_timestamp: 7,
            ..HistogramMessage::default()
        };
        let (h, start_ms) = decode_stored(&message.encode_to_vec()).unwrap();
        assert_eq!((h.positive.index, h.positive.count, start_ms), (vec![-1, 0, 3], vec![1.0, 2.0, 3.0], 7));
        let short = HistogramMessage { positive_deltas: vec![1], ..message };
        assert!(decode_stored(&short.encode_to_vec()).is_err());
    }
}
