//! Row engine on loghub's real logs: append, freeze, seal and scan times, and the compression ratio.
//!
//! `TRINE_SHARED=… cargo bench -p trine-store --bench rows`. Plain timing, one line a measurement. The files are repeated with
//! other times, ten streams a file, so that the head holds some runs.
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use trine_store::model::signal::key_hash;
use trine_store::model::{Labels, Scope, Signal, Value};
use trine_store::part::{PART_BODY_BYTES_TARGET, PartRef, RowsPartBuilder};
use trine_store::rows::{Block, HeadConfig, RowOrder, RowScan, RowsHead, RowsView, seal};

const TENANT: &str = "default";
const COPIES: usize = 10;

fn main() {
    let parts = parts();
    let raw: usize = parts.iter().map(|p| p.1).sum();
    if raw == 0 {
        println!("no loghub files: set TRINE_SHARED");
        return;
    }
    for seal_level in [3, 6, 9, 12] {
        measure(&parts, raw, seal_level);
    }
}

fn measure(parts: &[(Vec<u8>, usize)], raw: usize, seal_level: i32) {
    let tenant: Arc<str> = TENANT.into();
    let mut head = RowsHead::new(Signal::Logs, HeadConfig { seal_level, ..HeadConfig::default() });
    let (mut append, mut freeze, mut rows) = (Duration::ZERO, Duration::ZERO, 0u64);
    for (position, (bytes, _)) in parts.iter().enumerate() {
        let part = PartRef::decode(bytes).expect("built above");
        let start = Instant::now();
        let resolved: Result<Vec<_>, _> = part.defs.iter().map(|d| head.resolve(&tenant, d.hash, d.key)).collect();
        let refs = resolved.expect("canonical labels");
        head.append(&tenant, position as u64, &refs, part.body, 0).expect("built above");
        black_box(head.view());
        append += start.elapsed();
        rows += u64::from(part.facts_count);
        let start = Instant::now();
        if let Some(job) = head.freeze_job() {
            head.install(job.run().expect("memory is intact"));
        }
        freeze += start.elapsed();
    }
    let view = head.view();
    let held = head.stats().bytes;
    let start = Instant::now();
    let mut file = Vec::new();
    seal(&view, &mut file).expect("a Vec takes everything");
    let sealed = start.elapsed();
    let mb_per_s = |d: Duration| raw as f64 / 1e6 / d.as_secs_f64();
    println!(
        "seal level {seal_level}: append {} ns/row, freeze {:.0} MB/s, seal {:.0} MB/s, head {:.2} : 1, block {:.2} : 1",
        append.as_nanos() as u64 / rows,
        mb_per_s(freeze),
        mb_per_s(sealed),
        raw as f64 / held as f64,
        raw as f64 / file.len() as f64,
    );
    let block = Block::open(Arc::new(Bytes::from(file))).expect("sealed above");
    let view = RowsView { blocks: vec![Arc::new(block)], ..RowsView::new(Signal::Logs) };
    for (name, order, limit, needle) in [
        ("all rows unordered", RowOrder::Unordered, u64::MAX, ""),
        ("all rows newest first", RowOrder::Backward, u64::MAX, ""),
        ("newest 100", RowOrder::Backward, 100, ""),
        ("absent id", RowOrder::Backward, 100, "b1946ac92492d2347c6235b4d2611184"),
    ] {
        let mut scan = RowScan { order, ..RowScan::new(TENANT, i64::MIN, i64::MAX) };
        scan.needles.extend((!needle.is_empty()).then(|| needle.as_bytes().to_vec()));
        let start = Instant::now();
        let mut scan = view.scan(&scan).expect("in memory");
        let (mut seen, mut bytes) = (0, 0);
        while seen < limit
            && let Some(batch) = scan.next_batch().expect("in memory")
        {
            seen += batch.len() as u64;
            bytes += batch.rows().map(|r| r.body().expect("in memory").len()).sum::<usize>();
        }
        let stats = scan.stats();
        println!(
            "  {name}: {:?}, {seen} rows, {:.0} MB/s, {} of {} granules opened",
            start.elapsed(),
            bytes as f64 / 1e6 / start.elapsed().as_secs_f64(),
            stats.granules_opened,
            stats.granules_considered,
        );
    }
}

/// Parts with their lines' bytes, newlines included, interleaved over streams as agents send them.
fn parts() -> Vec<(Vec<u8>, usize)> {
    let shared = std::env::var_os("TRINE_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let folder = std::fs::read_dir(shared.join("data/loghub")).into_iter().flatten();
    let mut paths: Vec<PathBuf> = folder.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "log"));
    paths.sort();
    let files: Vec<Vec<u8>> = paths.iter().filter_map(|path| std::fs::read(path).ok()).collect();
    let level = Value::Str("info".into());
    let mut parts = Vec::new();
    for copy in 0..COPIES {
        for (n, file) in files.iter().enumerate() {
            let key = Labels::from_pairs([("file", n.to_string()), ("pod", copy.to_string())]).expect("two names");
            let mut lines = file.split(|&b| b == b'\n').enumerate().peekable();
            while lines.peek().is_some() {
                let mut part = RowsPartBuilder::new(Signal::Logs, TENANT);
                let def = part.stream(key_hash(TENANT, key.as_bytes()), key.as_bytes());
                let mut raw = 0;
                while part.bytes_len() < PART_BODY_BYTES_TARGET
                    && let Some((i, line)) = lines.next()
                {
                    let time_ns = 1_700_000_000_000_000_000 + (i as i64 * 1000 + copy as i64 * 37) * 1_000_000;
                    part.row(def, time_ns, line, [(Scope::Record, "detected_level", &level)].into_iter());
                    raw += line.len() + 1;
                }
                parts.push((part.finish(), raw));
            }
        }
    }
    parts
}
