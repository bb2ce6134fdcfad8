//! Reads integer columns, whole or a range of them.
use std::ops::Range;

use super::points::{self, Point, Points};
use super::{CONSTANT, DIVIDED, FLAGS_KNOWN, SEEKABLE, SPARSE};
use crate::codec::{Error, Reader};
use crate::tsdb::chunk::CHUNK_SAMPLES_LIMIT;
use crate::tsdb::chunk::bits::{BitReader, Padded};

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
    let mut r = Reader::new(bytes);
    let from = out.len();
    let within = match Column::open(&mut r, count)? {
        Form::Constant(number) => {
            out.resize(from + range.len(), number);
            true
        }
        Form::Sparse(column) => {
            out.resize(from + range.len(), 0);
            let mut slots = Slots::of(column, range.start, &mut out[from..]);
            column.sparse(&mut r, range, &mut slots)?
        }
        Form::Dense(column, points) => {
            out.resize(from + range.len(), 0);
            let mut slots = Slots::of(column, range.start, &mut out[from..]);
            let passed = points.partition_point(|point| point.position <= range.start);
            let mut walk = Dense::begin(column, rest(&mut r)?, &points, passed);
            walk.go_to(range.start, |_| {})?;
            walk.go_to(range.end, |x| slots.put(x))?;
            walk.bits.is_within()
        }
    };
    if within { Ok(()) } else { Err(truncated(bytes)) }
}

/// Of a column that does not fall: appends its numbers from `min` to `max`, and some before and behind them; says at which position
/// the first of them is.
pub(in crate::tsdb) fn decode_between(
    bytes: &[u8],
    count: usize,
    (min, max): (i64, i64),
    out: &mut Vec<i64>,
) -> Result<usize, Error> {
    let mut r = Reader::new(bytes);
    if count == 0 {
        return Ok(0);
    }
    // What has no points is read whole.
    let (column, points) = match Column::open(&mut r, count)? {
        Form::Dense(column, points) if column.order != 0 && !points.is_empty() => (column, points),
        _ => return decode(bytes, count, out).map(|()| 0),
    };
    let passed = points.partition_point(|point| column.scale.of(point.x) < min);
    let mut walk = Dense::begin(column, rest(&mut r)?, &points, passed);
    let first = if passed == 0 { 0 } else { walk.here.position };
    out.extend(column.heads().skip(first).map(|x| column.scale.of(x)));
    while walk.here.position < count && (walk.here.position == first || column.scale.of(walk.here.x) <= max) {
        let end = points.get(walk.next).map_or(count, |point| point.position);
        walk.go_to(end, |x| out.push(column.scale.of(x)))?;
    }
    if walk.bits.is_within() { Ok(first) } else { Err(truncated(bytes)) }
}

fn truncated(bytes: &[u8]) -> Error {
    Error::Truncated { what: "column bits", at: bytes.len() }
}

/// How a column is written, as far as that is said before its bits.
enum Form {
    Constant(i64),
    Sparse(Column),
    Dense(Column, Points),
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
    scale: Scale,
    slots: std::slice::IterMut<'a, i64>,
}

impl<'a> Slots<'a> {
    /// The first is that of position `from`. Numbers that have no residual are put at once, as far as they are wanted.
    fn of(column: Column, from: usize, slots: &'a mut [i64]) -> Self {
        let mut slots = Self { scale: column.scale, slots: slots.iter_mut() };
        column.heads().skip(from).for_each(|x| slots.put(x));
        slots
    }

    #[inline]
    fn put(&mut self, x: i64) {
        if let Some(slot) = self.slots.next() {
            *slot = self.scale.of(x);
        }
    }
}

fn unzigzag(v: u64) -> i64 {
    ((v >> 1) as i64) ^ -((v & 1) as i64)
}

impl Column {
    /// Reads all that is before the bits.
    fn open(r: &mut Reader<'_>, count: usize) -> Result<Form, Error> {
        if count > CHUNK_SAMPLES_LIMIT {
            return Err(Error::Invalid { what: "samples count", at: 0 });
        }
        let flags = r.u8("column flags")?;
        let order = flags & 3;
        if flags & !FLAGS_KNOWN != 0 || order == 3 || flags & (SPARSE | SEEKABLE) == SPARSE | SEEKABLE {
            return Err(Error::Unknown { what: "column flags", value: u64::from(flags), at: 0 });
        }
        let base = r.ivarint("column base")?;
        if flags & CONSTANT != 0 {
            return Ok(Form::Constant(base));
        }
        let divisor = if flags & DIVIDED != 0 { r.uvarint("column divisor")? as i64 } else { 1 };
        let center = r.ivarint("column centre")?;
        let column = Self { scale: Scale { base, divisor }, order, center, k: read_k(r)?, count };
        Ok(match flags & (SPARSE | SEEKABLE) {
            SPARSE => Form::Sparse(column),
            SEEKABLE => Form::Dense(column, points::decode(r, count, order, center)?),
            _ => Form::Dense(column, Points::new()),
        })
    }

    /// The numbers that have no residual.
    fn heads(&self) -> impl Iterator<Item = i64> {
        let second = (self.order == 2).then_some(self.center);
        [Some(0), second].into_iter().flatten().take(self.count)
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
        let bytes = rest(r)?;
        let padded = Padded::<128>::of(bytes, 0);
        let mut bits = padded.as_ref().map_or_else(|| BitReader::new(bytes, 0), Padded::reader);
        for _ in 0..others {
            let (gap, residual) = bits.rice_pair((gap_k, self.k));
            if gap >= left {
                return Err(Error::Invalid { what: "residuals gap", at });
            }
            walk.zeros(gap as usize);
            if walk.here.position >= walk.range.end {
                break;
            }
            walk.residual(unzigzag(residual.wrapping_add(1)));
            left -= gap + 1;
        }
        walk.zeros(left as usize);
        Ok(bits.position() <= bytes.len() * 8)
    }
}

/// Goes over a dense column.
struct Dense<'a> {
    column: Column,
    bits: BitReader<'a>,
    points: &'a Points,
    /// The point that comes next.
    next: usize,
    here: Point,
}

impl<'a> Dense<'a> {
    /// Begins at the last of the first `passed` points, or behind the heads.
    fn begin(column: Column, bytes: &'a [u8], points: &'a Points, passed: usize) -> Self {
        let here = match passed.checked_sub(1) {
            Some(last) => points[last],
            None => Point::first(column.order, column.center),
        };
        Self { column, bits: BitReader::new(bytes, here.bit), points, next: passed, here }
    }

    /// Goes on to the number at position `end` and puts what is before it. What is read tells whether the points are right.
    fn go_to(&mut self, end: usize, mut put: impl FnMut(i64)) -> Result<(), Error> {
        while self.here.position < end {
            let point = self.points.get(self.next);
            let stop = point.map_or(end, |point| point.position.min(end));
            self.residuals(stop - self.here.position, &mut put);
            if let Some(point) = point.filter(|point| point.position == stop) {
                if self.here != *point {
                    return Err(Error::Invalid { what: "seek point", at: stop });
                }
                self.next += 1;
            }
        }
        Ok(())
    }

    /// Goes on by so many numbers.
    #[inline]
    fn residuals(&mut self, numbers: usize, mut put: impl FnMut(i64)) {
        let Self { column: Column { order, center, k, .. }, bits, here, .. } = self;
        let (mut x, mut step, center) = (here.x, here.step, *center);
        match *order {
            0 => bits.rice_each(*k, numbers, |u| put(center.wrapping_add(unzigzag(u)))),
            1 => bits.rice_each(*k, numbers, |u| {
                x = x.wrapping_add(center).wrapping_add(unzigzag(u));
                put(x);
            }),
            _ => bits.rice_each(*k, numbers, |u| {
                step = step.wrapping_add(unzigzag(u));
                x = x.wrapping_add(step);
                put(x);
            }),
        }
        *here = Point { position: here.position + numbers, bit: bits.position(), x, step };
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
