//! What a reader asks for.
use std::sync::Arc;

use crate::index::Matcher;
use crate::memory::Account;
use crate::model::Scope;

/// Which streams of the tenant to read.
#[derive(Clone, Debug, Default)]
pub enum StreamSelector {
    #[default]
    All,
    /// Log streams whose labels satisfy every matcher.
    Matching(Vec<Matcher>),
    /// Streams with exactly these keys (from an earlier [`super::RowsView::streams`]), sorted.
    Keys(Arc<[Arc<[u8]>]>),
}

/// Order in which a scan of logs yields rows. Spans always come trace by trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowOrder {
    /// By time over all streams, oldest first; granules are opened as the merge reaches them.
    Forward,
    /// By time over all streams, newest first.
    Backward,
    /// Stream by stream, oldest first within a stream. The cheapest order, for aggregations.
    #[default]
    Unordered,
}

/// What a value must satisfy. Used to skip granules only: rows that fail it may be returned.
#[derive(Clone, Debug, PartialEq)]
pub enum AttrTest {
    /// Some value of any type.
    Exists,
    /// A string with one of these values.
    StrIn(Vec<String>),
    /// A bool with this value.
    Bool(bool),
    /// A number (int or double column) in this closed range.
    Number { min: f64, max: f64 },
    /// An int in this closed range.
    Int { min: i64, max: i64 },
}

/// One test of one attribute. `scope` `None` means any of resource, record and instrumentation.
#[derive(Clone, Debug, PartialEq)]
pub struct AttrCondition {
    pub scope: Option<Scope>,
    pub key: String,
    pub test: AttrTest,
}

/// A request for rows of one tenant. Times are half-open, `min_ns <= t < max_ns`, but `i64::MAX` is no bound at all.
#[derive(Clone, Debug)]
pub struct RowScan {
    pub tenant: Arc<str>,
    pub streams: StreamSelector,
    pub min_ns: i64,
    pub max_ns: i64,
    pub order: RowOrder,
    /// Literals that every wanted body contains. Granules that cannot contain them all are skipped; rows of other granules
    /// are not filtered.
    pub needles: Vec<Vec<u8>>,
    /// Alternatives, each a conjunction: a granule is skipped when every alternative fails in it. Empty: no pruning.
    pub conditions: Vec<Vec<AttrCondition>>,
    /// Rows before this time are not there: they have expired. A [`super::RowsView`] sets it.
    pub expired_ns: i64,
    /// Rows a batch at most.
    pub batch_rows_max: usize,
    /// Charged for what the scan holds open.
    pub memory: Account,
}

impl RowScan {
    /// Everything of `tenant` in the time range, unordered.
    pub fn new(tenant: &str, min_ns: i64, max_ns: i64) -> Self {
        Self {
            tenant: Arc::from(tenant),
            streams: StreamSelector::All,
            min_ns,
            max_ns,
            order: RowOrder::Unordered,
            needles: Vec::new(),
            conditions: Vec::new(),
            expired_ns: i64::MIN,
            batch_rows_max: 1024,
            memory: Account::unbounded(),
        }
    }

    /// Whether rows with these least and greatest times may be in range.
    pub(crate) fn overlaps(&self, times: (i64, i64)) -> bool {
        overlaps(times, self.min_ns, self.max_ns)
    }
}

/// Whether rows from `least_ns` on, until and with `greatest_ns`, may be in the half-open range; `i64::MAX` is no bound.
pub(crate) fn overlaps((least_ns, greatest_ns): (i64, i64), min_ns: i64, max_ns: i64) -> bool {
    greatest_ns >= min_ns && (least_ns < max_ns || max_ns == i64::MAX)
}

/// What a scan did, for the query's statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanStats {
    /// Granules whose time range and streams fit.
    pub granules_considered: u64,
    /// Of those, skipped by a token or value filter or by statistics.
    pub granules_pruned: u64,
    /// Of those, opened.
    pub granules_opened: u64,
    /// Tail batches looked at.
    pub batches_opened: u64,
    /// Rows yielded.
    pub rows: u64,
    /// Repeated rows dropped.
    pub rows_repeated: u64,
    /// Bytes of column pieces read, compressed.
    pub bytes_read: u64,
    /// Raw bytes that those pieces decompressed to.
    pub bytes_decompressed: u64,
}
