//! Of pairs of agents that send the same: whose samples are stored.
//!
//! A claim carries the time at which its request was received, so that applying it needs no clock.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Pairs of a tenant that are remembered.
pub const PAIRS_MAX: usize = 100;
/// Longest name of a pair or replica, bytes.
const NAME_BYTES_MAX: usize = 1024;
/// A pair that is silent for this long is forgotten when there are too many, ms.
const FORGOTTEN_MS: i64 = 30 * 60 * 1000;

/// A request of one replica of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub tenant: String,
    /// Names the pair.
    pub cluster: String,
    pub replica: String,
    /// When the request was received, Unix ms.
    pub received_ms: i64,
    /// Another replica is elected once the elected one has been silent this long, ms.
    pub failover_ms: i64,
}

/// The replica of a pair that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elected {
    pub replica: String,
    pub since_ms: i64,
    /// When its last claim was received; it holds until that is too long ago.
    pub received_ms: i64,
}

/// By tenant and pair.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elections(BTreeMap<String, BTreeMap<String, Elected>>);

/// Why a claim is refused: retrying helps once other pairs are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("the tenant has {PAIRS_MAX} pairs of replicas already")]
    TooMany,
    #[error("the name of a pair or replica is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
}

impl Elections {
    /// The elected replica of a pair.
    pub fn of(&self, tenant: &str, cluster: &str) -> Option<&Elected> {
        self.0.get(tenant)?.get(cluster)
    }

    /// Takes a claim: renews the lease of the elected replica, or elects this one where there is none or its lease has run
    /// out. Who is elected then.
    pub(super) fn claim(&mut self, claim: Claim) -> Result<&Elected, ClaimError> {
        let Claim { tenant, cluster, replica, received_ms, failover_ms } = claim;
        if cluster.len().max(replica.len()).max(tenant.len()) > NAME_BYTES_MAX {
            return Err(ClaimError::TooLong);
        }
        let pairs = self.0.entry(tenant).or_default();
        if pairs.len() >= PAIRS_MAX && !pairs.contains_key(&cluster) {
            pairs.retain(|_, elected| received_ms.saturating_sub(elected.received_ms) < FORGOTTEN_MS);
            if pairs.len() >= PAIRS_MAX {
                return Err(ClaimError::TooMany);
            }
        }
        let fresh = || Elected { replica: replica.clone(), since_ms: received_ms, received_ms };
        let elected = pairs.entry(cluster).or_insert_with(fresh);
        if elected.replica == replica {
            // Nodes' clocks differ a little: a lease never becomes shorter.
            elected.received_ms = elected.received_ms.max(received_ms);
        } else if received_ms.saturating_sub(elected.received_ms) >= failover_ms {
            *elected = fresh();
        }
        Ok(elected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(cluster: &str, replica: &str, received_ms: i64) -> Claim {
        let text = str::to_owned;
        Claim { tenant: text("t"), cluster: text(cluster), replica: text(replica), received_ms, failover_ms: 30_000 }
    }

    #[test]
    fn a_replica_is_elected_until_it_is_silent() {
        let mut elections = Elections::default();
        for (replica, received_ms, elected, until) in [
            ("a", 1_000, "a", 1_000),
            ("b", 2_000, "a", 1_000),
            ("a", 20_000, "a", 20_000),
            ("a", 19_000, "a", 20_000),
            ("b", 49_999, "a", 20_000),
            ("b", 50_000, "b", 50_000),
            ("a", 50_001, "b", 50_000),
        ] {
            let now = elections.claim(claim("c", replica, received_ms)).unwrap();
            assert_eq!((now.replica.as_str(), now.received_ms), (elected, until), "{replica} {received_ms}");
        }
        assert_eq!(elections.of("t", "c").unwrap().since_ms, 50_000);
        assert_eq!(elections.of("u", "c"), None);
    }

    #[test]
    fn pairs_are_bounded_and_silent_ones_forgotten() {
        let mut elections = Elections::default();
        for n in 0..PAIRS_MAX {
            elections.claim(claim(&n.to_string(), "a", 0)).unwrap();
        }
        assert_eq!(elections.claim(claim("more", "a", 1)), Err(ClaimError::TooMany));
        assert!(elections.claim(claim("7", "a", FORGOTTEN_MS - 1)).is_ok());
        assert!(elections.claim(claim("more", "a", FORGOTTEN_MS)).is_ok());
        assert_eq!(elections.claim(claim(&"x".repeat(2000), "a", 1)), Err(ClaimError::TooLong));
        assert!(elections.of("t", "7").is_some() && elections.of("t", "8").is_none());
    }
}
