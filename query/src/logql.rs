//! LogQL: parse and plan on the node that was asked, one fragment a node beside the data, merge.
//!
//! Start at [`engine`] for the calls that `api` makes and at [`local`] for what a node does with a fragment. [`ast`] and
//! [`parser`] know the whole language; constructs that are not evaluated are refused by name while planning.
pub mod answer;
pub mod ast;
pub mod engine;
pub mod fragment;
mod lexer;
pub mod local;
pub mod parser;
mod pipeline;
mod plan;
mod print;
pub mod source;
mod state;
mod units;

pub use answer::{
    Direction, IndexStats, LogAnswer, LogEntry, LogInstant, LogQuery, LogStats, LogStream, LogValue, MatrixSeries,
    Metadata, VectorSample, Volume, VolumeBy, VolumeQuery,
};
pub use engine::{index_stats, index_volume, instant, label_values, labels, query_range, series};
pub use parser::{parse, parse_selector};

use crate::error::Result;

/// Longest query text that is looked at, in bytes.
pub const QUERY_BYTES_MAX: usize = 131_072;
/// Most series of a metric query's answer.
pub const SERIES_MAX: usize = 500;

/// The query in its canonical, indented form. Fails with [`crate::Error::Parse`].
pub fn format(query: &str) -> Result<String> {
    Ok(print::pretty(&parse(query)?))
}
