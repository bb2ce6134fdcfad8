//! Label matchers, shared by the series index of metrics and the stream index of logs.
mod matcher;

pub use matcher::{MatchOp, Matcher, MatcherError};
