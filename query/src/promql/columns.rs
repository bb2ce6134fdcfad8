//! Columns of samples and steps as bytes.
//!
//! Values are XORed with the one before and written as varints of the swapped bytes, so that repeated values take one
//! byte and small whole numbers three. Times are differences of differences.
use trine_store::codec::{Reader, put_ivarint, put_uvarint};

use super::functions::{ABSENT, is_absent};
use crate::error::{Error, Result};

fn corrupt(e: &trine_store::codec::Error) -> Error {
    Error::Corrupt { what: "PromQL frame", reason: e.to_string() }
}

fn put_value(out: &mut Vec<u8>, value: f64, previous: &mut u64) {
    let bits = value.to_bits();
    put_uvarint(out, (bits ^ *previous).swap_bytes());
    *previous = bits;
}

fn get_value(r: &mut Reader<'_>, previous: &mut u64) -> Result<f64> {
    *previous ^= r.uvarint("value").map_err(|e| corrupt(&e))?.swap_bytes();
    Ok(f64::from_bits(*previous))
}

/// Samples in time order: repeated `delta of delta(zigzag) value`.
pub(super) fn encode_samples(ts: &[i64], vs: &[f64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ts.len() * 4);
    let (mut last, mut delta, mut bits) = (0i64, 0i64, 0u64);
    for (t, v) in ts.iter().zip(vs) {
        let next = t.wrapping_sub(last);
        put_ivarint(&mut out, next.wrapping_sub(delta));
        (last, delta) = (*t, next);
        put_value(&mut out, *v, &mut bits);
    }
    out
}

/// Appends the samples to the columns.
pub(super) fn decode_samples(bytes: &[u8], ts: &mut Vec<i64>, vs: &mut Vec<f64>) -> Result<()> {
    let mut r = Reader::new(bytes);
    let (mut last, mut delta, mut bits) = (0i64, 0i64, 0u64);
    while !r.is_empty() {
        delta = delta.wrapping_add(r.ivarint("time").map_err(|e| corrupt(&e))?);
        last = last.wrapping_add(delta);
        ts.push(last);
        vs.push(get_value(&mut r, &mut bits)?);
    }
    Ok(())
}

/// A step column: alternating run lengths of absent and present steps, each present run followed by its values.
pub(super) fn encode_steps(column: &[f64]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bits = 0u64;
    let mut rest = column;
    while !rest.is_empty() {
        let absent = rest.iter().take_while(|v| is_absent(**v)).count();
        let present = rest[absent..].iter().take_while(|v| !is_absent(**v)).count();
        put_uvarint(&mut out, absent as u64);
        put_uvarint(&mut out, present as u64);
        for v in &rest[absent..absent + present] {
            put_value(&mut out, *v, &mut bits);
        }
        rest = &rest[absent + present..];
    }
    out
}

/// The column of exactly `count` steps.
pub(super) fn decode_steps(bytes: &[u8], count: usize) -> Result<Vec<f64>> {
    let short = || Error::Corrupt { what: "PromQL frame", reason: "step column of another length".to_owned() };
    let mut r = Reader::new(bytes);
    let mut out = Vec::with_capacity(count);
    let mut bits = 0u64;
    while !r.is_empty() {
        for is_present in [false, true] {
            let run = r.uvarint("run length").map_err(|e| corrupt(&e))?;
            if run > (count - out.len()) as u64 {
                return Err(short());
            }
            for _ in 0..run {
                out.push(if is_present { get_value(&mut r, &mut bits)? } else { ABSENT });
            }
        }
    }
    if out.len() == count { Ok(out) } else { Err(short()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    proptest! {
        #[test]
        fn samples_come_back(samples: Vec<(i64, u64)>) {
            let ts: Vec<i64> = samples.iter().map(|s| s.0).collect();
            let vs: Vec<f64> = samples.iter().map(|s| f64::from_bits(s.1)).collect();
            let (mut ts_back, mut vs_back) = (Vec::new(), Vec::new());
            decode_samples(&encode_samples(&ts, &vs), &mut ts_back, &mut vs_back).unwrap();
            prop_assert_eq!(ts, ts_back);
            prop_assert_eq!(bits(&vs), bits(&vs_back));
        }

        #[test]
        fn steps_come_back(steps: Vec<Option<u64>>) {
            let column: Vec<f64> = steps.iter().map(|s| s.map_or(ABSENT, f64::from_bits)).collect();
            let back = decode_steps(&encode_steps(&column), column.len()).unwrap();
            prop_assert_eq!(bits(&column), bits(&back));
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, count in 0usize..1000) {
            let _unchecked = decode_steps(&bytes, count);
            let _unchecked = decode_samples(&bytes, &mut Vec::new(), &mut Vec::new());
        }
    }

    #[test]
    fn small_whole_numbers_are_short() {
        assert!(encode_steps(&[1.0; 100]).len() < 120);
    }
}
