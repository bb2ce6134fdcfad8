//! PromQL: Prometheus' grammar, values and numerics over the shards of a cluster.
pub mod ast;
mod engine;
pub mod local;
mod metadata;
mod signature;
mod value;

pub use engine::{InstantQuery, RangeQuery, instant, range};
pub use metadata::{FamilyMetadata, Metadata, label_names, label_values, metric_metadata, series};
pub use value::{Answer, MatrixSeries, Stats, Value, VectorSample};

use trine_store::index::Matcher;

use crate::error::{Error, Result};

/// Default time for which a sample stands for its series, in ms.
pub const LOOKBACK_MS_DEFAULT: i64 = 5 * 60 * 1000;

/// The matchers of a metric selector, as in `match[]`. Errors: [`Error::Parse`].
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>> {
    Err(Error::Unsupported { what: text.to_owned() })
}

/// The query in Prometheus' layout, as `format_query` answers it. Errors: [`crate::Error::Parse`].
pub fn format(query: &str) -> Result<String> {
    Err(Error::Unsupported { what: query.to_owned() })
}
