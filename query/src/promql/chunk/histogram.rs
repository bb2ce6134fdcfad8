//! Reads Prometheus' chunks of native histograms, with integer and with float counts.
//!
//! A chunk has one layout of buckets; of each sample there are the counts alone.
use super::bits::{Bits, Damaged, Xor};
use crate::promql::histogram;

/// Schema of histograms with bounds of their own.
pub const CUSTOM: i64 = histogram::CUSTOM as i64;
/// In the flags: the counts go up and down.
const GAUGE: u64 = 0b11;

/// A native histogram. Buckets are (index, count), indices rising.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Native {
    pub schema: i64,
    pub zero_threshold: f64,
    pub zero: f64,
    pub count: f64,
    pub sum: f64,
    pub positive: Vec<(i64, f64)>,
    pub negative: Vec<(i64, f64)>,
    /// Upper bounds, rising, of those with bounds of their own.
    pub custom: Vec<f64>,
}

/// Whether the chunk's counts go up and down.
pub fn is_gauge(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|flags| u64::from(flags >> 6) == GAUGE)
}

/// Calls `see` with the time, ms, and value of each sample. Errors: as [`super::decode`].
pub fn decode(bytes: &[u8], is_float: bool, mut see: impl FnMut(i64, &Native)) -> Result<(), Damaged> {
    let mut r = Bits::of(bytes);
    let samples_count = r.take(16)?;
    r.take(8)?;
    let mut h = layout(&mut r)?;
    let mut time = Doubled::default();
    let mut ints = Ints::default();
    let mut floats = Vec::new();
    for n in 0..samples_count {
        time.next(&mut r, n)?;
        match is_float {
            true => next_floats(&mut r, &mut floats, &mut h, n)?,
            false => ints.next(&mut r, &mut h, n)?,
        }
        see(time.value, &h);
    }
    Ok(())
}

/// Schema, bounds and indices; no counts.
fn layout(r: &mut Bits<'_>) -> Result<Native, Damaged> {
    let zero_threshold = zero_threshold(r)?;
    let schema = r.varbit_int()?;
    let (positive, negative) = (indices(r)?, indices(r)?);
    let mut custom = Vec::new();
    if schema == CUSTOM {
        for _ in 0..bounded(r.varbit_uint()?, r)? {
            custom.push(bound(r)?);
        }
    }
    Ok(Native { schema, zero_threshold, positive, negative, custom, ..Native::default() })
}

/// A count of what takes a bit or more each.
fn bounded(count: u64, r: &Bits<'_>) -> Result<usize, Damaged> {
    usize::try_from(count).ok().filter(|count| *count <= r.left()).ok_or(r.damaged())
}

fn indices(r: &mut Bits<'_>) -> Result<Vec<(i64, f64)>, Damaged> {
    let mut out = Vec::new();
    let mut at = 0i64;
    for _ in 0..bounded(r.varbit_uint()?, r)? {
        let length = r.varbit_uint()?;
        at = at.checked_add(r.varbit_int()?).ok_or(r.damaged())?;
        let all = length.saturating_add(out.len() as u64);
        bounded(all, r)?;
        for _ in 0..length {
            out.push((at, 0.0));
            at = at.checked_add(1).ok_or(r.damaged())?;
        }
    }
    Ok(out)
}

/// A power of two by its exponent, or 255 and the float.
fn zero_threshold(r: &mut Bits<'_>) -> Result<f64, Damaged> {
    match r.take(8)? {
        0 => Ok(0.0),
        255 => r.float(),
        exponent => Ok(2f64.powi(exponent as i32 - 244)),
    }
}

/// Thousandths and one, or zero and the float.
fn bound(r: &mut Bits<'_>) -> Result<f64, Damaged> {
    match r.varbit_uint()? {
        0 => r.float(),
        thousandths => Ok((thousandths - 1) as f64 / 1000.0),
    }
}

/// A number of which differences of differences are kept.
#[derive(Clone, Copy, Debug, Default)]
struct Doubled {
    value: i64,
    delta: i64,
}

impl Doubled {
    fn next(&mut self, r: &mut Bits<'_>, n: u64) -> Result<(), Damaged> {
        if n == 0 {
            self.value = r.varbit_int()?;
            return Ok(());
        }
        self.delta = self.delta.wrapping_add(r.varbit_int()?);
        self.value = self.value.wrapping_add(self.delta);
        Ok(())
    }

    /// The first one has no sign.
    fn next_count(&mut self, r: &mut Bits<'_>, n: u64) -> Result<f64, Damaged> {
        match n {
            0 => self.value = r.varbit_uint()? as i64,
            _ => self.next(r, n)?,
        }
        Ok(self.value as u64 as f64)
    }
}

/// Columns of integer histograms.
#[derive(Debug, Default)]
struct Ints {
    count: Doubled,
    zero: Doubled,
    sum: Xor,
    /// Differences of the buckets' counts, the positive ones first.
    buckets: Vec<Doubled>,
}

impl Ints {
    fn next(&mut self, r: &mut Bits<'_>, h: &mut Native, n: u64) -> Result<(), Damaged> {
        h.count = self.count.next_count(r, n)?;
        h.zero = self.zero.next_count(r, n)?;
        match n {
            0 => self.sum = Xor::first(r)?,
            _ => self.sum.next(r)?,
        }
        h.sum = self.sum.value();
        self.buckets.resize(h.positive.len() + h.negative.len(), Doubled::default());
        let mut buckets = self.buckets.iter_mut();
        for side in [&mut h.positive, &mut h.negative] {
            let mut count = 0i64;
            for ((_, slot), bucket) in side.iter_mut().zip(&mut buckets) {
                bucket.next(r, n)?;
                count = count.wrapping_add(bucket.value);
                *slot = count as f64;
            }
        }
        Ok(())
    }
}

fn next_floats(r: &mut Bits<'_>, columns: &mut Vec<Xor>, h: &mut Native, n: u64) -> Result<(), Damaged> {
    let Native { count, zero, sum, positive, negative, .. } = h;
    let buckets = positive.iter_mut().chain(negative).map(|(_, count)| count);
    for (at, slot) in [count, zero, sum].into_iter().chain(buckets).enumerate() {
        match columns.get_mut(at).filter(|_| n > 0) {
            Some(column) => column.next(r)?,
            None => columns.push(Xor::first(r)?),
        }
        *slot = columns[at].value();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::bits::tests::Written;
    use super::*;

    fn read(bytes: &[u8], is_float: bool) -> Result<Vec<(i64, Native)>, Damaged> {
        let mut out = Vec::new();
        decode(bytes, is_float, |t, h| out.push((t, h.clone())))?;
        Ok(out)
    }

    /// Two integer histograms with a positive and a negative side.
    fn ints() -> Vec<u8> {
        let mut w = Written::default();
        // Two samples, gauges, a threshold of 2^-128, schema 3.
        w.bits(2, 16).bits(0b1100_0000, 8).bits(116, 8).int(3);
        // Positive: two spans of 1 and 2, first at -2, then 3 further; negative: a span of 1 at 0.
        w.uint(2).uint(1).int(-2).uint(2).int(3).uint(1).uint(1).int(0);
        w.int(1000).uint(12).uint(2).float(1.5);
        w.int(1).int(2).int(1).int(2);
        // 500 ms later: count 15, zero 3, the same sum, one more in each bucket.
        w.int(500).int(3).int(1).bits(0, 1);
        w.int(1).int(0).int(0).int(1);
        w.bytes()
    }

    #[test]
    fn integer_histograms_come_back() {
        let bytes = ints();
        assert!(is_gauge(&bytes) && !is_gauge(&[0, 2, 0b1000_0000]) && !is_gauge(&[]));
        let first = Native {
            schema: 3,
            zero_threshold: 2f64.powi(-128),
            zero: 2.0,
            count: 12.0,
            sum: 1.5,
            positive: vec![(-2, 1.0), (2, 3.0), (3, 4.0)],
            negative: vec![(0, 2.0)],
            custom: vec![],
        };
        let second = Native {
            zero: 3.0,
            count: 15.0,
            positive: vec![(-2, 2.0), (2, 4.0), (3, 5.0)],
            negative: vec![(0, 3.0)],
            ..first.clone()
        };
        assert_eq!(read(&bytes, false), Ok(vec![(1000, first), (1500, second)]));
    }

    #[test]
    fn float_histograms_with_bounds_of_their_own_come_back() {
        let mut w = Written::default();
        w.bits(2, 16).bits(0, 8).bits(0, 8).int(CUSTOM);
        w.uint(1).uint(2).int(0).uint(0);
        // Bounds -1, and 0.25 as thousandths.
        w.uint(2).uint(0).float(-1.0).uint(251);
        w.int(10).float(3.5).float(0.0).float(2.5).float(1.5).float(2.0);
        // Only the time and the count's bits change: 3.5 ^ 7.5.
        let changed = 3.5f64.to_bits() ^ 7.5f64.to_bits();
        let (leading, trailing) = (u64::from(changed.leading_zeros()), changed.trailing_zeros());
        let width = 64 - leading as u32 - trailing;
        w.int(5).bits(0b11, 2).bits(leading, 5).bits(u64::from(width), 6).bits(changed >> trailing, width);
        w.bits(0, 4);
        let first = Native {
            schema: CUSTOM,
            count: 3.5,
            sum: 2.5,
            positive: vec![(0, 1.5), (1, 2.0)],
            custom: vec![-1.0, 0.25],
            ..Native::default()
        };
        let second = Native { count: 7.5, ..first.clone() };
        assert_eq!(read(&w.bytes(), true), Ok(vec![(10, first), (15, second)]));
    }

    #[test]
    fn damage_is_an_error_and_no_panic() {
        let whole = ints();
        for at in 0..whole.len() - 1 {
            assert!(read(&whole[..at], false).is_err(), "{at}");
            for flip in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << flip;
                // Whatever it is: it ends, and takes no more memory than the chunk has bits.
                drop(read(&bytes, false));
                drop(read(&bytes, true));
            }
        }
        let mut w = Written::default();
        w.bits(1, 16).bits(0, 8).bits(0, 8).int(0).uint(1).uint(1 << 40).int(0);
        assert!(read(&w.bytes(), false).is_err(), "more buckets than bits");
    }
}
