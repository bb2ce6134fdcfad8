//! Where replicas and leaders should be: pure decisions over the metadata and the set of live nodes.
use std::collections::{BTreeMap, BTreeSet};

use hashring::HashRing;

use crate::meta::{Command, MetaState, ReplicaRecord, ShardRecord};

/// Candidates for a shard, best first: the ring's order, zones not used yet before the others.
fn candidates(state: &MetaState, shard: u32, taken: &[ReplicaRecord], live: &BTreeSet<u64>) -> Vec<u64> {
    let mut ring: HashRing<u64> = HashRing::new();
    ring.batch_add(state.nodes.keys().copied().collect());
    let order = ring.get_with_replicas(&shard, state.nodes.len().saturating_sub(1)).unwrap_or_default();
    let zone_of = |node: u64| state.nodes.get(&node).map_or("", |n| n.zone.as_str());
    let mut zones: BTreeSet<&str> = taken.iter().map(|r| zone_of(r.node)).collect();
    let free = |node: &u64| live.contains(node) && taken.iter().all(|r| r.node != *node);
    let mut free: Vec<u64> = order.into_iter().filter(free).collect();
    let mut ordered = Vec::with_capacity(free.len());
    while !free.is_empty() {
        let at = free.iter().position(|n| !zones.contains(zone_of(*n))).unwrap_or(0);
        let node = free.remove(at);
        zones.insert(zone_of(node));
        ordered.push(node);
    }
    ordered
}

/// Replicas of each node, the metadata group's left out.
fn loads(state: &MetaState) -> BTreeMap<u64, usize> {
    let mut loads: BTreeMap<u64, usize> = state.nodes.keys().map(|n| (*n, 0)).collect();
    for replica in state.shards.values().flat_map(|s| &s.replicas) {
        *loads.entry(replica.node).or_default() += 1;
    }
    loads
}

/// The number of replicas to aim at: never two voters, which are less available than one.
pub fn replicas_wanted(nodes: usize, replication_factor: usize) -> usize {
    match nodes.min(replication_factor) {
        0..=2 => 1,
        n if n.is_multiple_of(2) => n - 1,
        n => n,
    }
}

/// The next replicas to add, at most `steps_max`, so that growth happens in bounded steps.
pub fn plan_replicas(
    state: &MetaState,
    live: &BTreeSet<u64>,
    replication_factor: usize,
    steps_max: usize,
) -> Vec<Command> {
    let known_live = live.iter().filter(|n| state.nodes.contains_key(n)).count();
    let mut plan = Vec::new();
    let mut loads = loads(state);
    let wanted = replicas_wanted(known_live, replication_factor);
    for (&shard, record) in &state.shards {
        if record.replicas.len() >= wanted || state.cluster.is_empty() {
            continue;
        }
        let mut order = candidates(state, shard, &record.replicas, live);
        // Bounded load: among the first choices the emptier node wins; the sort is stable, so the ring breaks ties.
        order.sort_by_key(|n| loads.get(n).copied().unwrap_or(0));
        for node in order.into_iter().take(wanted - record.replicas.len()) {
            if plan.len() == steps_max {
                return plan;
            }
            *loads.entry(node).or_default() += 1;
            plan.push(Command::AddReplica { shard, node });
        }
    }
    plan
}

/// What a group's leader should do next to bring raft's membership to the metadata's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipStep {
    AddLearner(ReplicaRecord),
    ChangeVoters(BTreeSet<u64>),
}

/// One step towards `record`, given raft's view: voters, learners, and how far each replica has come. The first replicas
/// of the record vote, an odd number of them and at most `voters_max`; the others learn.
pub fn membership_step(
    record: &ShardRecord,
    voters_max: usize,
    voters: &BTreeSet<u64>,
    learners: &BTreeSet<u64>,
    matched: &BTreeMap<u64, u64>,
    last_index: u64,
) -> Option<MembershipStep> {
    /// A learner this close to the log's end is promoted: the rest arrives during the change.
    const LAG_ENTRIES_MAX: u64 = 256;
    let count = record.replicas.len().min(voters_max);
    let odd = if count.is_multiple_of(2) { count.saturating_sub(1) } else { count };
    let wanted: BTreeSet<u64> = record.replicas.iter().take(odd).map(|r| r.replica).collect();
    if let Some(missing) =
        record.replicas.iter().find(|r| !voters.contains(&r.replica) && !learners.contains(&r.replica))
    {
        return Some(MembershipStep::AddLearner(*missing));
    }
    let caught_up = |r: &u64| voters.contains(r) || matched.get(r).is_some_and(|m| m + LAG_ENTRIES_MAX >= last_index);
    let change = !wanted.is_empty() && wanted != *voters && wanted.iter().all(caught_up);
    change.then_some(MembershipStep::ChangeVoters(wanted))
}

/// The node that should lead each shard: leaders as even as the live voters allow, the same on every node.
pub fn preferred_leaders(shards: &BTreeMap<u32, Vec<u64>>, live: &BTreeSet<u64>) -> BTreeMap<u32, u64> {
    let mut led: BTreeMap<u64, usize> = live.iter().map(|n| (*n, 0)).collect();
    let mut preferred = BTreeMap::new();
    for (shard, voters) in shards {
        let best = voters.iter().filter(|n| live.contains(n)).min_by_key(|n| (led.get(n).copied().unwrap_or(0), **n));
        if let Some(node) = best {
            *led.entry(*node).or_default() += 1;
            preferred.insert(*shard, *node);
        }
    }
    preferred
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::NodeRecord;

    fn state(nodes: &[(u64, &str)], shards: u32) -> MetaState {
        let mut m = MetaState::default();
        let s = String::new;
        let node = |id: u64, zone: &str| NodeRecord {
            id,
            name: format!("n{id}"),
            rpc: s(),
            http: s(),
            zone: zone.to_owned(),
            version: s(),
        };
        let founder = node(nodes[0].0, nodes[0].1);
        m.apply(Command::CreateCluster { cluster: "c".into(), founder, meta_replica: 1, shards_count: shards });
        for (id, zone) in nodes {
            m.apply(Command::UpsertNode(node(*id, zone)));
        }
        m
    }

    fn grow(m: &mut MetaState, live: &BTreeSet<u64>) -> usize {
        let mut steps = 0;
        loop {
            let plan = plan_replicas(m, live, 3, 8);
            if plan.is_empty() {
                return steps;
            }
            steps += plan.len();
            for command in plan {
                m.apply(command);
            }
        }
    }

    #[test]
    fn one_and_two_nodes_stay_at_one_replica_three_grow_to_three() {
        let mut m = state(&[(1, ""), (2, "")], 16);
        assert_eq!(grow(&mut m, &[1, 2].into()), 0);
        let mut m = state(&[(1, ""), (2, ""), (3, "")], 16);
        assert_eq!(grow(&mut m, &[1, 2, 3].into()), 2 * 16);
        assert!(m.shards.values().all(|s| s.replicas.len() == 3));
    }

    #[test]
    fn six_nodes_share_the_load_and_zones_are_spread() {
        let nodes = [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c"), (6, "c")];
        let mut m = state(&nodes, 32);
        grow(&mut m, &(1..=6).collect());
        let others: Vec<usize> = loads(&m).into_iter().filter(|(n, _)| *n != 1).map(|(_, l)| l).collect();
        assert!(others.iter().max().unwrap() - others.iter().min().unwrap() <= 4, "{others:?}");
    }

    #[test]
    fn membership_goes_from_one_to_three_in_one_change() {
        let replicas = (1..=3).map(|i| ReplicaRecord { replica: i, node: i }).collect();
        let record = ShardRecord { generation: 3, founder: 1, replicas };
        let step = |voters: &[u64], learners: &[u64], matched: &[(u64, u64)]| {
            let set = |s: &[u64]| s.iter().copied().collect();
            membership_step(&record, 3, &set(voters), &set(learners), &matched.iter().copied().collect(), 1000)
        };
        assert_eq!(step(&[1], &[], &[]), Some(MembershipStep::AddLearner(ReplicaRecord { replica: 2, node: 2 })));
        assert_eq!(step(&[1], &[2, 3], &[(2, 1000), (3, 10)]), None);
        assert_eq!(step(&[1], &[2, 3], &[(2, 1000), (3, 990)]), Some(MembershipStep::ChangeVoters([1, 2, 3].into())));
        assert_eq!(step(&[1, 2, 3], &[], &[]), None);
    }

    #[test]
    fn leaders_are_even_and_only_on_live_nodes() {
        let shards: BTreeMap<u32, Vec<u64>> = (0..16).map(|s| (s, vec![1, 2, 3])).collect();
        let count = |p: &BTreeMap<u32, u64>, n: u64| p.values().filter(|v| **v == n).count();
        let p = preferred_leaders(&shards, &[1, 2, 3].into());
        assert!((1..=3).all(|n| (5..=6).contains(&count(&p, n))));
        let p = preferred_leaders(&shards, &[1, 3].into());
        assert_eq!((count(&p, 1), count(&p, 2), count(&p, 3)), (8, 0, 8));
    }
}
