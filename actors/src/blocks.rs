//! What blocks there are, as replicas tell each other and the admin API.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use trine_store::limits::Tombstone;
use trine_store::model::Signal;
use trine_store::shard::{BlockEntry, Compaction, Manifest, ShardView};

use crate::cluster::{ADMIN_TIMEOUT, Cluster};
use crate::rpc::{LATE, proto, refusal};
use crate::shard::ShardHandle;

/// Between two looks at whether blocks have been rewritten.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What a replica says of its blocks.
#[derive(Clone, Debug)]
pub struct ReplicaBlocks {
    pub shard: u32,
    /// Name of its node.
    pub node: String,
    /// `Err` says why it did not answer.
    pub blocks: Result<proto::ListBlocksReply, String>,
}

/// A tenant's part of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Section {
    facts: u64,
    /// 0 where a signal's blocks do not tell.
    series: u64,
    min_time: i64,
    max_time: i64,
}

/// The blocks of a replica; of one tenant's if it is named, with what of them is the tenant's.
pub(crate) fn tell(handle: &ShardHandle, tenant: &str) -> proto::ListBlocksReply {
    let observed = handle.observed();
    let (manifest, pending) = (observed.manifest.load_full(), observed.pending.load_full());
    let (lost, view) = (observed.lost.load_full(), handle.view());
    // The manifest has those of the head that is being sealed only later.
    let tombstones = &view.metrics.limits.tombstones;
    let sections = (!tenant.is_empty()).then(|| sections(&view, tenant));
    let blocks = manifest.blocks.iter().filter_map(|entry| {
        let section = match &sections {
            None => None,
            Some(sections) => Some(*sections.get(&*entry.file)?),
        };
        let record = record(tombstones, entry, section);
        Some(proto::BlockRecord { damaged: lost.contains_key(&entry.file), ..record })
    });
    proto::ListBlocksReply {
        position: manifest.position.index,
        blocks: blocks.collect(),
        compaction: observed.compaction(),
        compactions_pending: pending.len() as u64,
        pending: pending.iter().map(|c| noted(c, &manifest)).collect(),
        leads: handle.group.leads(),
        tombstones: tombstones.len() as u64,
    }
}

fn record(tombstones: &[Arc<Tombstone>], entry: &BlockEntry, section: Option<Section>) -> proto::BlockRecord {
    let BlockEntry { facts, series, min_time, max_time, .. } = *entry;
    let section = section.unwrap_or(Section { facts, series, min_time, max_time });
    proto::BlockRecord {
        signal: u32::from(entry.signal as u8),
        file: entry.file.clone(),
        bytes: entry.bytes,
        crc: entry.crc,
        facts: section.facts,
        series: section.series,
        min_time: section.min_time,
        max_time: section.max_time,
        digest: entry.digest.to_le_bytes().to_vec().into(),
        damaged: false,
        made_at: entry.made_at,
        window_ms: entry.window_ms,
        tombstones: tombstones.iter().filter(|t| entry.is_concerned_by(t)).count() as u64,
    }
}

fn noted(compaction: &Compaction, manifest: &Manifest) -> proto::NotedCompaction {
    proto::NotedCompaction {
        index: compaction.index,
        signal: u32::from(compaction.request.signal as u8),
        window_ms: compaction.request.window_ms,
        inputs: compaction.request.inputs.len() as u64,
        ready: compaction.is_ready(manifest),
    }
}

/// The tenant's parts of blocks, by file.
fn sections<'v>(view: &'v ShardView, tenant: &str) -> BTreeMap<&'v str, Section> {
    let metrics = view.metrics.blocks.iter().filter_map(|b| {
        let (facts, series, min_time, max_time) = b.tenant_summary(tenant)?;
        Some((b.name(), Section { facts, series, min_time, max_time }))
    });
    let rows = view.logs.blocks.iter().chain(&view.traces.blocks).filter_map(|b| {
        let (_, min_time, max_time) = b.tenant_times().find(|(name, ..)| *name == tenant)?;
        let facts = b.tenant_facts().find(|(name, _)| *name == tenant).map_or(0, |(_, facts)| facts);
        Some((b.name(), Section { facts, series: 0, min_time, max_time }))
    });
    metrics.chain(rows).collect()
}

impl Cluster {
    /// Asks every replica of every shard for its blocks; for those of one tenant, if it is named.
    pub async fn blocks(&self, tenant: Option<&str>) -> Vec<ReplicaBlocks> {
        let (meta, tenant) = (self.meta(), tenant.unwrap_or_default());
        let replicas = meta.shards.iter().flat_map(|(shard, record)| record.replicas.iter().map(move |r| (*shard, r)));
        let asks = replicas.map(|(shard, replica)| {
            let node = meta.nodes.get(&replica.node).map_or_else(|| replica.node.to_string(), |n| n.name.clone());
            async move { ReplicaBlocks { shard, node, blocks: self.blocks_of(shard, replica.node, tenant).await } }
        });
        join_all(asks).await
    }

    /// Returns once no block that a replica tells of has deleted samples any more; `Err` says what is left after `patience`.
    pub async fn clean_tombstones(&self, patience: Duration) -> Result<(), String> {
        let until = Instant::now() + patience;
        loop {
            let left = unclean(&self.blocks(None).await);
            if left.is_ok() || Instant::now() >= until {
                return left;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn blocks_of(&self, shard: u32, node: u64, tenant: &str) -> Result<proto::ListBlocksReply, String> {
        let shared = self.shared();
        if node == shared.node_id() {
            let handle = shared.handles().get(&shard).cloned();
            return handle.map(|handle| tell(&handle, tenant)).ok_or_else(|| "it is not open".to_owned());
        }
        let mut client = shared.peers.client(node)?;
        let request = proto::ListBlocksRequest { to: shared.peers.to(node), shard, tenant: tenant.to_owned() };
        let reply = tokio::time::timeout(ADMIN_TIMEOUT, client.list_blocks(request)).await;
        let reply = reply.map_err(|_| LATE.to_owned())?;
        reply.map(tonic::Response::into_inner).map_err(|status| refusal(&status))
    }
}

/// Which blocks may have deleted samples, in words. A replica that is down is made whole when it comes back.
fn unclean(replicas: &[ReplicaBlocks]) -> Result<(), String> {
    let mut silent: BTreeSet<u32> = replicas.iter().map(|r| r.shard).collect();
    let mut left = 0;
    for (shard, reply) in replicas.iter().filter_map(|r| Some((r.shard, r.blocks.as_ref().ok()?))) {
        silent.remove(&shard);
        let blocks = reply.blocks.iter().filter(|b| b.tombstones > 0).count();
        // What is being sealed becomes a block with deleted samples.
        left += if reply.tombstones > 0 { blocks.max(1) } else { blocks };
    }
    match (left, silent.is_empty()) {
        (0, true) => Ok(()),
        (0, false) => Err(format!("no replica of shards {silent:?} answers")),
        (left, _) => {
            Err(format!("{left} blocks may have deleted samples; they are rewritten one after the other, ask again"))
        }
    }
}

/// The signal of a record.
pub fn signal_of(number: u32) -> Option<Signal> {
    u8::try_from(number).ok().and_then(Signal::from_u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_samples_are_gone_when_every_shard_says_so() {
        let reply = |tombstones: &[u64]| {
            let block = |n: &u64| proto::BlockRecord { tombstones: *n, ..proto::BlockRecord::default() };
            Ok(proto::ListBlocksReply { blocks: tombstones.iter().map(block).collect(), ..Default::default() })
        };
        let of = |shard, blocks| ReplicaBlocks { shard, node: "n".into(), blocks };
        let dead = || Err("dead".to_owned());
        assert_eq!(unclean(&[of(0, reply(&[0, 0])), of(0, dead()), of(1, reply(&[]))]), Ok(()));
        let left = unclean(&[of(0, reply(&[0, 2])), of(0, reply(&[1])), of(1, dead())]).unwrap_err();
        assert!(left.starts_with("2 blocks"), "{left}");
        let sealing = Ok(proto::ListBlocksReply { tombstones: 1, ..Default::default() });
        assert!(unclean(&[of(0, sealing)]).unwrap_err().starts_with("1 blocks"));
        let silent = unclean(&[of(0, reply(&[0])), of(1, dead())]).unwrap_err();
        assert_eq!(silent, "no replica of shards {1} answers");
    }
}
