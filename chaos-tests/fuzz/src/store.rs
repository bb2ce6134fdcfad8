//! The store's formats: parts, entries, blocks, manifests, the log.
use std::sync::Arc;

use bytes::Bytes;
use trine_store::codec::Reader;
use trine_store::entry::Entry;
use trine_store::memory::QueryMemory;
use trine_store::model::{Labels, Signal, attrs, events};
use trine_store::part::{MetricsBody, PartRef, RowsBody, SampleKind};
use trine_store::rows::{self, RowScan, RowsView};
use trine_store::shard::{DedupWindow, Manifest};
use trine_store::tsdb::{self, MetricsView, TextSet};
use trine_store::wal::{Wal, WalConfig};

pub(crate) const TARGETS: [crate::Decoder; 9] = [
    ("labels", |bytes| drop(Labels::decode(bytes))),
    ("attributes", attributes),
    ("part", part),
    ("entry", entry),
    ("manifest", manifest),
    ("dedup_window", |bytes| drop(DedupWindow::decode(&mut Reader::new(bytes)))),
    ("metrics_block", metrics_block),
    ("rows_block", rows_block),
    ("wal_segment", wal_segment),
];

const ALL_TIMES: (i64, i64) = (i64::MIN, i64::MAX);
/// What reading a block may hold.
const MEMORY_BYTES: u64 = 256 << 20;
/// Batches and series of one block that are looked at.
const BATCHES_MAX: usize = 64;
const SERIES_MAX: usize = 256;

fn attributes(bytes: &[u8]) {
    drop(attrs::decode_attrs(bytes));
    drop(events::decode_events(bytes));
    drop(events::decode_links(bytes));
}

fn part(bytes: &[u8]) {
    let Ok(part) = PartRef::decode(bytes) else { return };
    let defs = part.defs.len() as u32;
    if MetricsBody::check(part.body, defs).is_ok() {
        let mut body = MetricsBody::new(part.body, defs);
        while let Ok(Some(_)) = body.next_record() {}
    }
    if RowsBody::check(part.body, defs).is_ok()
        && let Ok(mut body) = RowsBody::new(part.body, defs)
    {
        while let Ok(Some(row)) = body.next_row() {
            if let Some(shape) = body.shapes.get(row.shape as usize) {
                drop(row.attrs(shape));
            }
        }
    }
}

fn entry(bytes: &[u8]) {
    drop(Entry::decode(bytes).map(|entry| format!("{entry:?}")));
}

/// As it is, and with the checksum that it would need.
fn manifest(bytes: &[u8]) {
    drop(Manifest::decode(bytes));
    let checked = [bytes, &crc32fast::hash(bytes).to_le_bytes()].concat();
    if let Ok(manifest) = Manifest::decode(&checked) {
        drop(Manifest::decode(&manifest.encode()));
    }
}

fn metrics_block(bytes: &[u8]) {
    let Ok(block) = tsdb::Block::open(Arc::new(Bytes::copy_from_slice(bytes))) else { return };
    let tenants: Vec<Arc<str>> = block.tenants().cloned().collect();
    let block = Arc::new(block);
    drop(tsdb::verify(&block));
    let view = MetricsView { blocks: vec![block], ..MetricsView::default() };
    let memory = QueryMemory::new(MEMORY_BYTES, MEMORY_BYTES).account();
    for tenant in tenants.iter().take(2) {
        let mut texts = TextSet::new(&memory);
        drop(view.label_names(tenant, &[], ALL_TIMES, &memory, &mut texts));
        drop(view.label_values(tenant, "__name__", &[], ALL_TIMES, &memory, &mut texts));
        drop(view.metadata(tenant, None));
        drop(view.series_labels(tenant, &[], ALL_TIMES, &memory));
        let Ok(set) = view.select_charged(tenant, &[], ALL_TIMES, &memory) else { continue };
        let (mut times, mut values, mut blobs) = (Vec::new(), Vec::new(), Vec::new());
        for series in set.take(SERIES_MAX) {
            drop(series.samples_into(&mut times, &mut values));
            drop(series.blobs_into(SampleKind::IntHistogram, &mut blobs));
        }
    }
}

fn rows_block(bytes: &[u8]) {
    let Ok(block) = rows::Block::open(Arc::new(Bytes::copy_from_slice(bytes))) else { return };
    let tenants: Vec<String> = block.tenants().map(str::to_owned).collect();
    let signal = block.signal();
    let block = Arc::new(block);
    drop(rows::verify(&block));
    let view = RowsView { blocks: vec![block], ..RowsView::new(signal) };
    for tenant in tenants.iter().take(2) {
        drop(view.streams(tenant, &[], i64::MIN, i64::MAX));
        drop(view.attr_columns(tenant, i64::MIN, i64::MAX));
        let memory = QueryMemory::new(MEMORY_BYTES, MEMORY_BYTES).account();
        let scan = RowScan { memory: memory.clone(), ..RowScan::new(tenant, i64::MIN, i64::MAX) };
        if signal == Signal::Traces {
            drop(view.trace(tenant, &[7; 16], &memory));
        }
        let Ok(mut scan) = view.scan(&scan) else { continue };
        for _ in 0..BATCHES_MAX {
            match scan.next_batch() {
                Ok(Some(batch)) => drop(format!("{batch:?}")),
                Ok(None) | Err(_) => break,
            }
        }
    }
}

/// The only segment of a log that is opened again.
fn wal_segment(bytes: &[u8]) {
    // A file system in memory where there is one: an open syncs a file or two.
    let Ok(dir) = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()) else { return };
    let config = WalConfig { segment_bytes: 64 << 10, spare_segments_max: 0, ..WalConfig::default() };
    if std::fs::write(dir.path().join(format!("wal-{:016x}.seg", 1)), bytes).is_ok() {
        drop(Wal::open(dir.path(), config).map(|(_, report)| format!("{report:?}")));
    }
}
