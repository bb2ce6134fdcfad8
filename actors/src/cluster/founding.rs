//! Whether a node without a cluster joins one, waits, or founds one. Pure.
//!
//! A node whose disk was wiped knows nothing of the cluster that it founded. It must not found another one beside it, so it
//! founds only when whoever could know of a cluster has said that there is none: every node that `join` names, or
//! `bootstrap_expect` nodes where those are more than half of the named ones (the others could not have a majority).
use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::gossip::{Peer, Peers};
use crate::identity::ANY_CLUSTER;

/// What a node without a cluster knows.
#[derive(Clone, Debug)]
pub(super) struct Sight<'a> {
    pub(super) me: u64,
    pub(super) peers: &'a Peers,
    /// The cluster that it lost its part of; empty when it had none.
    pub(super) rejoin: &'a str,
    pub(super) expect: usize,
    /// This node's own gossip address.
    pub(super) own: SocketAddr,
    /// Addresses of the seeds as they resolve now.
    pub(super) seeds: &'a BTreeSet<SocketAddr>,
    /// Seeds that do not resolve.
    pub(super) unresolved: &'a [String],
}

/// What it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Move<'a> {
    Join(&'a Peer),
    Found,
    /// And why, if an operator could do something.
    Wait(Option<String>),
}

pub(super) fn next_move<'a>(sight: &Sight<'a>) -> Move<'a> {
    let Sight { me, peers, rejoin, expect, own, seeds, unresolved } = sight;
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
    let silent: Vec<String> =
        seeds.difference(&heard).map(ToString::to_string).chain(unresolved.iter().cloned()).collect();
    let named = seeds.union(&[*own].into()).count() + unresolved.len();
    if silent.is_empty() || 2 * expect > named {
        return Move::Found;
    }
    Move::Wait(Some(format!(
        "not creating a cluster: {} of join have not answered and may belong to one; start them, take them out of join, or \
         set bootstrap_expect above half of the nodes",
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
        (n.into(), Peer { node, cluster: cluster.into(), ready: false, disk_full: false, gossip: Some(at(n)) })
    }

    fn moves(me: u8, peers: &[(u8, &str)], seeds: &[u8], expect: usize, rejoin: &str) -> String {
        let peers: Peers = peers.iter().map(|(n, c)| peer(*n, c)).collect();
        let seeds = seeds.iter().map(|n| at(*n)).collect();
        let sight = Sight { me: me.into(), peers: &peers, rejoin, expect, own: at(me), seeds: &seeds, unresolved: &[] };
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
        assert_eq!(moves(1, &none[..2], &[1, 2, 3], 2, ""), "found", "the silent one has no majority");
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
    fn a_seed_that_does_not_resolve_may_belong_to_a_cluster() {
        let peers: Peers = [peer(1, "")].into();
        let unresolved = ["n2.example:7".to_owned()];
        let seeds = [at(1)].into();
        let sight =
            Sight { me: 1, peers: &peers, rejoin: "", expect: 1, own: at(1), seeds: &seeds, unresolved: &unresolved };
        assert!(matches!(next_move(&sight), Move::Wait(Some(reason)) if reason.contains("n2.example:7")));
    }
}
