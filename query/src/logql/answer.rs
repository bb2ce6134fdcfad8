//! What is asked of the engine and what it answers; free of any protocol's shape.
use std::sync::Arc;

use trine_store::model::Labels;

use crate::memory::Charge;
use crate::scatter::Completeness;

/// Order of a log query's entries, and which end of the range the limit keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    #[default]
    Backward,
}

/// A query over a range. Log queries select `start_ns <= time < end_ns`; metric queries are evaluated at `start_ns`,
/// `start_ns + step`, … up to and including `end_ns`.
#[derive(Clone, Debug)]
pub struct LogQuery {
    pub query: String,
    pub start_ns: i64,
    pub end_ns: i64,
    /// Distance of a metric query's points; must be positive for metric queries.
    pub step_ms: i64,
    /// Log queries only: at most one entry of a stream in each interval; 0 for all.
    pub interval_ns: i64,
    /// Most entries of a log query's answer, over all streams.
    pub limit: usize,
    pub direction: Direction,
}

/// A metric query at one time; log queries are refused.
#[derive(Clone, Debug)]
pub struct LogInstant {
    pub query: String,
    pub time_ns: i64,
    pub limit: usize,
    pub direction: Direction,
}

/// The answer to a query.
#[derive(Clone, Debug)]
pub struct LogAnswer {
    pub value: LogValue,
    pub stats: LogStats,
    pub warnings: Vec<String>,
    pub completeness: Completeness,
    /// What `value` weighs; kept until the answer has been rendered.
    pub held: Arc<Charge>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LogValue {
    /// Ordered by labels; entries of each in the query's direction.
    Streams(Vec<LogStream>),
    /// Ordered by labels, except after `topk`, `bottomk` and `sort`.
    Vector(Vec<VectorSample>),
    /// Ordered by labels.
    Matrix(Vec<MatrixSeries>),
    /// Time in ms and value.
    Scalar(i64, f64),
}

/// Entries of one stream.
#[derive(Clone, Debug, PartialEq)]
pub struct LogStream {
    /// Indexed labels only.
    pub labels: Labels,
    pub entries: Vec<LogEntry>,
}

/// One line after the pipeline. Where a name occurs twice, `parsed` hides `structured_metadata` hides the stream's labels.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LogEntry {
    pub time_ns: i64,
    pub line: String,
    /// Sorted by name.
    pub structured_metadata: Vec<(String, String)>,
    /// Labels that parsers and formatters made, sorted by name.
    pub parsed: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    pub labels: Labels,
    pub time_ms: i64,
    pub value: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSeries {
    pub labels: Labels,
    /// (time in ms, value), times rise.
    pub points: Vec<(i64, f64)>,
}

/// What a query cost, counted where the rows were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Bytes of the lines that the pipeline saw.
    pub bytes_processed: u64,
    pub lines_processed: u64,
    /// Bytes of names and values of the structured metadata that was read.
    pub structured_metadata_bytes: u64,
    /// Lines that passed the pipeline.
    pub post_filter_lines: u64,
    /// Entries in the answer.
    pub entries_returned: u64,
    /// Shards that took part.
    pub shards: u64,
}

impl LogEntry {
    /// What the entry weighs.
    pub(crate) fn weight(&self) -> u64 {
        let pairs = self.structured_metadata.iter().chain(&self.parsed);
        let labels: u64 = pairs.map(|(n, v)| (n.len() + v.len()) as u64 + PAIR_BYTES).sum();
        self.line.len() as u64 + labels + ENTRY_BYTES
    }
}

/// What an entry weighs besides its texts, with its place in a list that grows.
const ENTRY_BYTES: u64 = 208;
/// What a label of an entry weighs besides its texts: two handles and two headers of the allocator.
const PAIR_BYTES: u64 = 80;

/// An answer about streams.
#[derive(Clone, Debug)]
pub struct Metadata<T> {
    pub value: T,
    /// Whether a limit cut the answer.
    pub truncated: bool,
    pub completeness: Completeness,
    /// What `value` weighs.
    pub held: Arc<Charge>,
}

/// Totals over the streams of a selector. `chunks` counts the pieces of storage that hold them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    pub streams: u64,
    pub chunks: u64,
    pub bytes: u64,
    pub entries: u64,
}

/// How volumes are grouped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VolumeBy {
    /// By the values of the target labels, or of the selector's labels when none are given.
    #[default]
    Series,
    /// By label name.
    Labels,
}

/// Bytes of lines by group.
#[derive(Clone, Debug)]
pub struct VolumeQuery {
    /// A stream selector; `{}` for everything.
    pub query: String,
    pub start_ns: i64,
    pub end_ns: i64,
    /// Most groups of the answer.
    pub limit: usize,
    pub target_labels: Vec<String>,
    pub by: VolumeBy,
    /// Distance of the buckets in ms for volumes over time; `None` for one total.
    pub step_ms: Option<i64>,
}

/// One group's volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// For [`VolumeBy::Labels`] one label with an empty value, kept apart as `Labels` drops those.
    pub labels: Vec<(String, String)>,
    /// (bucket's end in ms, bytes of lines); one point without a step.
    pub points: Vec<(i64, u64)>,
}

impl Volume {
    /// Sum over all buckets.
    pub fn bytes(&self) -> u64 {
        self.points.iter().fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer says how many bytes there are: a wrong one must not be a panic.
    #[test]
    fn bytes_that_a_peer_makes_up_do_not_overflow() {
        let volume = Volume { labels: Vec::new(), points: vec![(0, u64::MAX), (1, 1)] };
        assert_eq!(volume.bytes(), u64::MAX);
    }
}
