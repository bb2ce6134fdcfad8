//! PromQL: Prometheus' grammar, values and numerics over the shards of a cluster.
pub mod ast;
mod check;
mod engine;
mod lexer;
pub mod local;
mod metadata;
mod numbers;
pub mod parser;
mod printer;
mod signature;
mod value;

pub use engine::{InstantQuery, RangeQuery, instant, range};
pub use metadata::{FamilyMetadata, Metadata, label_names, label_values, metric_metadata, series};
pub use parser::parse_selector;
pub use value::{Answer, MatrixSeries, Stats, Value, VectorSample};

use crate::error::Result;

/// Default time for which a sample stands for its series, in ms.
pub const LOOKBACK_MS_DEFAULT: i64 = 5 * 60 * 1000;

/// The query in Prometheus' layout, as `format_query` answers it. Errors: [`crate::Error::Parse`].
pub fn format(query: &str) -> Result<String> {
    Ok(printer::pretty(&parser::parse(query)?))
}
