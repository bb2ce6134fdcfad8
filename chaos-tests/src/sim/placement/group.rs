//! A raft group as a model: logs, terms, joint configurations, and messages that may not arrive.
//!
//! It stands for openraft with a disk that keeps what it was told. It knows which entries were committed, ever, and says so
//! when a leader comes into office without one of them.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trine_actors::meta::Command;
use trine_actors::placement::GroupView;

use crate::sim::Violation;

/// Entries that one message brings.
const BATCH: usize = 120;

/// Who votes and who learns. Two sets while a change is made: both must agree to everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) sets: Vec<BTreeSet<u64>>,
    pub(super) learners: BTreeSet<u64>,
}

impl Config {
    pub(super) fn voters(&self) -> BTreeSet<u64> {
        self.sets.iter().flatten().copied().collect()
    }

    fn members(&self) -> BTreeSet<u64> {
        self.voters().union(&self.learners).copied().collect()
    }

    fn agrees(&self, yes: impl Fn(u64) -> bool) -> bool {
        self.sets.iter().all(|set| 2 * set.iter().filter(|r| yes(**r)).count() > set.len())
    }
}

/// What an entry holds.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// A new leader's first one, or a client's fact.
    Plain,
    Config(Arc<Config>),
    Command(Arc<Command>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) term: u32,
    pub(super) body: Body,
}

/// One replica: what its disk keeps, and what it knows while it runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Replica {
    pub(super) node: u64,
    pub(super) log: Vec<Entry>,
    /// The configurations in the log, each with the length of the log up to it.
    configs: Vec<(usize, Arc<Config>)>,
    term: u32,
    voted: Option<u64>,
    /// Entries known to be committed. On disk it lags, see `commit_kept`.
    pub(super) commit: usize,
    commit_kept: usize,
    pub(super) open: bool,
    pub(super) leads: bool,
    /// How far each member is known to match, while it leads.
    matched: BTreeMap<u64, usize>,
    /// Its disk lies aside: nobody can count on it.
    pub(super) aside: bool,
    /// It was open once, so it may have voted.
    took_part: bool,
    /// What it kept is no more: it must never be open again.
    pub(super) lost: bool,
}

impl Replica {
    fn last(&self) -> (u32, usize) {
        (self.log.last().map_or(0, |e| e.term), self.log.len())
    }

    fn append(&mut self, entry: Entry) {
        if let Body::Config(config) = &entry.body {
            self.configs.push((self.log.len() + 1, config.clone()));
        }
        self.log.push(entry);
        self.commit_kept = self.commit;
    }

    fn truncate(&mut self, len: usize) {
        self.log.truncate(len);
        self.configs.retain(|(at, _)| *at <= len);
    }

    /// The configuration in force: the newest in the log, committed or not. With the length of the log up to it.
    pub(super) fn config(&self) -> Option<(usize, Arc<Config>)> {
        self.configs.last().cloned()
    }

    /// Closes it. `power_cut`: what was not synced is gone, here the newest mark of what is committed.
    pub(super) fn close(&mut self, power_cut: bool) {
        (self.open, self.leads) = (false, false);
        self.matched.clear();
        if power_cut {
            self.commit = self.commit_kept.min(self.commit);
        }
    }

    fn follow(&mut self, term: u32) {
        if term > self.term {
            (self.term, self.voted) = (term, None);
        }
        self.leads = false;
    }
}

/// All replicas of a group that ever were, and what was ever committed.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) replicas: BTreeMap<u64, Replica>,
    pub(super) committed: Vec<Entry>,
    committed_config: Option<(usize, Arc<Config>)>,
    leaders: BTreeMap<u32, u64>,
}

impl Group {
    /// An empty replica on a node's disk; harmless where there is one.
    pub(super) fn give_birth(&mut self, replica: u64, node: u64) {
        let born = self.replicas.entry(replica).or_insert_with(|| Replica { node, ..Replica::default() });
        if born.lost {
            *born = Replica { node, took_part: born.took_part, lost: born.took_part, ..Replica::default() };
        }
    }

    pub(super) fn open(&mut self, replica: u64) -> Result<(), Violation> {
        let Some(r) = self.replicas.get_mut(&replica) else { return Ok(()) };
        (r.open, r.took_part) = (true, true);
        if r.lost {
            let node = r.node;
            return Violation::found(
                "a lost replica never takes part again",
                format!("replica {replica} is opened on node {node:x} although it lost what it had voted"),
            );
        }
        Ok(())
    }

    /// The founder's replica makes itself the only member.
    pub(super) fn initialize(&mut self, replica: u64) {
        let Some(r) = self.replicas.get_mut(&replica) else { return };
        if r.log.is_empty() {
            let sets = vec![BTreeSet::from([replica])];
            r.append(Entry { term: 0, body: Body::Config(Arc::new(Config { sets, ..Config::default() })) });
        }
    }

    /// Open replicas that believe that they lead, the newest term last.
    pub(super) fn leaders(&self) -> Vec<u64> {
        let mut leaders: Vec<(u32, u64)> =
            self.replicas.iter().filter(|(_, r)| r.open && r.leads).map(|(id, r)| (r.term, *id)).collect();
        leaders.sort_unstable();
        leaders.into_iter().map(|(_, id)| id).collect()
    }

    /// `id` asks everybody it may reach for votes; `true` if it leads now.
    pub(super) fn elect(&mut self, id: u64, reach: &mut dyn FnMut(u64, u64) -> bool) -> Result<bool, Violation> {
        let Some(me) = self.replicas.get(&id).filter(|r| r.open && !r.leads) else { return Ok(false) };
        let Some((_, config)) = me.config().filter(|(_, c)| c.voters().contains(&id)) else { return Ok(false) };
        let (term, last, node) = (me.term + 1, me.last(), me.node);
        let (mut votes, mut newest) = (BTreeSet::new(), 0);
        for voter in config.voters() {
            let Some(v) = self.replicas.get_mut(&voter).filter(|v| v.open) else { continue };
            if voter != id && !reach(node, v.node) {
                continue;
            }
            if v.term < term && v.last() <= last {
                v.follow(term);
                v.voted = Some(id);
                votes.insert(voter);
            }
            newest = newest.max(v.term);
        }
        if newest > term
            && let Some(me) = self.replicas.get_mut(&id)
        {
            // It was told of a newer term.
            me.follow(newest);
            return Ok(false);
        }
        if !config.agrees(|r| votes.contains(&r)) {
            return Ok(false);
        }
        if let Some(other) = self.leaders.insert(term, id) {
            return Violation::found("one leader a term", format!("replicas {other} and {id} in term {term}"));
        }
        self.holds_committed(id)?;
        if let Some(me) = self.replicas.get_mut(&id) {
            me.leads = true;
            me.append(Entry { term, body: Body::Plain });
            me.matched = BTreeMap::from([(id, me.log.len())]);
        }
        Ok(true)
    }

    fn holds_committed(&self, id: u64) -> Result<(), Violation> {
        let (log, count) = (&self.replicas[&id].log, self.committed.len());
        let holds = count == 0 || log.get(count - 1).is_some_and(|e| e.term == self.committed[count - 1].term);
        if holds {
            return Ok(());
        }
        let has = log.len();
        Violation::found(
            "what was committed stays",
            format!("replica {id} leads without entry {count}, which was committed; its log has {has} entries"),
        )
    }

    /// Sends `to` what `from` has and it lacks, as far as one message goes.
    pub(super) fn replicate(&mut self, from: u64, to: u64) -> Result<(), Violation> {
        let Some(leader) = self.replicas.get(&from).filter(|r| r.open && r.leads) else { return Ok(()) };
        let Some(follower) = self.replicas.get(&to).filter(|r| r.open) else { return Ok(()) };
        let (term, commit) = (leader.term, leader.commit);
        if follower.term > term {
            let newer = follower.term;
            return self.step_down(from, newer);
        }
        // Two logs that agree at one entry agree before it.
        let known = follower.commit;
        if known > 0 && leader.log.get(known - 1).is_none_or(|e| e.term != follower.log[known - 1].term) {
            let has = follower.log.len();
            return Violation::found(
                "what was committed stays",
                format!("replica {to} must cut its log of {has} entries, and {known} are committed"),
            );
        }
        let beyond = leader.log[known..].iter().zip(&follower.log[known..]);
        let same = known + beyond.take_while(|(a, b)| a.term == b.term).count();
        let new: Vec<Entry> = leader.log[same..].iter().take(BATCH).cloned().collect();
        let matched = same + new.len();
        let Some(follower) = self.replicas.get_mut(&to) else { return Ok(()) };
        follower.follow(term);
        if !new.is_empty() {
            follower.truncate(same);
            new.into_iter().for_each(|entry| follower.append(entry));
        }
        follower.commit = follower.commit.max(commit.min(matched));
        if let Some(leader) = self.replicas.get_mut(&from) {
            leader.matched.insert(to, matched);
        }
        self.commit(from)
    }

    fn step_down(&mut self, leader: u64, term: u32) -> Result<(), Violation> {
        if let Some(r) = self.replicas.get_mut(&leader) {
            r.follow(term);
        }
        Ok(())
    }

    /// Counts what a majority has of a leader's own term.
    pub(super) fn commit(&mut self, id: u64) -> Result<(), Violation> {
        let Some(leader) = self.replicas.get_mut(&id).filter(|r| r.open && r.leads) else { return Ok(()) };
        leader.matched.insert(id, leader.log.len());
        let Some((_, config)) = leader.config() else { return Ok(()) };
        let has = |r: u64, at: usize| leader.matched.get(&r).is_some_and(|m| *m >= at);
        let own = |at: &usize| leader.log[*at - 1].term == leader.term;
        let mut points: Vec<usize> = leader.matched.values().copied().filter(|at| *at > leader.commit).collect();
        points.sort_unstable();
        let best = points.into_iter().rev().filter(own).find(|at| config.agrees(|r| has(r, *at)));
        let Some(best) = best else { return Ok(()) };
        leader.commit = best;
        for at in self.committed.len().saturating_sub(1).min(best - 1)..best {
            let entry = &leader.log[at];
            match self.committed.get(at) {
                Some(known) if known.term != entry.term => {
                    return Violation::found(
                        "what was committed stays",
                        format!(
                            "entry {} was committed in term {}, and again in term {}",
                            at + 1,
                            known.term,
                            entry.term
                        ),
                    );
                }
                Some(_) => {}
                None => {
                    if let Body::Config(config) = &entry.body {
                        self.committed_config = Some((at + 1, config.clone()));
                    }
                    self.committed.push(entry.clone());
                }
            }
        }
        // A leader that its own change has left out goes once that is committed.
        if let Some((at, config)) = leader.config()
            && at <= leader.commit
            && !config.voters().contains(&id)
        {
            leader.leads = false;
        }
        Ok(())
    }

    /// Adds an entry of its own to a leader's log; where it is.
    pub(super) fn propose(&mut self, leader: u64, body: Body) -> Option<(u32, usize)> {
        let r = self.replicas.get_mut(&leader).filter(|r| r.open && r.leads)?;
        let term = r.term;
        r.append(Entry { term, body });
        Some((term, r.log.len()))
    }

    /// Whether what was proposed so is committed, as far as `replica` knows; `None`: not decided yet.
    pub(super) fn outcome(&self, replica: u64, (term, at): (u32, usize)) -> Option<bool> {
        let r = self.replicas.get(&replica)?;
        if r.commit >= at {
            return Some(r.log.get(at - 1).is_some_and(|e| e.term == term));
        }
        (!r.open || !r.leads || r.term != term).then_some(false)
    }

    /// The group as its leader sees it, for placement.
    pub(super) fn view(&self, leader: u64) -> Option<GroupView> {
        let r = self.replicas.get(&leader)?;
        let (at, config) = r.config()?;
        Some(GroupView {
            voters: config.voters(),
            changing_to: (config.sets.len() > 1).then(|| config.sets.last().cloned()).flatten(),
            learners: config.learners.clone(),
            matched: r.matched.iter().map(|(id, at)| (*id, *at as u64)).collect(),
            last_index: r.log.len() as u64,
            membership_committed: at <= r.commit,
        })
    }

    /// Writes a configuration, if the one before it is committed, as openraft demands.
    pub(super) fn reconfigure(&mut self, leader: u64, change: impl FnOnce(&Config) -> Option<Config>) -> bool {
        let Some(r) = self.replicas.get_mut(&leader).filter(|r| r.open && r.leads) else { return false };
        let Some((_, config)) = r.config().filter(|(at, _)| *at <= r.commit) else { return false };
        let Some(next) = change(&config).filter(|next| *next != *config) else { return false };
        let members = next.members();
        r.matched.retain(|id, _| members.contains(id));
        let term = r.term;
        r.append(Entry { term, body: Body::Config(Arc::new(next)) });
        true
    }

    /// Configurations that a leader may count by from now on: the newest committed one and what was written after it.
    pub(super) fn in_force(&self) -> Vec<Arc<Config>> {
        let newest = self.committed_config.as_ref().map_or(0, |(at, _)| *at);
        let mut all: Vec<Arc<Config>> = self.committed_config.iter().map(|(_, config)| config.clone()).collect();
        for replica in self.replicas.values().filter(|r| !r.lost) {
            for (_, config) in replica.configs.iter().rev().take_while(|(at, _)| *at > newest) {
                if !all.contains(config) {
                    all.push(config.clone());
                }
            }
        }
        all
    }

    /// What is in force, and each replica of it, in words.
    pub(super) fn brief(&self) -> String {
        let sets: Vec<_> = self.in_force().iter().map(|c| c.sets.clone()).collect();
        let of = |(id, r): (&u64, &Replica)| {
            let Replica { node, term, commit, open, leads, aside, lost, .. } = r;
            let len = r.log.len();
            format!(
                "{id} on {node:x}: term {term}, {commit} of {len} committed, open {open}, leads {leads}, aside {aside}, lost {lost}"
            )
        };
        let replicas: Vec<String> = self.replicas.iter().map(of).collect();
        format!("voters in force {sets:?}, replicas: {}", replicas.join("; "))
    }

    /// Every majority of what is in force must have somebody who knows the newest committed entry.
    pub(super) fn check_majorities(&self) -> Result<(), Violation> {
        let Some((count, last)) = self.committed.last().map(|last| (self.committed.len(), last.term)) else {
            return Ok(());
        };
        let knows = |id: &u64| {
            let replica = self.replicas.get(id);
            replica.is_some_and(|r| !r.lost && r.log.get(count - 1).is_some_and(|e| e.term == last))
        };
        let could_vote = |id: &u64| self.replicas.get(id).is_none_or(|r| !r.lost);
        for config in self.in_force() {
            // All sets must be won without it before a leader can come that does not know it.
            let loses = config.sets.iter().all(|set| {
                let without = set.iter().filter(|id| !knows(id) && could_vote(id)).count();
                2 * without > set.len()
            });
            if loses {
                return Violation::found(
                    "every majority knows what was committed",
                    format!("entry {count} is unknown to a majority of {:?}", config.sets),
                );
            }
        }
        Ok(())
    }

    /// Whether the group bears the loss of these replicas: in each set in force fewer than half are lost then.
    pub(super) fn bears_loss_of(&self, more: &BTreeSet<u64>) -> bool {
        let gone = |id: &u64| more.contains(id) || self.replicas.get(id).is_some_and(|r| r.lost || r.aside);
        // A replica that is about to become the only voter must not be lost on the way: of one copy none can be lost.
        let heir = |c: &Arc<Config>| c.sets.iter().any(|set| set.len() == 1) && c.learners.iter().any(gone);
        let fewer_than_half = |set: &BTreeSet<u64>| 2 * set.iter().filter(|id| gone(id)).count() < set.len();
        // Nobody but the founder can begin a group.
        let begun = !self.in_force().is_empty();
        begun && self.in_force().iter().all(|c| c.sets.iter().all(fewer_than_half) && !heir(c))
    }
}
