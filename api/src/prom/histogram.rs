//! Checks of a native histogram on the wire; both versions of remote write number its fields alike.
//!
//! The rules are those of Prometheus' `histogram.Validate`: spans cover the buckets, no bucket is negative, and the count is
//! what the buckets add up to, or bounds it.
mod encode;
mod reduce;

pub(crate) use reduce::coarser;

use std::borrow::Cow;

use trine_store::codec::Reader;
use trine_store::model::STALE_NAN_BITS;
use trine_store::part::SampleKind;

use crate::parts::Blob;
use crate::wire::Field;
use crate::wire::{WireError, fields};

/// Schema of histograms with bounds of their own.
pub(crate) const CUSTOM: i64 = -53;
/// Finest schema that is kept; finer ones are brought down to it.
pub(crate) const SCHEMA_MAX: i64 = 8;
/// Largest native histogram or exemplar that is kept, bytes.
pub(crate) const BLOB_BYTES_MAX: usize = 32 << 10;
const MESSAGE: WireError = WireError { message: "Histogram" };

/// Why a native histogram is refused.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0} bytes, limit {BLOB_BYTES_MAX}")]
    TooLarge(usize),
    #[error("unknown schema {0}")]
    Schema(i64),
    #[error("{side} span number {number} with offset {offset}")]
    SpanOffset { side: &'static str, number: usize, offset: i64 },
    #[error("{side} spans need {need} buckets, have {have} buckets")]
    Spans { side: &'static str, need: u64, have: usize },
    #[error("{side} bucket number {number} has observation count of {count}")]
    Bucket { side: &'static str, number: usize, count: f64 },
    #[error("{found} observations found in buckets, but the Count field is {count}")]
    Count { found: f64, count: f64 },
    #[error("{what} is negative: {value}")]
    Negative { what: &'static str, value: f64 },
    #[error("custom bounds with exponential schema {0}")]
    CustomValues(i64),
    #[error("custom bound number {0} is not larger than the one before, or not finite")]
    CustomOrder(usize),
    #[error("custom buckets with {0}")]
    CustomWith(&'static str),
}

/// One sign's buckets: of an integer histogram differences, of a float one counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Side {
    /// (offset, length)
    pub(crate) spans: Vec<(i64, u64)>,
    pub(crate) deltas: Vec<i64>,
    pub(crate) counts: Vec<f64>,
}

impl Side {
    /// Counts of an integer histogram's buckets.
    pub(crate) fn absolute(&self) -> Vec<i64> {
        let sums = self.deltas.iter().scan(0i64, |sum, delta| {
            *sum = sum.wrapping_add(*delta);
            Some(*sum)
        });
        sums.collect()
    }
}

/// What a histogram says of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ResetHint {
    #[default]
    Unknown,
    Reset,
    NoReset,
    Gauge,
}

/// A `prometheus.Histogram`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Histogram {
    pub(crate) is_float: bool,
    pub(crate) count_int: u64,
    pub(crate) count_float: f64,
    pub(crate) sum: f64,
    pub(crate) schema: i64,
    pub(crate) zero_threshold: f64,
    pub(crate) zero_int: u64,
    pub(crate) zero_float: f64,
    pub(crate) positive: Side,
    pub(crate) negative: Side,
    pub(crate) reset_hint: ResetHint,
    pub(crate) time_ms: i64,
    pub(crate) custom: Vec<f64>,
    /// Since when it counts, Unix ms; 0 when the writer does not say. Only 2.0 has it.
    pub(crate) start_ms: i64,
}

/// The histogram as a blob of its own bytes, or why it is refused with its time. `Err` when it is no protobuf.
pub(crate) fn check(bytes: &[u8]) -> Result<(i64, Result<Blob<'_>, Fault>), WireError> {
    let h = read(bytes)?;
    let kind = if h.is_float { SampleKind::FloatHistogram } else { SampleKind::IntHistogram };
    let fault = if bytes.len() > BLOB_BYTES_MAX { Err(Fault::TooLarge(bytes.len())) } else { h.validate() };
    let time_ms = h.time_ms;
    let payload = || if h.schema > SCHEMA_MAX { Cow::Owned(h.reduced().encode()) } else { Cow::Borrowed(bytes) };
    Ok((time_ms, fault.map(|()| Blob { kind, time_ms, payload: payload() })))
}

/// A histogram of our own making as a blob, or why it is refused.
pub(crate) fn blob(h: &Histogram) -> Result<Blob<'static>, Fault> {
    h.validate()?;
    let (payload, kind) = (h.encode(), if h.is_float { SampleKind::FloatHistogram } else { SampleKind::IntHistogram });
    if payload.len() > BLOB_BYTES_MAX {
        return Err(Fault::TooLarge(payload.len()));
    }
    Ok(Blob { kind, time_ms: h.time_ms, payload: Cow::Owned(payload) })
}

fn zigzag(v: u64) -> i64 {
    ((v >> 1) as i64) ^ -((v & 1) as i64)
}

/// Reads a histogram as it is; [`check`] says whether it makes sense.
pub(crate) fn read(bytes: &[u8]) -> Result<Histogram, WireError> {
    let mut h = Histogram::default();
    let mut walk = fields(bytes, "Histogram");
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, Field::Varint(v)) => h.count_int = v,
            (2, Field::Fixed64(v)) => (h.is_float, h.count_float) = (true, f64::from_bits(v)),
            (3, Field::Fixed64(v)) => h.sum = f64::from_bits(v),
            (4, Field::Varint(v)) => h.schema = zigzag(v),
            (5, Field::Fixed64(v)) => h.zero_threshold = f64::from_bits(v),
            (6, Field::Varint(v)) => h.zero_int = v,
            (7, Field::Fixed64(v)) => h.zero_float = f64::from_bits(v),
            (8, Field::Bytes(b)) => h.negative.spans.push(read_span(b)?),
            (9, field) => read_varints(field, &mut h.negative.deltas)?,
            (10, field) => read_floats(field, &mut h.negative.counts)?,
            (11, Field::Bytes(b)) => h.positive.spans.push(read_span(b)?),
            (12, field) => read_varints(field, &mut h.positive.deltas)?,
            (13, field) => read_floats(field, &mut h.positive.counts)?,
            (14, Field::Varint(v)) => {
                h.reset_hint = match v {
                    1 => ResetHint::Reset,
                    2 => ResetHint::NoReset,
                    3 => ResetHint::Gauge,
                    _ => ResetHint::Unknown,
                }
            }
            (15, Field::Varint(v)) => h.time_ms = v as i64,
            (16, field) => read_floats(field, &mut h.custom)?,
            (17, Field::Varint(v)) => h.start_ms = v as i64,
            _ => {}
        }
    }
    Ok(h)
}

fn read_span(bytes: &[u8]) -> Result<(i64, u64), WireError> {
    let (mut offset, mut length) = (0, 0);
    let mut walk = fields(bytes, "BucketSpan");
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, Field::Varint(v)) => offset = zigzag(v),
            (2, Field::Varint(v)) => length = v & u64::from(u32::MAX),
            _ => {}
        }
    }
    Ok((offset, length))
}

/// Repeated sint64, packed or not.
fn read_varints(field: Field<'_>, out: &mut Vec<i64>) -> Result<(), WireError> {
    match field {
        Field::Varint(v) => out.push(zigzag(v)),
        Field::Bytes(packed) => {
            let mut r = Reader::new(packed);
            while !r.is_empty() {
                out.push(zigzag(r.uvarint("deltas").map_err(|_| MESSAGE)?));
            }
        }
        Field::Fixed64(_) | Field::Fixed32(_) => return Err(MESSAGE),
    }
    Ok(())
}

/// Repeated double, packed or not.
fn read_floats(field: Field<'_>, out: &mut Vec<f64>) -> Result<(), WireError> {
    match field {
        Field::Fixed64(v) => out.push(f64::from_bits(v)),
        Field::Bytes(packed) => {
            let (doubles, []) = packed.as_chunks::<8>() else { return Err(MESSAGE) };
            out.extend(doubles.iter().map(|d| f64::from_le_bytes(*d)));
        }
        Field::Varint(_) | Field::Fixed32(_) => return Err(MESSAGE),
    }
    Ok(())
}

impl Histogram {
    /// Whether it says that the series has ended.
    pub(crate) fn is_stale(&self) -> bool {
        self.sum.to_bits() == STALE_NAN_BITS
    }

    /// Buckets that are written out, the one around zero not among them.
    pub(crate) fn buckets_count(&self) -> u64 {
        let of = |side: &Side| side.deltas.len().max(side.counts.len()) as u64;
        of(&self.positive) + of(&self.negative)
    }

    /// Whether its buckets have bounds of their own.
    pub(crate) fn is_custom(&self) -> bool {
        self.schema == CUSTOM
    }

    fn validate(&self) -> Result<(), Fault> {
        if self.sum.to_bits() == STALE_NAN_BITS {
            return Ok(());
        }
        match self.schema {
            CUSTOM => self.validate_custom()?,
            -4..=52 if self.custom.is_empty() => {}
            -4..=52 => return Err(Fault::CustomValues(self.schema)),
            other => return Err(Fault::Schema(other)),
        }
        if self.is_float { self.validate_float() } else { self.validate_int() }
    }

    fn validate_custom(&self) -> Result<(), Fault> {
        let grows = |i: usize| i == 0 || self.custom[i - 1] < self.custom[i];
        if let Some(i) = (0..self.custom.len()).find(|&i| !self.custom[i].is_finite() || !grows(i)) {
            return Err(Fault::CustomOrder(i + 1));
        }
        let negative = &self.negative;
        let with = if self.zero_int != 0 || self.zero_float != 0.0 {
            "a zero bucket"
        } else if self.zero_threshold != 0.0 {
            "a zero threshold"
        } else if !(negative.spans.is_empty() && negative.deltas.is_empty() && negative.counts.is_empty()) {
            "negative buckets"
        } else {
            let reach =
                self.positive.spans.iter().fold(0i64, |n, (o, l)| n.saturating_add(*o).saturating_add(*l as i64));
            if reach <= self.custom.len() as i64 + 1 {
                return Ok(());
            }
            "more buckets than bounds"
        };
        Err(Fault::CustomWith(with))
    }

    fn validate_int(&self) -> Result<(), Fault> {
        let mut found = u128::from(self.zero_int);
        for (side, buckets) in [("negative", &self.negative), ("positive", &self.positive)] {
            check_spans(side, &buckets.spans, buckets.deltas.len())?;
            let mut count = 0i128;
            for (i, delta) in buckets.deltas.iter().enumerate() {
                count += i128::from(*delta);
                if count < 0 {
                    return Err(Fault::Bucket { side, number: i + 1, count: count as f64 });
                }
                found += count.unsigned_abs();
            }
        }
        let count = u128::from(self.count_int);
        // Observations of NaN are counted, but in no bucket.
        if if self.sum.is_nan() { found > count } else { found != count } {
            return Err(Fault::Count { found: found as f64, count: self.count_int as f64 });
        }
        Ok(())
    }

    fn validate_float(&self) -> Result<(), Fault> {
        for (what, value) in [("the count", self.count_float), ("the zero bucket", self.zero_float)] {
            if value < 0.0 {
                return Err(Fault::Negative { what, value });
            }
        }
        for (side, buckets) in [("negative", &self.negative), ("positive", &self.positive)] {
            check_spans(side, &buckets.spans, buckets.counts.len())?;
            if let Some(i) = buckets.counts.iter().position(|c| *c < 0.0) {
                return Err(Fault::Bucket { side, number: i + 1, count: buckets.counts[i] });
            }
        }
        Ok(())
    }
}

fn check_spans(side: &'static str, spans: &[(i64, u64)], have: usize) -> Result<(), Fault> {
    let mut need = 0u64;
    for (i, (offset, length)) in spans.iter().enumerate() {
        if i > 0 && *offset < 0 {
            return Err(Fault::SpanOffset { side, number: i + 1, offset: *offset });
        }
        need += length;
    }
    if need == have as u64 { Ok(()) } else { Err(Fault::Spans { side, need, have }) }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use trine_store::codec::{put_bytes, put_uvarint};

    use super::*;

    /// An encoded integer histogram: count, schema, positive spans and deltas, custom bounds.
    pub(crate) fn encode(count: u64, schema: i64, spans: &[(i64, u64)], deltas: &[i64], custom: &[f64]) -> Vec<u8> {
        let zigzag = |v: i64| ((v << 1) ^ (v >> 63)) as u64;
        let mut out = vec![0x08];
        put_uvarint(&mut out, count);
        out.push(0x20);
        put_uvarint(&mut out, zigzag(schema));
        for (offset, length) in spans {
            let mut span = vec![0x08];
            put_uvarint(&mut span, zigzag(*offset));
            span.push(0x10);
            put_uvarint(&mut span, *length);
            out.push(0x5a);
            put_bytes(&mut out, &span);
        }
        let mut packed = Vec::new();
        deltas.iter().for_each(|d| put_uvarint(&mut packed, zigzag(*d)));
        out.push(0x62);
        put_bytes(&mut out, &packed);
        out.extend_from_slice(&[0x82, 0x01]);
        put_bytes(&mut out, &custom.iter().flat_map(|c| c.to_le_bytes()).collect::<Vec<u8>>());
        out.push(0x78);
        put_uvarint(&mut out, 1_700_000_000_000);
        out
    }

    #[test]
    fn good_ones_are_kept() {
        for bytes in [
            encode(0, 0, &[], &[], &[]),
            encode(3, 8, &[(0, 2)], &[1, 1], &[]),
            encode(3, -4, &[(-7, 1), (3, 1)], &[1, 1], &[]),
            encode(6, -53, &[(0, 3)], &[1, 1, 1], &[0.5, 1.0]),
        ] {
            let (time_ms, blob) = check(&bytes).unwrap();
            let blob = blob.unwrap();
            assert_eq!(
                (time_ms, blob.kind, &blob.payload[..]),
                (1_700_000_000_000, SampleKind::IntHistogram, &bytes[..])
            );
        }
    }

    #[test]
    fn finer_ones_than_are_kept_are_brought_down() {
        let bytes = encode(5, 9, &[(1, 4)], &[1, 1, -1, 0], &[]);
        let kept = read(&check(&bytes).unwrap().1.unwrap().payload).unwrap();
        // Buckets 1 and 2, 3 and 4 are one each.
        assert_eq!((kept.schema, &kept.positive.spans[..], kept.positive.absolute()), (8, &[(1, 2)][..], vec![3, 2]));
        assert_eq!((kept.count_int, kept.time_ms), (5, 1_700_000_000_000));
    }

    #[test]
    fn bad_ones_are_named() {
        for (bytes, said) in [
            (encode(0, 100, &[], &[], &[]), "unknown schema 100"),
            (encode(0, i64::from(i32::MIN), &[], &[], &[]), "unknown schema -2147483648"),
            (encode(99, 0, &[(0, 2)], &[1, 1], &[]), "3 observations found in buckets, but the Count field is 99"),
            (encode(2, 0, &[(0, 2)], &[1, -5], &[]), "positive bucket number 2 has observation count of -4"),
            (encode(3, 0, &[(0, 9)], &[1, 1], &[]), "positive spans need 9 buckets, have 2 buckets"),
            (encode(3, 0, &[(0, u64::from(u32::MAX))], &[1, 1], &[]), "need 4294967295 buckets"),
            (encode(3, 0, &[(0, 1), (-5, 1)], &[1, 1], &[]), "positive span number 2 with offset -5"),
            (encode(3, -53, &[(0, 2)], &[1, 1], &[]), "custom buckets with more buckets than bounds"),
            (encode(1, -53, &[(0, 1)], &[1], &[2.0, 1.0]), "custom bound number 2"),
            (encode(1, -53, &[(0, 1)], &[1], &[f64::INFINITY]), "custom bound number 1"),
            (encode(1, 0, &[(0, 1)], &[1], &[1.0]), "custom bounds with exponential schema 0"),
            (encode(u64::MAX, 0, &[(0, 2)], &[i64::MAX, i64::MAX], &[]), "observations found"),
            (encode(0, 0, &[(0, 40_000)], &vec![0; 40_000], &[]), "limit 32768"),
        ] {
            let fault = check(&bytes).unwrap().1.unwrap_err();
            assert!(fault.to_string().contains(said), "{fault}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _answer = check(&bytes).is_ok();
        }
    }
}
