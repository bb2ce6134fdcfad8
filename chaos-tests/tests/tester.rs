//! Tests of the tester: a known bug is put back, and the checker must find it. `TRINE_FAULTS_BIN` is a build with the feature
//! `fault-injection`; without, one is made.
use std::time::Duration;

use trine_chaos_tests::binary;
use trine_chaos_tests::nemesis::checker::Broken;
use trine_chaos_tests::nemesis::fault::Fault;
use trine_chaos_tests::nemesis::run::{Plan, run};
use trine_chaos_tests::settings::Settings;

/// Runs that a bug may survive.
const TRIES: u64 = 4;

/// What was acknowledged or seen is missing; or a node noticed that its own past, or what its leader says, cannot be: its raft
/// group panicked, it calls its disk damaged, or it does not go on. Each of them is no promise kept, and none happens without a
/// bug: `--test nemesis` demands that under the same faults.
fn found(broken: &Broken) -> bool {
    match broken {
        Broken::Lost { .. } | Broken::Vanished { .. } => true,
        Broken::Panicked { .. } | Broken::Damaged { .. } | Broken::Stalled { .. } | Broken::Ended { .. } => true,
        Broken::Doubled { .. } | Broken::Invented { .. } | Broken::Altered { .. } | Broken::Books { .. } => false,
    }
}

/// Puts a bug back and demands that a run under `fault` finds what it breaks.
fn is_caught(bug: &str, fault: Fault, length: Duration) {
    if let Some(why) = fault.missing() {
        println!("{bug}: not tried, since {fault} cannot be done here: {why}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    let runtime = runtime.expect("a test needs a runtime");
    let binary = binary::with_faults().expect("a build with fault-injection");
    let first = Settings::from_env().seed;
    for seed in first..first + TRIES {
        let mut plan = Plan::new(seed, 3, length, vec![fault]);
        plan.first_only = true;
        plan.binary = Some(binary.clone());
        plan.environment = vec![("TRINE_TEST_BUG".into(), bug.into())];
        let verdict = runtime.block_on(run(&plan)).expect("the cluster runs, if wrongly");
        if let Some(dir) = &verdict.kept {
            // It was expected; what is kept is for findings.
            std::fs::remove_dir_all(dir).expect("the run is over and its files are ours");
        }
        if let Some(first) = verdict.violations.iter().find(|v| found(&v.broken)) {
            println!("{bug}: seed {seed}: {first}");
            return;
        }
    }
    panic!("{bug} under {fault} is not caught by seeds {first}..{}", first + TRIES);
}

#[test]
fn an_acknowledgement_before_the_fsync_is_caught() {
    is_caught("ack-before-fsync", Fault::PowerCutAll, Duration::from_secs(14));
}

#[test]
fn what_is_applied_before_a_majority_has_it_is_caught() {
    is_caught("apply-before-majority", Fault::IsolateLeader, Duration::from_secs(20));
}

#[test]
fn a_vote_that_a_restart_forgets_is_caught() {
    is_caught("skip-vote-fsync", Fault::Swing, Duration::from_secs(24));
}
