//! Runs a fragment over the views of one node's shards.
use std::sync::Arc;

use bytes::Bytes;
use trine_store::shard::ShardView;

use crate::error::{Error, Result};
use crate::fragment::{FragmentLimits, Sink};

/// Decodes `payload` and sends the answer's frames to `sink`.
pub fn run(
    payload: &Bytes,
    tenant: &str,
    shards: &[Arc<ShardView>],
    limits: &FragmentLimits,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let _ = (payload, tenant, shards, limits, sink);
    Err(Error::Unsupported { what: "LogQL fragment".to_owned() })
}
