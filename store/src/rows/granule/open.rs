//! A granule being read: times and streams decoded, columns on demand.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{ColumnMeta, Granule};
use crate::codec::{self, Reader};
use crate::memory::{Account, Charge};
use crate::model::{Scope, ValueType, intrinsic};
use crate::rows::column::Column;
use crate::rows::error::{Error, Result, decoding};
use crate::rows::region::Region;
use crate::rows::row::{AttrRef, ValueRef};

/// Bytes read by everything one scan has opened, and the account that pays for what it keeps of them.
#[derive(Debug, Default)]
pub(crate) struct ReadCounters {
    pub(crate) memory: Account,
    pub(crate) read: AtomicU64,
    pub(crate) decompressed: AtomicU64,
}

#[derive(Debug)]
struct Shapes {
    /// Of each shape: (column, how many of the row's values of that column come before).
    shapes: Vec<Vec<(u32, u32)>>,
    /// Shape of each row.
    ids: Vec<u32>,
}

/// A column with the position of each row's first value.
#[derive(Debug)]
struct OpenColumn {
    values: Column,
    starts: Vec<u32>,
}

/// Decoded rows of a granule. Regions are read at their first use.
#[derive(Debug)]
pub(crate) struct OpenGranule {
    pub(crate) granule: Arc<Granule>,
    counters: Arc<ReadCounters>,
    times: Vec<i64>,
    streams: Vec<u32>,
    shapes: OnceLock<Shapes>,
    body: OnceLock<Column>,
    columns: Vec<OnceLock<OpenColumn>>,
    held: Mutex<Charge>,
}

impl OpenGranule {
    /// Reads times and streams.
    pub(crate) fn open(granule: Arc<Granule>, counters: Arc<ReadCounters>) -> Result<Self> {
        let columns = granule.meta.columns.iter().map(|_| OnceLock::new()).collect();
        let held = Mutex::new(counters.memory.open());
        let mut open = Self {
            granule,
            counters,
            times: Vec::new(),
            streams: Vec::new(),
            shapes: OnceLock::new(),
            body: OnceLock::new(),
            columns,
            held,
        };
        let rows = open.len();
        open.hold(rows * (size_of::<i64>() + size_of::<u32>()))?;
        let raw = open.read(&open.granule.meta.times, "times")?;
        open.times = decode_times(&raw, rows).map_err(decoding("times"))?;
        open.streams = open.read_streams(rows)?;
        Ok(open)
    }

    pub(crate) fn len(&self) -> usize {
        self.granule.meta.rows as usize
    }

    pub(crate) fn time_ns(&self, row: u32) -> i64 {
        self.times[row as usize]
    }

    pub(crate) fn stream_ref(&self, row: u32) -> u32 {
        self.streams[row as usize]
    }

    pub(crate) fn body(&self, row: u32) -> Result<&[u8]> {
        let body = init(&self.body, || {
            self.hold(self.granule.meta.body.raw_len as usize + self.len() * size_of::<u32>())?;
            let raw = self.read(&self.granule.meta.body, "bodies")?;
            Column::decode(&raw, self.len(), ValueType::Bytes).map_err(decoding("bodies"))
        })?;
        body.blob(row as usize).ok_or(Error::Mismatch { region: "bodies" })
    }

    pub(crate) fn trace_id(&self, row: u32) -> Result<[u8; 16]> {
        Ok(match self.attr(row, Scope::Intrinsic, intrinsic::TRACE_ID, Some(ValueType::Bytes))? {
            Some(ValueRef::Bytes(id)) => id.try_into().unwrap_or_default(),
            _ => [0; 16],
        })
    }

    pub(crate) fn for_each_attr<'a>(&'a self, row: u32, each: &mut dyn FnMut(AttrRef<'a>)) -> Result<()> {
        let shapes = self.shapes()?;
        for &(at, nth) in &shapes.shapes[shapes.ids[row as usize] as usize] {
            let column = &self.granule.meta.columns[at as usize];
            each(AttrRef { scope: column.scope, key: &column.key, value: self.value(at, row, nth)? });
        }
        Ok(())
    }

    /// The first attribute of the row with this scope and key, and type if one is given.
    pub(crate) fn attr<'a>(
        &'a self,
        row: u32,
        scope: Scope,
        key: &str,
        value_type: Option<ValueType>,
    ) -> Result<Option<ValueRef<'a>>> {
        let is_it = |c: &ColumnMeta| c.scope == scope && c.key == key && value_type.is_none_or(|t| c.value_type == t);
        let columns = &self.granule.meta.columns;
        if !columns.iter().any(is_it) {
            return Ok(None);
        }
        let shapes = self.shapes()?;
        let shape = &shapes.shapes[shapes.ids[row as usize] as usize];
        match shape.iter().find(|(at, _)| is_it(&columns[*at as usize])) {
            Some(&(at, nth)) => self.value(at, row, nth).map(Some),
            None => Ok(None),
        }
    }

    /// The values of column `at`, without rows.
    pub(crate) fn column(&self, at: usize) -> Result<&Column> {
        self.open_column(at as u32).map(|c| &c.values)
    }

    fn value(&self, at: u32, row: u32, nth: u32) -> Result<ValueRef<'_>> {
        let column = self.open_column(at)?;
        let i = column.starts[row as usize] + nth;
        let value_type = self.granule.meta.columns[at as usize].value_type;
        column.values.value(i as usize, value_type).ok_or(Error::Mismatch { region: "attribute column" })
    }

    fn open_column(&self, at: u32) -> Result<&OpenColumn> {
        init(&self.columns[at as usize], || {
            let meta = &self.granule.meta.columns[at as usize];
            // Values widen to eight bytes, blobs keep an end each, and every row gets the start of its values.
            let widened = meta.count as usize * size_of::<u64>() + self.len() * size_of::<u32>();
            self.hold(meta.data.raw_len as usize + widened)?;
            let raw = self.read(&meta.data, "attribute column")?;
            let values =
                Column::decode(&raw, meta.count as usize, meta.value_type).map_err(decoding("attribute column"))?;
            let shapes = self.shapes()?;
            let of_shape: Vec<u32> =
                shapes.shapes.iter().map(|s| s.iter().filter(|(c, _)| *c == at).count() as u32).collect();
            let mut next = 0u32;
            let mut starts = Vec::with_capacity(shapes.ids.len());
            for &shape in &shapes.ids {
                starts.push(next);
                next = next.saturating_add(of_shape[shape as usize]);
            }
            if next != meta.count {
                return Err(Error::Mismatch { region: "attribute column" });
            }
            Ok(OpenColumn { values, starts })
        })
    }

    fn shapes(&self) -> Result<&Shapes> {
        init(&self.shapes, || {
            self.hold(self.granule.meta.shapes.raw_len as usize * size_of::<u64>() + self.len() * size_of::<u32>())?;
            let raw = self.read(&self.granule.meta.shapes, "shapes")?;
            decode_shapes(&raw, self.len(), self.columns.len()).map_err(decoding("shapes"))
        })
    }

    fn read_streams(&self, rows: usize) -> Result<Vec<u32>> {
        let spans = &self.granule.meta.spans;
        let Some(region) = &self.granule.meta.stream_ids else {
            let repeat = |s: &super::StreamSpan| std::iter::repeat_n(s.stream, s.rows as usize);
            return Ok(spans.iter().flat_map(repeat).collect());
        };
        let raw = self.read(region, "stream ids")?;
        let ids = decode_runs(&mut Reader::new(&raw), rows, spans.len()).map_err(decoding("stream ids"))?;
        Ok(ids.into_iter().map(|i| spans[i as usize].stream).collect())
    }

    /// Charges what is decoded and kept until the granule is closed.
    fn hold(&self, bytes: usize) -> Result<()> {
        Ok(self.held.lock().unwrap_or_else(PoisonError::into_inner).add(bytes as u64)?)
    }

    fn read(&self, region: &Region, name: &'static str) -> Result<Vec<u8>> {
        let raw = self.granule.read(region, name)?;
        self.counters.read.fetch_add(u64::from(region.len), Ordering::Relaxed);
        self.counters.decompressed.fetch_add(raw.len() as u64, Ordering::Relaxed);
        Ok(raw)
    }
}

/// Like `get_or_try_init`: two threads may both read, one result is kept.
fn init<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(made) = cell.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}

fn decode_times(raw: &[u8], rows: usize) -> std::result::Result<Vec<i64>, codec::Error> {
    let mut r = Reader::new(raw);
    let mut time = r.ivarint("first time")?;
    let divisor = r.uvarint("time divisor")? as i64;
    if rows.saturating_sub(1) > r.remaining() {
        return Err(codec::Error::Truncated { what: "times", at: r.position() });
    }
    let mut times = Vec::with_capacity(rows);
    for i in 0..rows {
        if i > 0 {
            time = time.wrapping_add(r.ivarint("time")?.wrapping_mul(divisor));
        }
        times.push(time);
    }
    Ok(times)
}

/// Reads repeated `value run_length` to the end: `rows` values, each below `bound`.
fn decode_runs(r: &mut Reader<'_>, rows: usize, bound: usize) -> std::result::Result<Vec<u32>, codec::Error> {
    let mut values: Vec<u32> = Vec::new();
    while !r.is_empty() {
        let at = r.position();
        let (value, run) = (r.uvarint("run value")?, r.uvarint("run length")?);
        if value >= bound as u64 || run > (rows - values.len()) as u64 {
            return Err(codec::Error::Invalid { what: "run", at });
        }
        values.extend(std::iter::repeat_n(value as u32, run as usize));
    }
    if values.len() != rows {
        return Err(codec::Error::Truncated { what: "runs", at: r.position() });
    }
    Ok(values)
}

fn decode_shapes(raw: &[u8], rows: usize, columns: usize) -> std::result::Result<Shapes, codec::Error> {
    let mut r = Reader::new(raw);
    let n = r.count(1, "shapes count")?;
    let mut shapes = Vec::with_capacity(n);
    let mut seen = vec![0u32; columns];
    for _ in 0..n {
        let len = r.count(1, "shape length")?;
        let mut shape: Vec<(u32, u32)> = Vec::with_capacity(len);
        for _ in 0..len {
            let at = r.position();
            let column = r.uvarint("shape column")?;
            let Some(nth) = usize::try_from(column).ok().and_then(|c| seen.get_mut(c)) else {
                return Err(codec::Error::Invalid { what: "shape column", at });
            };
            shape.push((column as u32, *nth));
            *nth += 1;
        }
        shape.iter().for_each(|(c, _)| seen[*c as usize] = 0);
        shapes.push(shape);
    }
    Ok(Shapes { ids: decode_runs(&mut r, rows, n)?, shapes })
}

/// Trace id column of a granule, for its filter.
pub(super) fn trace_id_column(columns: &[ColumnMeta]) -> Option<&ColumnMeta> {
    columns
        .iter()
        .find(|c| c.scope == Scope::Intrinsic && c.value_type == ValueType::Bytes && c.key == intrinsic::TRACE_ID)
}

/// Runs the decoders of a granule's pieces over bytes that no checksum vouches for. The first says how many rows it has.
pub(crate) fn decode_pieces(bytes: &[u8]) {
    let Some((rows, bytes)) = bytes.split_first() else { return };
    let (rows, columns) = (usize::from(*rows), 5);
    if let Ok(times) = decode_times(bytes, rows) {
        assert_eq!(times.len(), rows, "times");
    }
    if let Ok(streams) = decode_runs(&mut Reader::new(bytes), rows, columns) {
        assert_eq!(streams.len(), rows, "stream of each row");
    }
    if let Ok(shapes) = decode_shapes(bytes, rows, columns) {
        assert_eq!(shapes.ids.len(), rows, "shape of each row");
    }
}
