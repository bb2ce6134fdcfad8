//! What is done to clusters. Each scenario starts its own, and ends with a report or with what it found wrong.
mod check;
pub mod kill_one;

pub use check::check_everything;
