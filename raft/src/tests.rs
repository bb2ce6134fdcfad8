//! Tests of log stores and of whole groups over gRPC.

mod cluster;
mod confirm;
mod hostile;
mod membership;
mod suite;
