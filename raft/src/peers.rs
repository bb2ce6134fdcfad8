//! Where the other nodes are.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ids::NodeId;

/// Addresses of the cluster's nodes, changed at any time; connections follow. Safe to share.
#[derive(Default)]
pub struct PeerBook {
    addresses: Mutex<HashMap<NodeId, String>>,
}

impl PeerBook {
    /// An empty book.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, String>> {
        // Each change of the map is one call: it is whole after any panic.
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `node` is reached at `address`, a `host:port`. New requests go there at once.
    pub fn set(&self, node: NodeId, address: impl Into<String>) {
        self.lock().insert(node, address.into());
    }

    /// Forgets `node`: no new request reaches it.
    pub fn remove(&self, node: NodeId) {
        self.lock().remove(&node);
    }

    /// The address of `node`, if known.
    pub fn address(&self, node: NodeId) -> Option<String> {
        self.lock().get(&node).cloned()
    }
}

impl fmt::Debug for PeerBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.lock().iter()).finish()
    }
}
