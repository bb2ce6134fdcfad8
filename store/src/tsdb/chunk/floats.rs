//! Float columns: scaled to integers where that is exact, else as their bits.
//!
//! ```text
//! 1      bits 0-3: decimal exponent e (0-13), or 15 for raw bits; bit 4: exceptions follow
//! varint exceptions, if bit 4: count, then (varint positions since the last one, 8 bytes of bits) each
//! ..     an integer column (see `ints`)
//! ```
//! With an exponent the value is `m / 10^e`, which is what parsing the decimal text gives. Values that have no such form
//! (NaNs with the stale marker among them, infinities, -0) are exceptions, and the column repeats the value before.
//! Raw bits are mapped so that they order as the floats do.
use std::ops::Range;

use super::{Scratch, ints};
use crate::codec::{Error, Reader, put_uvarint};

const RAW: u8 = 15;
const EXCEPTIONS: u8 = 1 << 4;
const EXPONENT_MAX: usize = 13;
const POWERS: [f64; EXPONENT_MAX + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13];
/// Integers up to here are exact in a float.
const MANTISSA_LIMIT: i64 = 1 << 53;

/// `m` with `m / 10^exponent` being exactly these bits.
#[inline]
fn scaled(bits: u64, exponent: usize) -> Option<i64> {
    let v = f64::from_bits(bits);
    let power = POWERS[exponent];
    let product = v * power;
    let m = (product + 0.5f64.copysign(product)) as i64;
    let exact = m < MANTISSA_LIMIT && m > -MANTISSA_LIMIT && (m as f64 / power).to_bits() == bits;
    exact.then_some(m)
}

/// Orders as the floats do; its own inverse.
fn ordered(v: i64) -> i64 {
    v ^ (((v >> 63) as u64) >> 1) as i64
}

/// The smallest exponent that suits nearly all values; `None` when too many have no decimal form.
fn exponent_of(values: &[u64], misses_max: usize) -> Option<usize> {
    let mut exponent = 0;
    let mut misses = 0;
    for &bits in values {
        if scaled(bits, exponent).is_some() {
            continue;
        }
        match (exponent + 1..=EXPONENT_MAX).find(|e| scaled(bits, *e).is_some()) {
            Some(larger) => exponent = larger,
            None => {
                misses += 1;
                if misses > misses_max {
                    return None;
                }
            }
        }
    }
    Some(exponent)
}

/// Appends the coded column of bit patterns. Nothing at all for an empty one.
pub(in crate::tsdb) fn encode(values: &[u64], scratch: &mut Scratch, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let Scratch { ints, residuals } = scratch;
    let misses_max = values.len() / 8 + 1;
    let exceptions =
        exponent_of(values, misses_max).and_then(|e| scale_all(values, e, misses_max, ints).map(|n| (e, n)));
    match exceptions {
        Some((exponent, 0)) => out.push(exponent as u8),
        Some((exponent, count)) => {
            out.push(exponent as u8 | EXCEPTIONS);
            put_exceptions(values, exponent, count, out);
        }
        None => {
            out.push(RAW);
            ints.clear();
            ints.extend(values.iter().map(|bits| ordered(*bits as i64)));
        }
    }
    ints::encode_with(ints, residuals, out);
}

/// Fills `ints`; the count of exceptions, or `None` when there are too many.
fn scale_all(values: &[u64], exponent: usize, misses_max: usize, ints: &mut Vec<i64>) -> Option<usize> {
    ints.clear();
    let mut misses = 0;
    let mut last = None;
    for &bits in values {
        match scaled(bits, exponent) {
            Some(m) => {
                if last.is_none() {
                    // Exceptions at the start repeat the first value that is none.
                    ints.fill(m);
                }
                last = Some(m);
                ints.push(m);
            }
            None => {
                misses += 1;
                ints.push(last.unwrap_or(0));
            }
        }
    }
    (misses <= misses_max && last.is_some()).then_some(misses)
}

fn put_exceptions(values: &[u64], exponent: usize, count: usize, out: &mut Vec<u8>) {
    put_uvarint(out, count as u64);
    let mut next = 0;
    for (at, &bits) in values.iter().enumerate().filter(|(_, bits)| scaled(**bits, exponent).is_none()) {
        put_uvarint(out, (at - next) as u64);
        out.extend_from_slice(&bits.to_le_bytes());
        next = at + 1;
    }
}

/// Appends `count` bit patterns to `out`; `bytes` is exactly one coded column.
pub(in crate::tsdb) fn decode(
    bytes: &[u8],
    count: usize,
    scratch: &mut Scratch,
    out: &mut Vec<u64>,
) -> Result<(), Error> {
    decode_as(bytes, count, 0..count, scratch, out, f64::to_bits)
}

/// Appends the values at positions `range` of a column of `count`.
pub(in crate::tsdb) fn decode_range(
    bytes: &[u8],
    count: usize,
    range: Range<usize>,
    scratch: &mut Scratch,
    out: &mut Vec<f64>,
) -> Result<(), Error> {
    decode_as(bytes, count, range, scratch, out, |value| value)
}

/// `of` keeps all bits of what it is given.
fn decode_as<T>(
    bytes: &[u8],
    count: usize,
    range: Range<usize>,
    scratch: &mut Scratch,
    out: &mut Vec<T>,
    of: impl Fn(f64) -> T,
) -> Result<(), Error> {
    let range = range.start.min(count)..range.end.min(count);
    if range.is_empty() {
        return Ok(());
    }
    let mut r = Reader::new(bytes);
    let flags = r.u8("float flags")?;
    let exponent = flags & 0xf;
    if flags & !(0xf | EXCEPTIONS) != 0 || (usize::from(exponent) > EXPONENT_MAX && exponent != RAW) {
        return Err(Error::Unknown { what: "float flags", value: u64::from(flags), at: 0 });
    }
    let exceptions_at = r.clone();
    let exceptions = if flags & EXCEPTIONS != 0 { r.count(9, "exceptions count")? } else { 0 };
    for _ in 0..exceptions {
        r.uvarint("exception position")?;
        r.take(8, "exception bits")?;
    }
    let from = out.len();
    scratch.ints.clear();
    ints::decode_range(r.take(r.remaining(), "float column")?, count, range.clone(), &mut scratch.ints)?;
    let wanted = scratch.ints.iter();
    if exponent == RAW {
        out.extend(wanted.map(|m| of(f64::from_bits(ordered(*m) as u64))));
    } else if exponent == 0 {
        out.extend(wanted.map(|m| of(*m as f64)));
    } else {
        let power = POWERS[usize::from(exponent)];
        out.extend(wanted.map(|m| of(*m as f64 / power)));
    }
    if exceptions == 0 {
        return Ok(());
    }
    apply_exceptions(exceptions_at, count, |position, bits| {
        if let Some(slot) = position.checked_sub(range.start).and_then(|at| out[from..].get_mut(at)) {
            *slot = of(f64::from_bits(bits));
        }
    })
}

/// Calls `set` with the position and the bits of each exception of a column of `count`.
fn apply_exceptions(mut r: Reader<'_>, count: usize, mut set: impl FnMut(usize, u64)) -> Result<(), Error> {
    let exceptions = r.count(9, "exceptions count")?;
    let mut next = 0usize;
    for _ in 0..exceptions {
        let at = r.position();
        let gap = usize::try_from(r.uvarint("exception position")?).unwrap_or(usize::MAX);
        let position = next.saturating_add(gap);
        if position >= count {
            return Err(Error::Invalid { what: "exception position", at });
        }
        set(position, r.u64("exception bits")?);
        next = position + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::STALE_NAN_BITS;

    fn coded(values: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut scratch = Scratch::default();
        encode(values, &mut scratch, &mut out);
        let mut back = Vec::new();
        decode(&out, values.len(), &mut scratch, &mut back).unwrap();
        assert_eq!(back, values);
        out
    }

    fn bits(values: impl IntoIterator<Item = f64>) -> Vec<u64> {
        values.into_iter().map(f64::to_bits).collect()
    }

    #[test]
    fn usual_columns_are_small() {
        let mut ending_stale = bits((0..240).map(|i| f64::from(i) * 3.0));
        ending_stale.push(STALE_NAN_BITS);
        let cases: &[(&str, Vec<u64>, usize)] = &[
            ("constant", bits([1.0; 240]), 3),
            ("constant fraction", bits([0.1; 240]), 3),
            ("irrational constant", bits([std::f64::consts::PI; 240]), 12),
            ("stale only", vec![STALE_NAN_BITS; 5], 12),
            ("counter, then stale", ending_stale, 24),
            ("two decimals", bits((0..240).map(|i| f64::from(2000 + (i * 7) % 13) / 100.0)), 160),
            ("pages", bits((0..240).map(|i| f64::from(1 << 20 | ((i * 7) % 13)) * 4096.0)), 160),
            ("special", bits([0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 5e-324, f64::MAX]), 80),
        ];
        for (name, values, bytes_max) in cases {
            let bytes = coded(values);
            assert!(bytes.len() <= *bytes_max, "{name}: {} bytes", bytes.len());
        }
    }

    proptest! {
        #[test]
        fn any_bits_come_back(values: Vec<u64>) {
            coded(&values);
        }

        #[test]
        fn decimals_come_back(values in proptest::collection::vec((-1_000_000_000i64..1_000_000_000, 0i32..12), 0..300)) {
            coded(&bits(values.iter().map(|(m, e)| *m as f64 / 10f64.powi(*e))));
        }

        #[test]
        fn decimals_with_special_values_come_back(
            values in proptest::collection::vec(prop_oneof![
                8 => (0i64..100_000).prop_map(|m| (m as f64 / 100.0).to_bits()),
                1 => prop_oneof![Just(STALE_NAN_BITS), Just((-0.0f64).to_bits()), any::<u64>()],
            ], 0..300),
        ) {
            coded(&values);
        }

        #[test]
        fn a_range_comes_back_alone(
            values in proptest::collection::vec(
                prop_oneof![60 => (0i64..1000).prop_map(|m| (m as f64 / 10.0).to_bits()), 1 => any::<u64>()], 0..700),
            from in 0usize..720,
            len in 0usize..720,
        ) {
            let (mut bytes, mut scratch, mut back) = (Vec::new(), Scratch::default(), vec![1.0]);
            encode(&values, &mut scratch, &mut bytes);
            decode_range(&bytes, values.len(), from..from + len, &mut scratch, &mut back).unwrap();
            let expected = values.iter().skip(from).take(len).copied();
            prop_assert!(back[1..].iter().map(|v| v.to_bits()).eq(expected));
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, count in 0usize..2000) {
            let mut out = Vec::new();
            if decode(&bytes, count, &mut Scratch::default(), &mut out).is_ok() {
                prop_assert_eq!(out.len(), count);
            }
        }
    }
}
