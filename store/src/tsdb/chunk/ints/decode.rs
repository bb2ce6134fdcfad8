//! Reads integer columns, whole or a range of them.
use std::ops::Range;

use super::points::{self, Point, Points};
use super::{CONSTANT, DIVIDED, FLAGS_KNOWN, SEEKABLE, SPARSE};
use crate::codec::{Error, Reader};
use crate::tsdb::chunk::CHUNK_SAMPLES_LIMIT;
use crate::tsdb::chunk::bits::BitReader;

/// Appends `count` numbers to `out`; `bytes` is exactly one coded column.
pub(in crate::tsdb) fn decode(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), Error> {
    decode_range(bytes, count, 0..count, out)
}

/// Appends the numbers at the positions `range` of the column's `count`. What is before the last seek point before the range, and
/// what is behind the range, is not read.
pub(in crate::tsdb) fn decode_range(
    bytes: &[u8],
    count: usize,
    range: Range<usize>,
    out: &mut Vec<i64>,
) -> Result<(), Error> {
    let range = range.start.min(count)..range.end.min(count);
    if range.is_empty() {
        return Ok(());
    }
    if count > CHUNK_SAMPLES_LIMIT {
        return Err(Error::Invalid { what: "samples count", at: 0 });
    }
    let mut r = Reader::new(bytes);
    let flags = r.u8("column flags")?;
    let order = flags & 3;
    if flags & !FLAGS_KNOWN != 0 || order == 3 || flags & (SPARSE | SEEKABLE) == SPARSE | SEEKABLE {
        return Err(Error::Unknown { what: "column flags", value: u64::from(flags), at: 0 });
    }
    let base = r.ivarint("column base")?;
    let from = out.len();
    if flags & CONSTANT != 0 {
        out.resize(from + range.len(), base);
        return Ok(());
    }
    let divisor = if flags & DIVIDED != 0 { r.uvarint("column divisor")? as i64 } else { 1 };
    let center = r.ivarint("column centre")?;
    let column = Column { scale: Scale { base, divisor }, order, center, k: read_k(&mut r)?, count };
    out.resize(from + range.len(), 0);
    let mut slots = Slots { column, from: range.start, slots: out[from..].iter_mut() };
    slots.heads();
    let within = if flags & SPARSE == 0 {
        let points = match flags & SEEKABLE {
            0 => Points::new(),
            _ => points::decode(&mut r, count, order, center)?,
        };
        column.dense(rest(&mut r)?, &points, range, &mut slots)?
    } else {
        column.sparse(&mut r, range, &mut slots)?
    };
    if within { Ok(()) } else { Err(Error::Truncated { what: "column bits", at: bytes.len() }) }
}

/// The beginning of a column.
#[derive(Clone, Copy)]
struct Column {
    scale: Scale,
    order: u8,
    center: i64,
    k: u32,
    count: usize,
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

/// Where numbers go.
struct Slots<'a> {
    column: Column,
    /// Position of the first.
    from: usize,
    slots: std::slice::IterMut<'a, i64>,
}

impl Slots<'_> {
    #[inline]
    fn put(&mut self, x: i64) {
        if let Some(slot) = self.slots.next() {
            *slot = self.column.scale.of(x);
        }
    }

    /// Puts the numbers that have no residual, as far as they are wanted.
    fn heads(&mut self) {
        let second = (self.column.order == 2).then_some(self.column.center);
        [Some(0), second].into_iter().flatten().skip(self.from).for_each(|x| self.put(x));
    }
}

fn unzigzag(v: u64) -> i64 {
    ((v >> 1) as i64) ^ -((v & 1) as i64)
}

impl Column {
    /// Puts the numbers of a range. Says whether all bits that were read were there.
    fn dense(&self, bytes: &[u8], points: &Points, range: Range<usize>, slots: &mut Slots<'_>) -> Result<bool, Error> {
        let passed = points.partition_point(|point| point.position <= range.start);
        let mut here = match passed.checked_sub(1) {
            Some(last) => points[last],
            None => Point::first(self.order, self.center),
        };
        if here.bit > bytes.len() * 8 {
            return Ok(false);
        }
        let mut bits = BitReader::new(bytes, here.bit);
        let before = range.start.saturating_sub(here.position);
        self.residuals(&mut here, before, &mut bits, |_| {});
        for point in &points[passed..] {
            if here.position >= range.end {
                break;
            }
            let numbers = point.position.min(range.end) - here.position;
            self.residuals(&mut here, numbers, &mut bits, |x| slots.put(x));
            // What is read anyway tells whether the points are right.
            if here.position == point.position && here != *point {
                return Err(Error::Invalid { what: "seek point", at: point.position });
            }
        }
        let numbers = range.end.saturating_sub(here.position);
        self.residuals(&mut here, numbers, &mut bits, |x| slots.put(x));
        Ok(bits.is_within())
    }

    /// Goes on by so many numbers.
    #[inline]
    fn residuals(&self, here: &mut Point, numbers: usize, bits: &mut BitReader<'_>, mut put: impl FnMut(i64)) {
        let (mut x, mut step, center) = (here.x, here.step, self.center);
        match self.order {
            0 => bits.rice_each(self.k, numbers, |u| put(center.wrapping_add(unzigzag(u)))),
            1 => bits.rice_each(self.k, numbers, |u| {
                x = x.wrapping_add(center).wrapping_add(unzigzag(u));
                put(x);
            }),
            _ => bits.rice_each(self.k, numbers, |u| {
                step = step.wrapping_add(unzigzag(u));
                x = x.wrapping_add(step);
                put(x);
            }),
        }
        *here = Point { position: here.position + numbers, bit: bits.position(), x, step };
    }

    /// Puts the numbers of a range. Says whether all bits that were read were there.
    fn sparse(&self, r: &mut Reader<'_>, range: Range<usize>, slots: &mut Slots<'_>) -> Result<bool, Error> {
        let gap_k = read_k(r)?;
        let mut walk = Walk { column: *self, here: Point::first(self.order, self.center), range, slots };
        let mut left = self.count.saturating_sub(walk.here.position) as u64;
        let at = r.position();
        let others = r.uvarint("residuals count")?;
        if others > left {
            return Err(Error::Invalid { what: "residuals count", at });
        }
        let mut bits = BitReader::new(rest(r)?, 0);
        for _ in 0..others {
            let gap = bits.rice(gap_k);
            if gap >= left {
                return Err(Error::Invalid { what: "residuals gap", at });
            }
            walk.zeros(gap as usize);
            if walk.here.position >= walk.range.end {
                return Ok(bits.is_within());
            }
            walk.residual(unzigzag(bits.rice(self.k).wrapping_add(1)));
            left -= gap + 1;
        }
        walk.zeros(left as usize);
        Ok(bits.is_within())
    }
}

/// Goes over a sparse column.
struct Walk<'a, 's> {
    column: Column,
    here: Point,
    range: Range<usize>,
    slots: &'a mut Slots<'s>,
}

impl Walk<'_, '_> {
    /// Goes on over so many numbers without residuals, to the end of the range at most.
    fn zeros(&mut self, numbers: usize) {
        let end = self.here.position.saturating_add(numbers).min(self.range.end);
        let skipped = end.min(self.range.start).saturating_sub(self.here.position);
        let of_one = match self.column.order {
            0 => 0,
            1 => self.column.center,
            _ => self.here.step,
        };
        let mut x = self.here.x.wrapping_add(of_one.wrapping_mul(skipped as i64));
        let shown = end.saturating_sub(self.here.position + skipped);
        match self.column.order {
            0 => (0..shown).for_each(|_| self.slots.put(self.column.center)),
            _ => (0..shown).for_each(|_| {
                x = x.wrapping_add(of_one);
                self.slots.put(x);
            }),
        }
        self.here.x = x;
        self.here.position = end;
    }

    fn residual(&mut self, residual: i64) {
        let here = &mut self.here;
        here.x = match self.column.order {
            0 => self.column.center.wrapping_add(residual),
            1 => here.x.wrapping_add(self.column.center).wrapping_add(residual),
            _ => {
                here.step = here.step.wrapping_add(residual);
                here.x.wrapping_add(here.step)
            }
        };
        if here.position >= self.range.start {
            self.slots.put(here.x);
        }
        here.position += 1;
    }
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
