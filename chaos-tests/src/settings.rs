//! How long a run is and where its randomness comes from.
use std::time::{SystemTime, UNIX_EPOCH};

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Settings of one run, from the environment or the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Rounds of each scenario; the short form of CI has 2.
    pub rounds: u32,
    /// Decides every random choice; printed by every scenario.
    pub seed: u64,
}

/// Rounds of the short form.
pub const SHORT_ROUNDS: u32 = 2;

impl Settings {
    /// `TRINE_CHAOS_ROUNDS` and `TRINE_CHAOS_SEED`; 2 rounds and a seed of the moment without.
    pub fn from_env() -> Self {
        let number = |key: &str| std::env::var(key).ok().and_then(|v| v.parse::<u64>().ok());
        let rounds = number("TRINE_CHAOS_ROUNDS").and_then(|r| u32::try_from(r).ok());
        let nanos = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
        Self { rounds: rounds.unwrap_or(SHORT_ROUNDS).max(1), seed: number("TRINE_CHAOS_SEED").unwrap_or_else(nanos) }
    }

    /// The long form, which people run, has more rounds than CI's.
    pub fn is_long(&self) -> bool {
        self.rounds > SHORT_ROUNDS
    }

    /// `short` in CI, `long` otherwise.
    pub fn pick<T>(&self, short: T, long: T) -> T {
        if self.is_long() { long } else { short }
    }

    /// Randomness of this run.
    pub fn rng(&self) -> StdRng {
        StdRng::seed_from_u64(self.seed)
    }
}
