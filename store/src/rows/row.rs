//! Rows as readers get them: positions in opened pieces, decoded column by column on demand.
use std::sync::Arc;

use super::error::{Result, decoding};
use super::piece::Piece;
use super::stream::StreamInfo;
use crate::codec::Reader;
use crate::model::{Attr, Scope, Value, ValueType, intrinsic};

/// A value borrowing from its column.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    Str(&'a str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
    /// An array or map in the encoding of [`Value::encode`].
    Nested(ValueType, &'a [u8]),
    Empty,
}

impl ValueRef<'_> {
    /// The value in its owned form.
    pub fn to_value(self) -> Result<Value> {
        Ok(match self {
            Self::Str(s) => Value::Str(s.to_owned()),
            Self::Bool(b) => Value::Bool(b),
            Self::Int(i) => Value::Int(i),
            Self::Double(d) => Value::Double(d),
            Self::Bytes(b) => Value::Bytes(b.to_vec()),
            Self::Nested(t, bytes) => {
                Value::decode(&mut Reader::new(bytes), t).map_err(decoding("nested attribute value"))?
            }
            Self::Empty => Value::Empty,
        })
    }

    pub fn value_type(self) -> ValueType {
        match self {
            Self::Str(_) => ValueType::Str,
            Self::Bool(_) => ValueType::Bool,
            Self::Int(_) => ValueType::Int,
            Self::Double(_) => ValueType::Double,
            Self::Bytes(_) => ValueType::Bytes,
            Self::Nested(t, _) => t,
            Self::Empty => ValueType::Empty,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(s) => Some(s),
            _ => None,
        }
    }
}

/// One attribute borrowing from its columns.
#[derive(Clone, Copy, Debug)]
pub struct AttrRef<'a> {
    pub scope: Scope,
    pub key: &'a str,
    pub value: ValueRef<'a>,
}

/// One row of a [`RowBatch`]. Columns are read and decompressed at their first use, so accessors can meet damage.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    pub(super) piece: &'a Piece,
    pub(super) row: u32,
}

impl<'a> Row<'a> {
    /// The stream; its labels (logs) or resource and scope attributes (traces).
    pub fn stream(&self) -> &'a Arc<StreamInfo> {
        self.piece.stream(self.row)
    }

    /// Entry time or span start in ns.
    pub fn time_ns(&self) -> i64 {
        self.piece.time_ns(self.row)
    }

    /// The raw line; empty for spans.
    pub fn body(&self) -> Result<&'a [u8]> {
        self.piece.body(self.row)
    }

    /// Calls `each` for the row's attributes in their order, duplicates included.
    pub fn for_each_attr(&self, each: &mut dyn FnMut(AttrRef<'a>)) -> Result<()> {
        self.piece.for_each_attr(self.row, each)
    }

    /// The row's attributes in their order, duplicates included.
    pub fn attrs(&self) -> Result<Vec<Attr>> {
        let mut out = Vec::new();
        let mut failed = None;
        self.for_each_attr(&mut |attr| match attr.value.to_value() {
            Ok(value) => out.push(Attr { scope: attr.scope, key: attr.key.to_owned(), value }),
            Err(error) => failed = Some(error),
        })?;
        failed.map_or(Ok(out), Err)
    }

    /// The first attribute with this scope and key, reading only its columns.
    pub fn attr(&self, scope: Scope, key: &str) -> Result<Option<ValueRef<'a>>> {
        self.piece.attr(self.row, scope, key)
    }

    /// The span's trace id; zeros when the row has none of 16 bytes.
    pub fn trace_id(&self) -> Result<[u8; 16]> {
        self.piece.trace_id(self.row)
    }

    /// The span's id; zeros when the row has none of 8 bytes.
    pub fn span_id(&self) -> Result<[u8; 8]> {
        Ok(match self.attr(Scope::Intrinsic, intrinsic::SPAN_ID)? {
            Some(ValueRef::Bytes(b)) => b.try_into().unwrap_or_default(),
            _ => [0; 8],
        })
    }
}

/// Rows in the scan's order. Keeps the opened pieces alive; cheap to move.
#[derive(Clone, Debug, Default)]
pub struct RowBatch {
    pub(super) pieces: Vec<Arc<Piece>>,
    /// (position in `pieces`, row of the piece).
    pub(super) rows: Vec<(u32, u32)>,
}

impl RowBatch {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Row `i`, below [`Self::len`].
    pub fn row(&self, i: usize) -> Row<'_> {
        let (piece, row) = self.rows[i];
        Row { piece: &self.pieces[piece as usize], row }
    }

    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> + '_ {
        (0..self.len()).map(|i| self.row(i))
    }

    /// Appends a row of `piece`.
    pub(super) fn push(&mut self, piece: &Arc<Piece>, row: u32) {
        let at = match self.pieces.iter().rposition(|p| Arc::ptr_eq(p, piece)) {
            Some(at) => at,
            None => {
                self.pieces.push(piece.clone());
                self.pieces.len() - 1
            }
        };
        self.rows.push((at as u32, row));
    }
}

/// All spans of one trace that one shard holds, by start time.
#[derive(Clone, Debug)]
pub struct TraceRows {
    pub trace_id: [u8; 16],
    pub rows: RowBatch,
}
