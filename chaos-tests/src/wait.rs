//! Waiting for conditions: always a condition and a deadline, never a time.
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(25);

/// Looks until `look` gives `Ok`, or `patience` has passed; `Err` of `look` says what was seen instead.
pub async fn until<T, F>(what: &str, patience: Duration, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = std::result::Result<T, String>>,
{
    let deadline = Instant::now() + patience;
    loop {
        let last = match look().await {
            Ok(value) => return Ok(value),
            Err(seen) => seen,
        };
        if Instant::now() >= deadline {
            return Err(Error::TimedOut { what: what.to_owned(), waited: patience, last });
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_never_holds_is_reported_with_what_was_seen() {
        let mut looks = 0;
        let late = until("three looks", Duration::from_secs(5), || {
            looks += 1;
            let now = looks;
            async move { if now == 3 { Ok(now) } else { Err(now.to_string()) } }
        });
        assert_eq!(late.await.unwrap(), 3);
        let never = until("never", Duration::ZERO, || async { Err::<(), _>("still dark".to_owned()) }).await;
        assert!(never.unwrap_err().to_string().contains("still dark"));
    }
}
