//! One shard's state over the three engines: what an entry does to it, and what readers see.
mod outcome;
mod view;

pub use outcome::{Conflict, PartOutcome};
pub use view::ShardView;
