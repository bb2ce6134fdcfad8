//! Nodes, disks, links and groups, and the events that befall them.
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rand::Rng;
use rand::rngs::StdRng;
use trine_actors::meta::{Command, META_SHARD, MetaState, NodeRecord};

use super::Rules;
use super::group::{Body, Group};
use crate::sim::{Trace, Violation};

/// Replicas that the cluster aims at.
pub(super) const REPLICATION_FACTOR: usize = 3;
/// Replica of the metadata group on the founder.
const FOUNDER_META_REPLICA: u64 = 1;

/// One incarnation of a node: a disk, and what runs on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) name: usize,
    pub(super) up: bool,
    /// Its replica of the metadata group; `None` until it belongs to the cluster.
    pub(super) meta_replica: Option<u64>,
    /// Replicas of shards whose directory and log are on the disk.
    pub(super) born: BTreeSet<u64>,
    /// It was told that it is none of the cluster any more.
    pub(super) ended: bool,
    /// Its steward waits for what it proposed.
    pub(super) waits: Option<(u32, usize)>,
}

/// The whole cluster.
pub(super) struct World {
    pub(super) rng: StdRng,
    pub(super) rules: Rules,
    pub(super) trace: Trace,
    /// Every incarnation, by node id.
    pub(super) nodes: BTreeMap<u64, Node>,
    /// The incarnation on each name's machine; others are disks that lie aside.
    pub(super) current: Vec<Option<u64>>,
    pub(super) groups: BTreeMap<u32, Group>,
    /// The metadata after so many committed entries of its group.
    pub(super) states: Vec<Rc<MetaState>>,
    pub(super) seen: super::check::Seen,
    pub(super) lines: super::lines::Lines,
    /// Which side of a partition each node is on.
    pub(super) sides: BTreeMap<u64, u8>,
    /// Links cut in one direction.
    pub(super) cut: BTreeSet<(u64, u64)>,
    /// Where a node's view of who is alive is wrong: who sees it, of whom.
    pub(super) mistaken: BTreeSet<(u64, u64)>,
    /// Messages of a hundred that are lost.
    pub(super) loss_percent: u32,
}

impl World {
    pub(super) fn new(mut rng: StdRng, rules: Rules, names: usize, shards: u32) -> Self {
        let loss_percent = [0, 5, 20][rng.random_range(0..3)];
        let mut world = Self {
            rng,
            rules,
            trace: Trace::default(),
            nodes: BTreeMap::new(),
            current: vec![None; names],
            groups: (0..shards).chain([META_SHARD]).map(|shard| (shard, Group::default())).collect(),
            states: vec![Rc::default()],
            seen: super::check::Seen::default(),
            lines: super::lines::Lines::default(),
            sides: BTreeMap::new(),
            cut: BTreeSet::new(),
            mistaken: BTreeSet::new(),
            loss_percent,
        };
        world.trace.note("cluster", format!("of {names} nodes and {shards} shards, {loss_percent} % of messages lost"));
        let founder = world.draw_node(0);
        world.found(founder, shards);
        world
    }

    /// A new incarnation on an empty disk.
    pub(super) fn draw_node(&mut self, name: usize) -> u64 {
        let id = self.rng.random_range(1..=u64::MAX >> 1);
        self.nodes.insert(id, Node { name, up: true, ..Node::default() });
        self.current[name] = Some(id);
        self.trace.note("start", format!("n{name} on an empty disk as {id:x}"));
        id
    }

    fn found(&mut self, founder: u64, shards_count: u32) {
        let record = self.record(founder);
        if let Some(node) = self.nodes.get_mut(&founder) {
            node.meta_replica = Some(FOUNDER_META_REPLICA);
        }
        let group = self.group(META_SHARD);
        group.give_birth(FOUNDER_META_REPLICA, founder);
        group.initialize(FOUNDER_META_REPLICA);
        let opened =
            group.open(FOUNDER_META_REPLICA).and_then(|()| group.elect(FOUNDER_META_REPLICA, &mut |_, _| true));
        debug_assert!(opened.is_ok(), "a group of one elects");
        let command = Command::CreateCluster {
            cluster: "c".into(),
            founder: record,
            meta_replica: FOUNDER_META_REPLICA,
            shards_count,
        };
        group.propose(FOUNDER_META_REPLICA, Body::Command(command.into()));
    }

    pub(super) fn record(&self, id: u64) -> NodeRecord {
        let name = self.nodes.get(&id).map_or(0, |n| n.name);
        let s = String::new;
        let zone = ["a", "b", "c"][name % 3].to_owned();
        NodeRecord { id, name: format!("n{name}"), rpc: s(), http: s(), zone, version: s() }
    }

    pub(super) fn group(&mut self, shard: u32) -> &mut Group {
        self.groups.entry(shard).or_default()
    }

    /// Whether a message from one node gets to another, this time.
    pub(super) fn reaches(&mut self, from: u64, to: u64) -> bool {
        self.linked(from, to) && (from == to || !self.rng.random_ratio(self.loss_percent.min(99), 100))
    }

    /// Whether the link is there, both nodes included.
    pub(super) fn linked(&self, from: u64, to: u64) -> bool {
        let up = |id: &u64| self.nodes.get(id).is_some_and(|n| n.up);
        let side = |id: &u64| self.sides.get(id).copied().unwrap_or(0);
        up(&from) && up(&to) && (from == to || (side(&from) == side(&to) && !self.cut.contains(&(from, to))))
    }

    /// Nodes that a node takes for alive, itself included.
    pub(super) fn live(&self, at: u64) -> BTreeSet<u64> {
        let alive = |id: &u64| {
            let truth = self.linked(*id, at) && self.linked(at, *id);
            *id == at || truth != self.mistaken.contains(&(at, *id))
        };
        self.nodes.iter().filter(|(id, n)| !n.ended && alive(id)).map(|(id, _)| *id).collect()
    }

    /// A node's copy of the metadata.
    pub(super) fn state(&self, node: u64) -> Rc<MetaState> {
        let replica = self.nodes.get(&node).and_then(|n| n.meta_replica);
        let commit = replica.and_then(|r| self.groups[&META_SHARD].replicas.get(&r)).map_or(0, |r| r.commit);
        self.states[commit.min(self.states.len() - 1)].clone()
    }

    /// The newest metadata there is.
    pub(super) fn newest(&self) -> Rc<MetaState> {
        self.states[self.states.len() - 1].clone()
    }

    /// Nodes that run and belong to the cluster.
    pub(super) fn members(&self) -> Vec<u64> {
        self.nodes.iter().filter(|(_, n)| n.up && n.meta_replica.is_some()).map(|(id, _)| *id).collect()
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.rng.random_range(0..from.len())])
    }

    /// One event: mostly something that goes on by itself, sometimes a fault.
    pub(super) fn event(&mut self) -> Result<(), Violation> {
        match self.rng.random_range(0..100) {
            0..=29 => {
                let members = self.members();
                self.pick(&members).map_or(Ok(()), |node| self.steward_round(node))
            }
            30..=64 => self.some_messages(),
            65..=72 => self.some_election(),
            73..=79 => self.write(),
            80..=84 => self.some_join(),
            85..=86 => self.place_lines(),
            _ => self.fault(),
        }
    }

    /// Messages of some groups' leaders to everybody.
    fn some_messages(&mut self) -> Result<(), Violation> {
        let shards: Vec<u32> = self.groups.keys().copied().collect();
        for shard in shards {
            // The metadata moves faster than the shards, or little would happen.
            if shard == META_SHARD || self.rng.random_ratio(1, 2) {
                self.send(shard)?;
            }
        }
        Ok(())
    }

    /// One message from each leader of a group to each member.
    pub(super) fn send(&mut self, shard: u32) -> Result<(), Violation> {
        for leader in self.groups[&shard].leaders() {
            let group = &self.groups[&shard];
            let from = group.replicas[&leader].node;
            let members: Vec<u64> =
                group.view(leader).map_or(Vec::new(), |v| v.voters.union(&v.learners).copied().collect());
            for to in members.into_iter().filter(|to| *to != leader) {
                let Some(node) = self.groups[&shard].replicas.get(&to).map(|r| r.node) else { continue };
                // There and back.
                if self.reaches(from, node) && self.reaches(node, from) {
                    self.group(shard).replicate(leader, to)?;
                }
            }
            self.group(shard).commit(leader)?;
        }
        if shard == META_SHARD { self.follow_metadata() } else { Ok(()) }
    }

    /// Somebody loses patience with a leader, or with there being none.
    fn some_election(&mut self) -> Result<(), Violation> {
        let shards: Vec<u32> = self.groups.keys().copied().collect();
        let Some(shard) = self.pick(&shards) else { return Ok(()) };
        // Where nobody leads it is a matter of time; where somebody does, of bad links.
        if !self.groups[&shard].leaders().is_empty() && self.rng.random_ratio(3, 4) {
            return Ok(());
        }
        let open: Vec<u64> = self.groups[&shard].replicas.iter().filter(|(_, r)| r.open).map(|(id, _)| *id).collect();
        let Some(candidate) = self.pick(&open) else { return Ok(()) };
        self.elect(shard, candidate).map(drop)
    }

    pub(super) fn elect(&mut self, shard: u32, candidate: u64) -> Result<bool, Violation> {
        let Some(mut group) = self.groups.remove(&shard) else { return Ok(false) };
        let elected = group.elect(candidate, &mut |from, to| self.reaches(from, to) && self.reaches(to, from));
        self.groups.insert(shard, group);
        let elected = elected?;
        if elected {
            self.trace.note("elected", format!("replica {candidate} of {}", named(shard)));
        }
        Ok(elected)
    }

    /// A client writes, sometimes much.
    pub(super) fn write(&mut self) -> Result<(), Violation> {
        let shards: Vec<u32> = self.groups.keys().copied().filter(|s| *s != META_SHARD).collect();
        let Some(shard) = self.pick(&shards) else { return Ok(()) };
        let facts =
            if self.rng.random_ratio(1, 4) { self.rng.random_range(100..500) } else { self.rng.random_range(1..20) };
        let leaders = self.groups[&shard].leaders();
        let Some(leader) = self.pick(&leaders) else { return Ok(()) };
        for _ in 0..facts {
            self.group(shard).propose(leader, Body::Plain);
        }
        self.trace.note("write", format!("{facts} entries to {}", named(shard)));
        self.send(shard)
    }
}

/// A group in words.
pub(super) fn named(shard: u32) -> String {
    if shard == META_SHARD { "the metadata".into() } else { format!("shard {shard}") }
}
