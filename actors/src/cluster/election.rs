//! Asks the metadata whose samples of a pair of replicas count.
use crate::cluster::Shared;
use crate::meta::{Claim, Command, Elected, Reply};

/// What is known of a pair on this node decides, where it does.
fn decided(known: Option<&Elected>, claim: &Claim, renew_ms: i64) -> Option<String> {
    let known = known?;
    let silent_ms = claim.received_ms.saturating_sub(known.received_ms);
    let within = if known.replica == claim.replica { renew_ms } else { claim.failover_ms };
    (silent_ms < within).then(|| known.replica.clone())
}

impl Shared {
    /// The replica of the claim's pair that counts, the claimant where it is elected by this. The metadata group is asked only
    /// when the lease is to be renewed (`renew_ms` after the last time), has run out, or is not known here. A node that is
    /// behind asks once more than it had to.
    pub(crate) async fn elect(&self, claim: Claim, renew_ms: i64) -> Result<String, String> {
        let meta = self.meta();
        if let Some(replica) = decided(meta.elections.of(&claim.tenant, &claim.cluster), &claim, renew_ms) {
            return Ok(replica);
        }
        match self.meta_submit(&Command::ClaimReplica(claim)).await? {
            Reply::Elected(replica) => Ok(replica),
            other => Err(format!("the metadata answered a claim with {other:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_is_asked_only_when_it_must_be() {
        let elected = Elected { replica: "a".to_owned(), since_ms: 0, received_ms: 1_000 };
        let claim = |replica: &str, received_ms| Claim {
            tenant: "t".to_owned(),
            cluster: "c".to_owned(),
            replica: replica.to_owned(),
            received_ms,
            failover_ms: 30_000,
        };
        for (replica, received_ms, expected) in [
            ("a", 2_000, Some("a")),
            ("a", 16_000, None),
            ("b", 16_000, Some("a")),
            ("b", 31_000, None),
            ("a", 500, Some("a")),
        ] {
            let got = decided(Some(&elected), &claim(replica, received_ms), 15_000);
            assert_eq!(got.as_deref(), expected, "{replica} {received_ms}");
        }
        assert_eq!(decided(None, &claim("a", 0), 15_000), None);
    }
}
