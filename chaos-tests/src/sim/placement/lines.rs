//! Lines of hot streams: nodes that know more or less of the metadata place them, while streams are spread.
use std::collections::BTreeMap;

use rand::Rng;
use trine_actors::meta::{Command, META_SHARD};
use trine_store::model::signal::key_hash;
use trine_store::model::{Labels, Slot};

use super::group::Body;
use super::world::World;
use crate::sim::Violation;

const TENANT: &str = "t";
/// Lines and clocks are so far apart at most.
const SKEW_NS: i64 = 60;

/// Where lines were placed.
#[derive(Debug, Default)]
pub(super) struct Lines {
    clock_ns: i64,
    placed: BTreeMap<(u64, i64), Slot>,
}

fn stream(number: u32) -> Vec<u8> {
    let app = number.to_string();
    Labels::from_pairs([("app", app.as_str())]).map(|labels| labels.as_bytes().to_vec()).unwrap_or_default()
}

impl World {
    /// Time goes on; somebody settles or spreads, and some nodes place lines by what they know.
    pub(super) fn place_lines(&mut self) -> Result<(), Violation> {
        self.lines.clock_ns += self.rng.random_range(0..20);
        let members = self.members();
        if let Some(node) = self.pick(&members) {
            self.settle_or_spread(node);
        }
        for _ in 0..8 {
            let Some(node) = self.pick(&members) else { return Ok(()) };
            self.place_line(node)?;
        }
        Ok(())
    }

    fn some_time(&mut self) -> i64 {
        (self.lines.clock_ns + self.rng.random_range(-SKEW_NS..SKEW_NS)).max(1)
    }

    fn settle_or_spread(&mut self, node: u64) {
        let to_ns = self.some_time() + SKEW_NS;
        let command = match self.rng.random_ratio(1, 2) {
            true => Command::RaiseHorizon { to_ns },
            false => Command::SpreadStream {
                tenant: TENANT.into(),
                stream: stream(self.rng.random_range(0..3)),
                from_ns: if self.rng.random_ratio(1, 2) { 0 } else { to_ns },
                slots: self.rng.random_range(1..9),
                earliest_ns: self.some_time(),
            },
        };
        for leader in self.groups[&META_SHARD].leaders() {
            let at = self.groups[&META_SHARD].replicas[&leader].node;
            if self.reaches(node, at) {
                self.group(META_SHARD).propose(leader, Body::Command(command.clone().into()));
            }
        }
    }

    fn place_line(&mut self, node: u64) -> Result<(), Violation> {
        let (hash, time_ns) = (key_hash(TENANT, &stream(self.rng.random_range(0..3))), self.some_time());
        let places = self.state(node);
        let Some(slot) = (self.rules.place)(&places.places, hash, time_ns) else { return Ok(()) };
        let first = *self.lines.placed.entry((hash, time_ns)).or_insert(slot);
        if first == slot {
            return Ok(());
        }
        Violation::found(
            "nodes place a line alike",
            format!("a line of {hash:x} at {time_ns}: {} now, on {node:x}, and {} before", slot.0, first.0),
        )
    }
}
