//! One shard's state over the three engines: what an entry does to it, what readers see, and its files.
mod blocks;
mod check;
mod compaction;
mod config;
mod damage;
mod dedup;
mod files;
mod ledger;
mod manifest;
mod outcome;
mod plan;
mod proposer_table;
mod retention;
mod seal;
mod state;
#[cfg(test)]
mod tests;
mod view;

pub use blocks::{BlockOpener, OpenBlocks, entry_of};
pub use check::{FileCheck, recount_block, verify_block};
pub use compaction::{
    CompactJob, CompactRequest, Compacted, Compaction, MERGES_DIR, Swapped, adopt, descendants, forget_merges,
};
pub use config::ShardConfig;
pub use damage::{BlockDamage, OnDamage};
pub use dedup::DedupWindow;
pub use files::{BLOCKS_DIR, FileError, MANIFEST_FILE, read_manifest, remove_strays, write_manifest};
pub use ledger::{Books, CompactedFacts, Ledger, SealedFacts, Seen};
pub use manifest::{BlockEntry, LogPosition, Manifest, ManifestLimits};
pub use outcome::{Conflict, PartOutcome};
pub use plan::{CompactionPolicy, Expiry, expiry, plan};
pub use proposer_table::ProposerTable;
pub use retention::cutoff_of_bytes;
pub use seal::{SealJob, Sealed};
pub use state::{Applied, ShardState};
pub use view::ShardView;
