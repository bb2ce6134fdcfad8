//! Seek points of a dense column: where to begin to read, so that a range of a long column costs what the range is worth.
//!
//! There is one before every [`EVERY`]th number. Each says, in varints, against the one before or the beginning of the column:
//!
//! ```text
//! varint bits of the residuals between
//! varint for order 2: zigzag of the change of the step
//! varint for order 1 and 2: zigzag of the change of x, the last number before the point, less the centre, for order 2 the step
//!        there, for each number between
//! ```
use smallvec::SmallVec;

use super::Plan;
use crate::codec::{Error, Reader, put_ivarint, put_uvarint};
use crate::tsdb::chunk::bits::BitWriter;

/// Numbers from one point to the next.
pub(super) const EVERY: usize = 256;

/// Points of a column of so many numbers: none before the first number or behind the last.
pub(super) fn count(numbers: usize) -> usize {
    numbers.saturating_sub(1) / EVERY
}

/// Where a reader is: before the number at `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) position: usize,
    /// From the first bit of the column.
    pub(super) bit: usize,
    /// The number before, in the column's own measure; of no meaning to order 0.
    pub(super) x: i64,
    /// Difference of the two numbers before; of order 2 only.
    pub(super) step: i64,
}

/// As many as [`super::super::CHUNK_SAMPLES_MAX`] has fit without an allocation.
pub(super) type Points = SmallVec<[Point; 4]>;

/// What is written of a point, against the one before.
struct Change {
    bits: u64,
    step: i64,
    x: i64,
}

impl Point {
    /// The place behind the heads of a column, which have no residuals: one number, of order 2 two.
    pub(super) fn first(order: u8, center: i64) -> Self {
        match order {
            2 => Self { position: 2, bit: 0, x: center, step: center },
            _ => Self { position: 1, bit: 0, x: 0, step: 0 },
        }
    }

    /// What x changes by from here on if nothing is said of it.
    fn drift(&self, order: u8, center: i64, numbers: usize) -> i64 {
        let of_one = if order == 2 { self.step } else { center };
        of_one.wrapping_mul(numbers as i64)
    }

    fn change_to(&self, next: &Self, order: u8, center: i64) -> Change {
        let drift = self.drift(order, center, next.position - self.position);
        Change {
            bits: (next.bit - self.bit) as u64,
            step: next.step.wrapping_sub(self.step),
            x: next.x.wrapping_sub(self.x).wrapping_sub(drift),
        }
    }
}

/// Writes the residuals `coded` of `x` into `bits`, which is empty, and the points to them into `out`.
pub(super) fn encode(
    x: &[i64],
    plan: &Plan,
    mut coded: impl Iterator<Item = u64>,
    bits: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    let Plan { order, center, k, .. } = *plan;
    let mut last = Point::first(order, center);
    let mut writer = BitWriter::new(bits);
    for nth in 1..=count(x.len()) {
        let position = nth * EVERY;
        coded.by_ref().take(position - last.position).for_each(|u| writer.rice(u, k));
        let before = x[position - 1];
        let here = match order {
            0 => Point { position, bit: writer.position(), x: 0, step: 0 },
            1 => Point { position, bit: writer.position(), x: before, step: 0 },
            _ => Point { position, bit: writer.position(), x: before, step: before.wrapping_sub(x[position - 2]) },
        };
        let change = last.change_to(&here, order, center);
        put_uvarint(out, change.bits);
        if order == 2 {
            put_ivarint(out, change.step);
        }
        if order != 0 {
            put_ivarint(out, change.x);
        }
        last = here;
    }
    coded.for_each(|u| writer.rice(u, k));
    writer.finish();
}

/// Reads the points of a column of `numbers`.
pub(super) fn decode(r: &mut Reader<'_>, numbers: usize, order: u8, center: i64) -> Result<Points, Error> {
    let mut points = Points::new();
    let mut last = Point::first(order, center);
    for nth in 1..=count(numbers) {
        let at = r.position();
        let bits = r.uvarint("seek point bits")?;
        // No point is behind the end of the column, which nothing else would find before its bits are read.
        let bit = usize::try_from(bits).ok().and_then(|bits| last.bit.checked_add(bits));
        let bit = bit.filter(|bit| *bit <= r.remaining() * 8).ok_or(Error::Invalid { what: "seek point bits", at })?;
        let step = if order == 2 { last.step.wrapping_add(r.ivarint("seek point step")?) } else { 0 };
        let position = nth * EVERY;
        let drift = last.drift(order, center, position - last.position);
        let x = if order == 0 { 0 } else { last.x.wrapping_add(drift).wrapping_add(r.ivarint("seek point")?) };
        last = Point { position, bit, x, step };
        points.push(last);
    }
    Ok(points)
}
