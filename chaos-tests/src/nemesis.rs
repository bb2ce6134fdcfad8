//! Faults by schedule, clients beside them, and a checker that goes by the clients' history alone.
//!
//! Start at [`run`]: one seed gives one [`schedule`], the [`workload`] notes every reply in the [`history`], the
//! [`stage`] is what faults act on, and the [`checker`] judges. [`soak`] does it many times over.
pub mod checker;
pub mod fault;
pub mod history;
mod inject;
pub mod run;
pub mod schedule;
pub mod soak;
mod stage;
pub mod story;
mod workload;
