//! Runs a fragment over the views of one node's shards.
use std::sync::Arc;

use trine_store::shard::ShardView;

use crate::error::{Error, Result};
use crate::fragment::{FragmentLimits, Sink};

/// Decodes `payload`, reads the shards, and sends frames to `sink`.
pub fn run(
    payload: &[u8],
    _tenant: &str,
    _shards: &[Arc<ShardView>],
    _limits: &FragmentLimits,
    _sink: &mut Sink<'_>,
) -> Result<()> {
    Err(Error::Unsupported { what: format!("fragment of {} bytes", payload.len()) })
}
