//! Log queries on the asking node: merges the entries of all shards under one limit.
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use trine_store::model::Labels;

use super::ask::ask;
use super::series::by_pairs;
use crate::error::Result;
use crate::logql::answer::{Direction, LogAnswer, LogEntry, LogQuery, LogStream, LogValue};
use crate::logql::ast::LogExpr;
use crate::logql::fragment::{Ask, Entries, Entry, LogsAsk, Reply, corrupt};
use crate::logql::pipeline::{Pipeline, Wanted};
use crate::memory::{Charge, labels_bytes};
use crate::scatter::{QueryContext, Scatter};

/// Entries that may wait beyond the limit before they are sorted and cut.
const SLACK: usize = 4096;

pub(super) async fn query(
    scatter: &Arc<dyn Scatter>,
    ctx: &QueryContext,
    query: &LogQuery,
    log: &LogExpr,
) -> Result<LogAnswer> {
    // What cannot be evaluated is refused here, before any shard is asked.
    Pipeline::compile(&log.stages, Wanted::All)?;
    // Which entries an interval keeps is known only after the merge, so shards then send all.
    let merge_limit = if query.interval_ns > 0 { usize::MAX } else { query.limit };
    let mut merge = Merge::new(query.direction, merge_limit, ctx.memory.open());
    let request = LogsAsk {
        query: log.to_string(),
        start_ns: query.start_ns,
        end_ns: query.end_ns,
        backward: query.direction == Direction::Backward,
        limit: if query.interval_ns > 0 { 0 } else { query.limit as u64 },
    };
    if query.limit == 0 || query.start_ns >= query.end_ns {
        return Ok(super::ask::Account::default().answer(LogValue::Streams(Vec::new()), ctx.memory.open()));
    }
    let account = ask(scatter, ctx, Ask::Logs(request), |reply| match reply {
        Reply::Entries(entries) => merge.add(entries),
        _ => Err(corrupt("LogQL reply", "not entries")),
    })
    .await?;
    let (streams, held) = merge.finish(query)?;
    Ok(account.answer(LogValue::Streams(streams), held))
}

struct Merge {
    direction: Direction,
    limit: usize,
    /// Every label set once; entries refer to it.
    streams: Vec<Labels>,
    positions: HashMap<Bytes, usize>,
    entries: Vec<(usize, LogEntry)>,
    /// For the entries.
    held: Charge,
    /// For the label sets.
    held_streams: Charge,
}

impl Merge {
    fn new(direction: Direction, limit: usize, held: Charge) -> Self {
        let held_streams = held.account().open();
        let (streams, positions, entries) = (Vec::new(), HashMap::new(), Vec::new());
        Self { direction, limit, streams, positions, entries, held, held_streams }
    }

    fn add(&mut self, frame: Entries) -> Result<()> {
        let mut streams = Vec::with_capacity(frame.streams.len());
        for bytes in frame.streams {
            streams.push(match self.positions.get(&bytes) {
                Some(at) => *at,
                None => {
                    let labels = Labels::decode(&bytes).map_err(|e| corrupt("LogQL entries", &e.to_string()))?;
                    // Key, label set and stream of the answer.
                    self.held_streams.add(3 * labels_bytes(&labels))?;
                    self.streams.push(labels);
                    // A copy, since the bytes keep their whole frame.
                    self.positions.insert(Bytes::copy_from_slice(&bytes), self.streams.len() - 1);
                    self.streams.len() - 1
                }
            });
        }
        for entry in frame.entries {
            let Some(stream) = streams.get(entry.stream as usize) else {
                return Err(corrupt("LogQL entries", "entry of an unknown stream"));
            };
            let entry = log_entry(entry)?;
            self.held.add(entry.weight())?;
            self.entries.push((*stream, entry));
        }
        if self.entries.len() > self.limit.saturating_mul(2).saturating_add(SLACK) {
            self.cut();
            self.held.set(self.entries.iter().map(|(_, entry)| entry.weight()).sum())?;
        }
        Ok(())
    }

    /// Sorts and keeps the first `limit` entries. Entries of one stream and time stay as the shard sent them.
    fn cut(&mut self) {
        let streams = &self.streams;
        self.entries.sort_by(|(a_stream, a), (b_stream, b)| {
            let by_time = match self.direction {
                Direction::Forward => a.time_ns.cmp(&b.time_ns),
                Direction::Backward => b.time_ns.cmp(&a.time_ns),
            };
            by_time.then_with(|| streams[*a_stream].cmp(&streams[*b_stream]))
        });
        self.entries.truncate(self.limit);
    }

    fn finish(mut self, query: &LogQuery) -> Result<(Vec<LogStream>, Charge)> {
        self.cut();
        if query.interval_ns > 0 {
            self.thin(query.interval_ns);
        }
        self.entries.truncate(query.limit);
        self.held.set(self.entries.iter().map(|(_, entry)| entry.weight()).sum())?;
        let mut streams: Vec<LogStream> =
            self.streams.into_iter().map(|labels| LogStream { labels, entries: Vec::new() }).collect();
        for (stream, entry) in self.entries {
            streams[stream].entries.push(entry);
        }
        streams.retain(|s| !s.entries.is_empty());
        streams.sort_by(|a, b| by_pairs(&a.labels, &b.labels));
        self.held.absorb(self.held_streams);
        Ok((streams, self.held))
    }

    /// Keeps entries that are at least `interval_ns` away from the one kept before.
    fn thin(&mut self, interval_ns: i64) {
        let mut last: Option<i64> = None;
        self.entries.retain(|(_, entry)| {
            let keep = last.is_none_or(|last| entry.time_ns.abs_diff(last) >= interval_ns.unsigned_abs());
            if keep {
                last = Some(entry.time_ns);
            }
            keep
        });
    }
}

fn log_entry(entry: Entry) -> Result<LogEntry> {
    Ok(LogEntry {
        time_ns: entry.time_ns,
        line: entry.line,
        structured_metadata: pairs(entry.structured_metadata)?,
        parsed: pairs(entry.parsed)?,
    })
}

/// Name, value, name, value, … as pairs.
pub(super) fn pairs(flat: Vec<String>) -> Result<Vec<(String, String)>> {
    if !flat.len().is_multiple_of(2) {
        return Err(corrupt("LogQL labels", "a name without a value"));
    }
    let mut out = Vec::with_capacity(flat.len() / 2);
    let mut texts = flat.into_iter();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        out.push((name, value));
    }
    Ok(out)
}
