//! The groups open on a node, by id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::ids::{GroupId, ReplicaId};
use crate::progress::Progress;
use crate::status::GroupStatus;
use crate::type_config::Raft;

/// One open group, as the server and read points reach it.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) replica: ReplicaId,
    pub(crate) raft: Raft,
    pub(crate) progress: Arc<Progress>,
    pub(crate) status: watch::Receiver<GroupStatus>,
}

/// All open groups of a node. A node holds at most one replica of a group.
#[derive(Default)]
pub(crate) struct Registry {
    groups: Mutex<HashMap<GroupId, Slot>>,
}

enum Slot {
    Opening,
    Open(Opened),
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<GroupId, Slot>> {
        // Each change of the map is one call: it is whole after any panic.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims `group`; false if it is open or being opened.
    pub(crate) fn reserve(&self, group: GroupId) -> bool {
        let mut groups = self.lock();
        if groups.contains_key(&group) {
            return false;
        }
        groups.insert(group, Slot::Opening);
        true
    }

    pub(crate) fn insert(&self, group: GroupId, opened: Opened) {
        self.lock().insert(group, Slot::Open(opened));
    }

    pub(crate) fn remove(&self, group: GroupId) {
        self.lock().remove(&group);
    }

    pub(crate) fn get(&self, group: GroupId) -> Option<Opened> {
        match self.lock().get(&group)? {
            Slot::Open(opened) => Some(opened.clone()),
            Slot::Opening => None,
        }
    }

    pub(crate) fn all(&self) -> Vec<(GroupId, Opened)> {
        let groups = self.lock();
        let open = |(group, slot): (&GroupId, &Slot)| match slot {
            Slot::Open(opened) => Some((*group, opened.clone())),
            Slot::Opening => None,
        };
        groups.iter().filter_map(open).collect()
    }
}
