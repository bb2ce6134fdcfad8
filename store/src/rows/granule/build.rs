//! Builds a granule from rows in their final order.
use std::collections::HashMap;

use hashbrown::HashTable;

use super::meta::{ColumnMeta, ColumnStats, GranuleMeta, StreamSpan};
use crate::codec::{put_ivarint, put_uvarint};
use crate::model::{Scope, Signal, ValueType};
use crate::rows::column::{Blobs, Column, distinct_blobs};
use crate::rows::filter::{KeySet, add_line, build_filter, value_hash};
use crate::rows::region::{Region, RegionWriter};
use crate::rows::row::AttrRef;

/// Longest string kept in statistics, in bytes.
const STAT_BYTES_MAX: usize = 64;

#[derive(Debug)]
struct ColumnBuild {
    scope: Scope,
    value_type: ValueType,
    key: String,
    values: Column,
}

/// Collects the rows of one granule; reusable after [`Self::finish`].
#[derive(Debug)]
pub(crate) struct GranuleBuilder {
    signal: Signal,
    writer: RegionWriter,
    times: Vec<i64>,
    spans: Vec<StreamSpan>,
    span_of: HashMap<u32, u32>,
    stream_ids: Vec<u32>,
    ids: Option<([u8; 16], [u8; 16])>,
    body: Blobs,
    columns: Vec<ColumnBuild>,
    column_table: HashTable<u32>,
    shape_ids: Vec<u32>,
    shapes: HashMap<Vec<u32>, u32>,
    /// Columns of the row being pushed, and of the one before as a guess.
    shape: Vec<u32>,
    last_shape: Vec<u32>,
    raw_bytes: usize,
}

fn column_hash(scope: Scope, value_type: ValueType, key: &str) -> u64 {
    value_hash(key.as_bytes()) ^ ((scope as u64) << 8 | value_type as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl GranuleBuilder {
    pub(crate) fn new(signal: Signal, level: i32) -> Self {
        Self {
            signal,
            writer: RegionWriter::new(level),
            times: Vec::new(),
            spans: Vec::new(),
            span_of: HashMap::new(),
            stream_ids: Vec::new(),
            ids: None,
            body: Blobs::default(),
            columns: Vec::new(),
            column_table: HashTable::new(),
            shape_ids: Vec::new(),
            shapes: HashMap::new(),
            shape: Vec::new(),
            last_shape: Vec::new(),
            raw_bytes: 0,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// Starts a row. Its attributes follow by [`Self::push_attr`], then [`Self::end_row`].
    pub(crate) fn begin_row(&mut self, stream: u32, time_ns: i64, trace_id: [u8; 16], body: &[u8]) {
        let at = *self.span_of.entry(stream).or_insert_with(|| {
            self.spans.push(StreamSpan { stream, rows: 0, min_ns: i64::MAX, max_ns: i64::MIN, body_bytes: 0 });
            self.spans.len() as u32 - 1
        });
        let span = &mut self.spans[at as usize];
        span.rows += 1;
        span.min_ns = span.min_ns.min(time_ns);
        span.max_ns = span.max_ns.max(time_ns);
        span.body_bytes += body.len() as u64;
        if self.signal == Signal::Traces {
            self.stream_ids.push(at);
            let (min, max) = self.ids.get_or_insert((trace_id, trace_id));
            (*min, *max) = ((*min).min(trace_id), (*max).max(trace_id));
        }
        self.times.push(time_ns);
        self.body.push(body);
        self.raw_bytes += body.len() + 16;
    }

    pub(crate) fn push_attr(&mut self, attr: AttrRef<'_>) {
        let value_type = attr.value.value_type();
        let is_it = |c: &ColumnBuild| c.scope == attr.scope && c.value_type == value_type && c.key == attr.key;
        let guess = self.last_shape.get(self.shape.len()).filter(|&&c| is_it(&self.columns[c as usize]));
        let at = match guess {
            Some(&at) => at,
            None => {
                let hash = column_hash(attr.scope, value_type, attr.key);
                match self.column_table.find(hash, |&c| is_it(&self.columns[c as usize])) {
                    Some(&at) => at,
                    None => self.add_column(attr.scope, value_type, attr.key, hash),
                }
            }
        };
        self.raw_bytes += self.columns[at as usize].values.push(attr.value);
        self.shape.push(at);
    }

    fn add_column(&mut self, scope: Scope, value_type: ValueType, key: &str, hash: u64) -> u32 {
        let at = self.columns.len() as u32;
        self.columns.push(ColumnBuild { scope, value_type, key: key.to_owned(), values: Column::new(value_type) });
        let columns = &self.columns;
        self.column_table.insert_unique(hash, at, |&c| {
            let c = &columns[c as usize];
            column_hash(c.scope, c.value_type, &c.key)
        });
        at
    }

    pub(crate) fn end_row(&mut self) {
        let shape = match (self.shape_ids.last(), self.shape == self.last_shape) {
            (Some(&last), true) => last,
            _ => match self.shapes.get(&self.shape) {
                Some(&known) => known,
                None => {
                    let id = self.shapes.len() as u32;
                    self.shapes.insert(self.shape.clone(), id);
                    id
                }
            },
        };
        self.shape_ids.push(shape);
        std::mem::swap(&mut self.shape, &mut self.last_shape);
        self.shape.clear();
    }

    /// The directory entry and the regions' bytes; the builder is empty afterwards.
    pub(crate) fn finish(&mut self) -> (GranuleMeta, Vec<u8>) {
        let times = self.writer.put(&encode_times(&self.times));
        let shapes = self.put_shapes();
        let stream_ids = (self.signal == Signal::Traces).then(|| {
            let mut raw = Vec::new();
            put_runs(&self.stream_ids, &mut raw);
            self.writer.put(&raw)
        });
        let body = put_column(&mut self.writer, &Column::Blobs(std::mem::take(&mut self.body)), &mut |body| {
            let Column::Blobs(body) = body else { return None };
            (!body.bytes.is_empty()).then(|| {
                let mut keys = KeySet::default();
                body.iter().for_each(|line| add_line(&mut keys, line));
                build_filter(&keys)
            })
        });
        let (min_id, max_id) = self.ids.take().unwrap_or_default();
        let columns = std::mem::take(&mut self.columns).into_iter().map(|c| self.put_attr_column(c)).collect();
        let meta = GranuleMeta {
            rows: self.times.len() as u32,
            min_ns: self.times.iter().copied().min().unwrap_or_default(),
            max_ns: self.times.iter().copied().max().unwrap_or_default(),
            min_id,
            max_id,
            spans: std::mem::take(&mut self.spans),
            times,
            shapes,
            stream_ids,
            body: body.0,
            tokens: body.1,
            columns,
        };
        self.times.clear();
        self.span_of.clear();
        self.stream_ids.clear();
        self.column_table.clear();
        self.shape_ids.clear();
        self.shapes.clear();
        self.last_shape.clear();
        self.raw_bytes = 0;
        (meta, std::mem::take(&mut self.writer.out))
    }

    /// `count`, then each shape's columns, then runs of (shape, rows).
    fn put_shapes(&mut self) -> Region {
        let mut raw = Vec::new();
        let mut shapes: Vec<(&Vec<u32>, &u32)> = self.shapes.iter().collect();
        shapes.sort_by_key(|(_, id)| **id);
        put_uvarint(&mut raw, shapes.len() as u64);
        for (columns, _) in shapes {
            put_uvarint(&mut raw, columns.len() as u64);
            columns.iter().for_each(|&c| put_uvarint(&mut raw, u64::from(c)));
        }
        put_runs(&self.shape_ids, &mut raw);
        self.writer.put(&raw)
    }

    fn put_attr_column(&mut self, column: ColumnBuild) -> ColumnMeta {
        let ColumnBuild { scope, value_type, key, values } = column;
        let mut stats = column_stats(&values);
        let (data, filter) = put_column(&mut self.writer, &values, &mut |values| {
            let Column::Blobs(all) = values else { return None };
            let distinct = distinct_blobs(all);
            if value_type == ValueType::Str {
                stats = string_stats(&distinct);
            }
            matches!(value_type, ValueType::Str | ValueType::Bytes)
                .then(|| build_filter(&distinct.iter().map(value_hash).collect()))
        });
        ColumnMeta { scope, value_type, key, count: values.len() as u32, stats, data, filter }
    }
}

/// Writes a column and the filter that `filter_of` makes of it, which is kept raw so that a check decompresses nothing.
fn put_column(
    writer: &mut RegionWriter,
    values: &Column,
    filter_of: &mut dyn FnMut(&Column) -> Option<Vec<u8>>,
) -> (Region, Option<Region>) {
    let mut raw = Vec::new();
    values.encode(&mut raw);
    let data = writer.put(&raw);
    (data, filter_of(values).map(|filter| writer.put_raw(&filter)))
}

/// `first(zigzag) divisor`, then the zigzag deltas divided by it: times often are whole milliseconds or seconds.
fn encode_times(times: &[i64]) -> Vec<u8> {
    let delta = |pair: &[i64]| pair[1].wrapping_sub(pair[0]);
    let divisor = times.windows(2).map(delta).fold(0u64, |g, d| gcd(g, d.unsigned_abs())).max(1);
    // A divisor beyond i64 is a lone difference of 2^63, which no i64 division can express.
    let divisor = i64::try_from(divisor).unwrap_or(1);
    let mut out = Vec::with_capacity(times.len() + 16);
    put_ivarint(&mut out, times.first().copied().unwrap_or_default());
    put_uvarint(&mut out, divisor as u64);
    times.windows(2).for_each(|pair| put_ivarint(&mut out, delta(pair) / divisor));
    out
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Repeated `value run_length`.
fn put_runs(values: &[u32], out: &mut Vec<u8>) {
    for run in values.chunk_by(|a, b| a == b) {
        put_uvarint(out, u64::from(run[0]));
        put_uvarint(out, run.len() as u64);
    }
}

fn column_stats(values: &Column) -> ColumnStats {
    match values {
        Column::Ints(all) => match (all.iter().min(), all.iter().max()) {
            (Some(&min), Some(&max)) => ColumnStats::Ints(min, max),
            _ => ColumnStats::None,
        },
        Column::Doubles(all) => {
            let numbers = || all.iter().copied().filter(|v| !v.is_nan());
            match (numbers().reduce(f64::min), numbers().reduce(f64::max)) {
                (Some(min), Some(max)) => ColumnStats::Doubles(min, max),
                _ => ColumnStats::None,
            }
        }
        _ => ColumnStats::None,
    }
}

fn string_stats(distinct: &Blobs) -> ColumnStats {
    let text = |b: Option<&[u8]>| std::str::from_utf8(b?).ok().filter(|s| s.len() <= STAT_BYTES_MAX).map(str::to_owned);
    match (text(distinct.iter().min()), text(distinct.iter().max())) {
        (Some(min), Some(max)) => ColumnStats::Strs(min, max),
        _ => ColumnStats::None,
    }
}
