//! Messages and service of `proto/tempopb.proto`.
#![allow(missing_docs, unreachable_pub, clippy::all, unused_qualifications, reason = "generated")]
tonic::include_proto!("tempopb");
