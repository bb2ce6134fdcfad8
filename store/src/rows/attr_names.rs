//! Names and values of attributes, for completion: from directories, dictionaries and stream keys.
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::error::{Result, decoding};
use super::granule::{OpenGranule, ReadCounters};
use super::piece::{ClosedPiece, Source};
use super::row::AttrRef;
use super::scan::{StreamSelector, overlaps};
use super::stream::StreamInfo;
use crate::memory::{Account, Charge};
use crate::model::{Scope, Value, ValueType};

/// Attributes of rows and of their streams, sorted. Pieces outside the half-open time range are left out.
pub(crate) fn attr_columns(
    sources: &[Source],
    tenant: &str,
    min_ns: i64,
    max_ns: i64,
) -> Result<Vec<(Scope, String, ValueType)>> {
    let mut found: HashSet<(Scope, String, ValueType)> = HashSet::new();
    let mut add = |scope, key: &str, value_type| {
        found.insert((scope, key.to_owned(), value_type));
    };
    for piece in pieces(sources, min_ns, max_ns) {
        match piece {
            ClosedPiece::Granule(granule) => {
                granule.meta.columns.iter().for_each(|c| add(c.scope, &c.key, c.value_type));
            }
            ClosedPiece::Tail(batch) => {
                batch.shapes().iter().flatten().for_each(|c| add(c.scope, &c.key, c.value_type));
            }
        }
    }
    for stream in streams(sources, tenant, min_ns, max_ns) {
        stream.attrs().iter().for_each(|a| add(a.scope, &a.key, a.value.value_type()));
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort();
    Ok(found)
}

/// Up to `limit` distinct values of one attribute.
pub(crate) fn attr_values(
    sources: &[Source],
    tenant: &str,
    (scope, key): (Scope, &str),
    range: (i64, i64),
    limit: usize,
    memory: &Account,
) -> Result<Vec<Value>> {
    let mut found = Distinct { limit, seen: BTreeSet::new(), values: Vec::new(), held: memory.open() };
    for stream in streams(sources, tenant, range.0, range.1) {
        for attr in stream.attrs().iter().filter(|a| a.scope == scope && a.key == key) {
            found.add(attr.value.clone())?;
        }
    }
    let counters = Arc::new(ReadCounters { memory: memory.clone(), ..ReadCounters::default() });
    for piece in pieces(sources, range.0, range.1) {
        if found.is_full() {
            break;
        }
        match piece {
            ClosedPiece::Granule(granule) => {
                let wanted = |c: &&super::granule::ColumnMeta| c.scope == scope && c.key == key;
                if !granule.meta.columns.iter().any(|c| wanted(&c)) {
                    continue;
                }
                let open = OpenGranule::open(granule.clone(), counters.clone())?;
                for (at, column) in granule.meta.columns.iter().enumerate().filter(|(_, c)| wanted(c)) {
                    for value in open.column(at)?.candidates(column.value_type) {
                        found.add(value.to_value()?)?;
                    }
                }
            }
            ClosedPiece::Tail(batch) => {
                for row in 0..batch.len() as u32 {
                    let mut added = Ok(());
                    let mut each = |attr: AttrRef<'_>| {
                        if attr.scope == scope
                            && attr.key == key
                            && let Ok(value) = attr.value.to_value()
                        {
                            added = found.add(value);
                        }
                        added.is_ok()
                    };
                    batch.walk_attrs(row, &mut each).map_err(decoding("tail row"))?;
                    added?;
                }
            }
        }
    }
    Ok(found.values)
}

/// Bytes of a value and its place in the set, besides its text.
const VALUE_BYTES: u64 = 112;

struct Distinct {
    limit: usize,
    seen: BTreeSet<Vec<u8>>,
    values: Vec<Value>,
    held: Charge,
}

impl Distinct {
    fn is_full(&self) -> bool {
        self.values.len() >= self.limit
    }

    fn add(&mut self, value: Value) -> Result<()> {
        let mut encoded = vec![value.value_type() as u8];
        value.encode(&mut encoded);
        if !self.is_full() && !self.seen.contains(&encoded) {
            self.held.add(2 * encoded.len() as u64 + VALUE_BYTES)?;
            self.seen.insert(encoded);
            self.values.push(value);
        }
        Ok(())
    }
}

/// Pieces with rows that may be in the time range.
fn pieces(sources: &[Source], min_ns: i64, max_ns: i64) -> impl Iterator<Item = &ClosedPiece> {
    sources.iter().flat_map(|s| &s.pieces).filter(move |p| overlaps(p.times(), min_ns, max_ns))
}

/// Streams with rows in the time range.
fn streams(sources: &[Source], tenant: &str, min_ns: i64, max_ns: i64) -> Vec<Arc<StreamInfo>> {
    let (stats, _) = super::measure::measure(tenant, &StreamSelector::All, min_ns, max_ns, sources);
    stats.into_iter().map(|s| s.stream).collect()
}
