//! The directory entry of a granule: its regions and statistics.
use crate::codec::{Error, Reader, put_bytes, put_ivarint, put_uvarint};
use crate::model::attrs::{put_column, read_column};
use crate::model::{Scope, ValueType};
use crate::rows::region::Region;

/// Rows of one stream in a granule. In a granule of logs they follow each other, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamSpan {
    pub(crate) stream: u32,
    pub(crate) rows: u32,
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
    pub(crate) body_bytes: u64,
}

/// Least and greatest value of a column, where its type has an order that readers ask for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ColumnStats {
    None,
    Ints(i64, i64),
    /// Without NaN; none when there are only NaN.
    Doubles(f64, f64),
    /// Only when both are short.
    Strs(String, String),
}

/// One column of a granule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ColumnMeta {
    pub(crate) scope: Scope,
    pub(crate) value_type: ValueType,
    pub(crate) key: String,
    /// Values, over the rows that have it.
    pub(crate) count: u32,
    pub(crate) stats: ColumnStats,
    pub(crate) data: Region,
    /// Hashes of the distinct values of strings and ids.
    pub(crate) filter: Option<Region>,
}

/// Everything a reader knows before it reads a region of the granule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GranuleMeta {
    pub(crate) rows: u32,
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
    /// Traces: least and greatest trace id; logs: zeros.
    pub(crate) min_id: [u8; 16],
    pub(crate) max_id: [u8; 16],
    pub(crate) spans: Vec<StreamSpan>,
    pub(crate) times: Region,
    pub(crate) shapes: Region,
    /// Traces: which span of `spans` each row belongs to.
    pub(crate) stream_ids: Option<Region>,
    pub(crate) body: Region,
    /// Filter over the tokens of the lines; none when no row has a body.
    pub(crate) tokens: Option<Region>,
    pub(crate) columns: Vec<ColumnMeta>,
}

impl GranuleMeta {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_uvarint(out, u64::from(self.rows));
        put_ivarint(out, self.min_ns);
        put_ivarint(out, self.max_ns);
        out.extend_from_slice(&self.min_id);
        out.extend_from_slice(&self.max_id);
        put_uvarint(out, self.spans.len() as u64);
        for span in &self.spans {
            put_uvarint(out, u64::from(span.stream));
            put_uvarint(out, u64::from(span.rows));
            put_ivarint(out, span.min_ns.wrapping_sub(self.min_ns));
            put_ivarint(out, span.max_ns.wrapping_sub(span.min_ns));
            put_uvarint(out, span.body_bytes);
        }
        self.times.encode(out);
        self.shapes.encode(out);
        encode_optional(self.stream_ids.as_ref(), out);
        self.body.encode(out);
        encode_optional(self.tokens.as_ref(), out);
        put_uvarint(out, self.columns.len() as u64);
        for column in &self.columns {
            column.encode(out);
        }
    }

    /// `streams_len` bounds the stream references.
    pub(crate) fn decode(r: &mut Reader<'_>, streams_len: u32) -> Result<Self, Error> {
        let start = r.position();
        let rows = u32_of(r, "granule rows")?;
        let (min_ns, max_ns) = (r.ivarint("granule min time")?, r.ivarint("granule max time")?);
        let (min_id, max_id) = (r.array("granule min id")?, r.array("granule max id")?);
        let spans = decode_spans(r, min_ns, streams_len)?;
        if spans.iter().map(|s| u64::from(s.rows)).sum::<u64>() != u64::from(rows) {
            return Err(Error::Invalid { what: "granule rows", at: start });
        }
        let times = Region::decode(r)?;
        let shapes = Region::decode(r)?;
        let stream_ids = decode_optional(r)?;
        let body = Region::decode(r)?;
        let tokens = decode_optional(r)?;
        let n = r.count(12, "granule columns")?;
        let columns = (0..n).map(|_| ColumnMeta::decode(r)).collect::<Result<_, _>>()?;
        Ok(Self { rows, min_ns, max_ns, min_id, max_id, spans, times, shapes, stream_ids, body, tokens, columns })
    }
}

fn decode_spans(r: &mut Reader<'_>, granule_min_ns: i64, streams_len: u32) -> Result<Vec<StreamSpan>, Error> {
    let n = r.count(5, "granule streams")?;
    let mut spans = Vec::with_capacity(n);
    for _ in 0..n {
        let at = r.position();
        let stream = u32_of(r, "granule stream")?;
        if stream >= streams_len {
            return Err(Error::Invalid { what: "granule stream", at });
        }
        let rows = u32_of(r, "stream rows")?;
        let min_ns = granule_min_ns.wrapping_add(r.ivarint("stream min time")?);
        let max_ns = min_ns.wrapping_add(r.ivarint("stream max time")?);
        let body_bytes = r.uvarint("stream bytes")?;
        if max_ns < min_ns || body_bytes > u64::from(u32::MAX) {
            return Err(Error::Invalid { what: "granule stream", at });
        }
        spans.push(StreamSpan { stream, rows, min_ns, max_ns, body_bytes });
    }
    Ok(spans)
}

impl ColumnMeta {
    fn encode(&self, out: &mut Vec<u8>) {
        put_column(out, self.scope, self.value_type, &self.key);
        put_uvarint(out, u64::from(self.count));
        match &self.stats {
            ColumnStats::None => out.push(0),
            ColumnStats::Ints(min, max) => {
                out.push(1);
                put_ivarint(out, *min);
                put_ivarint(out, *max);
            }
            ColumnStats::Doubles(min, max) => {
                out.push(2);
                out.extend_from_slice(&min.to_bits().to_le_bytes());
                out.extend_from_slice(&max.to_bits().to_le_bytes());
            }
            ColumnStats::Strs(min, max) => {
                out.push(3);
                put_bytes(out, min.as_bytes());
                put_bytes(out, max.as_bytes());
            }
        }
        self.data.encode(out);
        encode_optional(self.filter.as_ref(), out);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Error> {
        let (scope, value_type, key) = read_column(r)?;
        let key = key.to_owned();
        let count = u32_of(r, "column count")?;
        let at = r.position();
        let stats = match r.u8("column statistics")? {
            0 => ColumnStats::None,
            1 => ColumnStats::Ints(r.ivarint("least int")?, r.ivarint("greatest int")?),
            2 => {
                let double = |bits| f64::from_bits(bits);
                ColumnStats::Doubles(double(r.u64("least double")?), double(r.u64("greatest double")?))
            }
            3 => ColumnStats::Strs(r.str("least string")?.to_owned(), r.str("greatest string")?.to_owned()),
            other => return Err(Error::Unknown { what: "column statistics", value: u64::from(other), at }),
        };
        Ok(Self { scope, value_type, key, count, stats, data: Region::decode(r)?, filter: decode_optional(r)? })
    }
}

fn u32_of(r: &mut Reader<'_>, what: &'static str) -> Result<u32, Error> {
    let at = r.position();
    u32::try_from(r.uvarint(what)?).map_err(|_| Error::Invalid { what, at })
}

fn encode_optional(region: Option<&Region>, out: &mut Vec<u8>) {
    out.push(u8::from(region.is_some()));
    if let Some(region) = region {
        region.encode(out);
    }
}

fn decode_optional(r: &mut Reader<'_>) -> Result<Option<Region>, Error> {
    Ok(if r.u8("presence of a region")? == 0 { None } else { Some(Region::decode(r)?) })
}
