//! Label matchers and the inverted index, shared by the series of metrics and the streams of logs.
mod label_index;
mod matcher;
mod order;
mod pattern;
mod select;

pub use label_index::LabelIndex;
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use order::compare_labels;
pub use select::{Postings, matches_labels, select};
