//! What a run sends: requests, encoded before the clock starts, in one lane a connection.
use bytes::Bytes;
use serde::Serialize;

use crate::error::Error;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Signal {
    Metrics,
    Logs,
    Traces,
}

impl Signal {
    /// What one fact is called in reports.
    pub(super) fn facts(self) -> &'static str {
        match self {
            Self::Metrics => "samples",
            Self::Logs => "lines",
            Self::Traces => "spans",
        }
    }

    /// Where requests go unless the URL names a path.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Metrics => "/api/v1/write",
            Self::Logs => "/loki/api/v1/push",
            Self::Traces => "/v1/traces",
        }
    }

    /// Headers of every request.
    pub(super) fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Metrics => &[
                ("content-type", "application/x-protobuf"),
                ("content-encoding", "snappy"),
                ("x-prometheus-remote-write-version", "0.1.0"),
            ],
            Self::Logs => &[("content-type", "application/x-protobuf")],
            Self::Traces => &[("content-type", "application/x-protobuf")],
        }
    }
}

/// One encoded request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// As it goes over the wire.
    pub(super) body: Bytes,
    pub(super) facts: u64,
    /// Bytes of what is in it before any encoding: of the lines for logs, of the protobuf message else.
    pub(super) raw_bytes: u64,
}

/// All requests of a run. A lane is sent in order by one connection, as agents do, since a peer may refuse samples of a
/// series that are out of order.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) signal: Signal,
    pub(super) lanes: Vec<Vec<Request>>,
    /// Time of the first and the last scrape, for metrics.
    pub(super) times_ms: Option<(i64, i64)>,
    /// Series, for metrics.
    pub(super) series: Option<u64>,
}

impl Load {
    /// Builds each lane on a thread of its own.
    pub(super) fn build(
        signal: Signal,
        lanes: usize,
        lane: impl Fn(usize) -> Result<Vec<Request>, Error> + Sync,
    ) -> Result<Self, Error> {
        let lane = &lane;
        let built = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..lanes).map(|at| scope.spawn(move || lane(at))).collect();
            threads
                .into_iter()
                .map(|t| t.join().unwrap_or_else(|_| Err(Error::Bench("a generator failed".into()))))
                .collect::<Result<Vec<_>, _>>()
        })?;
        Ok(Self { signal, lanes: built, times_ms: None, series: None })
    }

    fn all(&self) -> impl Iterator<Item = &Request> {
        self.lanes.iter().flatten()
    }

    pub(super) fn requests(&self) -> u64 {
        self.lanes.iter().map(|l| l.len() as u64).sum()
    }

    pub(super) fn facts(&self) -> u64 {
        self.all().map(|r| r.facts).sum()
    }

    pub(super) fn raw_bytes(&self) -> u64 {
        self.all().map(|r| r.raw_bytes).sum()
    }

    pub(super) fn body_bytes(&self) -> u64 {
        self.all().map(|r| r.body.len() as u64).sum()
    }
}

/// A snappy block of `message`.
pub(super) fn snappy(encoder: &mut snap::raw::Encoder, message: &[u8]) -> Result<Bytes, Error> {
    encoder.compress_vec(message).map(Bytes::from).map_err(|e| Error::Bench(format!("compress a request: {e}")))
}
