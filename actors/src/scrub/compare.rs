//! Which blocks differ between replicas, and who is right: pure.
use std::collections::BTreeMap;

use trine_store::shard::Manifest;

use crate::shard::ListedBlocks;

/// A block that the replicas do not agree on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Disagreement {
    pub(super) file: String,
    /// The digest that this replica should have; none when this replica is right, or nobody knows.
    pub(super) majority: Option<u128>,
    pub(super) text: String,
}

/// Compares this replica's manifest with the blocks of the others, by file: a file's name says which seal made it. A
/// replica that has not come as far as another is not expected to have its newest blocks, nor the same ones while compactions
/// are on their way; `compacted` is this replica's [`ListedBlocks::compacted`].
pub(super) fn compare(own: &Manifest, compacted: Option<u64>, others: &[(u64, ListedBlocks)]) -> Vec<Disagreement> {
    own.blocks
        .iter()
        .filter_map(|entry| {
            let mut votes: BTreeMap<u128, Vec<u64>> = BTreeMap::new();
            let mut lacking = Vec::new();
            for (node, listed) in others {
                match listed.blocks.iter().find(|b| b.entry.file == entry.file) {
                    Some(theirs) => votes.entry(theirs.entry.digest).or_default().push(*node),
                    None if listed.position >= own.position.index
                        && compacted.is_some()
                        && listed.compacted == compacted =>
                    {
                        lacking.push(*node);
                    }
                    None => {}
                }
            }
            let agreeing = 1 + votes.remove(&entry.digest).map_or(0, |nodes| nodes.len());
            let voters = agreeing + votes.values().map(Vec::len).sum::<usize>();
            let file = entry.file.clone();
            if votes.is_empty() {
                let text = format!("missing on nodes {lacking:?}, which have sealed as far as this one");
                return (!lacking.is_empty()).then_some(Disagreement { file, majority: None, text });
            }
            let nodes: Vec<u64> = votes.values().flatten().copied().collect();
            if agreeing * 2 > voters {
                let text =
                    format!("{agreeing} of {voters} replicas agree with this one; nodes {nodes:?} have other content");
                return Some(Disagreement { file, majority: None, text });
            }
            match votes.iter().find(|(_, nodes)| nodes.len() * 2 > voters) {
                Some((digest, nodes)) => {
                    let text = format!(
                        "{} of {voters} replicas have other content than this one: nodes {nodes:?}",
                        nodes.len()
                    );
                    Some(Disagreement { file, majority: Some(*digest), text })
                }
                None => {
                    let text = format!(
                        "no majority among {voters} replicas; nodes {nodes:?} have other content than this one"
                    );
                    Some(Disagreement { file, majority: None, text })
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use trine_store::model::Signal;
    use trine_store::shard::{BlockEntry, LogPosition};

    use super::*;
    use crate::shard::ListedBlock;

    fn entry(digest: u128) -> BlockEntry {
        let (signal, file) = (Signal::Logs, "1-logs.trnb".to_owned());
        BlockEntry {
            signal,
            file,
            bytes: 1,
            crc: 1,
            facts: 1,
            series: 1,
            min_time: 0,
            max_time: 1,
            digest,
            made_at: 0,
            window_ms: 0,
        }
    }

    fn verdict(own: u128, others: &[Option<u128>]) -> Option<Option<u128>> {
        let position = LogPosition { term: 1, leader: 1, index: 10 };
        let own = Manifest { position, blocks: vec![entry(own)], ..Manifest::default() };
        let listed = |digest: &Option<u128>| ListedBlocks {
            position: 10,
            compacted: Some(4),
            blocks: digest.iter().map(|d| ListedBlock { entry: entry(*d), damaged: false }).collect(),
        };
        let others: Vec<_> = others.iter().zip(1..).map(|(d, node)| (node, listed(d))).collect();
        compare(&own, Some(4), &others).into_iter().next().map(|d| d.majority)
    }

    #[test]
    fn the_majority_is_right() {
        let check = |others: &[Option<u128>], expected| assert_eq!(verdict(1, others), expected, "{others:?}");
        check(&[], None);
        check(&[Some(1), Some(1)], None);
        check(&[Some(1), Some(2)], Some(None));
        check(&[Some(2), Some(2)], Some(Some(2)));
        check(&[Some(2), Some(3)], Some(None));
        check(&[Some(2)], Some(None));
        check(&[Some(1), None], Some(None));
        check(&[Some(2), Some(2), Some(3), Some(1)], Some(None));
    }

    #[test]
    fn a_replica_that_is_behind_lacks_nothing() {
        let position = LogPosition { term: 1, leader: 1, index: 10 };
        let own = Manifest { position, blocks: vec![entry(1)], ..Manifest::default() };
        let behind = ListedBlocks { position: 9, compacted: Some(4), blocks: Vec::new() };
        assert_eq!(compare(&own, Some(4), &[(1, behind)]), []);
        for (mine, theirs) in [(Some(4), None), (None, None), (Some(4), Some(5)), (Some(5), Some(4))] {
            let compacting = ListedBlocks { position: 10, compacted: theirs, blocks: Vec::new() };
            assert_eq!(compare(&own, mine, &[(1, compacting)]), [], "it may have compacted the block");
        }
    }
}
