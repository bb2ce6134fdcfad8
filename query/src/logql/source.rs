//! Where rows come from: one shard's log streams, behind a trait so that tests can stand in for the store.
#[cfg(test)]
pub(super) mod memory;
mod rows;

use std::borrow::Cow;
use std::ops::ControlFlow;

use trine_store::index::Matcher;
use trine_store::model::Labels;

use super::answer::Direction;
use crate::error::Result;
use crate::memory::Account;

/// Which structured metadata a scan reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataNeed {
    All,
    /// Only these names, in no order.
    Names(Vec<String>),
}

/// A request for rows. Times are half-open: `start_ns <= t < end_ns`.
#[derive(Clone, Debug)]
pub struct LogScan<'a> {
    pub tenant: &'a str,
    pub matchers: &'a [Matcher],
    pub start_ns: i64,
    pub end_ns: i64,
    /// Order by time over all streams; `None` for whatever is cheapest.
    pub order: Option<Direction>,
    /// Literals that every wanted line contains. Rows without them may be given all the same.
    pub needles: Vec<Vec<u8>>,
    /// Labels that every wanted row has, with their possible values, none empty. Rows without them may be given all the
    /// same.
    pub labels: Vec<(String, Vec<String>)>,
    /// Without it lines are given empty.
    pub lines: bool,
    pub metadata: MetadataNeed,
    /// Charged for what the scan holds open.
    pub memory: &'a Account,
}

/// One entry as it is stored.
#[derive(Debug)]
pub struct SourceRow<'a> {
    pub labels: &'a Labels,
    pub time_ns: i64,
    pub line: Cow<'a, str>,
    /// In the order of storage; names may repeat, then the first counts.
    pub metadata: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Takes rows; breaks when it has enough.
pub type RowVisitor<'v> = dyn FnMut(&SourceRow<'_>) -> Result<ControlFlow<()>> + 'v;

/// A stream with the bytes of its lines in a range of time.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamVolume {
    pub labels: Labels,
    pub bytes: u64,
}

/// Totals over the streams of a shard that match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceStats {
    /// [`trine_store::model::signal::key_hash`] of each stream.
    pub hashes: Vec<u64>,
    pub chunks: u64,
    pub bytes: u64,
    pub entries: u64,
}

/// The log rows of one shard.
pub trait LogSource {
    /// Gives the rows of `scan` to `visit`.
    fn scan(&self, scan: &LogScan<'_>, visit: &mut RowVisitor<'_>) -> Result<()>;

    /// The streams that match and have entries in `start_ns..end_ns`. Sizes may count pieces of storage that reach beyond
    /// the range. `memory` is charged while they are looked for, not for the answer.
    fn streams(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        range: (i64, i64),
        memory: &Account,
    ) -> Result<Vec<StreamVolume>>;

    /// Totals over the streams that match, and the canonical hash of each of them.
    fn stats(&self, tenant: &str, matchers: &[Matcher], range: (i64, i64), memory: &Account) -> Result<SourceStats>;
}
