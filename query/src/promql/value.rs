//! What a query answers.
use std::sync::Arc;
use std::time::Duration;

use trine_store::model::Labels;

use super::counts::StepCounts;
use super::histogram::Histogram;
use crate::memory::Charge;
use crate::scatter::Completeness;

/// One element of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    pub labels: Labels,
    pub time_ms: i64,
    /// NaN where there is a histogram.
    pub value: f64,
    pub histogram: Option<Arc<Histogram>>,
}

/// One series of a range vector; points and histograms rise in time.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSeries {
    pub labels: Labels,
    /// (ms, value).
    pub points: Vec<(i64, f64)>,
    /// (ms, histogram); no time is in both.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

/// A query's result, in Prometheus' order: a matrix by labels, a vector as its outermost function orders it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// (ms, value).
    Scalar(i64, f64),
    /// (ms, text).
    String(i64, String),
    Vector(Vec<VectorSample>),
    Matrix(Vec<MatrixSeries>),
}

/// What a query cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Samples decoded on all shards.
    pub samples_read: u64,
    /// Series that the shards selected or grouped.
    pub series: u64,
    /// Encoded bytes of frames.
    pub frame_bytes: u64,
    /// Most samples and step values held at once on the asking node, by count.
    pub samples_peak: u64,
    pub phases: Phases,
}

impl Stats {
    /// Adds what another fragment of the same query cost; the peak and the phases are the query's.
    pub(super) fn add_fragment(&mut self, other: &Self) {
        self.samples_read = self.samples_read.saturating_add(other.samples_read);
        self.series += other.series;
        self.frame_bytes += other.frame_bytes;
    }
}

/// How long the parts of a query took on the asking node, waiting included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Parsing, checking and planning.
    pub plan: Duration,
    /// From the first request to the shards to their last frame, decoded.
    pub fetch: Duration,
    /// Evaluating what came back.
    pub evaluate: Duration,
}

/// A query's result with what is known about it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub value: Value,
    /// Annotations in Prometheus' words (`PromQL warning: …`), each once, at most as many as Prometheus shows, and one
    /// sentence for each missing shard.
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
    pub stats: Stats,
    /// Samples by step, where the query's context asks for them.
    pub step_counts: Option<StepCounts>,
    pub completeness: Completeness,
    /// Series were cut at the query's limit.
    pub truncated: bool,
    /// What `value` weighs; kept until the answer has been rendered.
    pub held: Arc<Charge>,
}
