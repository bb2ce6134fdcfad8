//! One typed column of a granule: dense values of one type, coded by the encoding that pays.
use hashbrown::HashTable;

use super::row::ValueRef;
use crate::codec::{Error, Reader, put_ivarint, put_uvarint};
use crate::model::ValueType;

/// How a column's payload is coded, its first byte. On disk: never reuse a number.
mod encoding {
    pub(super) const EMPTY: u8 = 0;
    pub(super) const BOOLS: u8 = 1;
    pub(super) const INTS_DELTA: u8 = 2;
    pub(super) const INTS_PLAIN: u8 = 3;
    pub(super) const DOUBLES: u8 = 4;
    pub(super) const BLOBS: u8 = 5;
    pub(super) const BLOBS_DICT: u8 = 6;
    pub(super) const BLOBS_FIXED: u8 = 7;
}

/// Byte strings one after the other. Blob `i` ends at `ends[i]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blobs {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<u32>,
}

impl Blobs {
    pub(crate) fn push(&mut self, blob: &[u8]) {
        self.bytes.extend_from_slice(blob);
        self.ends.push(self.bytes.len() as u32);
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, i: usize) -> Option<&[u8]> {
        let from = if i == 0 { 0 } else { *self.ends.get(i - 1)? as usize };
        self.bytes.get(from..*self.ends.get(i)? as usize)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut from = 0;
        for &end in &self.ends {
            put_uvarint(out, u64::from(end - from));
            from = end;
        }
        out.extend_from_slice(&self.bytes);
    }

    fn decode(r: &mut Reader<'_>, count: usize) -> Result<Self, Error> {
        if count > r.remaining() {
            return Err(Error::Truncated { what: "blob lengths", at: r.position() });
        }
        let mut ends = Vec::with_capacity(count);
        let mut end = 0u64;
        for _ in 0..count {
            let at = r.position();
            end = end.saturating_add(r.uvarint("blob length")?);
            ends.push(u32::try_from(end).map_err(|_| Error::Invalid { what: "blob length", at })?);
        }
        Ok(Self { bytes: r.take(end as usize, "blobs")?.to_vec(), ends })
    }
}

/// Values of one column, in row order.
#[derive(Clone, Debug)]
pub(crate) enum Column {
    Empty(usize),
    Bools(Vec<bool>),
    Ints(Vec<i64>),
    Doubles(Vec<f64>),
    Blobs(Blobs),
    /// Distinct blobs and the position in them of each value.
    Dict(Blobs, Vec<u32>),
}

impl Column {
    /// An empty column for values of `value_type`.
    pub(crate) fn new(value_type: ValueType) -> Self {
        match value_type {
            ValueType::Empty => Self::Empty(0),
            ValueType::Bool => Self::Bools(Vec::new()),
            ValueType::Int => Self::Ints(Vec::new()),
            ValueType::Double => Self::Doubles(Vec::new()),
            ValueType::Str | ValueType::Bytes | ValueType::Array | ValueType::Map => Self::Blobs(Blobs::default()),
        }
    }

    /// Appends a value of the column's type and returns its raw bytes; a value of another type is a caller's mistake.
    pub(crate) fn push(&mut self, value: ValueRef<'_>) -> usize {
        match (self, value) {
            (Self::Empty(n), ValueRef::Empty) => {
                *n += 1;
                0
            }
            (Self::Bools(all), ValueRef::Bool(v)) => {
                all.push(v);
                1
            }
            (Self::Ints(all), ValueRef::Int(v)) => {
                all.push(v);
                8
            }
            (Self::Doubles(all), ValueRef::Double(v)) => {
                all.push(v);
                8
            }
            (Self::Blobs(all), ValueRef::Str(v)) => {
                all.push(v.as_bytes());
                v.len()
            }
            (Self::Blobs(all), ValueRef::Bytes(v) | ValueRef::Nested(_, v)) => {
                all.push(v);
                v.len()
            }
            (column, value) => unreachable!("a {:?} in a column of {column:?}", value.value_type()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Empty(n) => *n,
            Self::Bools(all) => all.len(),
            Self::Ints(all) => all.len(),
            Self::Doubles(all) => all.len(),
            Self::Blobs(all) => all.len(),
            Self::Dict(_, ids) => ids.len(),
        }
    }

    /// Blob `i` of a blob column.
    pub(crate) fn blob(&self, i: usize) -> Option<&[u8]> {
        match self {
            Self::Blobs(all) => all.get(i),
            Self::Dict(all, ids) => all.get(*ids.get(i)? as usize),
            _ => None,
        }
    }

    /// Value `i` as `value_type`; strings were checked when the column was decoded.
    pub(crate) fn value(&self, i: usize, value_type: ValueType) -> Option<ValueRef<'_>> {
        Some(match self {
            Self::Empty(_) => ValueRef::Empty,
            Self::Bools(all) => ValueRef::Bool(*all.get(i)?),
            Self::Ints(all) => ValueRef::Int(*all.get(i)?),
            Self::Doubles(all) => ValueRef::Double(*all.get(i)?),
            Self::Blobs(_) | Self::Dict(..) => blob_value(self.blob(i)?, value_type)?,
        })
    }

    /// Distinct values of a coded column, every value of others.
    pub(crate) fn candidates(&self, value_type: ValueType) -> Vec<ValueRef<'_>> {
        match self {
            Self::Empty(count) => vec![ValueRef::Empty; (*count).min(1)],
            Self::Dict(all, _) => all.iter().filter_map(|b| blob_value(b, value_type)).collect(),
            _ => (0..self.len()).filter_map(|i| self.value(i, value_type)).collect(),
        }
    }

    /// Encodes the values; [`Self::decode`] needs their count.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty(_) => out.push(encoding::EMPTY),
            Self::Bools(all) => {
                out.push(encoding::BOOLS);
                out.extend(all.chunks(8).map(|bits| bits.iter().rev().fold(0u8, |b, &v| b << 1 | u8::from(v))));
            }
            Self::Ints(all) => encode_ints(all, out),
            Self::Doubles(all) => {
                out.push(encoding::DOUBLES);
                all.iter().for_each(|v| out.extend_from_slice(&v.to_bits().to_le_bytes()));
            }
            Self::Blobs(all) => encode_blobs(all, out),
            Self::Dict(all, ids) => encode_dict(all, ids, out),
        }
    }

    /// Decodes `count` values of `value_type`.
    pub(crate) fn decode(bytes: &[u8], count: usize, value_type: ValueType) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let coding = r.u8("column encoding")?;
        let column = match (coding, Self::new(value_type)) {
            (encoding::EMPTY, Self::Empty(_)) => Self::Empty(count),
            (encoding::BOOLS, Self::Bools(_)) => {
                let bits = r.take(count.div_ceil(8), "bools")?;
                Self::Bools((0..count).map(|i| bits[i / 8] >> (i % 8) & 1 == 1).collect())
            }
            (encoding::INTS_DELTA | encoding::INTS_PLAIN, Self::Ints(_)) => {
                Self::Ints(decode_ints(&mut r, count, coding == encoding::INTS_DELTA)?)
            }
            (encoding::DOUBLES, Self::Doubles(_)) => {
                let len = count.checked_mul(8).ok_or(Error::Invalid { what: "doubles count", at: 1 })?;
                let words = r.take(len, "doubles")?.as_chunks::<8>().0;
                Self::Doubles(words.iter().map(|w| f64::from_bits(u64::from_le_bytes(*w))).collect())
            }
            (encoding::BLOBS, Self::Blobs(_)) => Self::Blobs(Blobs::decode(&mut r, count)?),
            (encoding::BLOBS_DICT, Self::Blobs(_)) => decode_dict(&mut r, count)?,
            (encoding::BLOBS_FIXED, Self::Blobs(_)) => Self::Blobs(decode_fixed(&mut r, count)?),
            _ => return Err(Error::Unknown { what: "column encoding", value: u64::from(coding), at: 0 }),
        };
        if !r.is_empty() {
            return Err(Error::Invalid { what: "bytes after a column", at: r.position() });
        }
        column.check_blobs(value_type)?;
        Ok(column)
    }

    /// Checks that strings are UTF-8.
    fn check_blobs(&self, value_type: ValueType) -> Result<(), Error> {
        let (Self::Blobs(blobs) | Self::Dict(blobs, _)) = self else { return Ok(()) };
        if value_type == ValueType::Str && blobs.iter().any(|b| std::str::from_utf8(b).is_err()) {
            return Err(Error::Invalid { what: "string column", at: 0 });
        }
        Ok(())
    }
}

fn blob_value(blob: &[u8], value_type: ValueType) -> Option<ValueRef<'_>> {
    Some(match value_type {
        ValueType::Str => ValueRef::Str(std::str::from_utf8(blob).ok()?),
        ValueType::Array | ValueType::Map => ValueRef::Nested(value_type, blob),
        _ => ValueRef::Bytes(blob),
    })
}

fn encode_ints(all: &[i64], out: &mut Vec<u8>) {
    let start = out.len();
    out.push(encoding::INTS_PLAIN);
    all.iter().for_each(|&v| put_ivarint(out, v));
    let mut delta = vec![encoding::INTS_DELTA];
    let mut last = 0i64;
    for &v in all {
        put_ivarint(&mut delta, v.wrapping_sub(last));
        last = v;
    }
    if delta.len() < out.len() - start {
        out.truncate(start);
        out.extend_from_slice(&delta);
    }
}

fn decode_ints(r: &mut Reader<'_>, count: usize, delta: bool) -> Result<Vec<i64>, Error> {
    if count > r.remaining() {
        return Err(Error::Truncated { what: "ints", at: r.position() });
    }
    let mut last = 0i64;
    (0..count)
        .map(|_| {
            let v = r.ivarint("int")?;
            last = if delta { last.wrapping_add(v) } else { v };
            Ok(last)
        })
        .collect()
}

/// Fixed-width, dictionary or plain, whichever is expected to be smallest.
fn encode_blobs(all: &Blobs, out: &mut Vec<u8>) {
    let (distinct, ids) = distinct(all);
    if distinct.len() * 4 <= all.len() * 3 {
        return encode_dict(&distinct, &ids, out);
    }
    let width = all.get(0).map_or(0, <[u8]>::len);
    if width > 0 && all.iter().all(|b| b.len() == width) {
        out.push(encoding::BLOBS_FIXED);
        put_uvarint(out, width as u64);
        out.extend_from_slice(&all.bytes);
        return;
    }
    out.push(encoding::BLOBS);
    all.encode(out);
}

/// Distinct blobs in order of their first use, and the position of each value in them.
fn distinct(all: &Blobs) -> (Blobs, Vec<u32>) {
    let mut distinct = Blobs::default();
    let mut table: HashTable<u32> = HashTable::new();
    let mut ids = Vec::with_capacity(all.len());
    for blob in all.iter() {
        let hash = super::filter::value_hash(blob);
        let known = table.find(hash, |&id| distinct.get(id as usize) == Some(blob)).copied();
        ids.push(known.unwrap_or_else(|| {
            let id = distinct.len() as u32;
            distinct.push(blob);
            table.insert_unique(hash, id, |&id| {
                super::filter::value_hash(distinct.get(id as usize).unwrap_or_default())
            });
            id
        }));
    }
    (distinct, ids)
}

/// Distinct values of a blob column, for its filter and statistics.
pub(crate) fn distinct_blobs(all: &Blobs) -> Blobs {
    distinct(all).0
}

fn encode_dict(all: &Blobs, ids: &[u32], out: &mut Vec<u8>) {
    out.push(encoding::BLOBS_DICT);
    put_uvarint(out, all.len() as u64);
    all.encode(out);
    let width = match all.len() {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    };
    out.push(width as u8);
    ids.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()[..width]));
}

fn decode_dict(r: &mut Reader<'_>, count: usize) -> Result<Column, Error> {
    let n = r.count(1, "dictionary length")?;
    let all = Blobs::decode(r, n)?;
    let at = r.position();
    let width = r.u8("id width")?;
    if !matches!(width, 1 | 2 | 4) {
        return Err(Error::Invalid { what: "id width", at });
    }
    let width = usize::from(width);
    let len = count.checked_mul(width).ok_or(Error::Invalid { what: "ids count", at })?;
    let ids: Vec<u32> = r
        .take(len, "dictionary ids")?
        .chunks_exact(width)
        .map(|c| c.iter().rev().fold(0u32, |id, &b| id << 8 | u32::from(b)))
        .collect();
    if ids.iter().any(|&id| id as usize >= n) {
        return Err(Error::Invalid { what: "dictionary id", at });
    }
    Ok(Column::Dict(all, ids))
}

fn decode_fixed(r: &mut Reader<'_>, count: usize) -> Result<Blobs, Error> {
    let at = r.position();
    let width = r.count(1, "blob width")?;
    let len = count.checked_mul(width).filter(|&l| l <= u32::MAX as usize && width > 0);
    let len = len.ok_or(Error::Invalid { what: "blob width", at })?;
    let bytes = r.take(len, "fixed blobs")?.to_vec();
    Ok(Blobs { bytes, ends: (1..=count).map(|i| (i * width) as u32).collect() })
}

/// Runs the decoder over bytes that no checksum vouches for: the type, the count in two bytes, then the column.
pub(crate) fn decode_columns(bytes: &[u8]) {
    let Some(([value_type, count @ ..], bytes)) = bytes.split_first_chunk::<3>() else { return };
    let Some(value_type) = ValueType::from_u8(value_type % 9) else { return };
    let count = usize::from(u16::from_le_bytes(*count));
    let Ok(column) = Column::decode(bytes, count, value_type) else { return };
    assert_eq!(column.len(), count, "values of a column");
    for at in 0..count {
        assert!(column.value(at, value_type).is_some(), "value {at} of {count}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round(column: &Column, value_type: ValueType) {
        let mut bytes = Vec::new();
        column.encode(&mut bytes);
        let back = Column::decode(&bytes, column.len(), value_type).unwrap();
        assert_eq!(back.len(), column.len());
        for i in 0..column.len() {
            let (a, b) = (column.value(i, value_type).unwrap(), back.value(i, value_type).unwrap());
            assert_eq!(a.to_value().unwrap(), b.to_value().unwrap());
        }
        let mut again = Vec::new();
        back.encode(&mut again);
        assert_eq!(again, bytes, "encoding is canonical");
    }

    proptest! {
        #[test]
        fn columns_come_back(
            ints: Vec<i64>, bools: Vec<bool>, doubles: Vec<f64>,
            strs in prop::collection::vec("[ab]{0,2}", 0..400), wide in prop::collection::vec("[a-z]{4}", 0..40),
        ) {
            round(&Column::Ints(ints), ValueType::Int);
            round(&Column::Bools(bools), ValueType::Bool);
            round(&Column::Doubles(doubles), ValueType::Double);
            for strs in [strs, wide] {
                let mut blobs = Blobs::default();
                strs.iter().for_each(|s| blobs.push(s.as_bytes()));
                round(&Column::Blobs(blobs), ValueType::Str);
            }
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, count in 0usize..1000) {
            for t in 1..=8 {
                let t = ValueType::from_u8(t).unwrap();
                if let Ok(column) = Column::decode(&bytes, count, t) {
                    prop_assert!(column.len() == count && (0..count).all(|i| column.value(i, t).is_some()));
                }
            }
        }
    }
}
