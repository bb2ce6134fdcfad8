//! Where a shard's traces come from: the row engine, and plain memory in tests.
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use trine_store::model::{Attrs, Scope, Value};
use trine_store::rows::{AttrCondition, Row, RowBatch, RowScan, RowsView, StreamInfo, ValueRef};

use crate::error::{Error, Result};
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
    fn trace(&self, id: &[u8; 16]) -> Result<Vec<SpanRow>>;

    /// Traces that have a span starting in `range`, whole. Those of which no part satisfies one of the alternatives in
    /// `conditions` may be left out; no alternatives leave out nothing.
    fn traces(&self, range: Range, conditions: &[Vec<AttrCondition>], each: &mut EachTrace<'_>) -> Result<()>;

    /// Scopes and names of attributes in the range; perhaps some from just outside.
    fn columns(&self, range: Range) -> Result<Vec<(Scope, String)>>;

    /// Distinct values of an attribute, at most `limit`.
    fn values(&self, scope: Scope, key: &str, range: Range, limit: usize) -> Result<Vec<Value>>;

    /// The bytes of an intrinsic column, row by row.
    fn blobs(&self, key: &str, range: Range, each: &mut dyn FnMut(&[u8]) -> Result<ControlFlow<()>>) -> Result<()>;
}

/// One tenant's spans in a [`RowsView`].
#[derive(Debug)]
pub(crate) struct RowsSource<'a> {
    pub(crate) view: &'a RowsView,
    pub(crate) tenant: &'a str,
}

impl RowsSource<'_> {
    fn scan(&self, range: Range) -> RowScan {
        RowScan::new(self.tenant, range.start_ns, range.end_ns.saturating_add(1))
    }
}

fn of_store(error: trine_store::rows::Error) -> Error {
    match error {
        trine_store::rows::Error::Read { source, .. } => Error::Io(source),
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
    fn trace(&self, id: &[u8; 16]) -> Result<Vec<SpanRow>> {
        spans(&self.view.trace(self.tenant, id).map_err(of_store)?, &mut Streams::default())
    }

    fn traces(&self, range: Range, conditions: &[Vec<AttrCondition>], each: &mut EachTrace<'_>) -> Result<()> {
        let scan = RowScan { conditions: conditions.to_vec(), ..self.scan(range) };
        let mut traces = self.view.traces(&scan).map_err(of_store)?;
        let mut streams = Streams::default();
        while let Some(found) = traces.next_trace().map_err(of_store)? {
            if each(found.trace_id, spans(&found.rows, &mut streams)?)?.is_break() {
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

    fn values(&self, scope: Scope, key: &str, range: Range, limit: usize) -> Result<Vec<Value>> {
        let end_ns = range.end_ns.saturating_add(1);
        self.view.attr_values(self.tenant, scope, key, range.start_ns, end_ns, limit).map_err(of_store)
    }

    fn blobs(&self, key: &str, range: Range, each: &mut dyn FnMut(&[u8]) -> Result<ControlFlow<()>>) -> Result<()> {
        let mut scan = self.view.scan(&self.scan(range)).map_err(of_store)?;
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
#[derive(Debug, Default)]
struct Streams(HashMap<*const StreamInfo, (Arc<StreamInfo>, Arc<SpanStream>)>);

impl Streams {
    fn get(&mut self, info: &Arc<StreamInfo>) -> Result<Arc<SpanStream>> {
        if let Some((_, stream)) = self.0.get(&Arc::as_ptr(info)) {
            return Ok(stream.clone());
        }
        let corrupt = |e: trine_store::codec::Error| Error::Corrupt { what: "span stream key", reason: e.to_string() };
        let key = Attrs::decode(info.key()).map_err(corrupt)?;
        let stream = Arc::new(SpanStream { key, attrs: info.attrs().to_vec() });
        self.0.insert(Arc::as_ptr(info), (info.clone(), stream.clone()));
        Ok(stream)
    }
}

fn spans(batch: &RowBatch, streams: &mut Streams) -> Result<Vec<SpanRow>> {
    let span = |row: Row<'_>| {
        let stream = streams.get(row.stream())?;
        Ok(SpanRow { stream, time_ns: row.time_ns(), attrs: row.attrs().map_err(of_store)? })
    };
    batch.rows().map(span).collect()
}
