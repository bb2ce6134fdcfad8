//! Deterministic simulation: the pure decisions of a node, and its log, under faults that one seed decides.
//!
//! Nothing here starts a process, opens a socket or reads a clock: one thread draws events from one generator, so a seed gives
//! the same events, byte for byte, each time. [`placement`] has a cluster's metadata, planners and memberships over a model
//! of raft; [`founding`] who founds and who joins; [`log`] a node's write-ahead log below raft's log store. After each
//! event the promises are checked; a run ends with the faults healed and demands that all comes to rest as it should.
pub mod command;
pub mod founding;
pub mod log;
pub mod placement;
pub mod sweep;
pub mod trace;

pub use trace::{Outcome, Trace, Violation};

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    Placement,
    Founding,
    Log,
}

impl Subject {
    pub const ALL: [Self; 3] = [Self::Placement, Self::Founding, Self::Log];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Placement => "placement",
            Self::Founding => "founding",
            Self::Log => "log",
        }
    }

    /// Plays one seed.
    pub fn play(self, seed: u64) -> Outcome {
        match self {
            Self::Placement => placement::play(seed, &placement::Rules::default()),
            Self::Founding => founding::play(seed, &founding::Rules::default()),
            Self::Log => log::play(seed, &log::Rules::default()),
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|s| s.name() == text);
        known.ok_or_else(|| {
            format!("there is no simulation {text:?}; there are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}
