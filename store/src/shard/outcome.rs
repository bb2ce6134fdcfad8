//! What applying one part did.

/// A sample refused because its series already has another value at that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Position in the part's definitions.
    pub series: u32,
    pub time_ms: i64,
    pub existing_bits: u64,
    pub new_bits: u64,
}

/// Counts of facts of one part. `accepted + repeated + conflicts_count` is the part's facts count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartOutcome {
    pub accepted: u32,
    /// Already present, so not kept twice (P3).
    pub repeated: u32,
    pub conflicts_count: u32,
    /// The first [`PartOutcome::CONFLICTS_MAX`] conflicts, to name them to the client.
    pub conflicts: Vec<Conflict>,
}

impl PartOutcome {
    pub const CONFLICTS_MAX: usize = 8;
}
