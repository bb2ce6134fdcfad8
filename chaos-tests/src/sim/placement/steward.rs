//! What each node does of its own accord, as `trine_actors::steward` does it: open and close replicas, bring memberships
//! to what the metadata says, plan, balance leaders, join, and leave when told.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trine_actors::meta::{Command, META_SHARD, MetaState, Reply};
use trine_actors::placement::{
    ChangeLeader, MembershipStep, cannot_retire, change_leader, dropped, plan_replicas, plan_retirement,
    preferred_leaders,
};
use trine_actors::sim::{Condition, Traces};

use super::group::{Body, Config};
use super::world::{REPLICATION_FACTOR, World, named};
use crate::sim::Violation;

/// As the steward has them.
const META_VOTERS_MAX: usize = 5;
const REPLICAS_A_ROUND: usize = 32;
const REPLACEMENTS_AT_ONCE: usize = 4;
const LEADERS_MOVED_A_ROUND: usize = 4;

impl World {
    /// One round of a node's steward.
    pub(super) fn steward_round(&mut self, node: u64) -> Result<(), Violation> {
        let Some(replica) = self.nodes.get(&node).and_then(|n| n.meta_replica) else { return Ok(()) };
        if let Some(proposed) = self.nodes[&node].waits {
            if self.groups[&META_SHARD].outcome(replica, proposed).is_none() {
                return Ok(());
            }
            self.node(node).waits = None;
        }
        // Before the state is looked at, as the steward does it.
        let metadata = self.groups[&META_SHARD].replicas.get(&replica);
        let is_current = metadata.is_some_and(|r| r.commit == r.log.len());
        let state = self.state(node);
        if self.is_told_to_leave(node, &state) {
            return Ok(());
        }
        let live = self.live(node);
        self.open_and_close(node, &state, is_current)?;
        self.follow_memberships(node, &state)?;
        if is_current {
            self.plan(node, replica, &state, &live)?;
        }
        self.balance(node, &state, &live)
    }

    pub(super) fn node(&mut self, id: u64) -> &mut super::world::Node {
        self.nodes.entry(id).or_default()
    }

    /// What its own copy of the metadata says, or that of a peer it asks now and then.
    fn is_told_to_leave(&mut self, node: u64, state: &MetaState) -> bool {
        let peers: Vec<u64> = self.members().into_iter().filter(|m| *m != node).collect();
        let told = self.pick(&peers).filter(|p| self.linked(node, *p)).and_then(|p| self.state(p).refusal(node));
        let refusal = state.refusal(node).or(told).filter(|_| self.rules.refuses_the_past);
        if refusal.is_some() {
            self.trace.note("refused", format!("node {node:x} ends: it is none of the cluster any more"));
            self.stop(node, false);
            self.node(node).ended = true;
        }
        refusal.is_some()
    }

    fn open_and_close(&mut self, node: u64, state: &MetaState, metadata_is_current: bool) -> Result<(), Violation> {
        let shards: Vec<u32> = self.groups.keys().copied().filter(|s| *s != META_SHARD).collect();
        for shard in shards {
            let record = state.shards.get(&shard);
            let wanted = record.and_then(|r| r.opened_on(node)).map(|r| r.replica);
            let open = self.groups[&shard].replicas.iter().filter(|(_, r)| r.node == node && r.open).map(|(id, _)| *id);
            let unwanted: Vec<u64> = open.filter(|id| Some(*id) != wanted).collect();
            for replica in unwanted {
                self.trace.note("close", format!("replica {replica} of shard {shard}"));
                if let Some(r) = self.group(shard).replicas.get_mut(&replica) {
                    r.close(false);
                }
            }
            let (Some(wanted), Some(record)) = (wanted, record) else { continue };
            if self.groups[&shard].replicas.get(&wanted).is_some_and(|r| r.open) {
                continue;
            }
            let here = self.nodes[&node].born.contains(&wanted);
            let opened = state.opened.contains(&wanted);
            let traces = Traces { opened, metadata_is_current, directory: here, stream: here, ..Traces::default() };
            match (self.rules.judge)(&traces) {
                Condition::Whole => {
                    self.group(shard).open(wanted)?;
                    if wanted == record.founder {
                        self.group(shard).initialize(wanted);
                    }
                    self.trace.note("open", format!("replica {wanted} of shard {shard} on {node:x}"));
                }
                Condition::Unborn => {
                    if self.node(node).born.insert(wanted) {
                        self.trace.note("birth", format!("replica {wanted} of shard {shard} on {node:x}"));
                    }
                    self.group(shard).give_birth(wanted, node);
                    self.submit(node, Command::MarkOpened { replicas: vec![wanted] })?;
                }
                Condition::Undecided => {}
                Condition::Lost(_) => {
                    self.submit(node, Command::ReplaceReplica { shard, replica: wanted, node, lost: true })?;
                }
            }
        }
        self.clean(node, state);
        Ok(())
    }

    /// Lets go of what nobody needs any more.
    fn clean(&mut self, node: u64, state: &MetaState) {
        let open: BTreeSet<u64> =
            self.groups.values().flat_map(|g| &g.replicas).filter(|(_, r)| r.open).map(|(id, _)| *id).collect();
        let gone: Vec<u64> =
            self.nodes[&node].born.iter().copied().filter(|r| state.is_gone(*r) && !open.contains(r)).collect();
        for replica in gone {
            self.node(node).born.remove(&replica);
            for r in self.groups.values_mut().filter_map(|g| g.replicas.get_mut(&replica)) {
                r.lost = true;
            }
            self.trace.note("clean", format!("replica {replica} on {node:x}"));
        }
    }

    fn follow_memberships(&mut self, node: u64, state: &MetaState) -> Result<(), Violation> {
        let shards: Vec<u32> = self.groups.keys().copied().collect();
        for shard in shards {
            let Some(record) = state.record(shard).cloned() else { continue };
            let group = &self.groups[&shard];
            let Some(leader) = group.leaders().into_iter().find(|l| group.replicas[l].node == node) else { continue };
            let Some(view) = group.view(leader) else { continue };
            let voters_max = if shard == META_SHARD { META_VOTERS_MAX } else { REPLICATION_FACTOR };
            match (self.rules.membership_step)(&record, voters_max, &view) {
                Some(step) => {
                    let change = match &step {
                        MembershipStep::ChangeVoters(voters) => change_leader(&record, leader, voters, &view),
                        MembershipStep::AddLearner(_) | MembershipStep::RemoveLearners(_) => ChangeLeader::Same,
                    };
                    match change {
                        ChangeLeader::Same => self.take_step(shard, leader, step)?,
                        ChangeLeader::Heir(heir) => self.transfer(shard, leader, heir)?,
                        ChangeLeader::Nobody => {}
                    }
                }
                None => {
                    if let Some(replica) = dropped(&record, &view) {
                        self.submit(node, Command::DropReplica { shard, replica })?;
                    }
                }
            }
        }
        Ok(())
    }

    fn take_step(&mut self, shard: u32, leader: u64, step: MembershipStep) -> Result<(), Violation> {
        self.check_step(shard, leader, &step)?;
        let text = format!("{step:?}");
        let changed = match step {
            MembershipStep::AddLearner(new) => self.group(shard).reconfigure(leader, |c| {
                let mut learners = c.learners.clone();
                learners.insert(new.replica);
                Some(Config { learners, ..c.clone() })
            }),
            MembershipStep::RemoveLearners(left) => self.group(shard).reconfigure(leader, |c| {
                Some(Config { learners: c.learners.difference(&left).copied().collect(), ..c.clone() })
            }),
            // openraft makes the change in two entries; the second is another round's.
            MembershipStep::ChangeVoters(voters) => self.group(shard).reconfigure(leader, |c| {
                let learners: BTreeSet<u64> = c.learners.difference(&voters).copied().collect();
                let sets = match &c.sets[..] {
                    [one] if *one != voters => vec![one.clone(), voters],
                    _ => vec![voters],
                };
                Some(Config { sets, learners })
            }),
        };
        if changed {
            self.trace.note("membership", format!("of {}: {text}", named(shard)));
            self.send(shard)?;
        }
        Ok(())
    }

    /// A leader asks another voter to take over.
    fn transfer(&mut self, shard: u32, from: u64, to: u64) -> Result<(), Violation> {
        self.trace.note("transfer", format!("{} from replica {from} to {to}", named(shard)));
        self.send(shard)?;
        let group = &self.groups[&shard];
        let Some((a, b)) = group.replicas.get(&from).zip(group.replicas.get(&to)).map(|(a, b)| (a.node, b.node)) else {
            return Ok(());
        };
        if self.reaches(a, b) && self.elect(shard, to)? {
            self.send(shard)?;
        }
        Ok(())
    }

    fn plan(&mut self, node: u64, replica: u64, state: &MetaState, live: &BTreeSet<u64>) -> Result<(), Violation> {
        if !self.groups[&META_SHARD].replicas.get(&replica).is_some_and(|r| r.open && r.leads) {
            return Ok(());
        }
        let plan = plan_retirement(state, live, REPLACEMENTS_AT_ONCE);
        let growth = plan_replicas(state, live, REPLICATION_FACTOR, REPLICAS_A_ROUND);
        for command in plan.into_iter().chain(growth) {
            self.trace.note("plan", format!("{command:?} by {node:x}"));
            if self.propose(node, replica, command)?.is_none() {
                // It waits for this one before the next.
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes a command through a leader of the metadata; its reply if it was applied there at once.
    fn propose(&mut self, node: u64, replica: u64, command: Command) -> Result<Option<Reply>, Violation> {
        let Some(at) = self.group(META_SHARD).propose(replica, Body::Command(Arc::new(command.clone()))) else {
            return Ok(None);
        };
        self.send(META_SHARD)?;
        match self.groups[&META_SHARD].outcome(replica, at) {
            Some(true) => {
                let mut before = MetaState::clone(&self.states[at.1 - 1]);
                Ok(Some(before.apply(command)))
            }
            Some(false) => Ok(None),
            None => {
                self.node(node).waits = Some(at);
                Ok(None)
            }
        }
    }

    /// Writes a command from any node; nobody waits for long. `None`: not known to be applied.
    pub(super) fn submit(&mut self, node: u64, command: Command) -> Result<Option<Reply>, Violation> {
        let leaders = self.groups[&META_SHARD].leaders();
        let Some(leader) = self.pick(&leaders) else { return Ok(None) };
        let at = self.groups[&META_SHARD].replicas[&leader].node;
        if !self.reaches(node, at) {
            return Ok(None);
        }
        let waits = self.nodes[&at].waits;
        let reply = self.propose(at, leader, command)?;
        self.node(at).waits = waits;
        Ok(if self.reaches(at, node) { reply } else { None })
    }

    fn balance(&mut self, node: u64, state: &MetaState, live: &BTreeSet<u64>) -> Result<(), Violation> {
        let mut voters = BTreeMap::new();
        let mut led = Vec::new();
        for (&shard, record) in &state.shards {
            let Some(group) = self.groups.get(&shard) else { continue };
            let here = group.replicas.iter().find(|(_, r)| r.node == node && r.open);
            let config = here.and_then(|(_, r)| r.config()).map(|(_, c)| c.voters());
            let votes = |replica: u64| config.as_ref().is_none_or(|c| c.contains(&replica));
            voters.insert(shard, record.replicas.iter().filter(|r| votes(r.replica)).map(|r| r.node).collect());
            led.extend(here.filter(|(_, r)| r.leads).map(|(id, _)| (shard, *id)));
        }
        let preferred = preferred_leaders(&voters, live);
        let mut moved = 0;
        for (shard, leader) in led {
            let Some(to) = preferred.get(&shard).filter(|n| **n != node).and_then(|n| state.shards[&shard].on_node(*n))
            else {
                continue;
            };
            let caught_up = self.groups[&shard].view(leader).is_some_and(|v| v.may_lead(to.replica));
            if caught_up && moved < LEADERS_MOVED_A_ROUND {
                moved += 1;
                self.transfer(shard, leader, to.replica)?;
            }
        }
        Ok(())
    }

    /// A node without a cluster asks a member to be taken in.
    pub(super) fn some_join(&mut self) -> Result<(), Violation> {
        let outside: Vec<u64> =
            self.nodes.iter().filter(|(_, n)| n.up && n.meta_replica.is_none()).map(|(id, _)| *id).collect();
        let members = self.members();
        let (Some(node), Some(member)) = (self.pick(&outside), self.pick(&members)) else { return Ok(()) };
        if self.reaches(node, member) { self.join(node, member) } else { Ok(()) }
    }

    pub(super) fn join(&mut self, node: u64, member: u64) -> Result<(), Violation> {
        let leaders = self.groups[&META_SHARD].leaders();
        let Some(leader) = self.pick(&leaders) else { return Ok(()) };
        let at = self.groups[&META_SHARD].replicas[&leader].node;
        if !self.reaches(member, at) {
            return Ok(());
        }
        let record = self.record(node);
        let first = match self.state(at).namesake(node, &record.name).map(|n| n.id) {
            None => Command::UpsertNode(record),
            Some(old) if old == at || self.live(at).contains(&old) || self.linked(at, old) => return Ok(()),
            // Its disk may be whole: from here on nobody can count on it.
            Some(old) if !self.give_up(old) => return Ok(()),
            Some(old) => Command::ReplaceNode { old, node: record },
        };
        self.trace.note("join", format!("{first:?}"));
        for command in [first, Command::AddReplica { shard: META_SHARD, node }] {
            let reply = match self.submit(at, command.clone())? {
                None => return Ok(()),
                Some(Reply::Refused(_)) => {
                    // For good, if it was removed.
                    if self.newest().refusal(node).is_some() {
                        self.stop(node, false);
                        self.node(node).ended = true;
                    }
                    return Ok(());
                }
                Some(reply) => reply,
            };
            let (Command::AddReplica { .. }, Reply::Replica(replica)) = (command, reply) else { continue };
            if self.reaches(at, node) {
                self.node(node).meta_replica = Some(replica);
                self.group(META_SHARD).give_birth(replica, node);
                self.group(META_SHARD).open(replica)?;
                self.trace.note("joined", format!("{node:x} with replica {replica} of the metadata"));
            }
        }
        Ok(())
    }

    /// An operator removes a node, or drains a living one.
    pub(super) fn retire(&mut self, through: u64, node: u64, drain: bool) -> Result<bool, Violation> {
        let (state, live) = (self.state(through), self.live(through));
        let alive = live.contains(&node) || self.linked(through, node);
        if !state.nodes.contains_key(&node) || (!drain && alive) || cannot_retire(&state, &live, node).is_some() {
            return Ok(false);
        }
        self.trace.note("retire", format!("{node:x}, drain {drain}"));
        self.submit(through, Command::RetireNode { node })?;
        Ok(true)
    }
}
