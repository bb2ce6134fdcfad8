//! One shard's state over the three engines: what an entry does to it, and what readers see.
mod dedup;
mod manifest;
mod outcome;
mod view;

pub use dedup::DedupWindow;
pub use manifest::{BlockEntry, LogPosition, Manifest};
pub use outcome::{Conflict, PartOutcome};
pub use view::ShardView;
