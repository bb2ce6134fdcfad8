//! Throughput of the write-ahead log: MB/s and fsyncs/s by writers and record size.
//!
//! `cargo bench -p trine-store --bench wal [-- DIR]`; each writer has its own stream and waits for each record's fsync.
//! Runs in a temporary directory, in `DIR` when given: put it on the disk in question.
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use trine_store::wal::{Wal, WalConfig};

const RUN: Duration = Duration::from_secs(2);
/// Entries of a stream kept before the oldest are purged, in bytes.
const KEEP_BYTES: u64 = 4 << 20;

fn main() -> std::io::Result<()> {
    let parent = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).map(PathBuf::from);
    println!(
        "{:>8} {:>9} {:>10} {:>10} {:>10} {:>12} {:>10}",
        "writers", "record", "MB/s", "records/s", "fsyncs/s", "us/fsync", "rotations"
    );
    for record_bytes in [4 << 10, 64 << 10] {
        for writers in [1, 16, 64] {
            let dir = match &parent {
                Some(parent) => tempfile::tempdir_in(parent)?,
                None => tempfile::tempdir()?,
            };
            let (wal, _report) = Wal::open(dir.path(), WalConfig::default())?;
            let began = Instant::now();
            let records: u64 = std::thread::scope(|scope| {
                let running: Vec<_> = (0..writers)
                    .map(|stream| {
                        scope.spawn({
                            let wal = &wal;
                            move || write(wal, stream, record_bytes)
                        })
                    })
                    .collect();
                running.into_iter().map(|writer| writer.join().expect("a writer does not panic")).sum()
            });
            let seconds = began.elapsed().as_secs_f64();
            let stats = wal.stats();
            println!(
                "{writers:>8} {record_bytes:>9} {:>10.1} {:>10.0} {:>10.0} {:>12.0} {:>10}",
                (records * record_bytes as u64) as f64 / 1e6 / seconds,
                records as f64 / seconds,
                stats.batches as f64 / seconds,
                stats.fsync_ns as f64 / 1e3 / stats.batches.max(1) as f64,
                stats.rotations,
            );
        }
    }
    Ok(())
}

/// Appends and waits, record by record; gives how many.
fn write(wal: &Wal, stream: u64, record_bytes: usize) -> u64 {
    let payload: Bytes = (0..record_bytes).map(|i| (i as u64 * 31 + stream) as u8).collect::<Vec<u8>>().into();
    let keep = KEEP_BYTES / record_bytes as u64;
    let began = Instant::now();
    let mut index = 0;
    while began.elapsed() < RUN {
        let (tx, rx) = mpsc::channel();
        wal.append(stream, index, vec![payload.clone()], Box::new(move |result| drop(tx.send(result))));
        rx.recv().expect("the callback runs").expect("the disk works");
        index += 1;
        if index % keep == 0 && index > keep {
            wal.purge_through(stream, index - keep, Bytes::new(), Box::new(drop));
        }
    }
    index
}
