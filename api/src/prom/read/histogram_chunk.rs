//! Prometheus' chunks of native histograms, with integer and with float counts. Layout: `tsdb/docs/format/chunks.md` of
//! Prometheus.
//!
//! A chunk has one layout of buckets. A reader takes for granted that no counter was reset within a chunk, so one ends
//! wherever a count falls.
use super::bits::{BitWriter, Xor};
use crate::prom::histogram::{Histogram, ResetHint, Side};

/// Place of the flags behind the count of samples.
const FLAGS_AT: usize = 2;

fn falls(before: &Side, side: &Side, is_float: bool) -> bool {
    if is_float {
        return before.counts.iter().zip(&side.counts).any(|(a, b)| b < a);
    }
    before.absolute().iter().zip(side.absolute()).any(|(a, b)| b < *a)
}

/// Whether `next` can stand in a chunk behind `before`.
pub(super) fn continues(before: &Histogram, next: &Histogram) -> bool {
    let is_gauge = |h: &Histogram| h.reset_hint == ResetHint::Gauge;
    if before.is_float != next.is_float || is_gauge(before) != is_gauge(next) || before.is_stale() != next.is_stale() {
        return false;
    }
    if next.is_stale() {
        return true;
    }
    let layout = |h: &Histogram| (h.schema, h.zero_threshold.to_bits());
    let same_layout = layout(before) == layout(next)
        && before.positive.spans == next.positive.spans
        && before.negative.spans == next.negative.spans
        && before.custom == next.custom;
    if !same_layout || next.reset_hint == ResetHint::Reset {
        return false;
    }
    let fell = next.count_int < before.count_int
        || next.count_float < before.count_float
        || next.zero_int < before.zero_int
        || next.zero_float < before.zero_float
        || falls(&before.positive, &next.positive, next.is_float)
        || falls(&before.negative, &next.negative, next.is_float);
    is_gauge(next) || !fell
}

/// Encodes histograms that continue each other: at least one, at most 65,535, times rising, all of one kind.
pub(super) fn encode(histograms: &[Histogram]) -> Vec<u8> {
    debug_assert!(!histograms.is_empty() && histograms.len() <= usize::from(u16::MAX));
    let mut header = (histograms.len() as u16).to_be_bytes().to_vec();
    header.push(0);
    let mut out = BitWriter::after(header);
    if let Some(first) = histograms.first() {
        // The layout of what has ended is empty.
        let stale = Histogram { sum: first.sum, is_float: first.is_float, ..Histogram::default() };
        let layout = if first.is_stale() { &stale } else { first };
        out.bytes_mut()[FLAGS_AT] = match first.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Reset => 0b1000_0000,
            ResetHint::NoReset => 0b0100_0000,
            ResetHint::Gauge => 0b1100_0000,
        };
        put_layout(&mut out, layout);
        if first.is_float { put_floats(&mut out, histograms) } else { put_ints(&mut out, histograms) }
    }
    out.finish()
}

fn put_layout(out: &mut BitWriter, h: &Histogram) {
    put_zero_threshold(out, h.zero_threshold);
    out.put_varbit_int(h.schema);
    for side in [&h.positive, &h.negative] {
        out.put_varbit_uint(side.spans.len() as u64);
        for (offset, length) in &side.spans {
            out.put_varbit_uint(*length);
            out.put_varbit_int(*offset);
        }
    }
    if h.is_custom() {
        out.put_varbit_uint(h.custom.len() as u64);
        h.custom.iter().for_each(|bound| put_bound(out, *bound));
    }
}

/// One byte for 0 and powers of two between 2^-243 and 2^10, nine for all else.
fn put_zero_threshold(out: &mut BitWriter, threshold: f64) {
    let bits = threshold.to_bits();
    let exponent = (bits >> 52) as i64 - 1022;
    if bits == 0 {
        out.put_byte(0);
    } else if bits & ((1 << 52) - 1) == 0 && (-242..=11).contains(&exponent) {
        out.put_byte((exponent + 243) as u8);
    } else {
        out.put_byte(255);
        out.put_float(threshold);
    }
}

/// Multiples of a thousandth take few bits.
fn put_bound(out: &mut BitWriter, bound: f64) {
    let thousands = bound * 1000.0;
    let is_whole = thousands.round() / 1000.0 == bound;
    if (0.0..=33_554_430.0).contains(&thousands) && is_whole {
        return out.put_varbit_uint(thousands.round() as u64 + 1);
    }
    out.put(0, 1);
    out.put_float(bound);
}

/// A number whose differences of differences are stored.
#[derive(Clone, Copy, Debug, Default)]
struct Doubled {
    last: i64,
    delta: i64,
}

impl Doubled {
    fn put(&mut self, out: &mut BitWriter, value: i64) {
        let delta = value.wrapping_sub(self.last);
        out.put_varbit_int(delta.wrapping_sub(self.delta));
        *self = Self { last: value, delta };
    }

    fn first(value: i64) -> Self {
        Self { last: value, delta: 0 }
    }
}

fn put_ints(out: &mut BitWriter, histograms: &[Histogram]) {
    let (mut time, mut count, mut zero) = (Doubled::default(), Doubled::default(), Doubled::default());
    let mut sum = Xor::new(0.0);
    let mut buckets: Vec<Doubled> = Vec::new();
    for (at, h) in histograms.iter().enumerate() {
        let (h_count, h_zero) = if h.is_stale() { (0, 0) } else { (h.count_int, h.zero_int) };
        let deltas = h.positive.deltas.iter().chain(&h.negative.deltas).filter(|_| !h.is_stale());
        if at == 0 {
            out.put_varbit_int(h.time_ms);
            out.put_varbit_uint(h_count);
            out.put_varbit_uint(h_zero);
            out.put_float(h.sum);
            for delta in deltas {
                out.put_varbit_int(*delta);
                buckets.push(Doubled::first(*delta));
            }
            (time, sum) = (Doubled::first(h.time_ms), Xor::new(h.sum));
            (count, zero) = (Doubled::first(h_count as i64), Doubled::first(h_zero as i64));
            continue;
        }
        time.put(out, h.time_ms);
        count.put(out, h_count as i64);
        zero.put(out, h_zero as i64);
        sum.put(out, h.sum);
        buckets.iter_mut().zip(deltas).for_each(|(bucket, delta)| bucket.put(out, *delta));
    }
}

fn put_floats(out: &mut BitWriter, histograms: &[Histogram]) {
    let mut time = Doubled::default();
    let mut columns: Vec<Xor> = Vec::new();
    for (at, h) in histograms.iter().enumerate() {
        let (count, zero) = if h.is_stale() { (0.0, 0.0) } else { (h.count_float, h.zero_float) };
        let counts = h.positive.counts.iter().chain(&h.negative.counts).filter(|_| !h.is_stale());
        let values = [count, zero, h.sum].into_iter().chain(counts.copied());
        if at == 0 {
            out.put_varbit_int(h.time_ms);
            time = Doubled::first(h.time_ms);
            for value in values {
                out.put_float(value);
                columns.push(Xor::new(value));
            }
            continue;
        }
        time.put(out, h.time_ms);
        columns.iter_mut().zip(values).for_each(|(column, value)| column.put(out, value));
    }
}

#[cfg(test)]
mod tests {
    use super::super::bits::tests::BitReader;
    use super::*;

    fn int(time_ms: i64, deltas: &[i64], hint: ResetHint) -> Histogram {
        let count: i64 = Side { deltas: deltas.to_vec(), ..Side::default() }.absolute().iter().sum();
        Histogram {
            count_int: count as u64 + 2,
            zero_int: 2,
            sum: time_ms as f64 / 7.0,
            schema: 3,
            zero_threshold: 2f64.powi(-128),
            positive: Side {
                spans: vec![(-2, 1), (3, deltas.len() as u64 - 1)],
                deltas: deltas.to_vec(),
                counts: vec![],
            },
            reset_hint: hint,
            time_ms,
            ..Histogram::default()
        }
    }

    /// Time, count, zero count, sum, deltas.
    type Decoded = (i64, i64, i64, f64, Vec<i64>);

    /// Reads an integer chunk: flags, layout, and of each sample time, count, zero count, sum and deltas.
    fn decode(bytes: &[u8], buckets: usize) -> (u8, u64, i64, Vec<Decoded>) {
        let mut r = BitReader::new(bytes);
        let (count, flags, zero_threshold, schema) = (r.bits(16), r.bits(8) as u8, r.bits(8), r.varbit_int());
        for _ in 0..2 {
            for _ in 0..r.varbit_uint() {
                r.varbit_uint();
                r.varbit_int();
            }
        }
        let mut out = Vec::new();
        let mut last = vec![0i64; 3 + buckets];
        let mut delta = vec![0i64; 3 + buckets];
        let mut sum = (0u64, 0, 0);
        for at in 0..count {
            let read = |r: &mut BitReader<'_>, i: usize, last: &mut [i64], delta: &mut [i64]| {
                if at == 0 {
                    last[i] = if (1..3).contains(&i) { r.varbit_uint() as i64 } else { r.varbit_int() };
                } else {
                    delta[i] += r.varbit_int();
                    last[i] += delta[i];
                }
            };
            (0..3).for_each(|i| read(&mut r, i, &mut last, &mut delta));
            sum.0 = if at == 0 { r.bits(64) } else { r.xor(&mut sum).to_bits() };
            (3..3 + buckets).for_each(|i| read(&mut r, i, &mut last, &mut delta));
            out.push((last[0], last[1], last[2], f64::from_bits(sum.0), last[3..].to_vec()));
        }
        (flags, zero_threshold, schema, out)
    }

    #[test]
    fn integer_histograms_come_back() {
        let all = [
            int(1_700_000_000_000, &[1, 2, -1], ResetHint::Unknown),
            int(1_700_000_015_000, &[5, 0, 3], ResetHint::Unknown),
            int(1_700_000_030_007, &[5, 1, 9000], ResetHint::Unknown),
        ];
        assert!(all.windows(2).all(|pair| continues(&pair[0], &pair[1])));
        let (flags, zero_threshold, schema, samples) = decode(&encode(&all), 3);
        assert_eq!((flags, zero_threshold, schema), (0, 116, 3));
        for (h, sample) in all.iter().zip(&samples) {
            let expected = (h.time_ms, h.count_int as i64, h.zero_int as i64, h.sum, h.positive.deltas.clone());
            assert_eq!(*sample, expected);
        }
    }

    #[test]
    fn a_chunk_ends_where_a_reader_would_misread_it() {
        let base = int(1, &[1, 2, -1], ResetHint::Unknown);
        let stale = |t| Histogram {
            sum: f64::from_bits(trine_store::model::STALE_NAN_BITS),
            ..int(t, &[1, 2, -1], ResetHint::Unknown)
        };
        for (next, expected) in [
            (int(2, &[1, 2, -1], ResetHint::Unknown), true),
            (int(2, &[1, 1, 1], ResetHint::Unknown), false),
            (int(2, &[9, 2, -1], ResetHint::Reset), false),
            (int(2, &[9, 2, -1], ResetHint::Gauge), false),
            (Histogram { schema: 2, ..int(2, &[9, 2, -1], ResetHint::Unknown) }, false),
            (Histogram { is_float: true, ..int(2, &[9, 2, -1], ResetHint::Unknown) }, false),
            (stale(2), false),
        ] {
            assert_eq!(continues(&base, &next), expected, "{next:?}");
        }
        assert!(continues(&stale(1), &stale(2)));
        let gauge = |t, deltas: &[i64]| int(t, deltas, ResetHint::Gauge);
        assert!(continues(&gauge(1, &[5, 0, 0]), &gauge(2, &[1, 0, 0])));
    }

    #[test]
    fn thresholds_and_bounds_take_few_bits_where_they_can() {
        for (threshold, len) in [(0.0, 1), (1.0, 1), (2f64.powi(-243), 1), (0.001, 9), (2f64.powi(11), 9)] {
            let mut out = BitWriter::default();
            put_zero_threshold(&mut out, threshold);
            assert_eq!(out.finish().len(), len, "{threshold}");
        }
        for (bound, bits) in [(0.25, Some(251)), (33_554.43, Some(33_554_431)), (-1.0, None), (0.000_1, None)] {
            let mut out = BitWriter::default();
            put_bound(&mut out, bound);
            let bytes = out.finish();
            let mut r = BitReader::new(&bytes);
            let read = r.varbit_uint();
            match bits {
                Some(bits) => assert_eq!(read, bits),
                None => assert_eq!((read, f64::from_bits(r.bits(64))), (0, bound)),
            }
        }
    }

    #[test]
    fn float_histograms_have_a_column_each() {
        let h = |time_ms: i64, counts: &[f64]| Histogram {
            is_float: true,
            count_float: counts.iter().sum(),
            sum: 2.5,
            positive: Side { spans: vec![(0, counts.len() as u64)], deltas: vec![], counts: counts.to_vec() },
            time_ms,
            ..Histogram::default()
        };
        let bytes = encode(&[h(10, &[1.5, 2.0]), h(20, &[1.5, 4.0])]);
        let mut r = BitReader::new(&bytes);
        assert_eq!((r.bits(16), r.bits(8), r.bits(8), r.varbit_int()), (2, 0, 0, 0));
        assert_eq!((r.varbit_uint(), r.varbit_uint(), r.varbit_int(), r.varbit_uint()), (1, 2, 0, 0));
        assert_eq!(r.varbit_int(), 10);
        let first: Vec<f64> = (0..5).map(|_| f64::from_bits(r.bits(64))).collect();
        assert_eq!(first, [3.5, 0.0, 2.5, 1.5, 2.0]);
        assert_eq!(r.varbit_int(), 10);
        let second: Vec<f64> = first.iter().map(|v| r.xor(&mut (v.to_bits(), 0, 0))).collect();
        assert_eq!(second, [5.5, 0.0, 2.5, 1.5, 4.0]);
    }
}
