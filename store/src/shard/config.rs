//! Settings of a shard's engines.
use crate::{rows, tsdb};

/// Settings of the heads of one shard.
#[derive(Clone, Debug, Default)]
pub struct ShardConfig {
    pub metrics: tsdb::HeadConfig,
    pub rows: rows::HeadConfig,
}
