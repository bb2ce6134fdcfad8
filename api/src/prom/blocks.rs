//! `status/tsdb/blocks`: the sealed blocks with the tenant's samples, in the words of Prometheus.
use crate::admin::model::{AdminBlock, AdminBlocks};
use crate::call::{Call, Outcome};
use crate::json::{push_json_list, push_json_str, push_json_strs};
use crate::reply;

/// Crockford's base 32.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const ULID_LEN: u32 = 26;
/// Version of Prometheus' description of a block.
const META_VERSION: u32 = 1;

/// `/api/v1/status/tsdb/blocks`.
pub(super) async fn blocks(call: Call) -> Outcome {
    let document = call.api.backend().blocks(Some(&call.tenant)).await;
    Ok(reply::json(render(&document)))
}

/// A block's name as Prometheus has them: 48 bits of time in ms, then 80 bits that differ; here those of the content, so that
/// replicas agree.
fn ulid(block: &AdminBlock) -> String {
    let time = (block.max_unix_ms.max(0) as u128) & ((1 << 48) - 1);
    let differs = u128::from_str_radix(&block.digest, 16).unwrap_or_default() & ((1 << 80) - 1);
    let number = (time << 80) | differs;
    let digit = |at: u32| char::from(ALPHABET[(number >> (5 * at)) as usize & 31]);
    (0..ULID_LEN).rev().map(digit).collect()
}

fn render(document: &AdminBlocks) -> String {
    let windows = document.shards.iter().flat_map(|s| &s.windows).filter(|w| w.signal == "metrics");
    let mut blocks: Vec<(u32, &AdminBlock)> = windows.flat_map(|w| w.blocks.iter().map(|b| (w.level, b))).collect();
    blocks.sort_by(|(_, a), (_, b)| {
        (a.min_unix_ms, a.max_unix_ms, &a.digest).cmp(&(b.min_unix_ms, b.max_unix_ms, &b.digest))
    });
    let mut out = String::from("{\"status\":\"success\",\"data\":{\"blocks\":");
    push_json_list(&mut out, blocks, |out, (level, block)| {
        let ulid = ulid(block);
        out.push_str("{\"ulid\":");
        push_json_str(out, &ulid);
        // Prometheus' end is exclusive.
        out.push_str(&format!(
            ",\"minTime\":{},\"maxTime\":{},\"stats\":{{\"numSamples\":{},\"numSeries\":{}}},\
             \"compaction\":{{\"level\":{level},\"sources\":[\"{ulid}\"]}},\"version\":{META_VERSION}}}",
            block.min_unix_ms,
            block.max_unix_ms.saturating_add(1),
            block.rows,
            block.series,
        ));
    });
    out.push('}');
    if !document.silent_shards.is_empty() {
        let warning = format!("no replica of shards {:?} answers: their blocks are missing", document.silent_shards);
        out.push_str(",\"warnings\":");
        push_json_strs(&mut out, [warning.as_str()]);
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::model::{AdminBlockWindow, AdminShardBlocks};

    fn block(min_unix_ms: i64, digest: &str) -> AdminBlock {
        AdminBlock {
            rows: 5,
            series: 2,
            min_unix_ms,
            max_unix_ms: 1_469_918_176_385,
            digest: digest.into(),
            ..AdminBlock::default()
        }
    }

    #[test]
    fn blocks_of_metrics_are_described_in_prometheus_words() {
        let window = |signal: &str, level, blocks| AdminBlockWindow {
            signal: signal.into(),
            level,
            blocks,
            ..AdminBlockWindow::default()
        };
        let shard = |windows| AdminShardBlocks { windows, ..AdminShardBlocks::default() };
        let shards = vec![
            shard(vec![window("metrics", 3, vec![block(7, "ff")]), window("logs", 1, vec![block(1, "1")])]),
            shard(vec![window("metrics", 1, vec![block(-3, "0123456789abcdef0123456789abcdef")])]),
        ];
        let json: serde_json::Value =
            serde_json::from_str(&render(&AdminBlocks { shards, ..AdminBlocks::default() })).unwrap();
        let blocks = json["data"]["blocks"].as_array().unwrap();
        let times: Vec<_> = blocks
            .iter()
            .map(|b| (b["minTime"].as_i64().unwrap(), b["compaction"]["level"].as_u64().unwrap()))
            .collect();
        assert_eq!(times, [(-3, 1), (7, 3)]);
        assert_eq!(blocks[0]["maxTime"], 1_469_918_176_386_i64);
        assert_eq!(blocks[1]["stats"], serde_json::json!({ "numSamples": 5, "numSeries": 2 }));
        // The ten digits of the specification's example time.
        assert_eq!(blocks[1]["ulid"], format!("01ARYZ6S41{}7Z", "0".repeat(14)));
        assert!(json.get("warnings").is_none());
    }

    #[test]
    fn a_silent_shard_is_warned_of() {
        let text = render(&AdminBlocks { silent_shards: vec![3], ..AdminBlocks::default() });
        assert!(text.contains("\"blocks\":[]},\"warnings\":[\"no replica of shards [3] answers"), "{text}");
    }
}
