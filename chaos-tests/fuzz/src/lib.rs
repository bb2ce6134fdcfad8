//! Fuzz targets: every decoder of bytes from outside or from disk, as a function that must not panic.
//!
//! `fuzz` runs them under libFuzzer; a test runs each over its seeds and the committed corpus.
mod apply;
mod cluster;
mod engine;
mod http;
pub mod mutate;
pub mod pack;
mod query;
pub mod runner;
mod sample;
pub mod seeds;
mod split;
mod store;

/// Name and function of a decoder.
type Decoder = (&'static str, fn(&[u8]));

/// A decoder under its name.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

/// All targets, by name.
pub fn targets() -> Vec<Target> {
    let lists: [&[Decoder]; 9] = [
        &store::TARGETS,
        &apply::TARGETS,
        &query::TARGETS,
        &engine::TARGETS,
        &http::TARGETS,
        &trine_store::fuzz::TARGETS,
        &trine_api::fuzz::TARGETS,
        &trine_actors::fuzz::TARGETS,
        &trine_raft::fuzz::TARGETS,
    ];
    let mut targets: Vec<Target> = lists.into_iter().flatten().map(|(name, run)| Target { name, run: *run }).collect();
    targets.sort_by_key(|t| t.name);
    targets
}

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    targets().into_iter().find(|t| t.name == name)
}
