//! Where replicas and leaders should be: pure decisions over the metadata and the set of live nodes.
use std::collections::{BTreeMap, BTreeSet};

use hashring::HashRing;

use crate::meta::{Command, META_SHARD, MetaState, ReplicaRecord, ShardRecord};

/// Candidates for a shard, best first: the ring's order, zones not used yet before the others.
fn candidates(state: &MetaState, shard: u32, taken: &[ReplicaRecord], live: &BTreeSet<u64>) -> Vec<u64> {
    let mut ring: HashRing<u64> = HashRing::new();
    ring.batch_add(state.nodes.keys().copied().collect());
    let order = ring.get_with_replicas(&shard, state.nodes.len().saturating_sub(1)).unwrap_or_default();
    let zone_of = |node: u64| state.nodes.get(&node).map_or("", |n| n.zone.as_str());
    let mut zones: BTreeSet<&str> = taken.iter().map(|r| zone_of(r.node)).collect();
    let free =
        |node: &u64| live.contains(node) && !state.retiring.contains(node) && taken.iter().all(|r| r.node != *node);
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
    let known_live = live.iter().filter(|n| state.nodes.contains_key(n) && !state.retiring.contains(n)).count();
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
    RemoveLearners(BTreeSet<u64>),
}

/// A group as raft sees it: ids of voters and learners, how far each is known to match, and the log's last index.
#[derive(Clone, Debug, Default)]
pub struct GroupView {
    /// Of both sets while a change is in progress.
    pub voters: BTreeSet<u64>,
    /// The newer set of a change that is in progress, or was left so by a leader that died.
    pub changing_to: Option<BTreeSet<u64>>,
    pub learners: BTreeSet<u64>,
    pub matched: BTreeMap<u64, u64>,
    pub last_index: u64,
    /// The newest membership is committed.
    pub membership_committed: bool,
}

impl GroupView {
    /// Whether a replica is so close to the end of the log that leading it costs no pause.
    pub fn may_lead(&self, replica: u64) -> bool {
        const LAG_ENTRIES_MAX: u64 = 64;
        self.matched.get(&replica).is_some_and(|m| m.saturating_add(LAG_ENTRIES_MAX) >= self.last_index)
    }

    /// Whether a replica may vote: it votes already, or it is so close to the log's end that the rest arrives during the
    /// change. One that is behind would make a majority out of replicas that lack what was acknowledged.
    fn may_vote(&self, replica: u64) -> bool {
        const LAG_ENTRIES_MAX: u64 = 256;
        let caught_up = |m: &u64| m.saturating_add(LAG_ENTRIES_MAX) >= self.last_index;
        self.voters.contains(&replica) || self.matched.get(&replica).is_some_and(caught_up)
    }
}

/// One step towards `record`. The first replicas of the record vote, an odd number of them and at most `voters_max`; the
/// others learn. A replaced voter keeps its vote until the one in its place has caught up, and they change places one pair
/// at a time: so no step takes a vote away before there is another, and none makes two empty replicas voters at once.
pub fn membership_step(record: &ShardRecord, voters_max: usize, group: &GroupView) -> Option<MembershipStep> {
    let GroupView { voters, learners, .. } = group;
    if let Some(newer) = &group.changing_to {
        // First things first: both sets must agree to everything until this is done.
        return Some(MembershipStep::ChangeVoters(newer.clone()));
    }
    let count = record.replicas.len().min(voters_max);
    let odd = if count.is_multiple_of(2) { count.saturating_sub(1) } else { count };
    let wanted: BTreeSet<u64> = record.replicas.iter().take(odd).map(|r| r.replica).collect();
    let missing = |r: &&ReplicaRecord| !voters.contains(&r.replica) && !learners.contains(&r.replica);
    if let Some(missing) = record.replicas.iter().find(missing) {
        return Some(MembershipStep::AddLearner(*missing));
    }
    // A learner that was replaced before it ever voted.
    let left: BTreeSet<u64> =
        learners.iter().copied().filter(|l| record.replicas.iter().all(|r| r.replica != *l)).collect();
    if !left.is_empty() {
        return Some(MembershipStep::RemoveLearners(left));
    }
    if wanted.is_empty() || wanted == *voters {
        return None;
    }
    if wanted.iter().all(|r| voters.contains(r)) {
        return Some(MembershipStep::ChangeVoters(wanted));
    }
    if voters.len() < wanted.len() && voters.is_subset(&wanted) {
        // Growth: one to three in one step, never two voters, which are less available than one.
        let all = wanted.iter().all(|r| group.may_vote(*r));
        return all.then_some(MembershipStep::ChangeVoters(wanted));
    }
    substitution(record, voters, &wanted, group).map(MembershipStep::ChangeVoters)
}

/// The voters with one that is to go replaced by one that has caught up, whoever takes its place if possible.
fn substitution(
    record: &ShardRecord,
    voters: &BTreeSet<u64>,
    wanted: &BTreeSet<u64>,
    group: &GroupView,
) -> Option<BTreeSet<u64>> {
    let new = wanted.difference(voters).copied().find(|r| group.may_vote(*r))?;
    // Another one's place is for its own successor: links that cross make one missing voter look like two.
    let before = record.place(new).into_iter().find(|r| *r != new && voters.contains(r));
    let old = before.or_else(|| voters.difference(wanted).next().copied())?;
    Some(voters.iter().copied().filter(|v| *v != old).chain([new]).collect())
}

/// A leaving replica that the committed membership is without: the metadata can forget it.
pub fn dropped(record: &ShardRecord, group: &GroupView) -> Option<u64> {
    let member = |r: u64| group.voters.contains(&r) || group.learners.contains(&r);
    let left = record.leaving.iter().find(|l| !member(l.replica))?;
    group.membership_committed.then_some(left.replica)
}

/// Who leads a change of voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeLeader {
    /// The leader of now. It stays, or none of the voters of now does: then it steps down once the change is made.
    Same,
    /// A voter that stays and has caught up takes over first.
    Heir(u64),
    /// Somebody who stays must catch up first.
    Nobody,
}

/// Who leads a change to `voters` of a group that `leader` leads.
pub fn change_leader(record: &ShardRecord, leader: u64, voters: &BTreeSet<u64>, group: &GroupView) -> ChangeLeader {
    if voters.contains(&leader) || voters.is_disjoint(&group.voters) {
        return ChangeLeader::Same;
    }
    let matched = |r: &u64| group.matched.get(r).copied().unwrap_or(0);
    let leaves = |r: &u64| record.leaving.iter().any(|l| l.replica == *r);
    let staying = voters.iter().copied().filter(|v| group.voters.contains(v) && group.may_lead(*v));
    // Not one that is to go itself, and rather one that keeps up: one that died a moment ago is not far behind either.
    let heir = staying.min_by_key(|v| (leaves(v), u64::MAX - matched(v), *v));
    heir.map_or(ChangeLeader::Nobody, ChangeLeader::Heir)
}

/// What the metadata leader proposes so that retiring nodes come to hold nothing: at most `steps_max` replacements in
/// progress at a time, then the node is forgotten.
pub fn plan_retirement(state: &MetaState, live: &BTreeSet<u64>, steps_max: usize) -> Vec<Command> {
    let mut plan = Vec::new();
    let mut in_progress: usize = state.records().map(|(_, r)| r.leaving.len()).sum();
    let mut loads = loads(state);
    for &node in &state.retiring {
        let mut holds = false;
        for (&shard, record) in &state.shards {
            let Some(held) = record.on_node(node) else { continue };
            holds = true;
            let Some(target) = successor_node(state, shard, live, &loads).filter(|_| in_progress < steps_max) else {
                continue;
            };
            in_progress += 1;
            *loads.entry(target).or_default() += 1;
            // Not lost, even on a dead node: while a shard grows it may be the only one that votes, and a node that comes
            // back before its replica was replaced is still good for that.
            plan.push(Command::ReplaceReplica { shard, replica: held.replica, node: target, lost: false });
        }
        // A replica that is leaving votes until its successor has caught up: with its node forgotten it could not.
        holds |= state.records().any(|(_, record)| record.leaving.iter().any(|l| l.node == node));
        if holds {
            continue;
        }
        plan.push(match state.meta.on_node(node) {
            // Every other node has a replica of the metadata already.
            Some(held) => Command::RemoveReplica { shard: META_SHARD, replica: held.replica },
            None => Command::ForgetNode { node },
        });
    }
    plan
}

/// Where a shard's next replica goes: a live node that stays and has none, the emptiest of the best.
fn successor_node(state: &MetaState, shard: u32, live: &BTreeSet<u64>, loads: &BTreeMap<u64, usize>) -> Option<u64> {
    let record = state.shards.get(&shard)?;
    let busy = |node: &u64| record.leaving.iter().any(|r| r.node == *node);
    let mut order = candidates(state, shard, &record.replicas, live);
    order.retain(|node| !busy(node));
    order.sort_by_key(|n| loads.get(n).copied().unwrap_or(0));
    order.first().copied()
}

/// Why a node cannot be removed: a shard of it that no other live node can take, if there is one.
pub fn cannot_retire(state: &MetaState, live: &BTreeSet<u64>, node: u64) -> Option<u32> {
    let loads = loads(state);
    let stuck = |(&shard, record): (&u32, &ShardRecord)| {
        let held = record.on_node(node)?;
        let only = record.replicas.len() == 1 && !live.contains(&held.node);
        (only || successor_node(state, shard, live, &loads).is_none()).then_some(shard)
    };
    state.shards.iter().find_map(stuck)
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
    use crate::meta::{LeavingReplica, NodeRecord};

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

    fn record(replicas: &[u64], leaving: &[(u64, u64)]) -> ShardRecord {
        let replicas = replicas.iter().map(|i| ReplicaRecord { replica: *i, node: *i }).collect();
        let leaving = leaving
            .iter()
            .map(|(replica, successor)| LeavingReplica {
                replica: *replica,
                node: 1,
                successor: *successor,
                lost: true,
            })
            .collect();
        ShardRecord { generation: 3, founder: 1, replicas, leaving }
    }

    fn step(record: &ShardRecord, voters: &[u64], learners: &[u64], matched: &[(u64, u64)]) -> Option<MembershipStep> {
        let set = |s: &[u64]| s.iter().copied().collect();
        let matched = matched.iter().copied().collect();
        let (voters, learners) = (set(voters), set(learners));
        membership_step(record, 3, &GroupView { voters, learners, matched, last_index: 1000, ..GroupView::default() })
    }

    fn voters(ids: &[u64]) -> Option<MembershipStep> {
        Some(MembershipStep::ChangeVoters(ids.iter().copied().collect()))
    }

    #[test]
    fn membership_goes_from_one_to_three_in_one_change() {
        let r = record(&[1, 2, 3], &[]);
        let learner = MembershipStep::AddLearner(ReplicaRecord { replica: 2, node: 2 });
        assert_eq!(step(&r, &[1], &[], &[]), Some(learner));
        assert_eq!(step(&r, &[1], &[2, 3], &[(2, 1000), (3, 10)]), None);
        assert_eq!(step(&r, &[1], &[2, 3], &[(2, 1000), (3, 990)]), voters(&[1, 2, 3]));
        assert_eq!(step(&r, &[1, 2, 3], &[], &[]), None);
    }

    #[test]
    fn a_replaced_voter_goes_only_once_its_successor_has_caught_up() {
        let r = record(&[1, 2, 4], &[(3, 4)]);
        let learner = MembershipStep::AddLearner(ReplicaRecord { replica: 4, node: 4 });
        assert_eq!(step(&r, &[1, 2, 3], &[], &[]), Some(learner));
        assert_eq!(step(&r, &[1, 2, 3], &[4], &[]), None, "never heard of");
        assert_eq!(step(&r, &[1, 2, 3], &[4], &[(4, 100)]), None, "far behind");
        assert_eq!(step(&r, &[1, 2, 3], &[4], &[(4, 999)]), voters(&[1, 2, 4]));
        // A change that was cut short: both sets are in force, and it is brought to its end before anything else.
        let changing_to = Some([1, 2, 3].into());
        let cut_short = GroupView { voters: [1, 2, 3].into(), changing_to, last_index: 9, ..GroupView::default() };
        assert_eq!(membership_step(&r, 3, &cut_short), voters(&[1, 2, 3]));
        assert_eq!(step(&r, &[1, 2, 4], &[], &[]), None);
    }

    #[test]
    fn who_leads_a_change_that_leaves_the_leader_out() {
        let group = |voters: &[u64], matched: &[(u64, u64)]| GroupView {
            voters: voters.iter().copied().collect(),
            matched: matched.iter().copied().collect(),
            last_index: 1000,
            ..GroupView::default()
        };
        let r = record(&[1, 2, 3], &[]);
        let of_three = group(&[1, 2, 3], &[(2, 10), (3, 990)]);
        assert_eq!(change_leader(&r, 1, &[1, 2, 4].into(), &of_three), ChangeLeader::Same);
        assert_eq!(change_leader(&r, 1, &[2, 3, 4].into(), &of_three), ChangeLeader::Heir(3));
        assert_eq!(change_leader(&r, 3, &[1, 2, 4].into(), &of_three), ChangeLeader::Nobody);
        // The only voter is replaced: there is nobody to hand over to.
        assert_eq!(change_leader(&r, 1, &[4].into(), &group(&[1], &[(4, 1000)])), ChangeLeader::Same);
        let half_done = GroupView { changing_to: Some([4].into()), ..group(&[1, 4], &[(4, 1000)]) };
        assert_eq!(change_leader(&r, 1, &[4].into(), &half_done), ChangeLeader::Heir(4));
        // The dead one that is replaced is not far behind.
        let r = record(&[3, 4, 5], &[(2, 4)]);
        let of_three = group(&[1, 2, 3], &[(2, 1000), (3, 950)]);
        assert_eq!(change_leader(&r, 1, &[2, 3, 5].into(), &of_three), ChangeLeader::Heir(3));
        let of_five = group(&[1, 2, 3, 5, 6], &[(3, 950), (5, 1000), (6, 999)]);
        assert_eq!(change_leader(&r, 1, &[2, 3, 5, 6, 4].into(), &of_five), ChangeLeader::Heir(5));
    }

    #[test]
    fn two_replaced_voters_go_one_after_the_other() {
        let r = record(&[1, 4, 5], &[(2, 4), (3, 5)]);
        assert_eq!(step(&r, &[1, 2, 3], &[4, 5], &[(4, 1000), (5, 1000)]), voters(&[1, 3, 4]));
        assert_eq!(step(&r, &[1, 2, 3], &[4, 5], &[(5, 1000)]), voters(&[1, 2, 5]), "one does not wait for the other");
        assert_eq!(step(&r, &[1, 3, 4], &[5], &[(5, 1000)]), voters(&[1, 4, 5]));
        // The successor was lost in its turn, before it voted.
        let r = record(&[1, 2, 6], &[(3, 4), (4, 6)]);
        let gone = MembershipStep::RemoveLearners([4].into());
        assert_eq!(step(&r, &[1, 2, 3], &[4, 6], &[(6, 1000)]), Some(gone));
        assert_eq!(step(&r, &[1, 2, 3], &[6], &[(6, 1000)]), voters(&[1, 2, 6]));
    }

    #[test]
    fn a_retiring_node_is_emptied_in_bounded_steps_and_then_forgotten() {
        let mut m = state(&[(1, ""), (2, ""), (3, ""), (4, "")], 8);
        let live: BTreeSet<u64> = [1, 2, 4].into();
        grow(&mut m, &[1, 2, 3, 4].into());
        for id in 2..=4 {
            m.apply(Command::AddReplica { shard: META_SHARD, node: id });
        }
        assert_eq!(cannot_retire(&m, &live, 3), None);
        assert!(cannot_retire(&m, &[1, 2].into(), 3).is_some(), "nobody could take its replicas");
        m.apply(Command::RetireNode { node: 3 });
        for _ in 0..40 {
            let plan = plan_retirement(&m, &live, 2);
            assert!(plan.len() <= 2, "{plan:?}");
            for command in plan {
                m.apply(command);
            }
            let leaving: Vec<_> =
                m.records().flat_map(|(s, r)| r.leaving.iter().map(move |l| (s, l.replica))).collect();
            assert!(leaving.len() <= 2);
            for (shard, replica) in leaving {
                m.apply(Command::DropReplica { shard, replica });
            }
        }
        assert!(m.gone.contains_key(&3) && !m.nodes.contains_key(&3));
        assert!(m.shards.values().all(|s| s.replicas.len() == 3 && s.on_node(3).is_none()));
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
