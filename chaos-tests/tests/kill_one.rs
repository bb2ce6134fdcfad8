//! P1, P2, P3 while one node of three is killed at a time.
use trine_chaos_tests::scenario::kill_one;
use trine_chaos_tests::settings::Settings;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_fails_and_nothing_is_lost_when_one_node_is_killed() {
    match kill_one::run(Settings::from_env()).await {
        Ok(report) => print!("{report}"),
        Err(error) => panic!("{error}"),
    }
}
