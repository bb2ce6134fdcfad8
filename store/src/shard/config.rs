//! Settings of a shard's engines.
use std::sync::Arc;

use crate::shard::{BlockOpener, OnDamage};
use crate::{rows, tsdb};

/// What a cache holds that nobody gave a size.
const CACHE_BYTES: usize = 16 << 20;

/// Settings of the heads of one shard, and what its blocks share with those of the other shards.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    pub metrics: tsdb::HeadConfig,
    pub rows: rows::HeadConfig,
    /// Decoded index pieces of metrics blocks; one for all shards of a node, so that it is one bound.
    pub block_cache: Arc<tsdb::BlockCache>,
    /// Told of damage that readers find in the shard's blocks.
    pub on_damage: OnDamage,
}

impl ShardConfig {
    /// Opens the shard's blocks.
    pub fn opener(&self) -> BlockOpener {
        BlockOpener { cache: self.block_cache.clone(), on_damage: self.on_damage.clone() }
    }
}

impl Default for ShardConfig {
    fn default() -> Self {
        Self {
            metrics: tsdb::HeadConfig::default(),
            rows: rows::HeadConfig::default(),
            block_cache: Arc::new(tsdb::BlockCache::new(CACHE_BYTES)),
            on_damage: OnDamage::default(),
        }
    }
}
