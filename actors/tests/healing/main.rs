//! Damaged blocks of running clusters: found, kept out of sight honestly, and healed.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod blocks;
mod cluster;
