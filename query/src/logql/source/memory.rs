//! Rows in memory, for tests.
use std::borrow::Cow;
use std::collections::BTreeMap;

use trine_store::index::Matcher;
use trine_store::model::Labels;
use trine_store::model::signal::key_hash;

use super::{LogScan, LogSource, RowVisitor, SourceRow, SourceStats, StreamVolume};
use crate::error::Result;
use crate::logql::answer::Direction;
use crate::memory::Account;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MemoryRow {
    pub(crate) labels: Labels,
    pub(crate) time_ns: i64,
    pub(crate) line: String,
    pub(crate) metadata: Vec<(String, String)>,
}

/// One shard's rows in the order of arrival.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemorySource {
    pub(crate) rows: Vec<MemoryRow>,
}

impl MemorySource {
    pub(crate) fn push(&mut self, labels: &[(&str, &str)], time_ns: i64, line: &str, metadata: &[(&str, &str)]) {
        self.rows.push(MemoryRow {
            labels: Labels::from_pairs(labels.iter().copied()).unwrap(),
            time_ns,
            line: line.to_owned(),
            metadata: metadata.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        });
    }

    fn matching<'a>(
        &'a self,
        matchers: &'a [Matcher],
        start_ns: i64,
        end_ns: i64,
    ) -> impl Iterator<Item = &'a MemoryRow> {
        self.rows.iter().filter(move |r| {
            r.time_ns >= start_ns
                && r.time_ns < end_ns
                && matchers.iter().all(|m| m.matches(r.labels.get(&m.name).unwrap_or("")))
        })
    }
}

impl LogSource for MemorySource {
    fn scan(&self, scan: &LogScan<'_>, visit: &mut RowVisitor<'_>) -> Result<()> {
        let mut rows: Vec<_> = self.matching(scan.matchers, scan.start_ns, scan.end_ns).collect();
        match scan.order {
            Some(Direction::Forward) => rows.sort_by_key(|r| r.time_ns),
            Some(Direction::Backward) => rows.sort_by_key(|r| -r.time_ns),
            None => {}
        }
        for r in rows {
            if !scan.needles.iter().all(|n| memchr::memmem::find(r.line.as_bytes(), n).is_some()) {
                continue;
            }
            let wanted = |name: &str| match &scan.metadata {
                super::MetadataNeed::All => true,
                super::MetadataNeed::Names(names) => names.iter().any(|n| n == name),
            };
            let row = SourceRow {
                labels: &r.labels,
                time_ns: r.time_ns,
                line: Cow::Borrowed(if scan.lines { &r.line } else { "" }),
                metadata: r
                    .metadata
                    .iter()
                    .filter(|(n, _)| wanted(n))
                    .map(|(n, v)| (Cow::Borrowed(n.as_str()), Cow::Borrowed(v.as_str())))
                    .collect(),
            };
            if visit(&row)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn streams(
        &self,
        _tenant: &str,
        matchers: &[Matcher],
        (start_ns, end_ns): (i64, i64),
        _memory: &Account,
    ) -> Result<Vec<StreamVolume>> {
        let mut sizes: BTreeMap<&Labels, u64> = BTreeMap::new();
        for row in self.matching(matchers, start_ns, end_ns) {
            *sizes.entry(&row.labels).or_default() += row.line.len() as u64;
        }
        Ok(sizes.into_iter().map(|(labels, bytes)| StreamVolume { labels: labels.clone(), bytes }).collect())
    }

    fn stats(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        (start_ns, end_ns): (i64, i64),
        memory: &Account,
    ) -> Result<SourceStats> {
        let streams = self.streams(tenant, matchers, (start_ns, end_ns), memory)?;
        Ok(SourceStats {
            hashes: streams.iter().map(|s| key_hash(tenant, s.labels.as_bytes())).collect(),
            chunks: 1,
            bytes: streams.iter().map(|s| s.bytes).sum(),
            entries: self.matching(matchers, start_ns, end_ns).count() as u64,
        })
    }
}
