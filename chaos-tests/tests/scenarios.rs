//! Every scenario in its short form, or as long as `TRINE_CHAOS_ROUNDS` says. The seed is printed; `TRINE_CHAOS_SEED`
//! repeats it, `TRINE_CHAOS_KEEP` keeps data and logs of one that fails.
use trine_chaos_tests::scenario::{self, Running};
use trine_chaos_tests::settings::Settings;

fn pass(scenario: fn(Settings) -> Running) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a test needs a runtime");
    match runtime.block_on(scenario(Settings::from_env())) {
        Ok(report) => print!("{report}"),
        Err(error) => panic!("{error}"),
    }
}

macro_rules! tests {
    ($($name:ident),*) => {
        $(#[test] fn $name() { pass(|settings| Box::pin(scenario::$name(settings))) })*

        #[test]
        fn every_scenario_has_its_test() {
            let names: Vec<&str> = scenario::ALL.iter().map(|s| s.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

tests![
    visible_everywhere,
    kill_one,
    kill_all,
    pause_one,
    lose_disk,
    grow,
    planned_stop,
    restart_finds_data,
    ledger,
    behind_a_purge,
    bad_input,
    overload,
    replay,
    corrupt_wal,
    corrupt_sled,
    wiped_first_node,
    old_replica_returns,
    remove_dead_node,
    only_replica_lost,
    retry_crosses,
    hot_stream
];
