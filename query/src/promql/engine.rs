//! Runs a query: parse, plan, fetch, evaluate.
use std::sync::Arc;

use super::value::Answer;
use crate::error::{Error, Result};
use crate::scatter::{QueryContext, Scatter};

/// A query at one time.
#[derive(Clone, Debug)]
pub struct InstantQuery {
    pub query: String,
    pub time_ms: i64,
    /// [`super::LOOKBACK_MS_DEFAULT`] unless the request says otherwise.
    pub lookback_ms: i64,
    /// Most series to answer; 0 is no limit.
    pub limit: usize,
}

/// A query at `start_ms`, `start_ms + step_ms`, … up to `end_ms`.
#[derive(Clone, Debug)]
pub struct RangeQuery {
    pub query: String,
    pub start_ms: i64,
    pub end_ms: i64,
    /// At least 1.
    pub step_ms: i64,
    pub lookback_ms: i64,
    /// Most series to answer; 0 is no limit.
    pub limit: usize,
}

/// Evaluates a query at one time.
pub async fn instant(_scatter: &Arc<dyn Scatter>, _ctx: &QueryContext, query: &InstantQuery) -> Result<Answer> {
    Err(Error::Unsupported { what: query.query.clone() })
}

/// Evaluates a query over a grid of times; the result is a matrix.
pub async fn range(_scatter: &Arc<dyn Scatter>, _ctx: &QueryContext, query: &RangeQuery) -> Result<Answer> {
    Err(Error::Unsupported { what: query.query.clone() })
}
