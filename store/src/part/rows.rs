//! The body of a logs or traces part: rows with typed attributes, their keys spelled out once a part.
use super::Envelope;
use crate::codec::{Error, Reader, put_bytes, put_ivarint, put_uvarint};
use crate::model::attrs::{Scope, put_column, read_column};
use crate::model::value::{Value, ValueType};
use crate::model::{Attr, Signal};

/// A column of a shape: the scope, key and type of one attribute, in the order in which the row has them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShapeColumn {
    pub scope: Scope,
    pub value_type: ValueType,
    pub key: String,
}

/// Builds a part of log entries or spans. Rows of one part with the same attribute names share a *shape*.
#[derive(Debug)]
pub struct RowsPartBuilder {
    envelope: Envelope,
    shapes: Vec<u8>,
    shape_ids: std::collections::HashMap<Vec<u8>, u32>,
    rows: Vec<u8>,
    last_ns: i64,
    scratch: Vec<u8>,
}

impl RowsPartBuilder {
    /// `signal` is logs or traces.
    pub fn new(signal: Signal, tenant: &str) -> Self {
        Self {
            envelope: Envelope::new(signal, tenant),
            shapes: Vec::new(),
            shape_ids: std::collections::HashMap::new(),
            rows: Vec::new(),
            last_ns: 0,
            scratch: Vec::new(),
        }
    }

    /// Adds a stream by its key (canonical labels, or resource and scope attributes) and returns its position.
    pub fn stream(&mut self, hash: u64, key: &[u8]) -> u32 {
        self.envelope.define(hash, key)
    }

    /// Gives the time to rows pushed with `time_ns` 0. Not part of the digest.
    pub fn assign_time(&mut self, assigned_ns: i64) {
        self.envelope.assigned_ns = assigned_ns;
    }

    /// Adds a row: `time_ns` is the entry's time or the span's start; `body` the raw line (empty for spans).
    pub fn row<'v>(
        &mut self,
        stream: u32,
        time_ns: i64,
        body: &[u8],
        attrs: impl Iterator<Item = (Scope, &'v str, &'v Value)> + Clone,
    ) {
        self.scratch.clear();
        let columns = attrs.clone().count();
        put_uvarint(&mut self.scratch, columns as u64);
        for (scope, key, value) in attrs.clone() {
            put_column(&mut self.scratch, scope, value.value_type(), key);
        }
        let shape = match self.shape_ids.get(&self.scratch) {
            Some(&id) => id,
            None => {
                let id = self.shape_ids.len() as u32;
                self.shapes.extend_from_slice(&self.scratch);
                self.shape_ids.insert(self.scratch.clone(), id);
                id
            }
        };
        put_uvarint(&mut self.rows, u64::from(stream));
        put_uvarint(&mut self.rows, u64::from(shape));
        put_ivarint(&mut self.rows, time_ns.wrapping_sub(self.last_ns));
        self.last_ns = time_ns;
        put_bytes(&mut self.rows, body);
        for (_, _, value) in attrs {
            value.encode(&mut self.rows);
        }
        self.envelope.facts_count += 1;
    }

    /// Bytes of definitions, shapes and rows so far.
    pub fn bytes_len(&self) -> usize {
        self.envelope.defs_len() + self.shapes.len() + self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.envelope.facts_count == 0
    }

    /// The encoded part ([`super::PartRef`]).
    pub fn finish(mut self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.shapes.len() + self.rows.len() + 16);
        put_uvarint(&mut body, self.shape_ids.len() as u64);
        body.extend_from_slice(&self.shapes);
        put_uvarint(&mut body, u64::from(self.envelope.facts_count));
        body.extend_from_slice(&self.rows);
        self.envelope.finish(&body)
    }
}

/// One row, borrowing from the part. Values are decoded on demand, in the order of the shape's columns.
#[derive(Clone, Debug)]
pub struct RowRef<'a> {
    /// Position in the part's definitions.
    pub stream: u32,
    /// Position in [`RowsBody::shapes`].
    pub shape: u32,
    /// 0 when the server assigns the part's time.
    pub time_ns: i64,
    pub body: &'a [u8],
    /// Encoded values, one after the other, without types.
    pub values: &'a [u8],
}

impl RowRef<'_> {
    /// The row's attributes. `shape` is the row's shape.
    pub fn attrs(&self, shape: &[ShapeColumn]) -> Result<Vec<Attr>, Error> {
        let mut r = Reader::new(self.values);
        shape
            .iter()
            .map(|c| Ok(Attr { scope: c.scope, key: c.key.clone(), value: Value::decode(&mut r, c.value_type)? }))
            .collect()
    }
}

/// Iterates the rows of a body; `defs_count` bounds the stream positions.
#[derive(Clone, Debug)]
pub struct RowsBody<'a> {
    pub shapes: Vec<Vec<ShapeColumn>>,
    reader: Reader<'a>,
    all: &'a [u8],
    left: usize,
    defs_count: u32,
    last_ns: i64,
}

impl<'a> RowsBody<'a> {
    /// Decodes the shapes.
    pub fn new(body: &'a [u8], defs_count: u32) -> Result<Self, Error> {
        let mut r = Reader::new(body);
        let n = r.count(1, "shapes count")?;
        let mut shapes = Vec::with_capacity(n);
        for _ in 0..n {
            let columns = r.count(3, "columns count")?;
            let mut shape = Vec::with_capacity(columns);
            for _ in 0..columns {
                let (scope, value_type, key) = read_column(&mut r)?;
                shape.push(ShapeColumn { scope, value_type, key: key.to_owned() });
            }
            shapes.push(shape);
        }
        let left = r.count(4, "rows count")?;
        Ok(Self { shapes, reader: r, all: body, left, defs_count, last_ns: 0 })
    }

    /// Walks the whole body once, so that a later walk cannot fail half-way.
    pub fn check(body: &'a [u8], defs_count: u32) -> Result<(), Error> {
        let mut walk = Self::new(body, defs_count)?;
        while walk.next_row()?.is_some() {}
        walk.finish()
    }

    /// Checks that nothing follows the last row. Call it after [`Self::next_row`] has returned `None`.
    pub fn finish(&self) -> Result<(), Error> {
        if self.left == 0 && self.reader.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid { what: "bytes after the last row", at: self.reader.position() })
        }
    }

    /// The next row, or `None` at the end.
    pub fn next_row(&mut self) -> Result<Option<RowRef<'a>>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let r = &mut self.reader;
        let at = r.position();
        let stream = r.uvarint("stream position")?;
        let shape = r.uvarint("shape position")?;
        if stream >= u64::from(self.defs_count) || shape >= self.shapes.len() as u64 {
            return Err(Error::Invalid { what: "stream or shape position", at });
        }
        self.last_ns = self.last_ns.wrapping_add(r.ivarint("row time")?);
        let body = r.bytes("row body")?;
        let from = r.position();
        for column in &self.shapes[shape as usize] {
            Value::skip(r, column.value_type)?;
        }
        let values = &self.all[from..r.position()];
        Ok(Some(RowRef { stream: stream as u32, shape: shape as u32, time_ns: self.last_ns, body, values }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::part::PartRef;

    #[test]
    fn rows_come_back_and_share_shapes() {
        let mut b = RowsPartBuilder::new(Signal::Logs, "t");
        let s = b.stream(5, b"\x03app\x01x");
        let values = [Value::Str("a".into()), Value::Int(-3)];
        let attrs = || [(Scope::Record, "k", &values[0]), (Scope::Record, "n", &values[1])].into_iter();
        b.row(s, 100, b"one", attrs());
        b.row(s, 90, b"two", attrs());
        let bytes = b.finish();
        let part = PartRef::decode(&bytes).unwrap();
        let mut body = RowsBody::new(part.body, 1).unwrap();
        assert_eq!(body.shapes.len(), 1);
        let one = body.next_row().unwrap().unwrap();
        assert_eq!((one.time_ns, one.body), (100, &b"one"[..]));
        let two = body.next_row().unwrap().unwrap();
        assert_eq!(two.time_ns, 90);
        assert_eq!(two.attrs(&body.shapes[0]).unwrap()[1].value, Value::Int(-3));
        assert!(body.next_row().unwrap().is_none());
    }

    #[test]
    fn the_digest_leaves_assigned_times_out() {
        let digest = |ns| {
            let mut b = RowsPartBuilder::new(Signal::Logs, "t");
            let s = b.stream(5, b"\x03app\x01x");
            b.assign_time(ns);
            b.row(s, 0, b"line", std::iter::empty());
            let bytes = b.finish();
            let part = PartRef::decode(&bytes).unwrap();
            (part.digest, part.assigned_ns)
        };
        assert_eq!(digest(7).0, digest(8).0);
        assert_eq!(digest(8).1, 8);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _unchecked = RowsBody::check(&bytes, 3);
        }
    }
}
