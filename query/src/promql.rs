//! PromQL: Prometheus' grammar, values and numerics over the shards of a cluster.
//!
//! Start at [`instant`] and [`range`]. A query is parsed ([`parser`]) into an [`ast`], checked, and compiled into a plan
//! that sends one fragment with all selectors to every node; the fragment evaluates per-series functions and partial
//! aggregates beside the data ([`local`]), and the asking node merges and evaluates the rest. What is not evaluated is
//! refused with [`crate::Error::Unsupported`], never answered wrongly.
mod aggregate;
mod annotations;
pub mod ast;
mod census;
mod check;
pub mod chunk;
mod columns;
mod counts;
mod engine;
mod eval;
mod fetch;
pub mod fragment;
pub mod functions;
pub mod histogram;
mod labels;
mod lexer;
pub mod local;
mod metadata;
mod numbers;
pub mod parser;
mod plan;
mod printer;
mod records;
mod segments;
mod signature;
pub mod source;
mod tree;
mod value;

pub use census::{LabelCensus, TenantCensus, census};
pub use counts::StepCounts;
pub use engine::{InstantQuery, RangeQuery, instant, instant_within, range, range_within};
pub use metadata::{FamilyMetadata, Metadata, label_names, label_values, metric_metadata, series};
pub use parser::parse_selector;
pub use records::{Found, SeriesRecords, latest, records, selectors};
pub use segments::SegmentCache;
pub use value::{Answer, MatrixSeries, Phases, Stats, Value, VectorSample};

use crate::error::Result;

/// Default time for which a sample stands for its series, in ms.
pub const LOOKBACK_MS_DEFAULT: i64 = 5 * 60 * 1000;
/// Samples that one query may decode or hold, unless it is asked with another bound.
pub const SAMPLES_MAX: u64 = 50_000_000;
/// Step of a subquery that names none, in ms.
pub(crate) const SUBQUERY_STEP_MS: i64 = 60_000;

/// The query in Prometheus' layout, as `format_query` answers it. Errors: [`crate::Error::Parse`].
pub fn format(query: &str) -> Result<String> {
    Ok(printer::pretty(&parser::parse(query)?))
}

/// Names of all functions, in no order.
pub fn function_names() -> impl Iterator<Item = &'static str> {
    signature::FUNCTIONS.iter().map(|function| function.name)
}

/// An expression in one line, in Prometheus' spelling.
pub fn text(expr: &ast::Expr) -> String {
    printer::line(expr)
}

/// The syntax tree of the query as `parse_query` answers it. Errors: [`crate::Error::Parse`].
pub fn parse_tree(query: &str) -> Result<serde_json::Value> {
    Ok(tree::json(&parser::parse(query)?))
}
