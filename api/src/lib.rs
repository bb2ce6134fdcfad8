//! HTTP and gRPC surfaces: Prometheus, Loki, Tempo, OTLP, and Trine's own admin REST.
//!
//! Start at [`server`] for the routers, [`backend`] for what the surfaces need of the cluster, [`call`] for what happens
//! around every request. One file an operation; decoders are pure functions from bytes to parts. Only this crate knows
//! HTTP, JSON and OTLP, and only [`error`] maps an error to a status.
pub mod admin;
pub mod backend;
mod body;
mod budget;
mod call;
mod completeness;
pub mod config;
pub mod error;
mod failures;
#[doc(hidden)]
pub mod fuzz;
pub mod grpc;
mod json;
mod later;
pub mod loki;
pub mod metrics;
mod number;
pub mod otlp;
mod params;
mod parts;
pub mod prom;
mod reply;
pub mod server;
mod snappy;
mod state;
pub mod tempo;
pub mod tenant;
mod time;
mod wire;
mod writer;

pub use backend::{Backend, Election, ReplicaClaim, ShardPart, Troubles, WriteError};
pub use config::{ApiConfig, HaConfig, OtlpConfig, TranslationStrategy};
pub use error::{ApiError, Family};
pub use metrics::MetricsSource;
pub use state::{Api, Clock};
