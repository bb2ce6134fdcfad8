//! Log queries beside the data: the first entries of the node's shards in the query's direction.
use std::collections::HashMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use trine_store::model::Labels;

use super::Job;
use crate::error::Result;
use crate::logql::answer::{Direction, LogEntry};
use crate::logql::ast::LogExpr;
use crate::logql::fragment::{Entries, Entry, FRAME_BYTES, LogsAsk, Reply};
use crate::logql::parser::parse_log;
use crate::logql::pipeline::{EntryLabels, Pipeline, Wanted, needles, required_labels};
use crate::logql::source::{LogScan, LogSource, MetadataNeed};
use crate::memory::{Charge, labels_bytes};

/// An entry that passed, with the labels of its stream that are left.
struct Found {
    labels: Labels,
    entry: LogEntry,
}

impl Found {
    fn weight(&self) -> u64 {
        self.entry.weight() + labels_bytes(&self.labels)
    }
}

pub(super) fn run(job: &mut Job<'_, '_>, ask: &LogsAsk) -> Result<()> {
    let log = parse_log(&ask.query)?;
    let pipeline = Pipeline::compile(&log.stages, Wanted::All)?;
    let limit = if ask.limit == 0 { usize::MAX } else { usize::try_from(ask.limit).unwrap_or(usize::MAX) };
    let mut found: Vec<Found> = Vec::new();
    let mut held = job.replies.memory().open();
    let (mut start_ns, mut end_ns) = (ask.start_ns, ask.end_ns);
    for source in job.sources {
        let mut search = Search { job: &mut *job, log: &log, pipeline: &pipeline, limit };
        search.shard(*source, ask.backward, (start_ns, end_ns), &mut found, &mut held)?;
        // Stable, so that entries of one stream with one time keep the shard's order.
        found.sort_by_key(|f| if ask.backward { f.entry.time_ns.wrapping_neg() } else { f.entry.time_ns });
        found.truncate(limit);
        held.set(found.iter().map(Found::weight).sum())?;
        if let (true, Some(last)) = (found.len() == limit, found.last()) {
            // Other shards can only add what is not beyond the last entry.
            match ask.backward {
                true => start_ns = start_ns.max(last.entry.time_ns),
                false => end_ns = end_ns.min(last.entry.time_ns.saturating_add(1)),
            }
        }
    }
    send(job, found)
}

struct Search<'j, 'a, 's> {
    job: &'j mut Job<'a, 's>,
    log: &'j LogExpr,
    pipeline: &'j Pipeline,
    limit: usize,
}

impl Search<'_, '_, '_> {
    /// Appends at most `limit` entries of one shard to `found`.
    fn shard(
        &mut self,
        source: &dyn LogSource,
        backward: bool,
        (start_ns, end_ns): (i64, i64),
        found: &mut Vec<Found>,
        held: &mut Charge,
    ) -> Result<()> {
        let memory = self.job.replies.memory();
        let scan = LogScan {
            tenant: self.job.tenant,
            matchers: &self.log.matchers,
            start_ns,
            end_ns,
            order: Some(if backward { Direction::Backward } else { Direction::Forward }),
            needles: needles(&self.log.stages),
            labels: required_labels(&self.log.stages),
            lines: true,
            metadata: MetadataNeed::All,
            memory,
        };
        let mut labels = EntryLabels::new(memory);
        let mut stream: Option<Labels> = None;
        let (before, mut bytes) = (found.len(), 0u64);
        source.scan(&scan, &mut |row| {
            self.job.replies.tick()?;
            if stream.as_ref() != Some(row.labels) {
                labels.begin_stream(row.labels);
                stream = Some(row.labels.clone());
            }
            labels.begin_entry();
            for (name, value) in &row.metadata {
                self.job.cost.structured_metadata_bytes += (name.len() + value.len()) as u64;
                labels.push_metadata(name, value);
            }
            self.job.cost.bytes += row.line.len() as u64;
            self.job.cost.lines += 1;
            let mut line = std::borrow::Cow::Borrowed(row.line.as_ref());
            if !self.pipeline.process(&mut line, &mut labels, row.time_ns)? {
                return Ok(ControlFlow::Continue(()));
            }
            self.job.cost.post_filter_lines += 1;
            bytes += line.len() as u64;
            self.job.replies.check_bytes(bytes)?;
            let entry = labels.to_entry(row.time_ns, &line);
            let found_now = Found { labels: labels.changed_stream().unwrap_or_else(|| row.labels.clone()), entry };
            held.add(found_now.weight())?;
            found.push(found_now);
            Ok(if found.len() - before < self.limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
    }
}

fn send(job: &mut Job<'_, '_>, found: Vec<Found>) -> Result<()> {
    let mut frame = Entries::default();
    let mut positions: HashMap<Labels, u32> = HashMap::new();
    let mut frame_bytes = 0;
    for Found { labels, entry } in found {
        let stream = *positions.entry(labels).or_insert_with_key(|labels| {
            frame_bytes += labels.as_bytes().len();
            frame.streams.push(Bytes::copy_from_slice(labels.as_bytes()));
            (frame.streams.len() - 1) as u32
        });
        frame_bytes += entry.line.len() + 32;
        let flat = |pairs: Vec<(String, String)>| pairs.into_iter().flat_map(|(n, v)| [n, v]).collect::<Vec<_>>();
        let (structured_metadata, parsed) = (flat(entry.structured_metadata), flat(entry.parsed));
        frame_bytes += structured_metadata.iter().chain(&parsed).map(|t| t.len() + 2).sum::<usize>();
        frame.entries.push(Entry { stream, time_ns: entry.time_ns, line: entry.line, structured_metadata, parsed });
        if frame_bytes >= FRAME_BYTES {
            job.replies.send(Reply::Entries(std::mem::take(&mut frame)))?;
            positions.clear();
            frame_bytes = 0;
        }
    }
    if frame.entries.is_empty() { Ok(()) } else { job.replies.send(Reply::Entries(frame)) }
}
