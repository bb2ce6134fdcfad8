//! The faults end: what must come of it.
use std::collections::{BTreeMap, BTreeSet};

use rand::seq::SliceRandom;
use trine_actors::meta::{META_SHARD, MetaState};
use trine_actors::placement::{cannot_retire, replicas_wanted};

use super::world::{REPLICATION_FACTOR, World, named};
use crate::sim::Violation;

/// Rounds within which a healed cluster must come to rest. Each node's steward acts once a round.
const ROUNDS_MAX: usize = 400;

impl World {
    /// Heals all and demands that every shard gets what it should have.
    pub(super) fn settle(&mut self) -> Result<(), Violation> {
        self.heal_links();
        self.mistaken.clear();
        self.loss_percent = 0;
        for name in 0..self.current.len() {
            match self.current[name] {
                None => drop(self.draw_node(name)),
                Some(node) if !self.nodes[&node].up && !self.nodes[&node].ended => self.start(node)?,
                Some(_) => {}
            }
        }
        let mut unrest = String::new();
        for round in 0..ROUNDS_MAX {
            self.settle_round()?;
            self.check()?;
            match self.unrest() {
                None => {
                    self.trace.note("at rest", format!("after {round} rounds"));
                    return Ok(());
                }
                Some(what) => unrest = what,
            }
        }
        Violation::found("a healed cluster comes to rest", unrest)
    }

    fn settle_round(&mut self) -> Result<(), Violation> {
        let shards: Vec<u32> = self.groups.keys().copied().collect();
        for shard in shards {
            self.send(shard)?;
            if !self.has_working_leader(shard) {
                let open = self.groups[&shard].replicas.iter().filter(|(_, r)| r.open).map(|(id, _)| *id);
                let mut open: Vec<u64> = open.collect();
                open.shuffle(&mut self.rng);
                for candidate in open {
                    if self.elect(shard, candidate)? {
                        break;
                    }
                }
            }
            self.send(shard)?;
        }
        let mut nodes: Vec<u64> = self.nodes.iter().filter(|(_, n)| n.up).map(|(id, _)| *id).collect();
        nodes.shuffle(&mut self.rng);
        for node in nodes {
            match self.nodes[&node].meta_replica {
                Some(_) => self.steward_round(node)?,
                None => {
                    let members = self.members();
                    if let Some(member) = self.pick(&members) {
                        self.join(node, member)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A leader that can commit: one left of an older term cannot.
    fn has_working_leader(&self, shard: u32) -> bool {
        let group = &self.groups[&shard];
        group.leaders().last().and_then(|l| group.replicas.get(l)).is_some_and(|r| r.commit == r.log.len())
    }

    /// What is not yet as it should be.
    fn unrest(&self) -> Option<String> {
        let state = self.newest();
        let live: BTreeSet<u64> = self.members().into_iter().filter(|id| state.nodes.contains_key(id)).collect();
        let stuck = !state.retiring.is_empty();
        let wanted = replicas_wanted(live.difference(&state.retiring).count(), REPLICATION_FACTOR);
        let mut led: BTreeMap<u64, usize> = live.iter().map(|n| (*n, 0)).collect();
        // The metadata first: without it nothing else comes to rest.
        for (shard, record) in state.records().collect::<Vec<_>>().into_iter().rev() {
            if let Some(what) = self.unrest_of(&state, shard, wanted) {
                let group = self.groups[&shard].brief();
                return Some(format!("{}: {what}; {record:?}; {group}", named(shard)));
            }
            let leader = self.groups[&shard].leaders().last().map(|l| self.groups[&shard].replicas[l].node);
            if let Some(node) = leader.filter(|_| shard != META_SHARD) {
                *led.entry(node).or_default() += 1;
            }
        }
        // Beside a living node of its name nobody is taken in.
        let has_namesake = |name: usize| live.iter().any(|id| self.nodes[id].name == name);
        if let Some(node) = self.nodes.iter().find(|(_, n)| n.up && n.meta_replica.is_none() && !has_namesake(n.name)) {
            return Some(format!("node {:x} is not taken in", node.0));
        }
        if let Some(node) = state.retiring.iter().find(|n| cannot_retire(&state, &live, **n).is_none()) {
            return Some(format!("node {node:x} is still retiring"));
        }
        uneven(&state, &live, &led).filter(|_| !stuck)
    }

    fn unrest_of(&self, state: &MetaState, shard: u32, wanted: usize) -> Option<String> {
        let record = state.record(shard)?;
        let group = &self.groups[&shard];
        if !record.leaving.is_empty() {
            return Some("a replica is still leaving".into());
        }
        if !self.has_working_leader(shard) {
            return Some("no leader that can commit".into());
        }
        let leader = group.leaders().last().copied()?;
        let view = group.view(leader)?;
        let replicas: BTreeSet<u64> = record.replicas.iter().map(|r| r.replica).collect();
        let odd = replicas.len() - usize::from(replicas.len().is_multiple_of(2));
        let voters: BTreeSet<u64> = record.replicas.iter().take(odd).map(|r| r.replica).collect();
        let enough =
            if shard == META_SHARD { view.voters.is_subset(&replicas) } else { view.voters == voters && odd >= wanted };
        if !enough || view.changing_to.is_some() {
            return Some(format!("wants {wanted} voters, has {:?}", view.voters));
        }
        let asleep = view.voters.iter().find(|v| !group.replicas.get(v).is_some_and(|r| r.open && !r.lost));
        asleep.map(|v| format!("voter {v} is not open"))
    }
}

/// Whether leaders could be spread more evenly, by one that moves to a node with two fewer.
fn uneven(state: &MetaState, live: &BTreeSet<u64>, led: &BTreeMap<u64, usize>) -> Option<String> {
    let everywhere = state.shards.values().all(|s| s.replicas.len() == live.len());
    let (least, most) = (led.values().min()?, led.values().max()?);
    (everywhere && most - least > 1).then(|| format!("leaders are not even: {led:?}"))
}
