//! A client as agents and Grafana are: writes and reads over HTTP, through whichever node it is told.
pub mod read;
pub mod write;

use std::time::Duration;

pub use read::{Answer, ReadError};
pub use write::Outcome;
pub(crate) use write::chain;

/// What clients usually wait for.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Connections to all nodes; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    pub fn new() -> Self {
        Self { http: reqwest::Client::new() }
    }

    /// The connections, for requests that no agent would send.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }
}
