//! What must hold after every event.
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use trine_actors::meta::{META_SHARD, MetaState};
use trine_actors::placement::MembershipStep;

use super::group::Body;
use super::world::{REPLICATION_FACTOR, World, named};
use crate::sim::Violation;

/// Replicas of a shard that may be leaving at a time: those of retiring nodes, and a lost one.
const LEAVING_MAX: usize = 6;
/// A replica may vote when it is at most so many entries behind.
const BEHIND_MAX: u64 = 256;

/// Replica ids that the metadata has given away.
#[derive(Debug, Default)]
pub(super) struct Seen {
    given: BTreeMap<u64, (u32, u64)>,
    gone: BTreeSet<u64>,
}

impl World {
    pub(super) fn check(&mut self) -> Result<(), Violation> {
        self.groups.values().try_for_each(super::group::Group::check_majorities)
    }

    /// Applies what was committed to the metadata, each entry once.
    pub(super) fn follow_metadata(&mut self) -> Result<(), Violation> {
        while let Some(entry) = self.groups[&META_SHARD].committed.get(self.states.len() - 1) {
            let newest = self.newest();
            let next = match &entry.body {
                Body::Plain | Body::Config(_) => newest,
                Body::Command(command) => {
                    let mut next = MetaState::clone(&newest);
                    let command = command.clone();
                    let reply = next.apply((*command).clone());
                    self.trace.note("metadata", format!("{command:?}: {reply:?}"));
                    self.check_metadata(&next)?;
                    Rc::new(next)
                }
            };
            self.states.push(next);
        }
        Ok(())
    }

    fn check_metadata(&mut self, state: &MetaState) -> Result<(), Violation> {
        for (shard, record) in state.records() {
            let leaving = record.leaving.iter().map(|l| (l.replica, l.node));
            for (replica, node) in record.replicas.iter().map(|r| (r.replica, r.node)).chain(leaving) {
                let owner = *self.seen.given.entry(replica).or_insert((shard, node));
                if owner != (shard, node) || self.seen.gone.contains(&replica) || replica >= state.next_replica {
                    return Violation::found(
                        "replica ids are never used again",
                        format!("replica {replica} of {} on {node:x} was {owner:?}", named(shard)),
                    );
                }
            }
            let nodes: BTreeSet<u64> = record.replicas.iter().map(|r| r.node).collect();
            if nodes.len() < record.replicas.len() {
                return Violation::found("one replica a node", format!("{}: {:?}", named(shard), record.replicas));
            }
            let bounded = shard == META_SHARD || record.replicas.len() <= REPLICATION_FACTOR;
            if !bounded || record.leaving.len() > LEAVING_MAX {
                return Violation::found(
                    "no more replicas than wanted, and few that leave",
                    format!("{}: {:?}, leaving {:?}", named(shard), record.replicas, record.leaving),
                );
            }
        }
        let gone = self.seen.given.keys().filter(|r| state.is_gone(**r)).copied();
        self.seen.gone.extend(gone);
        Ok(())
    }

    /// What a leader is about to do to its group.
    pub(super) fn check_step(&self, shard: u32, leader: u64, step: &MembershipStep) -> Result<(), Violation> {
        let MembershipStep::ChangeVoters(voters) = step else { return Ok(()) };
        if voters.len().is_multiple_of(2) {
            return Violation::found(
                "voters are odd in number",
                format!("{} is to have voters {voters:?}", named(shard)),
            );
        }
        let Some(view) = self.groups[&shard].view(leader).filter(|v| v.changing_to.is_none()) else { return Ok(()) };
        let behind = voters
            .difference(&view.voters)
            .find(|r| view.matched.get(r).is_none_or(|matched| matched + BEHIND_MAX < view.last_index));
        match behind {
            None => Ok(()),
            Some(replica) => Violation::found(
                "nobody votes before it has caught up",
                format!(
                    "replica {replica} of {} matches {:?} of {}",
                    named(shard),
                    view.matched.get(replica),
                    view.last_index
                ),
            ),
        }
    }
}
