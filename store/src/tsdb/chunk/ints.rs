//! Integer columns: differences from a predicted value, Rice-coded.
//!
//! ```text
//! 1      flags: bits 0-1 order (0: against a centre, 1: difference against a centre, 2: difference of differences),
//!        bit 2 sparse, bit 3 divided by a common divisor, bit 4 constant (nothing but the base follows),
//!        bit 5 with seek points (never sparse)
//! varint base: the first number (zigzag)
//! varint divisor, if bit 3
//! varint centre (zigzag); for order 2 the first difference
//! 1      k of the residuals' Rice code
//! 1      k of the gaps' Rice code, if sparse
//! varint residuals that are not zero, if sparse
//! ..     seek points, if bit 5 (see `points`)
//! ..     bits: residuals zigzag-coded; if sparse: for each that is not zero the zeros before it, then itself minus 1
//! ```
//! The count is kept outside. With x = (number - base) / divisor, residuals are taken of x[1..], for order 2 of x[2..].
mod decode;
mod points;

pub(in crate::tsdb) use decode::{decode, decode_between, decode_range};

use super::bits::{BitWriter, ESCAPE};
use crate::codec::{put_ivarint, put_uvarint};

const SPARSE: u8 = 1 << 2;
const DIVIDED: u8 = 1 << 3;
const CONSTANT: u8 = 1 << 4;
const SEEKABLE: u8 = 1 << 5;
const FLAGS_KNOWN: u8 = 0x3f;
/// Shorter columns are not worth the search for the best order.
const SEARCH_COUNT_MIN: usize = 12;

/// How much an encoder does for a short column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Effort {
    /// Tries every form.
    #[default]
    Best,
    /// Takes a form that is never bad: for what will be encoded again.
    Quick,
}

/// Buffers of the encoder.
#[derive(Debug, Default)]
pub(super) struct Residuals {
    pub(super) effort: Effort,
    x: Vec<i64>,
    sorted: Vec<i64>,
    bits: Vec<u8>,
}

fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

/// How a column will be coded, and at what cost.
#[derive(Clone, Copy, Debug)]
struct Plan {
    order: u8,
    center: i64,
    /// `Some` with the gaps' k: only residuals that are not zero are written.
    gap_k: Option<u32>,
    k: u32,
    cost_bits: u64,
}

/// Residuals of `x` under an order and centre, as zigzag numbers.
fn residuals(x: &[i64], order: u8, center: i64) -> impl Iterator<Item = u64> {
    let skip = if order == 2 { 2 } else { 1 };
    (skip..x.len()).map(move |i| {
        zigzag(match order {
            0 => x[i].wrapping_sub(center),
            1 => x[i].wrapping_sub(x[i - 1]).wrapping_sub(center),
            _ => x[i].wrapping_sub(x[i - 1]).wrapping_sub(x[i - 1].wrapping_sub(x[i - 2])),
        })
    })
}

/// Counts of residuals by bit length.
struct Lengths {
    counts: [u32; 65],
    total: u32,
}

impl Lengths {
    fn of(residuals: impl Iterator<Item = u64>) -> Self {
        let mut lengths = Self { counts: [0; 65], total: 0 };
        for u in residuals {
            lengths.counts[(64 - u.leading_zeros()) as usize] += 1;
            lengths.total += 1;
        }
        lengths
    }

    /// The best k and about how many bits it takes for residuals of at least `from` bits.
    fn best_k(&self, from: usize) -> (u32, u64) {
        let counts = &self.counts[from..];
        let total: u32 = counts.iter().sum();
        let Some(last) = counts.iter().rposition(|c| *c > 0).map(|at| at + from) else { return (0, 0) };
        let mut seen = 0;
        let median = (from..=last).find(|b| {
            seen += self.counts[*b];
            seen * 2 >= total
        });
        let median = median.unwrap_or(last);
        (median.saturating_sub(3)..=(median + 1).min(63))
            .map(|k| (k as u32, self.cost(from, last, k)))
            .min_by_key(|(_, cost)| *cost)
            .unwrap_or((0, 0))
    }

    fn cost(&self, from: usize, last: usize, k: usize) -> u64 {
        let mut half_bits = 0;
        for bits in from..=last {
            let of_one = match bits.saturating_sub(k) {
                0 => 2 * (k as u64 + 1),
                over @ 1..=4 => 2 * (k as u64 + 1) + ((3 << over) - 2) / 2,
                _ => 2 * (64 + u64::from(ESCAPE) + 1),
            };
            half_bits += of_one * u64::from(self.counts[bits]);
        }
        half_bits / 2
    }
}

/// The cheaper of the dense and the sparse form.
fn plan(x: &[i64], order: u8, center: i64) -> Plan {
    let lengths = Lengths::of(residuals(x, order, center));
    let (k, cost_bits) = lengths.best_k(0);
    let dense = Plan { order, center, gap_k: None, k, cost_bits };
    let zeros = u64::from(lengths.counts[0]);
    let others = u64::from(lengths.total) - zeros;
    if zeros < others {
        return dense;
    }
    let gap_k = (zeros / others.max(1)).checked_ilog2().unwrap_or(0);
    let (k, of_values) = lengths.best_k(1);
    let cost_bits = 16 + of_values + others * u64::from(gap_k + 1) + (zeros >> gap_k);
    if cost_bits < dense.cost_bits { Plan { order, center, gap_k: Some(gap_k), k, cost_bits } } else { dense }
}

fn median(sorted: &mut [i64]) -> i64 {
    let middle = sorted.len() / 2;
    *sorted.select_nth_unstable(middle).1
}

/// A plan for a short column, without counting: the search costs more than it saves.
fn short_plan(x: &[i64], center: i64) -> Plan {
    let sum = residuals(x, 1, center).fold(0u64, u64::saturating_add);
    let k = (sum / (x.len() as u64 - 1)).checked_ilog2().unwrap_or(0);
    Plan { order: 1, center, gap_k: None, k, cost_bits: 0 }
}

/// Differences against the middle one of the averages of three stretches, one of which may have a jump; `x` has at least two
/// elements.
fn quick_plan(x: &[i64]) -> Plan {
    let last = x.len() - 1;
    if x.len() < SEARCH_COUNT_MIN {
        return short_plan(x, x[last].wrapping_sub(x[0]) / last as i64);
    }
    let cuts = [0, last / 3, last / 3 * 2, last];
    let mut steps = [0, 1, 2].map(|at| {
        let (from, to) = (cuts[at], cuts[at + 1]);
        x[to].wrapping_sub(x[from]) / (to - from) as i64
    });
    steps.sort_unstable();
    plan(x, 1, steps[1])
}

/// The cheapest plan for `x`, which has at least two elements.
fn best_plan(x: &[i64], sorted: &mut Vec<i64>) -> Plan {
    sorted.clear();
    sorted.extend(x.windows(2).map(|w| w[1].wrapping_sub(w[0])));
    let step = median(sorted);
    if x.len() < SEARCH_COUNT_MIN {
        return short_plan(x, step);
    }
    let mut best = plan(x, 1, step);
    let mut consider = |candidate: Plan| {
        if candidate.cost_bits < best.cost_bits {
            best = candidate;
        }
    };
    if step != 0 {
        consider(plan(x, 1, 0));
    }
    consider(plan(x, 2, x[1]));
    sorted.clear();
    sorted.extend_from_slice(&x[1..]);
    let center = median(sorted);
    consider(plan(x, 0, center));
    best
}

/// Greatest common divisor of the magnitudes; 1 as soon as that is certain, 0 when all are zero.
fn common_divisor(x: &[i64]) -> u64 {
    let mut divisor = 0u64;
    for v in x {
        let (mut a, mut b) = (v.unsigned_abs(), divisor);
        if b != 0 && a % b == 0 {
            continue;
        }
        while b != 0 {
            (a, b) = (b, a % b);
        }
        divisor = a;
        if divisor == 1 {
            break;
        }
    }
    divisor
}

/// Appends the coded column. Nothing at all for an empty one.
pub(in crate::tsdb) fn encode(numbers: &[i64], scratch: &mut super::Scratch, out: &mut Vec<u8>) {
    encode_with(numbers, &mut scratch.residuals, out);
}

pub(super) fn encode_with(numbers: &[i64], scratch: &mut Residuals, out: &mut Vec<u8>) {
    let Some(&base) = numbers.first() else { return };
    let Residuals { effort, x, sorted, bits } = scratch;
    x.clear();
    x.extend(numbers.iter().map(|v| v.wrapping_sub(base)));
    let divisor = common_divisor(x);
    if divisor == 0 {
        out.push(CONSTANT);
        put_ivarint(out, base);
        return;
    }
    let divided = divisor > 1 && divisor <= i64::MAX as u64;
    if divided {
        for v in x.iter_mut() {
            *v /= divisor as i64;
        }
    }
    let plan = match effort {
        Effort::Best => best_plan(x, sorted),
        Effort::Quick => quick_plan(x),
    };
    let seekable = *effort == Effort::Best && plan.gap_k.is_none() && points::count(x.len()) > 0;
    let flag = |bit, is_set| if is_set { bit } else { 0 };
    out.push(plan.order | flag(SPARSE, plan.gap_k.is_some()) | flag(DIVIDED, divided) | flag(SEEKABLE, seekable));
    put_ivarint(out, base);
    if divided {
        put_uvarint(out, divisor);
    }
    put_ivarint(out, plan.center);
    out.push(plan.k as u8);
    let coded = residuals(x, plan.order, plan.center);
    match plan.gap_k {
        None if seekable => {
            bits.clear();
            points::encode(x, &plan, coded, bits, out);
            out.extend_from_slice(bits);
        }
        None => {
            let mut w = BitWriter::new(out);
            coded.for_each(|u| w.rice(u, plan.k));
            w.finish();
        }
        Some(gap_k) => encode_sparse(coded, gap_k, plan.k, sorted, out),
    }
}

fn encode_sparse(coded: impl Iterator<Item = u64>, gap_k: u32, k: u32, buffer: &mut Vec<i64>, out: &mut Vec<u8>) {
    out.push(gap_k as u8);
    buffer.clear();
    buffer.extend(coded.map(|u| u as i64));
    put_uvarint(out, buffer.iter().filter(|u| **u != 0).count() as u64);
    let mut w = BitWriter::new(out);
    let mut gap = 0;
    for &u in buffer.iter() {
        if u == 0 {
            gap += 1;
            continue;
        }
        w.rice(gap, gap_k);
        w.rice(u as u64 - 1, k);
        gap = 0;
    }
    w.finish();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn coded(numbers: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(numbers, &mut super::super::Scratch::default(), &mut out);
        let mut quick = Vec::new();
        encode(numbers, &mut super::super::Scratch::quick(), &mut quick);
        for bytes in [&out, &quick] {
            let mut back = Vec::new();
            decode(bytes, numbers.len(), &mut back).unwrap();
            assert_eq!(back, numbers);
        }
        out
    }

    /// As blocks have it, with seek points if it is long, and as heads have it, without.
    fn both(numbers: &[i64]) -> [Vec<u8>; 2] {
        [super::super::Scratch::default(), super::super::Scratch::quick()].map(|mut scratch| {
            let mut out = Vec::new();
            encode(numbers, &mut scratch, &mut out);
            out
        })
    }

    #[test]
    fn a_seek_point_behind_the_end_is_an_error() {
        for bits in [u64::MAX, u64::MAX >> 1, 1 << 20, 40] {
            let mut bytes = vec![SEEKABLE | 1, 0, 0, 0];
            put_uvarint(&mut bytes, bits);
            bytes.extend_from_slice(&[0, 0xff, 0xff]);
            let mut out = Vec::new();
            assert!(decode_range(&bytes, 300, 256..300, &mut out).is_err(), "{bits}");
            assert!(decode_between(&bytes, 300, (i64::MAX, i64::MAX), &mut out).is_err(), "{bits}");
        }
    }

    /// Columns of every order, dense, sparse and constant.
    fn columns() -> impl Strategy<Value = Vec<i64>> {
        let step = prop_oneof![Just(0i64), -3i64..3, -5000i64..5000, any::<i64>()];
        let mixed = proptest::collection::vec((step, 0usize..60), 0..40).prop_map(|runs| {
            let runs = runs.into_iter().flat_map(|(step, len)| std::iter::repeat_n(step, len));
            runs.scan(0i64, |v, step| {
                *v = v.wrapping_add(step);
                Some(*v)
            })
            .collect()
        });
        let noise = (proptest::collection::vec(-40i64..40, 0..1500), 0usize..3).prop_map(|(mut numbers, sums)| {
            for _ in 0..sums {
                numbers.iter_mut().fold(0i64, |sum, v| {
                    *v = sum.wrapping_add(*v);
                    *v
                });
            }
            numbers
        });
        prop_oneof![mixed, noise]
    }

    /// What long columns pay for their seek points.
    #[test]
    fn seek_points_are_short() {
        let noise = |i: i64| (i.wrapping_mul(6_364_136_223_846_793_005) >> 33) % 1000;
        let counter: Vec<i64> = (0..1024i64)
            .scan(0, |v, i| {
                *v += noise(i * i).abs();
                Some(*v)
            })
            .collect();
        let bytes = both(&counter)[0].clone();
        assert_eq!(bytes[0], SEEKABLE | 1);
        // Flags, base, centre and k, then the points.
        let mut r = crate::codec::Reader::new(&bytes[1..]);
        let center = r.ivarint("base").and_then(|_| r.ivarint("centre")).unwrap();
        let points_at = r.position() + 1;
        r.u8("k").unwrap();
        assert_eq!(points::decode(&mut r, counter.len(), 1, center).unwrap().len(), 3);
        let length = r.position() - points_at;
        assert!((6..=18).contains(&length) && bytes.len() > 1000, "{length} of {}", bytes.len());
        assert_eq!(both(&counter[..256])[0][0], 1, "none for a short one");
    }

    /// A point that leads elsewhere than the bits before it is found by whoever reads across it.
    #[test]
    fn a_false_seek_point_is_found() {
        let numbers: Vec<i64> = (0..600i64)
            .scan(0, |v, i| {
                *v += i * i % 977;
                Some(*v)
            })
            .collect();
        let [bytes, _] = both(&numbers);
        assert_eq!(bytes[0], SEEKABLE | 1);
        let mut found = 0;
        for at in 1..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            let mut out = Vec::new();
            found += usize::from(decode(&bytes, numbers.len(), &mut out).is_err());
        }
        assert!(found > bytes.len() * 3 / 4, "{found} of {}", bytes.len());
    }

    /// One counter in thousand samples starts again.
    #[test]
    fn a_quick_column_is_not_much_longer() {
        let noise =
            |i: i64| (i.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33) % 1000;
        let numbers: Vec<i64> = (0..1000i64).map(|i| (i % 700) * 100_000 + noise(i.wrapping_mul(noise(i)))).collect();
        let lengths = [super::super::Scratch::default(), super::super::Scratch::quick()].map(|mut scratch| {
            let mut out = Vec::new();
            encode(&numbers, &mut scratch, &mut out);
            out.len()
        });
        assert!(lengths[0] > 1000 && lengths[1] < lengths[0] * 5 / 4, "{lengths:?}");
    }

    #[test]
    fn regular_columns_are_tiny() {
        let cases: &[(&str, Vec<i64>, usize)] = &[
            ("empty", vec![], 0),
            ("one", vec![5], 2),
            ("constant", vec![7; 1000], 2),
            ("scrape times", (0..240).map(|i| 1_700_000_000_000 + i * 15_000).collect(), 20),
            ("one outlier", (0..240).map(|i| if i == 100 { i64::MIN } else { i }).collect(), 80),
            ("extremes", vec![i64::MIN, i64::MAX, 0, i64::MIN, -1], 64),
            ("sparse steps", (0..240).map(|i| i / 50 * 4096).collect(), 16),
        ];
        for (name, numbers, bytes_max) in cases {
            let bytes = coded(numbers);
            assert!(bytes.len() <= *bytes_max, "{name}: {} bytes", bytes.len());
        }
    }

    proptest! {
        #[test]
        fn any_column_comes_back(numbers: Vec<i64>) {
            coded(&numbers);
        }

        #[test]
        fn small_steps_come_back(start: i64, steps in proptest::collection::vec(-40i64..40, 0..300), scale in 1i64..5000) {
            let numbers: Vec<i64> = steps.iter().scan(start, |v, s| { *v = v.wrapping_add(s * scale); Some(*v) }).collect();
            coded(&numbers);
        }

        #[test]
        fn a_range_comes_back_alone(numbers in columns(), from in 0usize..1600, len in 0usize..1600) {
            let expected: Vec<i64> = numbers.iter().skip(from).take(len).copied().collect();
            for bytes in both(&numbers) {
                let mut out = vec![7];
                decode_range(&bytes, numbers.len(), from..from + len, &mut out).unwrap();
                prop_assert_eq!(&out[1..], &expected);
                out.clear();
                decode(&bytes, numbers.len(), &mut out).unwrap();
                prop_assert_eq!(&out, &numbers);
            }
        }

        #[test]
        fn rising_numbers_are_found_by_their_size(mut numbers in columns(), ends: (usize, usize), more in -3i64..3) {
            numbers.sort_unstable();
            let end = |at: usize| numbers.get(at % numbers.len().max(1)).map_or(0, |n| n.saturating_add(more));
            let (min, max) = (end(ends.0), end(ends.1));
            let expected: Vec<i64> = numbers.iter().copied().filter(|n| (min..=max).contains(n)).collect();
            for bytes in both(&numbers) {
                let mut out = vec![7];
                let first = decode_between(&bytes, numbers.len(), (min, max), &mut out).unwrap();
                prop_assert_eq!(&out[1..], &numbers[first..first + out.len() - 1]);
                let found: Vec<i64> = out[1..].iter().copied().filter(|n| (min..=max).contains(n)).collect();
                prop_assert_eq!(&found, &expected);
            }
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, count in 0usize..2000, from in 0usize..2000, len in 0usize..2000) {
            let (mut whole, mut part) = (Vec::new(), Vec::new());
            let is_whole = decode(&bytes, count, &mut whole).is_ok();
            prop_assert!(!is_whole || whole.len() == count);
            let _unchecked = decode_between(&bytes, count, (from as i64, len as i64), &mut part);
            part.clear();
            let is_part = decode_range(&bytes, count, from..from + len, &mut part).is_ok();
            if is_whole && is_part {
                prop_assert!(part.iter().eq(whole.iter().skip(from).take(len)));
            }
        }
    }
}
