//! Random faults for about four minutes, with a fresh seed each time. `TRINE_CHAOS_SEED` repeats what was printed.
use std::time::{Duration, Instant};

use trine_chaos_tests::binary;
use trine_chaos_tests::nemesis::fault::Fault;
use trine_chaos_tests::nemesis::run::Plan;
use trine_chaos_tests::nemesis::soak::{Soak, names, plans, table};
use trine_chaos_tests::settings::Settings;

/// No new run is begun after this long.
const SLICE: Duration = Duration::from_secs(180);
/// Faults of one run; starting, healing and checking come on top.
const LENGTH: Duration = Duration::from_secs(25);
/// More than a slice has time for.
const RUNS_MAX: usize = 12;

#[test]
fn no_promise_is_broken_under_random_faults() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    let runtime = runtime.expect("a test needs a runtime");
    let seed = Settings::from_env().seed;
    println!("TRINE_CHAOS_SEED={seed}");
    let faults: Vec<Fault> = Fault::all().filter(|f| f.missing().is_none()).collect();
    println!("faults: {}", names(&faults));
    let plan = Plan::new(seed, 3, LENGTH, Vec::new());
    let soak = Soak { seed, runs: faults.len() + RUNS_MAX, nodes: vec![3], faults: faults.clone(), plan };
    // Before the clock starts: it may have to be built.
    let with_faults = binary::with_faults().expect("a build with fault-injection");
    let began = Instant::now();
    let mut rows = Vec::new();
    // Pairs only: they come after each fault alone.
    for mut plan in plans(&soak).into_iter().skip(faults.len()) {
        if began.elapsed() > SLICE {
            break;
        }
        plan.binary = plan.faults.iter().any(|f| f.needs_injection()).then(|| with_faults.clone());
        println!("{}: seed {}", names(&plan.faults), plan.seed);
        let verdict = runtime.block_on(trine_chaos_tests::nemesis::run::run(&plan));
        rows.push((plan, verdict.map_err(|error| error.to_string())));
    }
    println!("{}", table(&rows));
    assert!(trine_chaos_tests::nemesis::soak::passed(&rows), "a promise was broken; see above");
}
