//! The messages of a PromQL fragment: what is asked of every shard, and the frames that come back.
//!
//! Version 1. A node refuses a request of another version by number. Field numbers are for ever.
use trine_store::index::{MatchOp, Matcher};

use super::ast::AggregateOp;
use super::functions::extended::Extension;
use super::functions::range::{RangeFn, Windows};
use super::histogram::wire::HistogramMessage;
use crate::error::{Error, Result};

/// The only version of requests and frames.
pub const VERSION: u32 = 1;
/// A frame is sent once it has grown to this many bytes; one message of a frame is at most this long, too.
pub const FRAME_BYTES: usize = 512 << 10;
/// Raw samples in one message, so that it stays below a frame's size.
pub const SAMPLES_PER_MESSAGE: usize = 20_000;
/// Steps of one message, likewise.
pub const STEPS_PER_MESSAGE: usize = 16_384;
/// Steps of one request, so that a damaged count allocates nothing big.
pub const STEPS_MAX: u64 = 50_000_000;

/// What a query asks of every shard: samples, or what exists.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(message, repeated, tag = "2")]
    pub selects: Vec<Select>,
    /// Samples that the fragment may decode on one node.
    #[prost(uint64, tag = "3")]
    pub samples_max: u64,
    #[prost(message, optional, tag = "4")]
    pub lookup: Option<Lookup>,
    /// Evaluate all anew, whatever is kept from before.
    #[prost(bool, tag = "5")]
    pub no_cache: bool,
    /// Count the samples of each step of what is evaluated beside the data; nothing is taken from what is kept from before then.
    #[prost(bool, tag = "6")]
    pub count_steps: bool,
    #[prost(message, optional, tag = "20")]
    pub records: Option<Records>,
    #[prost(message, optional, tag = "21")]
    pub census: Option<Census>,
}

/// Whether an encoded request asks what exists, not for samples. One that does not decode does not.
pub fn is_lookup(payload: &[u8]) -> bool {
    <Request as prost::Message>::decode(payload).is_ok_and(|request| request.lookup.is_some())
}

/// Whether an encoded request asks for samples of series that it names by more than their metric: usually few.
pub fn is_of_few_series(payload: &[u8]) -> bool {
    let equal = |m: &MatcherMessage| m.op == MatchOp::Eq as u32 && !m.value.is_empty();
    let named = |select: &Select| select.matchers.len() > 1 && select.matchers.iter().all(equal);
    <Request as prost::Message>::decode(payload).is_ok_and(|request| {
        request.lookup.is_none()
            && request.records.is_none()
            && request.census.is_none()
            && (1..=FEW_SELECTS).contains(&request.selects.len())
            && request.selects.iter().all(named)
    })
}

/// Selectors of a request for few series.
const FEW_SELECTS: usize = 4;

/// Asks for records as they are stored: for exemplars, remote read and federation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Records {
    /// Frames refer to a set by its position; a series that several match is sent for each.
    #[prost(message, repeated, tag = "1")]
    pub sets: Vec<MatcherSet>,
    #[prost(sint64, tag = "2")]
    pub min_ms: i64,
    #[prost(sint64, tag = "3")]
    pub max_ms: i64,
    /// Numbers of [`trine_store::part::SampleKind`].
    #[prost(uint32, repeated, tag = "4")]
    pub kinds: Vec<u32>,
    /// Of each series only the newest record of any of the kinds.
    #[prost(bool, tag = "5")]
    pub last_only: bool,
}

/// Asks how many series there are, by label and value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Census {
    #[prost(message, repeated, tag = "1")]
    pub matchers: Vec<MatcherMessage>,
    #[prost(sint64, tag = "2")]
    pub min_ms: i64,
    #[prost(sint64, tag = "3")]
    pub max_ms: i64,
    /// Labels to count values of; all if there is none.
    #[prost(string, repeated, tag = "4")]
    pub names: Vec<String>,
}

/// One selector of a query. Frames refer to it by its position.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Select {
    #[prost(message, repeated, tag = "1")]
    pub matchers: Vec<MatcherMessage>,
    #[prost(sint64, tag = "2")]
    pub min_ms: i64,
    #[prost(sint64, tag = "3")]
    pub max_ms: i64,
    /// Evaluate beside the data; raw samples are sent without it.
    #[prost(message, optional, tag = "4")]
    pub steps: Option<Steps>,
    /// Aggregate over series beside the data; only with `steps`.
    #[prost(message, optional, tag = "5")]
    pub group: Option<Group>,
    /// Of histograms only count and sum are needed.
    #[prost(bool, tag = "6")]
    pub stats_only: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MatcherMessage {
    #[prost(string, tag = "1")]
    pub name: String,
    /// Number of a [`MatchOp`].
    #[prost(uint32, tag = "2")]
    pub op: u32,
    #[prost(string, tag = "3")]
    pub value: String,
}

/// A function of each series on a grid of steps.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Steps {
    /// Number of a [`RangeFn`].
    #[prost(uint32, tag = "1")]
    pub function: u32,
    #[prost(sint64, tag = "2")]
    pub first_end_ms: i64,
    #[prost(sint64, tag = "3")]
    pub end_step_ms: i64,
    #[prost(uint64, tag = "4")]
    pub count: u64,
    #[prost(sint64, tag = "5")]
    pub range_ms: i64,
    #[prost(sint64, tag = "6")]
    pub first_eval_ms: i64,
    #[prost(sint64, tag = "7")]
    pub eval_step_ms: i64,
    #[prost(double, repeated, tag = "8")]
    pub params: Vec<f64>,
    /// Number of an [`Extension`].
    #[prost(uint32, tag = "9")]
    pub extension: u32,
    #[prost(sint64, tag = "10")]
    pub lookback_ms: i64,
}

/// A partial aggregation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Group {
    /// Number of a [`Partial`].
    #[prost(uint32, tag = "1")]
    pub partial: u32,
    #[prost(bool, tag = "2")]
    pub without: bool,
    #[prost(string, repeated, tag = "3")]
    pub labels: Vec<String>,
}

/// An aggregation that can be merged from parts. On the wire: never reuse a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Partial {
    Sum = 1,
    Count = 2,
    Min = 3,
    Max = 4,
    Group = 5,
    Avg = 6,
}

impl Partial {
    pub fn of(op: AggregateOp) -> Option<Self> {
        Some(match op {
            AggregateOp::Sum => Self::Sum,
            AggregateOp::Count => Self::Count,
            AggregateOp::Min => Self::Min,
            AggregateOp::Max => Self::Max,
            AggregateOp::Group => Self::Group,
            AggregateOp::Avg => Self::Avg,
            AggregateOp::Stddev
            | AggregateOp::Stdvar
            | AggregateOp::TopK
            | AggregateOp::BottomK
            | AggregateOp::CountValues
            | AggregateOp::Quantile
            | AggregateOp::LimitK
            | AggregateOp::LimitRatio => return None,
        })
    }

    pub fn from_u32(number: u32) -> Option<Self> {
        use Partial::*;
        [Sum, Count, Min, Max, Group, Avg].into_iter().find(|p| *p as u32 == number)
    }

    /// Step columns that a part of this aggregation consists of.
    pub fn columns_count(self) -> usize {
        match self {
            Self::Sum => 2,
            Self::Avg => 3,
            Self::Count | Self::Min | Self::Max | Self::Group => 1,
        }
    }
}

/// A question about what exists.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Lookup {
    /// Number of a [`LookupKind`].
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// A series matches if it matches one of the sets; all do if there is none.
    #[prost(message, repeated, tag = "2")]
    pub sets: Vec<MatcherSet>,
    #[prost(sint64, tag = "3")]
    pub min_ms: i64,
    #[prost(sint64, tag = "4")]
    pub max_ms: i64,
    /// The label whose values are asked for, or the metric family.
    #[prost(string, optional, tag = "5")]
    pub name: Option<String>,
    /// Most values that the asker will use, 0 for all: each shard sends no more than that and one.
    #[prost(uint64, tag = "6")]
    pub limit: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MatcherSet {
    #[prost(message, repeated, tag = "1")]
    pub matchers: Vec<MatcherMessage>,
}

/// What a [`Lookup`] is about. On the wire: never reuse a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LookupKind {
    Series = 1,
    LabelNames = 2,
    LabelValues = 3,
    Metadata = 4,
}

impl LookupKind {
    pub fn from_u32(number: u32) -> Option<Self> {
        [Self::Series, Self::LabelNames, Self::LabelValues, Self::Metadata].into_iter().find(|k| *k as u32 == number)
    }
}

/// Part of one shard's reply.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Frame {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(uint32, tag = "2")]
    pub shard: u32,
    /// Samples decoded since the shard's last frame.
    #[prost(uint64, tag = "3")]
    pub samples_read: u64,
    /// In label order within a selector; a long series is cut into several, by time.
    #[prost(message, repeated, tag = "4")]
    pub samples: Vec<SamplesMessage>,
    #[prost(message, repeated, tag = "5")]
    pub vectors: Vec<VectorMessage>,
    #[prost(message, repeated, tag = "6")]
    pub non_counters: Vec<NonCounter>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub label_sets: Vec<Vec<u8>>,
    #[prost(string, repeated, tag = "8")]
    pub texts: Vec<String>,
    #[prost(message, repeated, tag = "9")]
    pub families: Vec<FamilyMessage>,
    #[prost(message, repeated, tag = "10")]
    pub notes: Vec<NoteMessage>,
    #[prost(message, repeated, tag = "20")]
    pub records: Vec<RecordsMessage>,
    #[prost(message, repeated, tag = "21")]
    pub counts: Vec<CountsMessage>,
    #[prost(message, optional, tag = "22")]
    pub totals: Option<TotalsMessage>,
    #[prost(message, repeated, tag = "23")]
    pub step_counts: Vec<StepCountsMessage>,
}

/// Samples by step of a selector, to be added to what other frames have; many steps are cut into several.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StepCountsMessage {
    #[prost(uint32, tag = "1")]
    pub select: u32,
    #[prost(uint64, tag = "2")]
    pub first_step: u64,
    #[prost(uint64, repeated, tag = "3")]
    pub queryable: Vec<u64>,
    /// As many.
    #[prost(uint64, repeated, tag = "4")]
    pub read: Vec<u64>,
}

/// Records of a series that are bytes, all of one kind, by time; a long list is cut into several.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RecordsMessage {
    #[prost(uint32, tag = "1")]
    pub set: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub labels: Vec<u8>,
    #[prost(uint32, tag = "3")]
    pub kind: u32,
    #[prost(sint64, repeated, tag = "4")]
    pub times_ms: Vec<i64>,
    /// As many as there are times, in the encoding of their producer.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub payloads: Vec<Vec<u8>>,
}

/// Series of a shard by value of one label; a label with many values has several.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CountsMessage {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, repeated, tag = "2")]
    pub values: Vec<String>,
    /// Of each value.
    #[prost(uint64, repeated, tag = "3")]
    pub series: Vec<u64>,
}

/// Sizes of a tenant's part of a shard.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TotalsMessage {
    #[prost(uint64, tag = "1")]
    pub series: u64,
    /// Compressed pieces that their samples are in.
    #[prost(uint64, tag = "2")]
    pub chunks: u64,
    /// Series that have native histograms.
    #[prost(uint64, tag = "3")]
    pub histogram_series: u64,
}

/// Raw samples of a series: [`super::columns::encode_samples`] for floats.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SamplesMessage {
    #[prost(uint32, tag = "1")]
    pub select: u32,
    /// Canonical encoding of the labels.
    #[prost(bytes = "vec", tag = "2")]
    pub labels: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub samples: Vec<u8>,
    /// With their times, which rise.
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<HistogramMessage>,
}

/// Step columns of a series or group: [`super::columns::encode_steps`]. A series has one, a group
/// [`Partial::columns_count`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct VectorMessage {
    #[prost(uint32, tag = "1")]
    pub select: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub labels: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub columns: Vec<Vec<u8>>,
    /// The columns are a slice: `steps` of the request's steps from this one on.
    #[prost(uint64, tag = "4")]
    pub first_step: u64,
    #[prost(uint64, tag = "5")]
    pub steps: u64,
    #[prost(message, repeated, tag = "6")]
    pub histograms: Vec<StepHistograms>,
    /// One series of a grouped request, which is to be aggregated by the asker: it has histograms. It has one column.
    #[prost(bool, tag = "7")]
    pub is_loose: bool,
}

/// One histogram at some steps in a row.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StepHistograms {
    /// Counted from the message's first step.
    #[prost(uint64, tag = "1")]
    pub step: u64,
    #[prost(uint64, tag = "2")]
    pub count: u64,
    #[prost(message, optional, tag = "3")]
    pub histogram: Option<HistogramMessage>,
}

/// What a function had to say of a metric, and how often.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NoteMessage {
    #[prost(uint32, tag = "1")]
    pub select: u32,
    /// Number of a [`super::functions::native::Note`].
    #[prost(uint32, tag = "2")]
    pub note: u32,
    #[prost(string, tag = "3")]
    pub metric: String,
    #[prost(uint64, tag = "4")]
    pub count: u64,
}

/// A metric to which `rate` or `increase` was applied and that is not named like a counter.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NonCounter {
    #[prost(uint32, tag = "1")]
    pub select: u32,
    #[prost(string, tag = "2")]
    pub name: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FamilyMessage {
    #[prost(string, tag = "1")]
    pub family: String,
    #[prost(uint32, tag = "2")]
    pub metric_type: u32,
    #[prost(string, tag = "3")]
    pub help: String,
    #[prost(string, tag = "4")]
    pub unit: String,
}

fn corrupt(reason: impl Into<String>) -> Error {
    Error::Corrupt { what: "PromQL fragment", reason: reason.into() }
}

pub(super) fn put_matchers(matchers: &[Matcher]) -> Vec<MatcherMessage> {
    matchers.iter().map(|m| MatcherMessage { name: m.name.clone(), op: m.op as u32, value: m.value.clone() }).collect()
}

pub(super) fn get_matchers(messages: &[MatcherMessage]) -> Result<Vec<Matcher>> {
    let get = |m: &MatcherMessage| {
        let op = u8::try_from(m.op).ok().and_then(MatchOp::from_u8).ok_or_else(|| corrupt("unknown match operator"))?;
        Matcher::new(m.name.clone(), op, m.value.clone()).map_err(|e| corrupt(e.to_string()))
    };
    messages.iter().map(get).collect()
}

impl Steps {
    pub(super) fn new(function: RangeFn, windows: &Windows, params: Vec<f64>) -> Self {
        Self {
            function: function as u32,
            first_end_ms: windows.first_end_ms,
            end_step_ms: windows.end_step_ms,
            count: windows.count as u64,
            range_ms: windows.range_ms,
            first_eval_ms: windows.first_eval_ms,
            eval_step_ms: windows.eval_step_ms,
            params,
            extension: windows.extension as u32,
            lookback_ms: windows.lookback_ms,
        }
    }

    /// The function and its windows. Refuses what no engine sends.
    pub(super) fn decode(&self) -> Result<(RangeFn, Windows)> {
        let function = RangeFn::from_u32(self.function)
            .ok_or_else(|| corrupt(format!("unknown range function {}", self.function)))?;
        if self.count > STEPS_MAX || self.end_step_ms < 0 || self.params.len() != function.params_count() {
            return Err(corrupt("steps out of bounds"));
        }
        let windows = Windows {
            first_end_ms: self.first_end_ms,
            end_step_ms: self.end_step_ms,
            count: self.count as usize,
            range_ms: self.range_ms,
            first_eval_ms: self.first_eval_ms,
            eval_step_ms: self.eval_step_ms,
            extension: Extension::from_u32(self.extension).ok_or_else(|| corrupt("unknown range extension"))?,
            lookback_ms: self.lookback_ms,
        };
        Ok((function, windows))
    }
}
