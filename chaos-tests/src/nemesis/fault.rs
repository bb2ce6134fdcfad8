//! What can be done to a cluster, by name.
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::cluster::Surroundings;
use crate::disk::corrupt::Part;
use crate::{clock, disk};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// SIGKILL; started again at the end.
    Kill,
    /// SIGKILL of all nodes at once.
    KillAll,
    /// Killed and started over and over, in quick succession.
    RestartStorm,
    /// SIGSTOP, SIGCONT at the end.
    Pause,
    /// Stopped for most of the time, over and over: it follows, slowly.
    SlowFollower,
    /// A minority apart from the rest.
    Halves,
    /// The node that leads most, alone.
    IsolateLeader,
    /// A node hears everybody and nobody hears it, or the other way round.
    OneWay,
    /// The leader alone; then those that elected another are restarted on its side of a new partition.
    Swing,
    /// A node that is cut off and back, over and over.
    Flapping,
    /// Every link of a node is slow and narrow.
    SlowLink,
    /// Every link of a node loses packets.
    LossyLink,
    /// No room left on a node's disk.
    DiskFull,
    /// Writes and syncs of a node's files fail.
    IoError,
    /// Writes of a node's files stop short.
    ShortWrite,
    /// A node loses everything that it had not synced.
    PowerCut,
    /// All nodes do, at once.
    PowerCutAll,
    /// Bytes of a file of a node rot while it does not run.
    CorruptWal,
    CorruptBlock,
    CorruptManifest,
    CorruptSled,
    CorruptSnapshot,
    /// A node's wall clock jumps ahead, and back at the end.
    ClockForward,
    /// A node's wall clock jumps back, and ahead at the end.
    ClockBackward,
}

/// Every kind and its name on command lines and in tables.
const NAMES: &[(Fault, &str)] = &[
    (Fault::Kill, "kill"),
    (Fault::KillAll, "kill-all"),
    (Fault::RestartStorm, "restart-storm"),
    (Fault::Pause, "pause"),
    (Fault::SlowFollower, "slow-follower"),
    (Fault::Halves, "halves"),
    (Fault::IsolateLeader, "isolate-leader"),
    (Fault::OneWay, "one-way"),
    (Fault::Swing, "swing"),
    (Fault::Flapping, "flapping"),
    (Fault::SlowLink, "slow-link"),
    (Fault::LossyLink, "lossy-link"),
    (Fault::DiskFull, "disk-full"),
    (Fault::IoError, "io-error"),
    (Fault::ShortWrite, "short-write"),
    (Fault::PowerCut, "power-cut"),
    (Fault::PowerCutAll, "power-cut-all"),
    (Fault::CorruptWal, "corrupt-wal"),
    (Fault::CorruptBlock, "corrupt-block"),
    (Fault::CorruptManifest, "corrupt-manifest"),
    (Fault::CorruptSled, "corrupt-sled"),
    (Fault::CorruptSnapshot, "corrupt-snapshot"),
    (Fault::ClockForward, "clock-forward"),
    (Fault::ClockBackward, "clock-backward"),
];

/// Size of a node's own disk: the log's segments of 64 MiB, and room for blocks.
const DISK_BYTES: u64 = 640 << 20;

impl Fault {
    /// All kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(fault, _)| *fault)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(fault, _)| *fault == self).map_or("?", |(_, name)| name)
    }

    /// Adds what it needs to what a cluster lives in.
    pub fn needs(self, surroundings: &mut Surroundings) {
        match self {
            Self::Halves | Self::IsolateLeader | Self::OneWay | Self::Swing => surroundings.network = true,
            Self::Flapping | Self::SlowLink | Self::LossyLink => surroundings.network = true,
            Self::DiskFull | Self::PowerCut | Self::PowerCutAll => surroundings.disk_bytes = Some(DISK_BYTES),
            Self::ClockForward | Self::ClockBackward => surroundings.clocks = true,
            _ => {}
        }
    }

    /// Why it cannot be done on this machine.
    pub fn missing(self) -> Option<&'static str> {
        let mut needs = Surroundings::default();
        self.needs(&mut needs);
        if needs.disk_bytes.is_some() && !disk::allowed() {
            return Some("loop devices need root");
        }
        if needs.clocks && clock::library().is_none() {
            return Some("libfaketime is not installed");
        }
        None
    }

    /// Needs a binary with the feature `fault-injection`.
    pub fn needs_injection(self) -> bool {
        matches!(self, Self::IoError | Self::ShortWrite)
    }

    /// Harms what a node has on its disk, or keeps the node from reading it, which is the same for as long as it lasts. P1 allows
    /// for one such node at a time, so a schedule harms only one. After any other fault a node that finds damage is wrong.
    pub fn harms_disk(self) -> bool {
        self.rots().is_some() || self == Self::IoError
    }

    /// Which files rot.
    pub fn rots(self) -> Option<Part> {
        match self {
            Self::CorruptWal => Some(Part::Wal),
            Self::CorruptBlock => Some(Part::Block),
            Self::CorruptManifest => Some(Part::Manifest),
            Self::CorruptSled => Some(Part::Sled),
            Self::CorruptSnapshot => Some(Part::Snapshot),
            _ => None,
        }
    }

    /// Whether a node may end by itself because of it, to be started again by whoever runs it.
    pub fn may_end_nodes(self) -> bool {
        self.harms_disk() || matches!(self, Self::DiskFull | Self::ShortWrite)
    }

    /// How long it goes on: at least, and at most.
    pub fn lasts(self) -> (Duration, Duration) {
        let seconds = |from, to| (Duration::from_secs(from), Duration::from_secs(to));
        match self {
            Self::KillAll | Self::PowerCutAll => seconds(0, 2),
            Self::RestartStorm | Self::Flapping | Self::SlowFollower => seconds(6, 12),
            // Restarted nodes have to come back within it.
            Self::Swing => seconds(14, 20),
            _ => seconds(2, 9),
        }
    }

    /// Until each node acknowledges and answers again after the fault has healed. Debug builds on small machines take
    /// most of it to start.
    pub fn bound(self) -> Duration {
        match self {
            Self::Pause | Self::Halves | Self::IsolateLeader | Self::OneWay | Self::Flapping => Duration::from_secs(30),
            Self::SlowFollower | Self::SlowLink | Self::LossyLink => Duration::from_secs(30),
            Self::ClockForward | Self::ClockBackward => Duration::from_secs(30),
            _ => Duration::from_secs(60),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || NAMES.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
        let found = NAMES.iter().find(|(_, name)| *name == text).map(|(fault, _)| *fault);
        found.ok_or_else(|| format!("no fault {text:?}; there are {}", known()))
    }
}
