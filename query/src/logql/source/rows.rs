//! The store's rows as a [`LogSource`].
use std::borrow::Cow;

use trine_store::index::Matcher;
use trine_store::model::{Scope, Value, ValueType};
use trine_store::rows::{self, AttrCondition, AttrTest, Row, RowOrder, RowScan, RowsView, StreamSelector, ValueRef};

use super::{LogScan, LogSource, MetadataNeed, RowVisitor, SourceRow, SourceStats, StreamVolume};
use crate::error::{Error, Result};
use crate::logql::answer::Direction;
use crate::memory::Account;

/// What a stream weighs while the streams of a selection are measured: its number, its sizes, its place in the answer.
const STREAM_BYTES: u64 = 96;

impl LogSource for RowsView {
    fn scan(&self, scan: &LogScan<'_>, visit: &mut RowVisitor<'_>) -> Result<()> {
        if scan.start_ns >= scan.end_ns {
            return Ok(());
        }
        let mut request = RowScan::new(scan.tenant, scan.start_ns, scan.end_ns);
        request.streams = StreamSelector::Matching(scan.matchers.to_vec());
        request.order = match scan.order {
            Some(Direction::Forward) => RowOrder::Forward,
            Some(Direction::Backward) => RowOrder::Backward,
            None => RowOrder::Unordered,
        };
        request.needles.clone_from(&scan.needles);
        request.memory = scan.memory.clone();
        let conditions = conditions(self, scan)?;
        if !conditions.is_empty() {
            request.conditions.push(conditions);
        }
        let mut running = RowsView::scan(self, &request).map_err(read_error)?;
        while let Some(batch) = running.next_batch().map_err(read_error)? {
            for row in batch.rows() {
                let Some(labels) = row.stream().labels() else { continue };
                let line = if scan.lines {
                    String::from_utf8_lossy(row.body().map_err(read_error)?)
                } else {
                    Cow::Borrowed("")
                };
                let metadata = metadata(&row, &scan.metadata)?;
                if visit(&SourceRow { labels, time_ns: row.time_ns(), line, metadata })?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn streams(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        (start_ns, end_ns): (i64, i64),
        memory: &Account,
    ) -> Result<Vec<StreamVolume>> {
        if start_ns >= end_ns {
            return Ok(Vec::new());
        }
        let _measured =
            memory.charge(self.streams_max(tenant, (start_ns, end_ns)).map_err(read_error)? * STREAM_BYTES)?;
        let selector = StreamSelector::Matching(matchers.to_vec());
        let stats = self.stream_stats(tenant, &selector, start_ns, end_ns).map_err(read_error)?;
        Ok(stats
            .into_iter()
            .filter_map(|s| Some(StreamVolume { labels: s.stream.labels()?.clone(), bytes: s.body_bytes }))
            .collect())
    }

    fn stats(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        (start_ns, end_ns): (i64, i64),
        memory: &Account,
    ) -> Result<SourceStats> {
        if start_ns >= end_ns {
            return Ok(SourceStats::default());
        }
        let _measured =
            memory.charge(self.streams_max(tenant, (start_ns, end_ns)).map_err(read_error)? * STREAM_BYTES)?;
        let s = RowsView::stats(self, tenant, matchers, start_ns, end_ns).map_err(read_error)?;
        Ok(SourceStats { hashes: s.hashes, chunks: s.chunks, bytes: s.bytes, entries: s.entries })
    }
}

/// Tests of structured metadata by which granules are skipped: of labels that no stream has and that are always text, so
/// that a row without the value cannot pass the filter.
fn conditions(view: &RowsView, scan: &LogScan<'_>) -> Result<Vec<AttrCondition>> {
    if scan.labels.is_empty() {
        return Ok(Vec::new());
    }
    let (tenant, start_ns, end_ns) = (scan.tenant, scan.start_ns, scan.end_ns);
    let _measured =
        scan.memory.charge(view.streams_max(tenant, (start_ns, end_ns)).map_err(read_error)? * STREAM_BYTES)?;
    let of_streams = view.label_names(tenant, scan.matchers, start_ns, end_ns).map_err(read_error)?;
    let columns = view.attr_columns(tenant, start_ns, end_ns).map_err(read_error)?;
    let is_text = |name: &str| {
        columns.iter().filter(|(scope, key, _)| *scope == Scope::Record && key == name).all(|c| c.2 == ValueType::Str)
    };
    let usable = scan.labels.iter().filter(|(name, _)| !of_streams.contains(name) && is_text(name));
    Ok(usable
        .map(|(name, values)| AttrCondition {
            scope: Some(Scope::Record),
            key: name.clone(),
            test: AttrTest::StrIn(values.clone()),
        })
        .collect())
}

fn read_error(error: rows::Error) -> Error {
    match error {
        rows::Error::Read { source, .. } => Error::Io(source),
        rows::Error::Memory(exceeded) => Error::Memory(exceeded),
        other => Error::Corrupt { what: "log rows", reason: other.to_string() },
    }
}

type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

fn metadata<'a>(row: &Row<'a>, need: &MetadataNeed) -> Result<Vec<Pair<'a>>> {
    let mut out = Vec::new();
    let mut failed = None;
    match need {
        MetadataNeed::All => row
            .for_each_attr(&mut |attr| {
                if attr.scope == Scope::Record {
                    match text(attr.value) {
                        Ok(value) => out.push((Cow::Borrowed(attr.key), value)),
                        Err(error) => failed = Some(error),
                    }
                }
            })
            .map_err(read_error)?,
        MetadataNeed::Names(names) => {
            for name in names {
                if let Some(value) = row.attr(Scope::Record, name).map_err(read_error)? {
                    out.push((Cow::Owned(name.clone()), text(value)?));
                }
            }
        }
    }
    failed.map_or(Ok(out), Err)
}

fn text(value: ValueRef<'_>) -> Result<Cow<'_, str>> {
    match value {
        ValueRef::Str(s) => Ok(Cow::Borrowed(s)),
        // Text and bytes stand without the quotes that they have inside arrays and maps.
        other => Ok(Cow::Owned(match json(&other.to_value().map_err(read_error)?) {
            serde_json::Value::String(s) => s,
            json => json.to_string(),
        })),
    }
}

/// A typed value as OTLP's text form has it: scalars plain, arrays and maps as JSON, bytes as hexadecimal digits.
fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Str(s) => serde_json::Value::from(s.as_str()),
        Value::Bool(b) => serde_json::Value::from(*b),
        Value::Int(i) => serde_json::Value::from(*i),
        Value::Double(d) => serde_json::Value::from(*d),
        Value::Bytes(b) => serde_json::Value::from(b.iter().map(|b| format!("{b:02x}")).collect::<String>()),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Map(pairs) => pairs.iter().map(|(k, v)| (k.clone(), json(v))).collect(),
        Value::Empty => serde_json::Value::from(""),
    }
}
