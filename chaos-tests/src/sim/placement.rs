//! A cluster of up to seven nodes: metadata, planners, memberships and leaders over a model of raft.
//!
//! The decisions are the product's own: what a metadata command does ([`MetaState::apply`](trine_actors::meta::MetaState)), who
//! gets replicas, what a leader does to a membership, which replica a disk may open. Around them this module plays the nodes'
//! stewards, each with its own copy of the metadata, which may lag, and its own idea of who is alive, which may be wrong.
//! They place lines of log streams that are being spread by what they know of the metadata.
//! Nodes join, die, lose disks, come back as they were long ago, are drained and removed; messages get lost.
mod check;
mod fault;
mod group;
mod lines;
mod settle;
mod steward;
mod world;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use trine_actors::meta::{ShardRecord, StreamPlaces};
use trine_actors::placement::{GroupView, MembershipStep, membership_step};
use trine_actors::sim::{Condition, Traces, judge};
use trine_store::model::Slot;

use super::{Outcome, Violation};
use world::World;

/// Events of a run before its faults are healed, at most.
const EVENTS_MAX: usize = 700;

/// The rules that nodes go by: the product's, or broken ones, to test the test.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What a group's leader does next.
    pub membership_step: fn(&ShardRecord, usize, &GroupView) -> Option<MembershipStep>,
    /// Whether a replica may be opened.
    pub judge: fn(&Traces<'_>) -> Condition,
    /// Whether a node that was replaced is told so when it comes back.
    pub refuses_the_past: bool,
    /// The slot of a line of the stream with this hash and of this time (ns), as a node with this copy of the table has it.
    pub place: fn(&StreamPlaces, u64, i64) -> Option<Slot>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { membership_step, judge, refuses_the_past: true, place }
    }
}

fn place(places: &StreamPlaces, hash: u64, time_ns: i64) -> Option<Slot> {
    places.spreads().place(hash, time_ns).ok()
}

/// Plays one seed.
pub fn play(seed: u64, rules: &Rules) -> Outcome {
    let mut rng = StdRng::seed_from_u64(seed);
    let names = rng.random_range(1..=7);
    let shards = rng.random_range(1..=6);
    let mut world = World::new(rng, *rules, names, shards);
    let result = run(&mut world);
    world.trace.end(result)
}

fn run(world: &mut World) -> Result<(), Violation> {
    let events = world.rng.random_range(50..EVENTS_MAX);
    for _ in 0..events {
        world.event()?;
        world.check()?;
    }
    world.settle()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use trine_actors::sim::Loss;

    use super::*;

    fn caught(rules: &Rules) -> &'static str {
        (1..400).find_map(|seed| play(seed, rules).violation).expect("a violation").invariant
    }

    /// The second voter does not wait for the third.
    fn one_then_two(record: &ShardRecord, voters_max: usize, group: &GroupView) -> Option<MembershipStep> {
        let second = record.replicas.get(1).map(|r| r.replica).filter(|r| group.learners.contains(r));
        let caught_up = second.filter(|r| group.matched.get(r).is_some_and(|m| *m == group.last_index));
        match caught_up {
            Some(second) if group.voters.len() == 1 && group.changing_to.is_none() => {
                let both: BTreeSet<u64> = group.voters.iter().copied().chain([second]).collect();
                Some(MembershipStep::ChangeVoters(both))
            }
            _ => membership_step(record, voters_max, group),
        }
    }

    /// A learner votes whatever it has.
    fn at_once(record: &ShardRecord, voters_max: usize, group: &GroupView) -> Option<MembershipStep> {
        let everything = group.learners.iter().map(|l| (*l, group.last_index));
        let matched = group.matched.iter().map(|(r, m)| (*r, *m)).chain(everything).collect();
        membership_step(record, voters_max, &GroupView { matched, ..group.clone() })
    }

    /// What was lost begins again under its id.
    fn born_again(traces: &Traces<'_>) -> Condition {
        match judge(traces) {
            Condition::Lost(Loss { .. }) => Condition::Unborn,
            sound @ (Condition::Whole | Condition::Unborn | Condition::Undecided) => sound,
        }
    }

    /// A node places lines by the rows that it knows, whether they are settled or not.
    fn by_what_it_knows(places: &StreamPlaces, hash: u64, time_ns: i64) -> Option<Slot> {
        place(&StreamPlaces { horizon_ns: i64::MAX, ..places.clone() }, hash, time_ns)
    }

    #[test]
    fn broken_rules_are_caught() {
        let sound = Rules::default();
        assert_eq!(caught(&Rules { membership_step: one_then_two, ..sound }), "voters are odd in number");
        assert_eq!(caught(&Rules { membership_step: at_once, ..sound }), "nobody votes before it has caught up");
        assert_eq!(caught(&Rules { place: by_what_it_knows, ..sound }), "nodes place a line alike");
        assert_eq!(caught(&Rules { judge: born_again, ..sound }), "a lost replica never takes part again");
    }
}
