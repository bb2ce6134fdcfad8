//! Integer columns: differences from a predicted value, Rice-coded.
//!
//! ```text
//! 1      flags: bits 0-1 order (0: against a centre, 1: difference against a centre, 2: difference of differences),
//!        bit 2 sparse, bit 3 divided by a common divisor, bit 4 constant (nothing but the base follows)
//! varint base: the first number (zigzag)
//! varint divisor, if bit 3
//! varint centre (zigzag); for order 2 the first difference
//! 1      k of the residuals' Rice code
//! 1      k of the gaps' Rice code, if sparse
//! varint residuals that are not zero, if sparse
//! ..     bits: residuals zigzag-coded; if sparse: for each that is not zero the zeros before it, then itself minus 1
//! ```
//! The count is kept outside. With x = (number - base) / divisor, residuals are taken of x[1..], for order 2 of x[2..].
use super::bits::{BitReader, BitWriter, ESCAPE};
use crate::codec::{Error, Reader, put_ivarint, put_uvarint};

const SPARSE: u8 = 1 << 2;
const DIVIDED: u8 = 1 << 3;
const CONSTANT: u8 = 1 << 4;
const FLAGS_KNOWN: u8 = 0x1f;
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
}

fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

fn unzigzag(v: u64) -> i64 {
    ((v >> 1) as i64) ^ -((v & 1) as i64)
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
    let Residuals { effort, x, sorted } = scratch;
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
    out.push(plan.order | if plan.gap_k.is_some() { SPARSE } else { 0 } | if divided { DIVIDED } else { 0 });
    put_ivarint(out, base);
    if divided {
        put_uvarint(out, divisor);
    }
    put_ivarint(out, plan.center);
    out.push(plan.k as u8);
    let coded = residuals(x, plan.order, plan.center);
    match plan.gap_k {
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

/// Appends `count` numbers to `out`; `bytes` is exactly one coded column.
pub(in crate::tsdb) fn decode(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), Error> {
    decode_first(bytes, count, count, out)
}

/// Appends the first `wanted` of the column's `count` numbers.
pub(in crate::tsdb) fn decode_first(
    bytes: &[u8],
    count: usize,
    wanted: usize,
    out: &mut Vec<i64>,
) -> Result<(), Error> {
    let wanted = wanted.min(count);
    if wanted == 0 {
        return Ok(());
    }
    if count > super::CHUNK_SAMPLES_LIMIT {
        return Err(Error::Invalid { what: "samples count", at: 0 });
    }
    let mut r = Reader::new(bytes);
    let flags = r.u8("column flags")?;
    if flags & !FLAGS_KNOWN != 0 || flags & 3 == 3 {
        return Err(Error::Unknown { what: "column flags", value: u64::from(flags), at: 0 });
    }
    let base = r.ivarint("column base")?;
    let from = out.len();
    if flags & CONSTANT != 0 {
        out.resize(from + wanted, base);
        return Ok(());
    }
    let divisor = if flags & DIVIDED != 0 { r.uvarint("column divisor")? as i64 } else { 1 };
    let center = r.ivarint("column centre")?;
    let k = read_k(&mut r)?;
    let order = flags & 3;
    // Residuals first, then what they stand for, in place.
    out.resize(from + wanted, 0);
    let numbers = &mut out[from..];
    let first = if order == 2 { 2 } else { 1 };
    let (heads, residuals) = numbers.split_at_mut(first.min(wanted));
    let within = if flags & SPARSE == 0 {
        let mut bits = BitReader::new(rest(&mut r)?);
        bits.rice_all(k, residuals);
        bits.is_within()
    } else {
        decode_sparse(&mut r, k, count.saturating_sub(first), residuals)?
    };
    heads[0] = base;
    let scale = Scale { base, divisor };
    match order {
        0 => residuals.iter_mut().for_each(|v| *v = scale.of(center.wrapping_add(unzigzag(*v as u64)))),
        1 => {
            let mut x = 0i64;
            for v in residuals {
                x = x.wrapping_add(center).wrapping_add(unzigzag(*v as u64));
                *v = scale.of(x);
            }
        }
        _ => {
            let (mut x, mut step) = (center, center);
            heads[1..].iter_mut().for_each(|second| *second = scale.of(x));
            for v in residuals {
                step = step.wrapping_add(unzigzag(*v as u64));
                x = x.wrapping_add(step);
                *v = scale.of(x);
            }
        }
    }
    if within { Ok(()) } else { Err(Error::Truncated { what: "column bits", at: bytes.len() }) }
}

/// From a number's place in the column's own measure to the number.
#[derive(Clone, Copy)]
struct Scale {
    base: i64,
    divisor: i64,
}

impl Scale {
    #[inline]
    fn of(self, x: i64) -> i64 {
        self.base.wrapping_add(x.wrapping_mul(self.divisor))
    }
}

/// Fills in the residuals that are not zero, of the first of `count`.
fn decode_sparse(r: &mut Reader<'_>, k: u32, count: usize, residuals: &mut [i64]) -> Result<bool, Error> {
    let gap_k = read_k(r)?;
    let at = r.position();
    let others = r.uvarint("residuals count")?;
    if others > count as u64 {
        return Err(Error::Invalid { what: "residuals count", at });
    }
    let mut bits = BitReader::new(rest(r)?);
    let mut next = 0u64;
    for _ in 0..others {
        let gap = bits.rice(gap_k);
        if gap >= count as u64 - next {
            return Err(Error::Invalid { what: "residuals gap", at });
        }
        next += gap;
        let Some(slot) = residuals.get_mut(next as usize) else { break };
        *slot = bits.rice(k).wrapping_add(1) as i64;
        next += 1;
    }
    Ok(bits.is_within())
}

fn read_k(r: &mut Reader<'_>) -> Result<u32, Error> {
    let at = r.position();
    match r.u8("Rice parameter")? {
        k @ 0..=63 => Ok(u32::from(k)),
        k => Err(Error::Unknown { what: "Rice parameter", value: u64::from(k), at }),
    }
}

fn rest<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    r.take(r.remaining(), "column bits")
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
        fn the_first_come_back_alone(numbers in proptest::collection::vec(-50i64..50, 0..200), wanted in 0usize..220) {
            let mut bytes = Vec::new();
            encode(&numbers, &mut super::super::Scratch::default(), &mut bytes);
            let mut out = vec![7];
            decode_first(&bytes, numbers.len(), wanted, &mut out).unwrap();
            prop_assert_eq!(&out[1..], &numbers[..wanted.min(numbers.len())]);
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, count in 0usize..2000) {
            let mut out = Vec::new();
            if decode(&bytes, count, &mut out).is_ok() {
                prop_assert_eq!(out.len(), count);
            }
        }
    }
}
