//! TraceQL: queries over whole traces, trace by id, search by tags, tag names and values.
//!
//! Start at [`engine`]: it parses the text ([`model`] has what goes in and comes out), scatters one fragment, and merges.
//! A trace lives whole in one shard, so a shard evaluates complete traces and the asking node only merges hits.
pub mod ast;
mod conditions;
pub mod duration;
pub mod engine;
mod eval;
pub mod filter;
mod fragment;
mod legacy;
mod lenient;
mod lexer;
pub(crate) mod local;
pub mod model;
pub mod parser;
mod print;
mod source;
mod trace;
pub mod validate;
mod wire;
mod zipkin;

#[cfg(test)]
mod tests;

pub use engine::{INTRINSIC_TAGS, search, tag_values, tag_values_v1, tags, tags_v1, trace_by_id};
pub use filter::{FilteredTrace, TraceFilter, filter_trace};
pub use model::{
    ROOT_MISSING, ScopeTags, SearchAnswer, SearchMetrics, SearchQuery, SearchRequest, ServiceStats, SpanHit, SpanRow,
    SpanSetHit, SpanStream, TagScope, TagType, TagValue, TagValuesAnswer, TagsAnswer, TraceAnswer, TraceHit,
};
