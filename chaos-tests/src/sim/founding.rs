//! Who founds a cluster and who joins: nodes that start in any order, with partial views of each other, and lose disks.
//!
//! The decision is the product's ([`next_move`]); gossip is a model: a node tells another what it says of itself and what it
//! has heard of others. What was said longer ago than [`FRESH`] counts as said by nobody, as a failure detector would have
//! it, and a disk is empty for longer than that before its node starts again. There is one cluster: never do two live on
//! disks at a time.
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use trine_actors::gossip::{Peer, Peers};
use trine_actors::identity::ANY_CLUSTER;
use trine_actors::meta::NodeRecord;
use trine_actors::sim::{Move, Seed, Sight, next_move};

use super::{Outcome, Trace, Violation};

/// Ticks that a claim counts.
const FRESH: u64 = 30;
/// Ticks of a run before its faults end, at most.
const TICKS_MAX: u64 = 900;
/// Ticks within which a healed set of nodes must be one cluster.
const SETTLE_TICKS: u64 = 6_000;

/// The rule that nodes go by: the product's, or a broken one, to test the test.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub next_move: for<'a> fn(&Sight<'a>) -> Move<'a>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { next_move }
    }
}

/// What a process said of itself, and when.
#[derive(Clone, Debug)]
struct Claim {
    peer: Peer,
    said_at: u64,
}

/// A name's machine.
#[derive(Clone, Debug, Default)]
struct Node {
    id: u64,
    up: bool,
    /// Empty until it belongs to one.
    cluster: String,
    rejoin: String,
    heard: BTreeMap<u64, Claim>,
    /// It must not start before.
    down_until: u64,
}

struct World {
    rng: StdRng,
    rules: Rules,
    trace: Trace,
    now: u64,
    nodes: Vec<Node>,
    expect: usize,
    /// Which names `join` names, the same everywhere.
    seeds: Vec<usize>,
    /// Whether a node that is down has no address.
    names_vanish: bool,
    sides: Vec<u8>,
    founded: u64,
}

fn address(name: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, name as u8 + 1], 7))
}

/// Plays one seed.
pub fn play(seed: u64, rules: &Rules) -> Outcome {
    let mut rng = StdRng::seed_from_u64(seed);
    let count = rng.random_range(1..=7);
    // Either `join` names everybody, and any number may be expected; or only some, and all are.
    let (seeds, expect): (Vec<usize>, usize) = match rng.random_range(0..4) {
        0 => (vec![rng.random_range(0..count)], count),
        _ => ((0..count).collect(), rng.random_range(1..=count)),
    };
    let names_vanish = rng.random_bool(0.3);
    let mut trace = Trace::default();
    trace.note("nodes", format!("{count}, join names {seeds:?}, bootstrap_expect {expect}"));
    let nodes = vec![Node::default(); count];
    let (now, founded, sides) = (0, 0, vec![0; count]);
    let mut world = World { rng, rules: *rules, trace, now, nodes, expect, seeds, names_vanish, sides, founded };
    let result = world.run();
    world.trace.end(result)
}

impl World {
    fn run(&mut self) -> Result<(), Violation> {
        let ticks = self.rng.random_range(100..TICKS_MAX);
        while self.now < ticks {
            self.tick(true)?;
        }
        self.sides.fill(0);
        self.trace.note("heal", "all");
        let until = self.now + SETTLE_TICKS;
        while self.now < until {
            for name in 0..self.nodes.len() {
                if !self.nodes[name].up && self.nodes[name].down_until <= self.now {
                    self.start(name);
                }
            }
            self.tick(false)?;
            if self.is_one() {
                self.trace.note("one cluster", format!("after {} ticks", self.now - ticks));
                return Ok(());
            }
        }
        if self.waits_for_the_dead() {
            self.trace.note("waits", "for a cluster that is on no disk any more");
            return Ok(());
        }
        let clusters: Vec<&str> = self.nodes.iter().map(|n| n.cluster.as_str()).collect();
        Violation::found("healed nodes become one cluster", format!("clusters of the nodes: {clusters:?}"))
    }

    fn is_one(&self) -> bool {
        self.nodes.iter().all(|n| n.up && !n.cluster.is_empty() && n.cluster == self.nodes[0].cluster)
    }

    /// Somebody only joins what nobody has: that needs an operator, by design.
    fn waits_for_the_dead(&self) -> bool {
        let exists = |cluster: &str| self.nodes.iter().any(|n| n.cluster == cluster);
        let waits = |n: &Node| !n.rejoin.is_empty() && (!exists(&n.rejoin) || n.rejoin == ANY_CLUSTER);
        self.nodes.iter().all(|n| !n.cluster.is_empty() || waits(n) || self.nodes.iter().all(|n| n.cluster.is_empty()))
            && self.nodes.iter().any(waits)
    }

    fn tick(&mut self, faults: bool) -> Result<(), Violation> {
        self.now += 1;
        let name = self.rng.random_range(0..self.nodes.len());
        match self.rng.random_range(0..100) {
            0..=59 => self.gossip(name),
            60..=84 => self.decide(name)?,
            _ if !faults => {}
            85..=91 if !self.nodes[name].up && self.nodes[name].down_until <= self.now => self.start(name),
            92..=93 => self.stop(name, "kill"),
            94 => self.lose(name, false),
            95 => self.lose(name, true),
            96 => {
                let rng = &mut self.rng;
                self.sides.fill_with(|| u8::from(rng.random_bool(0.3)));
                self.trace.note("partition", format!("{:?}", self.sides));
            }
            97 => {
                self.sides.fill(0);
                self.trace.note("heal", "links");
            }
            _ => {}
        }
        let alive: BTreeSet<&str> =
            self.nodes.iter().map(|n| n.cluster.as_str()).filter(|cluster| !cluster.is_empty()).collect();
        if alive.len() > 1 {
            return Violation::found("one cluster", format!("{alive:?} live beside each other"));
        }
        Ok(())
    }

    fn start(&mut self, name: usize) {
        let id = self.rng.random_range(1..=u64::MAX >> 1);
        let node = &mut self.nodes[name];
        if node.id == 0 {
            node.id = id;
        }
        (node.up, node.heard) = (true, BTreeMap::new());
        self.trace.note("start", format!("n{name}, cluster {:?}", node.cluster));
    }

    fn stop(&mut self, name: usize, why: &'static str) {
        if self.nodes[name].up {
            self.nodes[name].up = false;
            self.trace.note(why, format!("n{name}"));
        }
    }

    /// The disk is empty, or what it has of the metadata is damaged: then the node remembers that it only joins.
    fn lose(&mut self, name: usize, only_metadata: bool) {
        self.stop(name, "stop");
        let cluster = std::mem::take(&mut self.nodes[name].cluster);
        let known = self.rng.random_bool(0.5);
        let before = std::mem::take(&mut self.nodes[name].rejoin);
        let rejoin = match (only_metadata, cluster.is_empty()) {
            (false, _) => String::new(),
            (true, true) => before,
            (true, false) if known => cluster,
            (true, false) => ANY_CLUSTER.to_owned(),
        };
        let down_until = self.now + 2 * FRESH;
        self.nodes[name] = Node { rejoin, down_until, ..Node::default() };
        self.trace.note(if only_metadata { "lose metadata" } else { "wipe" }, format!("n{name}"));
    }

    fn own(&self, name: usize) -> Peer {
        let s = String::new;
        let Node { id, cluster, .. } = &self.nodes[name];
        let (id, cluster) = (*id, cluster.clone());
        let node = NodeRecord { id, name: format!("n{name}"), rpc: s(), http: s(), zone: s(), version: s() };
        Peer { node, cluster, ready: false, disk_full: false, room_from_ms: [i64::MIN; 3], gossip: Some(address(name)) }
    }

    fn linked(&self, a: usize, b: usize) -> bool {
        self.nodes[a].up && self.nodes[b].up && self.sides[a] == self.sides[b]
    }

    /// A node tells another one what it knows; either it knows it as a seed, or by hearsay.
    fn gossip(&mut self, from: usize) {
        if !self.nodes[from].up {
            return;
        }
        let heard = &self.nodes[from].heard;
        let knows = |name: &usize| {
            let address = Some(address(*name));
            self.seeds.contains(name) || heard.values().any(|c| c.peer.gossip == address)
        };
        let known: Vec<usize> = (0..self.nodes.len()).filter(|name| *name != from && knows(name)).collect();
        if known.is_empty() {
            return;
        }
        let to = known[self.rng.random_range(0..known.len())];
        if !self.linked(from, to) {
            return;
        }
        let (a, b) = (self.tells(from), self.tells(to));
        self.hear(to, a);
        if self.rng.random_bool(0.8) {
            self.hear(from, b);
        }
    }

    fn tells(&self, name: usize) -> Vec<(u64, Claim)> {
        let own = (self.nodes[name].id, Claim { peer: self.own(name), said_at: self.now });
        let others = self.nodes[name].heard.iter().map(|(id, claim)| (*id, claim.clone()));
        others.chain([own]).collect()
    }

    fn hear(&mut self, name: usize, claims: Vec<(u64, Claim)>) {
        let own = self.nodes[name].id;
        for (id, claim) in claims.into_iter().filter(|(id, _)| *id != own) {
            let known = self.nodes[name].heard.get(&id).is_some_and(|k| k.said_at >= claim.said_at);
            if !known {
                self.nodes[name].heard.insert(id, claim);
            }
        }
    }

    fn decide(&mut self, name: usize) -> Result<(), Violation> {
        if !self.nodes[name].up || !self.nodes[name].cluster.is_empty() {
            return Ok(());
        }
        let fresh = |claim: &&Claim| claim.said_at + FRESH >= self.now;
        let heard = self.nodes[name].heard.values().filter(fresh).map(|c| c.peer.clone());
        let peers: Peers = heard.chain([self.own(name)]).map(|p| (p.node.id, p)).collect();
        let gone = |seed: &usize| self.names_vanish && !self.nodes[*seed].up;
        let addresses = |seed: &usize| if gone(seed) { BTreeSet::new() } else { [address(*seed)].into() };
        let seeds: Vec<Seed> =
            self.seeds.iter().map(|n| Seed { name: format!("n{n}:7"), addresses: addresses(n) }).collect();
        let rejoin = self.nodes[name].rejoin.clone();
        let sight = Sight {
            me: self.nodes[name].id,
            peers: &peers,
            rejoin: &rejoin,
            expect: self.expect,
            own: address(name),
            seeds: &seeds,
        };
        match (self.rules.next_move)(&sight) {
            Move::Wait(_) => {}
            Move::Found => {
                self.founded += 1;
                self.nodes[name].cluster = format!("c{}", self.founded);
                self.trace.note("found", format!("n{name} founds c{}", self.founded));
                if !rejoin.is_empty() {
                    return Violation::found("who lost a cluster founds none", format!("n{name} was of {rejoin}"));
                }
            }
            Move::Join(member) => {
                let (asked, cluster) = (member.gossip, member.cluster.clone());
                let at = (0..self.nodes.len()).find(|n| Some(address(*n)) == asked);
                let Some(at) = at.filter(|at| self.linked(name, *at) && self.nodes[*at].cluster == cluster) else {
                    return Ok(());
                };
                self.trace.note("join", format!("n{name} joins {cluster} through n{at}"));
                self.nodes[name].cluster = cluster;
                self.nodes[name].rejoin = String::new();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wiped first node's bug: whoever sees enough nodes without a cluster founds one.
    fn whoever_sees_enough<'a>(sight: &Sight<'a>) -> Move<'a> {
        if let Some(member) = sight.peers.values().find(|p| !p.cluster.is_empty()) {
            return Move::Join(member);
        }
        if sight.peers.len() >= sight.expect { Move::Found } else { Move::Wait(None) }
    }

    #[test]
    fn a_founder_that_does_not_wait_for_the_silent_is_caught() {
        let rules = Rules { next_move: whoever_sees_enough };
        let caught = (1..200).find_map(|seed| play(seed, &rules).violation).expect("a violation");
        assert_eq!(caught.invariant, "one cluster");
    }
}
