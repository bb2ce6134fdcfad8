//! What befalls nodes, disks and links.
use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::SliceRandom;
use trine_actors::meta::META_SHARD;

use super::world::World;
use crate::sim::Violation;

impl World {
    pub(super) fn fault(&mut self) -> Result<(), Violation> {
        let names: Vec<usize> = (0..self.current.len()).collect();
        let Some(name) = self.pick(&names) else { return Ok(()) };
        let current = self.current[name];
        match self.rng.random_range(0..100) {
            0..=24 => match current {
                None => drop(self.draw_node(name)),
                Some(node) if !self.nodes[&node].up => return self.start(node),
                Some(_) => {}
            },
            25..=34 => self.crash(current, false),
            35..=44 => self.crash(current, true),
            45..=52 => self.lose_disk(name),
            53..=57 => self.lose_shards(current),
            58..=61 => return self.past_returns(),
            62..=71 => self.change_links(),
            72..=79 => self.heal_links(),
            80..=91 => self.mistake(),
            _ => return self.some_retirement(),
        }
        Ok(())
    }

    fn crash(&mut self, node: Option<u64>, power_cut: bool) {
        if let Some(node) = node.filter(|n| self.nodes[n].up) {
            self.trace.note(if power_cut { "power cut" } else { "kill" }, format!("{node:x}"));
            self.stop(node, power_cut);
        }
    }

    pub(super) fn stop(&mut self, node: u64, power_cut: bool) {
        self.node(node).up = false;
        self.node(node).waits = None;
        for replica in
            self.groups.values_mut().flat_map(|g| g.replicas.values_mut()).filter(|r| r.node == node && r.open)
        {
            replica.close(power_cut);
        }
    }

    /// A node starts on the disk it has, if the cluster still knows it.
    pub(super) fn start(&mut self, node: u64) -> Result<(), Violation> {
        self.node(node).up = true;
        self.trace.note("restart", format!("{node:x}"));
        let Some(replica) = self.nodes[&node].meta_replica else { return Ok(()) };
        // It asks those that it knows of; the first that knows decides.
        let mut peers: Vec<u64> = self.members().into_iter().filter(|m| *m != node).collect();
        peers.shuffle(&mut self.rng);
        for peer in peers {
            if !self.linked(node, peer) {
                continue;
            }
            let state = self.state(peer);
            if state.refusal(node).is_some() && self.rules.refuses_the_past {
                self.trace.note("refused", format!("node {node:x} by {peer:x}"));
                self.stop(node, false);
                self.node(node).ended = true;
                return Ok(());
            }
            if state.nodes.contains_key(&node) {
                if state.has_dropped_meta(replica) {
                    self.trace.note("rejoin", format!("{node:x} needs new metadata"));
                    self.node(node).meta_replica = None;
                    return Ok(());
                }
                break;
            }
        }
        self.group(META_SHARD).open(replica)
    }

    /// Replicas whose data is on a node's disk.
    fn on_disk(&self, node: u64, with_metadata: bool) -> Vec<(u32, u64)> {
        let groups = self.groups.iter().filter(|(shard, _)| with_metadata || **shard != META_SHARD);
        let of = |(shard, g): (&u32, &super::group::Group)| {
            let here = g.replicas.iter().filter(|(_, r)| r.node == node && !r.lost);
            here.map(|(id, _)| (*shard, *id)).collect::<Vec<_>>()
        };
        groups.flat_map(of).collect()
    }

    /// Whether every group keeps a majority of whole voters without these: nothing survives more.
    fn bears_loss_of(&self, replicas: &[(u32, u64)]) -> bool {
        self.groups.iter().all(|(shard, group)| {
            let lost: BTreeSet<u64> = replicas.iter().filter(|(s, _)| s == shard).map(|(_, r)| *r).collect();
            lost.is_empty() || group.bears_loss_of(&lost)
        })
    }

    /// Counts a node's disk as one that does not come back, if nothing is lost with it that nobody else has.
    pub(super) fn give_up(&mut self, node: u64) -> bool {
        let held = self.on_disk(node, true);
        let known = held.iter().all(|(shard, id)| self.groups[shard].replicas.get(id).is_some_and(|r| r.aside));
        let bears = known || self.bears_loss_of(&held);
        for (shard, replica) in held.into_iter().filter(|_| bears) {
            self.group(shard).replicas.entry(replica).and_modify(|r| r.aside = true);
        }
        bears
    }

    fn lose(&mut self, replicas: &[(u32, u64)]) {
        for (shard, replica) in replicas {
            if let Some(r) = self.group(*shard).replicas.get_mut(replica) {
                r.close(true);
                r.lost = true;
            }
        }
    }

    /// A node's machine gets an empty disk. The old one is gone, or lies aside, and somebody may put it back one day.
    fn lose_disk(&mut self, name: usize) {
        let Some(node) = self.current[name] else { return };
        let held = self.on_disk(node, true);
        if !self.bears_loss_of(&held) {
            return;
        }
        self.stop(node, true);
        self.current[name] = None;
        if self.rng.random_ratio(1, 2) {
            self.trace.note("wipe", format!("n{name}, which was {node:x}"));
            self.lose(&held);
            self.node(node).ended = true;
        } else {
            self.trace.note("set aside", format!("the disk of n{name}, which was {node:x}"));
            self.give_up(node);
        }
    }

    /// Log and files of shards are gone, the identity and the metadata are not.
    fn lose_shards(&mut self, node: Option<u64>) {
        let Some(node) = node.filter(|n| self.nodes[n].meta_replica.is_some()) else { return };
        let held = self.on_disk(node, false);
        if held.is_empty() || !self.bears_loss_of(&held) {
            return;
        }
        self.trace.note("lose shards", format!("on {node:x}"));
        self.stop(node, false);
        self.lose(&held);
        self.node(node).born.clear();
    }

    /// A disk that was set aside is started again beside the one that came after it.
    fn past_returns(&mut self) -> Result<(), Violation> {
        let aside: Vec<u64> = self
            .nodes
            .iter()
            .filter(|(id, n)| !n.up && !n.ended && self.current[n.name] != Some(**id))
            .map(|(id, _)| *id)
            .collect();
        let Some(node) = self.pick(&aside) else { return Ok(()) };
        self.trace.note("past returns", format!("{node:x}"));
        self.start(node)
    }

    fn change_links(&mut self) {
        let ids: Vec<u64> = self.nodes.iter().filter(|(_, n)| !n.ended).map(|(id, _)| *id).collect();
        if self.rng.random_ratio(1, 3) {
            if let (Some(a), Some(b)) = (self.pick(&ids), self.pick(&ids)) {
                self.cut.insert((a, b));
                self.trace.note("cut", format!("{a:x} to {b:x}"));
            }
            return;
        }
        self.sides = ids.into_iter().map(|id| (id, u8::from(self.rng.random_ratio(1, 3)))).collect();
        let apart = self.sides.values().filter(|side| **side == 1).count();
        self.trace.note("partition", format!("{apart} nodes apart"));
    }

    pub(super) fn heal_links(&mut self) {
        self.sides.clear();
        self.cut.clear();
        self.trace.note("heal", "links");
    }

    /// Somebody's idea of who is alive turns wrong, or right again.
    fn mistake(&mut self) {
        let ids: Vec<u64> = self.nodes.iter().filter(|(_, n)| !n.ended).map(|(id, _)| *id).collect();
        let (Some(by), Some(of)) = (self.pick(&ids), self.pick(&ids)) else { return };
        if self.mistaken.len() > 3 || !self.mistaken.insert((by, of)) {
            self.mistaken.clear();
            return;
        }
        self.trace.note("mistaken", format!("{by:x} about {of:x}"));
    }

    fn some_retirement(&mut self) -> Result<(), Violation> {
        let (members, ids) = (self.members(), self.nodes.keys().copied().collect::<Vec<_>>());
        let (Some(through), Some(node)) = (self.pick(&members), self.pick(&ids)) else { return Ok(()) };
        let drain = self.rng.random_ratio(1, 2);
        self.retire(through, node, drain).map(drop)
    }
}
