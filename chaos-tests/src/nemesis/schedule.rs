//! What is done when, and to whom: all of it from one seed.
use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::fault::Fault;

/// One fault, from its beginning to its healing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Since the workload began.
    pub at: Duration,
    pub lasts: Duration,
    pub fault: Fault,
    /// Position of the node that it is about. Faults of the leader find theirs when they begin.
    pub node: usize,
    /// Decides what else is left to chance.
    pub seed: u64,
}

/// All steps of a run, by their beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub seed: u64,
    pub nodes: usize,
    /// How long the workload runs with faults.
    pub length: Duration,
    pub steps: Vec<Step>,
}

/// Before the first fault: something has to be there to be lost.
const CALM: Duration = Duration::from_secs(4);
/// Between two faults of one kind, in milliseconds.
const GAP_MS: std::ops::Range<u64> = 3_000..8_000;

impl Schedule {
    /// The schedule of a seed: each kind of `faults` over and over, independently, so that several overlap.
    pub fn draw(seed: u64, nodes: usize, length: Duration, faults: &[Fault]) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let harmed = rng.random_range(0..nodes);
        let mut steps = Vec::new();
        for &fault in faults {
            let mut at = CALM + millis(&mut rng, 0..GAP_MS.end);
            loop {
                let (shortest, longest) = fault.lasts();
                let lasts = millis(&mut rng, as_ms(shortest)..as_ms(longest));
                if at + lasts > length && !steps.iter().all(|s: &Step| s.fault != fault) {
                    break;
                }
                let drawn = rng.random_range(0..nodes);
                let node = if fault.harms_disk() { harmed } else { drawn };
                steps.push(Step { at, lasts, fault, node, seed: rng.random() });
                at += lasts + millis(&mut rng, GAP_MS);
            }
        }
        steps.sort_by_key(|step| step.at);
        Self { seed, nodes, length, steps }
    }
}

fn millis(rng: &mut StdRng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.random_range(range))
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {} nodes, {} s", self.seed, self.nodes, self.length.as_secs())?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_secs_f64(), self.lasts.as_secs_f64());
        write!(f, "{at:7.3} s for {lasts:6.3} s  {:<16} node-{}", self.fault.name(), self.node + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_seed_gives_one_schedule() {
        let faults = [Fault::Kill, Fault::Halves];
        let one = Schedule::draw(7, 3, MINUTE, &faults);
        assert_eq!(one, Schedule::draw(7, 3, MINUTE, &faults));
        assert_ne!(one.steps, Schedule::draw(8, 3, MINUTE, &faults).steps);
    }

    #[test]
    fn every_fault_happens_and_all_but_a_first_heal_in_time() {
        for seed in 0..200 {
            let faults: Vec<Fault> = Fault::all().collect();
            let schedule = Schedule::draw(seed, 5, MINUTE, &faults);
            for fault in faults {
                let of_it: Vec<&Step> = schedule.steps.iter().filter(|s| s.fault == fault).collect();
                assert!(!of_it.is_empty(), "{fault} in the schedule of {seed}");
                assert!(of_it.iter().skip(1).all(|s| s.at + s.lasts <= MINUTE), "{schedule}");
            }
            assert!(schedule.steps.iter().all(|s| s.node < 5 && s.at >= CALM));
            let mut harmed: Vec<usize> =
                schedule.steps.iter().filter(|s| s.fault.harms_disk()).map(|s| s.node).collect();
            harmed.dedup();
            assert!(harmed.len() <= 1, "P1 allows one node to lose what is on its disk: {schedule}");
        }
    }
}
