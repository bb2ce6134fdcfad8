//! A hundred seeds of each simulation, other ones each time. `TRINE_CHAOS_SEED` repeats what was printed.
use trine_chaos_tests::settings::Settings;
use trine_chaos_tests::sim::Subject;
use trine_chaos_tests::sim::sweep::{Sweep, sweep, table};

const SEEDS: u64 = 100;

fn holds(subject: Subject) {
    let first = Settings::from_env().seed;
    println!("TRINE_CHAOS_SEED={first}");
    let rows = sweep(&Sweep { subjects: vec![subject], first, seeds: SEEDS, jobs: 1 }, &|_, _, _| {});
    print!("{}", table(&rows));
    for row in &rows {
        let told: Vec<&str> = row.failures.values().map(String::as_str).take(1).collect();
        assert!(told.is_empty(), "{}\nseeds that fail: {:?}", told.concat(), row.failures.keys());
    }
}

#[test]
fn placement_and_membership() {
    holds(Subject::Placement);
}

#[test]
fn founding() {
    holds(Subject::Founding);
}

#[test]
fn the_log_of_a_node() {
    holds(Subject::Log);
}

#[test]
fn a_seed_gives_the_same_events_each_time() {
    for subject in Subject::ALL {
        let mut hashes: Vec<u64> = Vec::new();
        for seed in 1..=20 {
            let (once, twice) = (subject.play(seed), subject.play(seed));
            assert_eq!(once.schedule, twice.schedule, "{subject}, seed {seed}");
            assert_eq!(once.hash, twice.hash);
            hashes.push(once.hash);
        }
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 20, "{subject}: seeds differ");
    }
}
