//! What a block's file holds, for people who look at one: bytes by section, facts by kind, and what weighs most.
//!
//! Reads tables, never samples or rows; `verify` of each engine reads everything.

/// One tenant's section of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantContents {
    pub tenant: String,
    /// Length of the section in the file.
    pub bytes: u64,
    /// Series of metrics, streams of rows.
    pub series: u64,
    /// Samples of all kinds, or rows.
    pub facts: u64,
    /// Least and greatest time: ms for metrics, ns for rows. None without facts.
    pub times: Option<(i64, i64)>,
    /// Stored bytes by section of the file, in the order of the format's description.
    pub sections: Vec<(&'static str, u64)>,
    /// Facts by kind.
    pub kinds: Vec<(&'static str, u64)>,
    /// By metric name, or by stream; in order of names.
    pub groups: Vec<Weight>,
    /// Postings by label name, or columns by attribute; in order of names.
    pub columns: Vec<Weight>,
}

/// How much of a block something is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    pub name: String,
    /// Series of a metric; 1 for a stream; label values of a label; granules with a column.
    pub members: u64,
    /// Samples, rows or values.
    pub facts: u64,
    /// Stored bytes of a metric's values, of a label's postings and of a column; bytes of a stream's bodies before compression.
    pub bytes: u64,
}

impl Weight {
    /// Adds to the weight of `name`.
    pub(crate) fn add(
        all: &mut std::collections::BTreeMap<String, Self>,
        name: String,
        members: u64,
        facts: u64,
        bytes: u64,
    ) {
        let weight = all.entry(name).or_default();
        weight.members = weight.members.saturating_add(members);
        weight.facts = weight.facts.saturating_add(facts);
        weight.bytes = weight.bytes.saturating_add(bytes);
    }

    /// In order of names, with the names.
    pub(crate) fn list(all: std::collections::BTreeMap<String, Self>) -> Vec<Self> {
        all.into_iter().map(|(name, weight)| Self { name, ..weight }).collect()
    }
}
