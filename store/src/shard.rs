//! One shard's state over the three engines: what an entry does to it, what readers see, and its files.
mod config;
mod dedup;
mod manifest;
mod outcome;
mod seal;
mod state;
mod view;

pub use config::ShardConfig;
pub use dedup::DedupWindow;
pub use manifest::{BlockEntry, LogPosition, Manifest};
pub use outcome::{Conflict, PartOutcome};
pub use seal::{
    BLOCKS_DIR, MANIFEST_FILE, OpenBlocks, SealJob, Sealed, open_blocks, read_manifest, remove_strays, write_manifest,
};
pub use state::{Applied, FileError, ProposerTable, ShardState};
pub use view::ShardView;
