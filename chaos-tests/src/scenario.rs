//! What is done to clusters. Each scenario starts its own, and ends with a report or with what it found wrong.
mod bad_input;
mod check;
mod grow;
mod hot_stream;
mod kill_all;
mod kill_one;
mod ledger;
mod lose_disk;
mod overload;
mod pause_one;
mod planned_stop;
mod recovery;
mod replay;
mod restart_finds_data;
mod retry_crosses;
mod visible_everywhere;

use std::pin::Pin;

use crate::error::Result;
use crate::report::Report;
use crate::settings::Settings;

pub use bad_input::bad_input;
pub use grow::grow;
pub use hot_stream::hot_stream;
pub use kill_all::kill_all;
pub use kill_one::kill_one;
pub use ledger::ledger;
pub use lose_disk::lose_disk;
pub use overload::overload;
pub use pause_one::pause_one;
pub use planned_stop::planned_stop;
pub use recovery::{
    corrupt_sled, corrupt_wal, old_replica_returns, only_replica_lost, remove_dead_node, wiped_first_node,
};
pub use replay::replay;
pub use restart_finds_data::{behind_a_purge, restart_finds_data};
pub use retry_crosses::retry_crosses;
pub use visible_everywhere::visible_everywhere;

/// A scenario on its way.
pub type Running = Pin<Box<dyn Future<Output = Result<Report>>>>;

/// A scenario and its name.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub run: fn(Settings) -> Running,
}

macro_rules! scenarios {
    ($($name:ident),*) => { &[$(Scenario { name: stringify!($name), run: |s| Box::pin($name(s)) }),*] };
}

/// All of them, in the order in which `chaos` runs them.
pub const ALL: &[Scenario] = scenarios![
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
