//! Whether a node without a cluster joins one, waits, or founds one. Pure.
//!
//! A node whose disk was wiped knows nothing of the cluster that it founded. It must not found another one beside it, so it
//! founds only when whoever could know of a cluster has said that there is none: every node that `join` names. Fewer are not
//! enough, even if they are more than half: two nodes that do not see each other could both see those, and both found.
use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::gossip::{Peer, Peers};
use crate::identity::ANY_CLUSTER;

/// What a node without a cluster knows.
#[derive(Clone, Debug)]
pub struct Sight<'a> {
    pub me: u64,
    pub peers: &'a Peers,
    /// The cluster that it lost its part of; empty when it had none.
    pub rejoin: &'a str,
    pub expect: usize,
    /// This node's own gossip address.
    pub own: SocketAddr,
    /// Whom `join` names.
    pub seeds: &'a [Seed],
}

/// One entry of `join`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    pub name: String,
    /// What it resolves to now; none if it does not.
    pub addresses: BTreeSet<SocketAddr>,
}

impl Seed {
    /// Whether all nodes behind it have been heard of. One node may have an address of each family, and gossips from one.
    fn is_heard(&self, heard: &BTreeSet<SocketAddr>) -> bool {
        let (v4, v6): (Vec<_>, Vec<_>) = self.addresses.iter().partition(|a| a.is_ipv4());
        [v4, v6].iter().any(|family| !family.is_empty() && family.iter().all(|a| heard.contains(a)))
    }
}

/// What it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move<'a> {
    Join(&'a Peer),
    Found,
    /// And why, if an operator could do something.
    Wait(Option<String>),
}

pub fn next_move<'a>(sight: &Sight<'a>) -> Move<'a> {
    let Sight { me, peers, rejoin, expect, own, seeds } = sight;
    let (me, expect) = (*me, *expect);
    let wanted =
        |p: &&Peer| !p.cluster.is_empty() && (rejoin.is_empty() || *rejoin == ANY_CLUSTER || p.cluster == *rejoin);
    if let Some(member) = peers.values().find(wanted) {
        return Move::Join(member);
    }
    if !rejoin.is_empty() {
        let reason = format!("this node lost its part of cluster {rejoin} and only joins it; no member is reachable");
        return Move::Wait(Some(reason));
    }
    if expect == 0
        || peers.len() < expect
        || peers.values().any(|p| !p.cluster.is_empty())
        || !has_lowest_name(peers, me)
    {
        return Move::Wait(None);
    }
    let heard: BTreeSet<SocketAddr> = peers.values().filter_map(|p| p.gossip).chain([*own]).collect();
    let silent: Vec<&str> = seeds.iter().filter(|s| !s.is_heard(&heard)).map(|s| s.name.as_str()).collect();
    if silent.is_empty() {
        return Move::Found;
    }
    Move::Wait(Some(format!(
        "not creating a cluster: {} of join have not answered and may belong to one; start them, or take them out of join",
        silent.join(", ")
    )))
}

/// Whether this node has the lowest name of all that see each other.
fn has_lowest_name(peers: &Peers, me: u64) -> bool {
    let lowest = peers.values().min_by(|a, b| (&a.node.name, a.node.id).cmp(&(&b.node.name, b.node.id)));
    lowest.is_some_and(|p| p.node.id == me)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::NodeRecord;

    fn at(n: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, n], 7))
    }

    fn peer(n: u8, cluster: &str) -> (u64, Peer) {
        let s = String::new;
        let node = NodeRecord { id: n.into(), name: format!("n{n}"), rpc: s(), http: s(), zone: s(), version: s() };
        (
            n.into(),
            Peer {
                node,
                cluster: cluster.into(),
                ready: false,
                disk_full: false,
                room_from_ms: [i64::MIN; 3],
                gossip: Some(at(n)),
            },
        )
    }

    fn seed(addresses: &[SocketAddr]) -> Seed {
        Seed { name: "n.example:7".into(), addresses: addresses.iter().copied().collect() }
    }

    fn moves(me: u8, peers: &[(u8, &str)], seeds: &[u8], expect: usize, rejoin: &str) -> String {
        let peers: Peers = peers.iter().map(|(n, c)| peer(*n, c)).collect();
        let seeds: Vec<Seed> = seeds.iter().map(|n| seed(&[at(*n)])).collect();
        let sight = Sight { me: me.into(), peers: &peers, rejoin, expect, own: at(me), seeds: &seeds };
        match next_move(&sight) {
            Move::Join(p) => format!("join {}", p.node.name),
            Move::Found => "found".into(),
            Move::Wait(_) => "wait".into(),
        }
    }

    #[test]
    fn a_cluster_is_founded_only_when_nobody_named_can_belong_to_one() {
        let none = [(1, ""), (2, ""), (3, "")];
        assert_eq!(moves(1, &none, &[1, 2, 3], 3, ""), "found");
        assert_eq!(moves(2, &none, &[1, 2, 3], 3, ""), "wait", "the lowest name does it");
        assert_eq!(moves(1, &none[..2], &[1, 2, 3], 3, ""), "wait", "too few");
        assert_eq!(moves(1, &none[..1], &[], 1, ""), "found");
        assert_eq!(moves(1, &none[..1], &[1], 1, ""), "found", "a seed may be oneself");
        // n2 may see n3 as well, and not n1: then both would found.
        assert_eq!(moves(1, &[(1, ""), (3, "")], &[1, 2, 3], 2, ""), "wait", "more than half are not all");
        assert_eq!(moves(1, &none, &[1, 2, 3], 0, ""), "wait");
        // The wiped first node: its seeds are slow, or it is the first to start.
        assert_eq!(moves(1, &none[..1], &[1, 2, 3], 1, ""), "wait");
        assert_eq!(moves(1, &none[..2], &[1, 2, 3], 1, ""), "wait");
        assert_eq!(moves(1, &[(1, ""), (2, ""), (3, "c")], &[1, 2, 3], 1, ""), "join n3");
        assert_eq!(moves(1, &[(1, ""), (2, "c"), (3, "c")], &[1, 2, 3], 3, ""), "join n2");
        assert_eq!(moves(1, &none, &[1, 2, 3], 1, ""), "found", "all have said that they have none");
    }

    #[test]
    fn who_lost_a_cluster_joins_that_one_and_founds_none() {
        let none = [(1, ""), (2, ""), (3, "")];
        assert_eq!(moves(1, &none, &[1, 2, 3], 3, "c"), "wait");
        assert_eq!(moves(1, &none[..1], &[], 1, ANY_CLUSTER), "wait");
        assert_eq!(moves(1, &[(1, ""), (2, "d")], &[], 1, "c"), "wait");
        assert_eq!(moves(1, &[(1, ""), (2, "d")], &[], 1, ANY_CLUSTER), "join n2");
        assert_eq!(moves(1, &[(1, ""), (2, "d"), (3, "c")], &[], 1, "c"), "join n3");
    }

    #[test]
    fn a_seed_speaks_when_all_its_addresses_of_one_family_do() {
        let six = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 7));
        let peers: Peers = [peer(1, ""), peer(2, "")].into();
        let of = |addresses: &[SocketAddr]| {
            let seeds = [seed(&[at(1)]), seed(addresses)];
            let sight = Sight { me: 1, peers: &peers, rejoin: "", expect: 1, own: at(1), seeds: &seeds };
            match next_move(&sight) {
                Move::Wait(Some(reason)) => assert!(reason.contains("n.example:7"), "{reason}"),
                other => return other == Move::Found,
            }
            false
        };
        assert!(of(&[at(2)]));
        assert!(of(&[at(2), six]), "it gossips from one of its addresses");
        assert!(!of(&[six]));
        assert!(!of(&[at(2), at(3)]), "a name of several nodes");
        assert!(!of(&[]), "a node whose name does not resolve may belong to a cluster");
    }
}
