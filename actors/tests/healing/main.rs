//! Running clusters whose disks misbehave: damaged blocks are found, missed honestly, and healed; full disks refuse writes.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod alone;
mod blocks;
mod cluster;
mod compaction;
mod demotion;
mod disk;
