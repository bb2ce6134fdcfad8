//! The pure decisions of this crate that the simulation in `chaos-tests` drives, besides [`crate::placement`] and
//! [`crate::meta`]. No part of the crate's interface.
pub use crate::cluster::founding::{Move, Seed, Sight, next_move};
pub use crate::steward::disk::{Condition, Loss, Traces, judge};
