//! A tail batch: one applied part as it came, with light columns over its bytes.
use std::sync::Arc;

use bytes::Bytes;

use super::row::{AttrRef, ValueRef};
use super::stream::StreamRef;
use crate::codec::{Error, Reader};
use crate::model::{Scope, Signal, Value, ValueType, intrinsic};
use crate::part::{RowRef, RowsBody, ShapeColumn};

/// Where one row lies in its part's body.
#[derive(Clone, Copy, Debug)]
struct TailRow {
    time_ns: i64,
    stream: u32,
    shape: u32,
    body_at: u32,
    body_len: u32,
    values_at: u32,
    values_len: u32,
}

/// The rows of one part of one tenant, unsorted. Values were checked when it was built.
#[derive(Debug)]
pub(crate) struct TailBatch {
    pub(crate) tenant: Arc<str>,
    bytes: Bytes,
    shapes: Vec<Vec<ShapeColumn>>,
    rows: Vec<TailRow>,
    /// One a row for traces, else empty.
    trace_ids: Vec<[u8; 16]>,
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
}

impl TailBatch {
    /// Decodes and checks a whole part body; `refs` gives the stream of each of its definitions.
    pub(crate) fn decode(
        signal: Signal,
        tenant: &Arc<str>,
        refs: &[StreamRef],
        body: &[u8],
        assigned_ns: i64,
    ) -> Result<Self, Error> {
        let too_long = |_| Error::Invalid { what: "part body length", at: 0 };
        u32::try_from(body.len()).map_err(too_long)?;
        let defs = u32::try_from(refs.len()).map_err(too_long)?;
        let bytes = Bytes::copy_from_slice(body);
        let mut walk = RowsBody::new(&bytes, defs)?;
        let shapes = std::mem::take(&mut walk.shapes);
        walk.shapes.clone_from(&shapes);
        let mut rows = Vec::new();
        let mut trace_ids = Vec::new();
        let (mut min_ns, mut max_ns) = (i64::MAX, i64::MIN);
        while let Some(row) = walk.next_row()? {
            let shape = &shapes[row.shape as usize];
            let trace_id = check_values(&row, shape)?;
            if signal == Signal::Traces {
                trace_ids.push(trace_id);
            }
            let time_ns = if row.time_ns == 0 { assigned_ns } else { row.time_ns };
            (min_ns, max_ns) = (min_ns.min(time_ns), max_ns.max(time_ns));
            rows.push(TailRow {
                time_ns,
                stream: refs[row.stream as usize].0,
                shape: row.shape,
                body_at: offset_in(body_of(&bytes), row.body),
                body_len: row.body.len() as u32,
                values_at: offset_in(body_of(&bytes), row.values),
                values_len: row.values.len() as u32,
            });
        }
        walk.finish()?;
        rows.shrink_to_fit();
        drop(walk);
        Ok(Self { tenant: tenant.clone(), bytes, shapes, rows, trace_ids, min_ns, max_ns })
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<TailRow>() + self.trace_ids.len() * 16
    }

    /// Bytes of the part's body.
    pub(crate) fn raw_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn stream_ref(&self, row: u32) -> u32 {
        self.rows[row as usize].stream
    }

    pub(crate) fn time_ns(&self, row: u32) -> i64 {
        self.rows[row as usize].time_ns
    }

    pub(crate) fn trace_id(&self, row: u32) -> [u8; 16] {
        self.trace_ids.get(row as usize).copied().unwrap_or_default()
    }

    pub(crate) fn body(&self, row: u32) -> &[u8] {
        let row = &self.rows[row as usize];
        &self.bytes[row.body_at as usize..][..row.body_len as usize]
    }

    pub(crate) fn shape(&self, row: u32) -> &[ShapeColumn] {
        &self.shapes[self.rows[row as usize].shape as usize]
    }

    pub(crate) fn shapes(&self) -> &[Vec<ShapeColumn>] {
        &self.shapes
    }

    /// Encoded values in the order of the shape.
    pub(crate) fn values(&self, row: u32) -> &[u8] {
        let row = &self.rows[row as usize];
        &self.bytes[row.values_at as usize..][..row.values_len as usize]
    }

    /// Calls `each` in order until it returns false.
    pub(crate) fn walk_attrs<'a>(&'a self, row: u32, each: &mut dyn FnMut(AttrRef<'a>) -> bool) -> Result<(), Error> {
        let mut r = Reader::new(self.values(row));
        for column in self.shape(row) {
            let value = read_value(&mut r, self.values(row), column.value_type)?;
            if !each(AttrRef { scope: column.scope, key: &column.key, value }) {
                break;
            }
        }
        Ok(())
    }
}

fn body_of(bytes: &Bytes) -> &[u8] {
    bytes
}

/// Offset of `inner`, a subslice of `outer`.
fn offset_in(outer: &[u8], inner: &[u8]) -> u32 {
    (inner.as_ptr() as usize - outer.as_ptr() as usize) as u32
}

/// Reads one value without copying. `all` is what `r` reads.
pub(crate) fn read_value<'a>(r: &mut Reader<'a>, all: &'a [u8], t: ValueType) -> Result<ValueRef<'a>, Error> {
    Ok(match t {
        ValueType::Str => ValueRef::Str(r.str("string value")?),
        ValueType::Bool => ValueRef::Bool(r.u8("bool value")? != 0),
        ValueType::Int => ValueRef::Int(r.ivarint("int value")?),
        ValueType::Double => ValueRef::Double(f64::from_bits(r.u64("double value")?)),
        ValueType::Bytes => ValueRef::Bytes(r.bytes("bytes value")?),
        ValueType::Array | ValueType::Map => {
            let from = r.position();
            Value::skip(r, t)?;
            ValueRef::Nested(t, &all[from..r.position()])
        }
        ValueType::Empty => ValueRef::Empty,
    })
}

/// Checks every value of a row, so that readers cannot meet a bad one, and returns the trace id.
fn check_values(row: &RowRef<'_>, shape: &[ShapeColumn]) -> Result<[u8; 16], Error> {
    let mut r = Reader::new(row.values);
    let mut trace_id = None;
    for column in shape {
        let value = read_value(&mut r, row.values, column.value_type)?;
        if let (ValueRef::Bytes(id), Scope::Intrinsic, None) = (value, column.scope, trace_id)
            && column.key == intrinsic::TRACE_ID
        {
            trace_id = Some(id.try_into().unwrap_or_default());
        }
    }
    Ok(trace_id.unwrap_or_default())
}
