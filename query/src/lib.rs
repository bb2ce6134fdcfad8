//! PromQL, LogQL and TraceQL: parse and plan on the node that was asked, run fragments beside the data, merge.
//!
//! Start at [`scatter`] for how a query reaches the shards. Each language is a module of the same shape: `ast`, `parser`,
//! `plan`, `fragment` (its messages), `local` (runs a fragment over [`trine_store::shard::ShardView`]s), `engine` (asks,
//! merges, evaluates). Nothing here knows HTTP, JSON or OTLP.
pub mod completeness;
pub mod error;
pub mod fragment;
pub mod helpers;
pub mod logql;
pub mod memory;
pub mod promql;
pub mod scatter;
pub mod stop;
pub mod traceql;

pub use error::{Error, Result};
