//! Why a scenario did not pass.
use std::time::Duration;

use crate::oracle::Complaint;

/// Result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a scenario did not pass. [`Error::Facts`] and [`Error::Promise`] are findings; the rest is trouble of the harness
/// or of a node that does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}")]
    Io { what: String, source: std::io::Error },
    #[error("building trine failed: {reason}")]
    Build { reason: String },
    #[error("{node} ended by itself: {status}")]
    Ended { node: String, status: String },
    /// A condition did not come true in time; `last` is what was seen instead.
    #[error("{what} not within {waited:?}; last seen: {last}")]
    TimedOut { what: String, waited: Duration, last: String },
    #[error("{url}: {reason}")]
    Request { url: String, reason: String },
    /// What was read does not agree with what was acknowledged.
    #[error("through {node}: {} facts are wrong: {}", complaints.len(), list(complaints))]
    Facts { node: String, complaints: Vec<Complaint> },
    /// A promise of the design was broken otherwise.
    #[error("{promise} broken: {evidence}")]
    Promise { promise: &'static str, evidence: String },
}

/// The first few complaints.
fn list(complaints: &[Complaint]) -> String {
    const SHOWN: usize = 12;
    let mut text: Vec<String> = complaints.iter().take(SHOWN).map(ToString::to_string).collect();
    if complaints.len() > SHOWN {
        text.push(format!("and {} more", complaints.len() - SHOWN));
    }
    text.join("; ")
}

/// Adds what was being done to an I/O error.
pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what: format!("{what}: {source}"), source }
}
