//! Waiting for a condition, with a deadline.
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks `probe` until it says `Ok`; panics with its last reason once `patience` is over.
pub(crate) async fn until<T, P>(what: &str, patience: Duration, mut probe: impl FnMut() -> P) -> T
where
    P: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + patience;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(reason) if Instant::now() > deadline => panic!("{what}: not within {patience:?}: {reason}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Unix time, ns.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(since.as_nanos()).expect("the clock is before 2262")
}

/// Unix time, ms.
pub(crate) fn now_ms() -> i64 {
    now_ns() / 1_000_000
}
