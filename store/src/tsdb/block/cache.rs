//! Decoded pieces of blocks, bounded in bytes.
use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::tsdb::Result;

/// Holds decoded index pieces of any number of blocks; the least recently used go first. Share one among all blocks of a
/// node, so that their number does not matter for memory.
#[derive(Debug)]
pub struct BlockCache {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By (block, offset in it).
    pieces: HashMap<(u64, u64), Cached>,
    bytes: usize,
    tick: u64,
}

#[derive(Debug)]
struct Cached {
    piece: Arc<dyn Any + Send + Sync>,
    bytes: usize,
    used: u64,
}

impl BlockCache {
    /// An empty cache of at most about `bytes_max` bytes of decoded pieces.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    /// A number that no other block of this process has or had.
    pub(super) fn register() -> u64 {
        static BLOCKS: AtomicU64 = AtomicU64::new(0);
        BLOCKS.fetch_add(1, Ordering::Relaxed)
    }

    /// The piece, loaded when it is not there. Two threads may load the same piece; nobody waits while another reads.
    pub(super) fn get<T: Send + Sync + 'static>(
        &self,
        key: (u64, u64),
        load: impl FnOnce() -> Result<(T, usize)>,
    ) -> Result<Arc<T>> {
        if let Some(piece) = self.find(key) {
            return Ok(piece);
        }
        let (piece, bytes) = load()?;
        let piece = Arc::new(piece);
        self.insert(key, piece.clone(), bytes);
        Ok(piece)
    }

    fn find<T: Send + Sync + 'static>(&self, key: (u64, u64)) -> Option<Arc<T>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tick += 1;
        let tick = state.tick;
        let cached = state.pieces.get_mut(&key)?;
        cached.used = tick;
        cached.piece.clone().downcast().ok()
    }

    fn insert(&self, key: (u64, u64), piece: Arc<dyn Any + Send + Sync>, bytes: usize) {
        if bytes > self.bytes_max {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let used = state.tick;
        state.bytes += bytes;
        if let Some(before) = state.pieces.insert(key, Cached { piece, bytes, used }) {
            state.bytes -= before.bytes;
        }
        if state.bytes > self.bytes_max {
            state.evict(self.bytes_max / 8 * 7);
        }
    }

    /// Drops what is cached of a block that is closed.
    pub(super) fn forget(&self, block: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut freed = 0;
        state.pieces.retain(|key, cached| {
            let keep = key.0 != block;
            freed += if keep { 0 } else { cached.bytes };
            keep
        });
        state.bytes -= freed;
    }
}

impl State {
    fn evict(&mut self, bytes_target: usize) {
        let mut by_use: Vec<(u64, (u64, u64))> = self.pieces.iter().map(|(key, c)| (c.used, *key)).collect();
        by_use.sort_unstable();
        for (_, key) in by_use {
            if self.bytes <= bytes_target {
                break;
            }
            if let Some(gone) = self.pieces.remove(&key) {
                self.bytes -= gone.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_go_first() {
        let cache = BlockCache::new(80);
        let load = |at: u64| *cache.get((0, at), || Ok((at, 10))).unwrap();
        (0..8).for_each(|at| assert_eq!(load(at), at));
        load(0);
        load(8);
        let is_cached = |at: u64| cache.find::<u64>((0, at)).is_some();
        assert!(is_cached(0) && is_cached(8) && !is_cached(1));
        assert!(cache.state.lock().unwrap().bytes <= 80);
        cache.forget(0);
        assert!(!is_cached(0));
        assert_eq!(cache.state.lock().unwrap().bytes, 0);
    }
}
