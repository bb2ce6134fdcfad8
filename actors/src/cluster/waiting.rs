//! What a node that does not know its shards yet waits for, in words for an operator.
use crate::gossip::Peers;

/// `cluster` is the node's own, empty while it has none; `expect` is how many nodes a new cluster begins with.
pub(super) fn waits_for(live: &Peers, cluster: &str, expect: usize) -> String {
    let mut names: Vec<&str> = live.values().map(|p| p.node.name.as_str()).collect();
    names.sort_unstable();
    let seen = match names.as_slice() {
        [] => "no live node".to_owned(),
        [one] => format!("1 live node, {one}"),
        all => format!("{} live nodes, {}", all.len(), all.join(", ")),
    };
    let seen = format!("{seen} (itself included)");
    if !cluster.is_empty() {
        return format!(
            "not in touch with its cluster {cluster} yet: it waits for the leader of the cluster's metadata, which is elected once \
             a majority of the nodes that have a copy of the metadata run; this one sees {seen}"
        );
    }
    if let Some(member) = live.values().find(|p| !p.cluster.is_empty()) {
        return format!("not in a cluster yet: joining through {}", member.node.name);
    }
    match expect {
        0 => format!(
            "not in a cluster yet: cluster.bootstrap_expect is 0, so it joins one that exists; it sees {seen}, none of \
             which has a cluster (cluster.join names where it looks)"
        ),
        n => format!(
            "not in a cluster yet: it waits until as many nodes as cluster.bootstrap_expect says ({n}) see each other; it \
             sees {seen} (cluster.join names where it looks)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::Peer;
    use crate::meta::NodeRecord;

    fn peer(id: u64, name: &str, cluster: &str) -> (u64, Peer) {
        let (rpc, http, zone, version) = Default::default();
        let node = NodeRecord { id, name: name.to_owned(), rpc, http, zone, version };
        (
            id,
            Peer {
                node,
                cluster: cluster.to_owned(),
                ready: false,
                disk_full: false,
                room_from_ms: [i64::MIN; 3],
                gossip: None,
            },
        )
    }

    #[test]
    fn says_what_is_missing() {
        let alone = Peers::from([peer(1, "n1", "")]);
        let found = Peers::from([peer(1, "n1", ""), peer(2, "n2", "c")]);
        for (live, cluster, expect, parts) in [
            (&alone, "", 3, ["cluster.bootstrap_expect says (3)", "1 live node, n1"]),
            (&alone, "", 0, ["bootstrap_expect is 0", "cluster.join"]),
            (&found, "", 3, ["not in a cluster yet", "joining through n2"]),
            (&found, "c", 3, ["its cluster c", "2 live nodes, n1, n2"]),
            // All of them may run, and no leader be elected yet.
            (&found, "c", 2, ["waits for the leader", "elected once a majority"]),
            (&Peers::new(), "", 1, ["says (1)", "no live node"]),
        ] {
            let said = waits_for(live, cluster, expect);
            assert!(parts.iter().all(|p| said.contains(p)), "{said}");
        }
    }
}
