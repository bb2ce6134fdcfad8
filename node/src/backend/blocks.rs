//! `/admin/v1/blocks`: the blocks of all replicas as one table by windows of time.
use std::collections::BTreeMap;

use trine_actors::Cluster;
use trine_actors::blocks::{ReplicaBlocks, signal_of};
use trine_actors::rpc::proto::{BlockRecord, ListBlocksReply};
use trine_api::admin::model::{
    AdminBlock, AdminBlockWindow, AdminBlocks, AdminCompaction, AdminRoom, AdminShardBlocks,
};
use trine_store::model::Signal;

const NS_PER_MS: i64 = 1_000_000;
/// Of the windows of blocks that no compaction has made a window of, without any in the settings.
const WINDOW_MS: u64 = 2 * 3_600_000;
/// Levels of a sealed block and of one that was merged before its window was over.
const SEALED: u32 = 1;
const EARLY: u32 = 2;

pub(super) async fn blocks(cluster: &Cluster, tenant: Option<&str>) -> AdminBlocks {
    let room = Signal::ALL.into_iter().map(|s| (s, cluster.room_from_ms(s))).filter(|(_, ms)| *ms > i64::MIN);
    let room = room.map(|(s, from_unix_ms)| AdminRoom { signal: s.as_str().to_owned(), from_unix_ms }).collect();
    let document = document(cluster.blocks(tenant).await, &cluster.config().compaction.windows_ms);
    AdminBlocks { room, ..document }
}

/// `windows_ms`: the lengths of windows, rising, as the settings have them.
fn document(replicas: Vec<ReplicaBlocks>, windows_ms: &[u64]) -> AdminBlocks {
    let mut shards: BTreeMap<u32, Vec<(String, Option<ListBlocksReply>)>> = BTreeMap::new();
    for ReplicaBlocks { shard, node, blocks } in replicas {
        shards.entry(shard).or_default().push((node, blocks.ok()));
    }
    let mut out = AdminBlocks::default();
    for (shard, replicas) in shards {
        let answered = || replicas.iter().filter_map(|(node, reply)| Some((node, reply.as_ref()?)));
        // Without a leader, the replica that is furthest.
        let Some((node, reply)) = answered().max_by_key(|(_, reply)| (reply.leads, reply.position)) else {
            out.silent_shards.push(shard);
            continue;
        };
        out.shards.push(AdminShardBlocks {
            shard,
            node: node.clone(),
            position: reply.position,
            tombstones: reply.tombstones,
            windows: windows(&reply.blocks, windows_ms),
            compactions: answered().flat_map(|(node, reply)| compactions(node, reply)).collect(),
        });
    }
    out
}

fn name(signal: u32) -> String {
    signal_of(signal).map_or("unknown", Signal::as_str).to_owned()
}

fn compactions(node: &str, reply: &ListBlocksReply) -> Vec<AdminCompaction> {
    let row = |c: &trine_actors::rpc::proto::NotedCompaction| AdminCompaction {
        node: node.to_owned(),
        index: c.index,
        signal: name(c.signal),
        length_s: c.window_ms / 1000,
        inputs: c.inputs,
        ready: c.ready,
    };
    reply.pending.iter().map(row).collect()
}

/// Level of a block that was compacted for windows of `window_ms`, and the length of the window that it is shown in.
fn level(window_ms: u64, windows_ms: &[u64]) -> (u32, u64) {
    let shortest_ms = windows_ms.first().copied().unwrap_or(WINDOW_MS).max(1);
    match window_ms {
        0 => (SEALED, shortest_ms),
        // Shorter than a second: the mark of an early merge.
        1..1000 => (EARLY, shortest_ms),
        // Of windows that are not in the settings any more: as the next longer ones.
        _ => (EARLY + 1 + windows_ms.iter().filter(|ms| **ms < window_ms).count() as u32, window_ms),
    }
}

fn windows(records: &[BlockRecord], windows_ms: &[u64]) -> Vec<AdminBlockWindow> {
    let mut windows: BTreeMap<(u32, i64, u32), AdminBlockWindow> = BTreeMap::new();
    for record in records {
        let ms = |time: i64| if record.signal == Signal::Metrics as u32 { time } else { time.div_euclid(NS_PER_MS) };
        let (level, length_ms) = level(record.window_ms, windows_ms);
        let block = AdminBlock {
            file: record.file.clone(),
            bytes: record.bytes,
            rows: record.facts,
            series: record.series,
            min_unix_ms: ms(record.min_time),
            max_unix_ms: ms(record.max_time),
            digest: record.digest.iter().rev().map(|byte| format!("{byte:02x}")).collect(),
            made_at: record.made_at,
        };
        let length = i64::try_from(length_ms).unwrap_or(i64::MAX);
        let start_unix_ms = block.max_unix_ms.div_euclid(length).saturating_mul(length);
        let window = windows.entry((record.signal, start_unix_ms, level)).or_insert_with(|| AdminBlockWindow {
            signal: name(record.signal),
            level,
            start_unix_ms,
            length_s: length_ms / 1000,
            min_unix_ms: i64::MAX,
            max_unix_ms: i64::MIN,
            ..AdminBlockWindow::default()
        });
        window.blocks_count += 1;
        window.rows += block.rows;
        window.bytes += block.bytes;
        window.min_unix_ms = window.min_unix_ms.min(block.min_unix_ms);
        window.max_unix_ms = window.max_unix_ms.max(block.max_unix_ms);
        window.tombstones = window.tombstones.max(record.tombstones);
        window.damaged += u64::from(record.damaged);
        window.blocks.push(block);
    }
    windows.into_values().collect()
}

#[cfg(test)]
mod tests {
    use trine_actors::rpc::proto::NotedCompaction;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const WINDOWS_MS: [u64; 2] = [2 * HOUR_MS as u64, 24 * HOUR_MS as u64];

    fn record(signal: Signal, window_ms: u64, max_ms: i64) -> BlockRecord {
        let unit = if signal == Signal::Metrics { 1 } else { NS_PER_MS };
        let (min_time, max_time) = ((max_ms - 5) * unit, max_ms * unit);
        let digest = [vec![0; 15], vec![0xab]].concat().into();
        let signal = signal as u32;
        BlockRecord { signal, window_ms, min_time, max_time, digest, facts: 3, bytes: 10, ..BlockRecord::default() }
    }

    #[test]
    fn blocks_are_shown_by_signal_window_and_level() {
        let (metrics, logs) = (Signal::Metrics, Signal::Logs);
        let records = [
            record(metrics, 24 * HOUR_MS as u64, 23 * HOUR_MS),
            record(metrics, 0, 26 * HOUR_MS + 1),
            record(metrics, 1, 26 * HOUR_MS),
            record(metrics, 0, 27 * HOUR_MS),
            record(logs, WINDOWS_MS[0], 5 * HOUR_MS),
            record(logs, 8 * 24 * HOUR_MS as u64, 5 * HOUR_MS),
        ];
        let found: Vec<_> = windows(&records, &WINDOWS_MS)
            .iter()
            .map(|w| (w.signal.clone(), w.level, w.start_unix_ms / HOUR_MS, w.length_s / 3600, w.blocks_count, w.rows))
            .collect();
        let row = |signal: &str, level, hour, hours, count| (signal.to_owned(), level, hour, hours, count, 3 * count);
        assert_eq!(
            found,
            [
                row("metrics", 4, 0, 24, 1),
                row("metrics", 1, 26, 2, 2),
                row("metrics", 2, 26, 2, 1),
                row("logs", 5, 0, 192, 1),
                row("logs", 3, 4, 2, 1),
            ]
        );
        let window = &windows(&records[1..2], &[])[0];
        assert_eq!(
            (window.min_unix_ms, window.max_unix_ms, window.length_s),
            (26 * HOUR_MS - 4, 26 * HOUR_MS + 1, 7200)
        );
        assert!(window.blocks[0].digest.starts_with("ab00"), "{}", window.blocks[0].digest);
    }

    #[test]
    fn a_shard_is_shown_as_its_leader_has_it_with_what_all_have_yet_to_do() {
        let noted =
            NotedCompaction { index: 7, signal: Signal::Logs as u32, window_ms: 7_200_000, ..Default::default() };
        let reply = |leads, position| ListBlocksReply { leads, position, pending: vec![noted], ..Default::default() };
        let of = |shard, node: &str, blocks| ReplicaBlocks { shard, node: node.into(), blocks };
        let document = document(
            vec![
                of(0, "a", Ok(reply(false, 9))),
                of(0, "b", Ok(reply(true, 5))),
                of(0, "c", Err("dead".into())),
                of(1, "c", Err("dead".into())),
                of(2, "a", Ok(reply(false, 1))),
                of(2, "b", Ok(reply(false, 2))),
            ],
            &WINDOWS_MS,
        );
        let shown: Vec<_> = document.shards.iter().map(|s| (s.shard, &*s.node, s.compactions.len())).collect();
        assert_eq!((shown, document.silent_shards), (vec![(0, "b", 2), (2, "b", 2)], vec![1]));
        assert_eq!(document.shards[0].compactions[0].length_s, 7200);
    }
}
