//! What the log says of requests that this node failed: each kind at most once a second, with the count of those left out, since
//! a node that refuses does so to every client, over and over.
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;

const EVERY: Duration = Duration::from_secs(1);

static SAID: LazyLock<Mutex<Said>> = LazyLock::new(Mutex::default);

/// When a status was last told of, and how many were not since.
#[derive(Debug, Default)]
struct Said(BTreeMap<u16, (Instant, u64)>);

impl Said {
    /// How many of this status were left out before this one; `None` when it is to be left out, too.
    fn again(&mut self, status: StatusCode, now: Instant) -> Option<u64> {
        match self.0.get_mut(&status.as_u16()) {
            Some((last, left_out)) if now.duration_since(*last) < EVERY => {
                *left_out += 1;
                None
            }
            Some((last, left_out)) => {
                *last = now;
                Some(std::mem::take(left_out))
            }
            None => {
                self.0.insert(status.as_u16(), (now, 0));
                Some(0)
            }
        }
    }
}

/// Tells of a request that ends with `status`, if that is this node's fault.
pub(crate) fn tell(status: StatusCode, error: &dyn fmt::Display) {
    // What is not implemented is known, and no news at each request.
    if !status.is_server_error() || status == StatusCode::NOT_IMPLEMENTED {
        tracing::debug!(%status, %error, "request refused");
        return;
    }
    let left_out = SAID.lock().unwrap_or_else(PoisonError::into_inner).again(status, Instant::now());
    if let Some(left_out) = left_out {
        tracing::warn!(%status, %error, left_out, "request failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_of_each_status_with_the_count_of_the_others() {
        let (mut said, start) = (Said::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let (busy, broken) = (StatusCode::SERVICE_UNAVAILABLE, StatusCode::INTERNAL_SERVER_ERROR);
        for (ms, status, expected) in [
            (0, busy, Some(0)),
            (10, busy, None),
            (20, broken, Some(0)),
            (999, busy, None),
            (1_000, busy, Some(2)),
            (1_500, busy, None),
            (9_000, busy, Some(1)),
            (9_000, broken, Some(0)),
        ] {
            assert_eq!(said.again(status, at(ms)), expected, "{status} at {ms} ms");
        }
    }
}
