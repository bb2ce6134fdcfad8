//! Where a shard's traces come from: the row engine, and plain memory in tests.
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use trine_store::model::{Attrs, Scope, Value};
use trine_store::rows::{AttrCondition, Row, RowBatch, RowScan, RowsView, StreamInfo, ValueRef};

use crate::error::{Error, Result};
use crate::memory::{Account, Charge};
use crate::traceql::model::{SpanRow, SpanStream};

/// Closed range of span starts, Unix ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start_ns: i64,
    pub(crate) end_ns: i64,
}

/// Takes a whole trace; break to see no more.
pub(crate) type EachTrace<'a> = dyn FnMut([u8; 16], Vec<SpanRow>) -> Result<ControlFlow<()>> + 'a;

/// The traces of one tenant in one shard.
pub(crate) trait TraceSource {
    /// All spans of one trace, in any order, perhaps repeated.
    /// `held` is charged for the spans and what they are read from.
    fn trace(&self, id: &[u8; 16], held: &mut Charge) -> Result<Vec<SpanRow>>;

    /// Traces that have a span starting in `range`, whole. Those of which no part satisfies one of the alternatives in
    /// `conditions` may be left out; no alternatives leave out nothing.
    /// `memory` is charged for what the scan holds open, and for each trace while it is visited.
    fn traces(
        &self,
        range: Range,
        conditions: &[Vec<AttrCondition>],
        memory: &Account,
        each: &mut EachTrace<'_>,
    ) -> Result<()>;

    /// Scopes and names of attributes in the range; perhaps some from just outside.
    fn columns(&self, range: Range) -> Result<Vec<(Scope, String)>>;

    /// Distinct values of an attribute, at most `limit`.
    fn values(&self, scope: Scope, key: &str, range: Range, limit: usize, memory: &Account) -> Result<Vec<Value>>;

    /// The bytes of an intrinsic column, row by row.
    fn blobs(&self, key: &str, range: Range, memory: &Account, each: &mut EachBlob<'_>) -> Result<()>;
}

/// Takes the bytes of one row; break to see no more.
pub(crate) type EachBlob<'a> = dyn FnMut(&[u8]) -> Result<ControlFlow<()>> + 'a;

/// One tenant's spans in a [`RowsView`].
#[derive(Debug)]
pub(crate) struct RowsSource<'a> {
    pub(crate) view: &'a RowsView,
    pub(crate) tenant: &'a str,
}

impl RowsSource<'_> {
    fn scan(&self, range: Range, memory: &Account) -> RowScan {
        let all = RowScan::new(self.tenant, range.start_ns, range.end_ns.saturating_add(1));
        RowScan { memory: memory.clone(), ..all }
    }
}

fn of_store(error: trine_store::rows::Error) -> Error {
    match error {
        trine_store::rows::Error::Read { source, .. } => Error::Io(source),
        trine_store::rows::Error::Memory(exceeded) => Error::Memory(exceeded),
        error => Error::Corrupt { what: "span rows", reason: chain(&error) },
    }
}

/// The error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

impl TraceSource for RowsSource<'_> {
    fn trace(&self, id: &[u8; 16], held: &mut Charge) -> Result<Vec<SpanRow>> {
        let rows = self.view.trace(self.tenant, id, held.account()).map_err(of_store)?;
        spans(&rows, &mut Streams::new(held.account()), held)
    }

    fn traces(
        &self,
        range: Range,
        conditions: &[Vec<AttrCondition>],
        memory: &Account,
        each: &mut EachTrace<'_>,
    ) -> Result<()> {
        let scan = RowScan { conditions: conditions.to_vec(), ..self.scan(range, memory) };
        let mut traces = self.view.traces(&scan).map_err(of_store)?;
        let mut streams = Streams::new(memory);
        while let Some(found) = traces.next_trace().map_err(of_store)? {
            let mut held = memory.open();
            if each(found.trace_id, spans(&found.rows, &mut streams, &mut held)?)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn columns(&self, range: Range) -> Result<Vec<(Scope, String)>> {
        let end_ns = range.end_ns.saturating_add(1);
        let columns = self.view.attr_columns(self.tenant, range.start_ns, end_ns).map_err(of_store)?;
        Ok(columns.into_iter().map(|(scope, key, _)| (scope, key)).collect())
    }

    fn values(&self, scope: Scope, key: &str, range: Range, limit: usize, memory: &Account) -> Result<Vec<Value>> {
        let end_ns = range.end_ns.saturating_add(1);
        self.view.attr_values(self.tenant, scope, key, range.start_ns, end_ns, limit, memory).map_err(of_store)
    }

    fn blobs(&self, key: &str, range: Range, memory: &Account, each: &mut EachBlob<'_>) -> Result<()> {
        let mut scan = self.view.scan(&self.scan(range, memory)).map_err(of_store)?;
        while let Some(batch) = scan.next_batch().map_err(of_store)? {
            for row in batch.rows() {
                if let Some(ValueRef::Bytes(bytes)) = row.attr(Scope::Intrinsic, key).map_err(of_store)?
                    && each(bytes)?.is_break()
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Decoded streams by their address; holding the `Arc` keeps the address taken.
#[derive(Debug)]
struct Streams {
    known: HashMap<*const StreamInfo, (Arc<StreamInfo>, Arc<SpanStream>)>,
    held: Charge,
}

impl Streams {
    fn new(memory: &Account) -> Self {
        Self { known: HashMap::new(), held: memory.open() }
    }

    fn get(&mut self, info: &Arc<StreamInfo>) -> Result<Arc<SpanStream>> {
        if let Some((_, stream)) = self.known.get(&Arc::as_ptr(info)) {
            return Ok(stream.clone());
        }
        let corrupt = |e: trine_store::codec::Error| Error::Corrupt { what: "span stream key", reason: e.to_string() };
        let key = Attrs::decode(info.key()).map_err(corrupt)?;
        self.held.add(STREAM_FACTOR * info.key().len() as u64 + SPAN_BYTES)?;
        let stream = Arc::new(SpanStream { key, attrs: info.attrs().to_vec() });
        self.known.insert(Arc::as_ptr(info), (info.clone(), stream.clone()));
        Ok(stream)
    }
}

/// What a stream weighs, in lengths of its key: the key, and its attributes as values.
const STREAM_FACTOR: u64 = 4;
/// What a span weighs besides its attributes: the row, its place in a trace that is put together, and in tables of ids.
pub(crate) const SPAN_BYTES: u64 = 512;
/// What an attribute weighs besides its texts.
const ATTR_BYTES: u64 = 96;

/// What a span weighs while its trace is looked at: events and links are decoded besides.
pub(crate) fn span_bytes(row: &SpanRow) -> u64 {
    2 * row.bytes_len() as u64 + row.attrs.len() as u64 * ATTR_BYTES + SPAN_BYTES
}

fn spans(batch: &RowBatch, streams: &mut Streams, held: &mut Charge) -> Result<Vec<SpanRow>> {
    let span = |row: Row<'_>| {
        let stream = streams.get(row.stream())?;
        let row = SpanRow { stream, time_ns: row.time_ns(), attrs: row.attrs().map_err(of_store)? };
        held.add(span_bytes(&row))?;
        Ok(row)
    };
    batch.rows().map(span).collect()
}
