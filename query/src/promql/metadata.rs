//! Questions about series, labels and metric families.
use std::sync::Arc;

use trine_store::index::Matcher;
use trine_store::model::Labels;

use crate::error::{Error, Result};
use crate::scatter::{Completeness, QueryContext, Scatter};

/// An answer about what exists.
#[derive(Clone, Debug)]
pub struct Metadata<T> {
    /// Sorted, without repetition.
    pub value: T,
    /// Cut at the request's limit.
    pub truncated: bool,
    pub completeness: Completeness,
}

/// Type, help and unit of a metric family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FamilyMetadata {
    pub family: String,
    /// As in remote write: 0 unknown, 1 counter, 2 gauge, …
    pub metric_type: u8,
    pub help: String,
    pub unit: String,
}

/// Series that match one of `sets` and have samples in `[start_ms, end_ms]`. `limit` 0 is no limit.
pub async fn series(
    _scatter: &Arc<dyn Scatter>,
    _ctx: &QueryContext,
    _sets: &[Vec<Matcher>],
    _start_ms: i64,
    _end_ms: i64,
    _limit: usize,
) -> Result<Metadata<Vec<Labels>>> {
    Err(Error::Unsupported { what: "series".to_owned() })
}

/// Label names of series that match one of `sets`; all series if there is no set.
pub async fn label_names(
    _scatter: &Arc<dyn Scatter>,
    _ctx: &QueryContext,
    _sets: &[Vec<Matcher>],
    _start_ms: i64,
    _end_ms: i64,
    _limit: usize,
) -> Result<Metadata<Vec<String>>> {
    Err(Error::Unsupported { what: "label names".to_owned() })
}

/// Values of the label `name` of series that match one of `sets`; all series if there is no set.
pub async fn label_values(
    _scatter: &Arc<dyn Scatter>,
    _ctx: &QueryContext,
    _name: &str,
    _sets: &[Vec<Matcher>],
    _start_ms: i64,
    _end_ms: i64,
    _limit: usize,
) -> Result<Metadata<Vec<String>>> {
    Err(Error::Unsupported { what: "label values".to_owned() })
}

/// Metadata of one metric family or of all.
pub async fn metric_metadata(
    _scatter: &Arc<dyn Scatter>,
    _ctx: &QueryContext,
    _metric: Option<&str>,
    _limit: usize,
) -> Result<Metadata<Vec<FamilyMetadata>>> {
    Err(Error::Unsupported { what: "metric metadata".to_owned() })
}
