//! Tests of the log as a whole.
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;

use super::disk::Disk;
use super::format::{HEADER_COPIES, SegmentHeader};
use super::memdisk::MemDisk;
use super::scan::{Found, Scanner};
use super::*;

mod full;
mod model;

/// Segments so small that a few entries fill one, and a cache that holds almost nothing.
fn small() -> WalConfig {
    WalConfig { segment_bytes: 64 << 10, spare_segments_max: 2, cache_bytes: 8 << 10, ..WalConfig::default() }
}

fn open(disk: &MemDisk) -> (Wal, RecoveryReport) {
    Wal::open_on(Arc::new(disk.clone()), small()).unwrap()
}

/// Waits for everything enqueued so far.
fn sync(wal: &Wal) -> io::Result<()> {
    wait(|done| wal.remove_stream(u64::MAX, done))
}

fn wait(call: impl FnOnce(Done)) -> io::Result<()> {
    let (tx, rx) = mpsc::channel();
    call(Box::new(move |result| tx.send(result).unwrap()));
    rx.recv_timeout(Duration::from_secs(30)).expect("a callback within 30 s")
}

fn payload(len: usize, fill: u8) -> Bytes {
    vec![fill; len].into()
}

/// File and offset of the record written last.
fn last_record(disk: &MemDisk) -> (String, usize) {
    let name = disk.names().into_iter().rfind(|n| n.starts_with("wal-")).unwrap();
    let offsets = records(disk, &name);
    (name, offsets.last().unwrap().0 as usize)
}

/// Offset, stream and index of the records of a segment.
fn records(disk: &MemDisk, name: &str) -> Vec<(u64, u64, u64)> {
    let file = disk.open(name).unwrap();
    let mut header = [0; 64];
    file.read_exact_at(&mut header, HEADER_COPIES[0]).unwrap();
    let seal = SegmentHeader::decode(&header).unwrap().seal();
    let mut scanner = Scanner::new(file.as_ref(), Vec::new());
    let mut at = format::RECORDS_START;
    let mut out = Vec::new();
    while let Found::Record(header) = scanner.record(&seal, at, file.len()) {
        out.push((at, header.stream, header.index));
        at += header.record_bytes();
    }
    out
}

/// Streams 1 and 2 in turn, 40 entries of 3,000 bytes each, with a vote for stream 3 at the front.
fn filled(disk: &MemDisk) -> Wal {
    let (wal, _) = open(disk);
    wait(|done| wal.set_mark(3, Mark::Vote, payload(10, 3), Some(done))).unwrap();
    for index in 1..=40 {
        for stream in [1, 2] {
            wait(|done| wal.append(stream, index, vec![payload(3000, index as u8)], done)).unwrap();
        }
    }
    wal
}

#[test]
fn a_real_directory_keeps_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    for round in 0..3u64 {
        let (wal, report) = Wal::open(&path, small()).unwrap();
        assert_eq!(report.corrupt, []);
        assert_eq!(Wal::open(&path, small()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(wal.bounds(1).next_index, round * 50);
        for index in round * 50..round * 50 + 50 {
            wait(|done| wal.append(1, index, vec![payload(2000, index as u8)], done)).unwrap();
        }
        let all = wal.read(1, 0..u64::MAX, usize::MAX).unwrap();
        assert!(all.iter().enumerate().all(|(i, p)| *p == payload(2000, i as u8)));
        assert_eq!(all.len() as u64, round * 50 + 50);
    }
}

#[test]
fn refused_operations_change_nothing() {
    let disk = MemDisk::default();
    let (wal, _) = open(&disk);
    wait(|done| wal.append(1, 5, vec![payload(1, 1)], done)).unwrap();
    let kind = |result: io::Result<()>| result.unwrap_err().kind();
    for first in [4, 5, 7] {
        assert_eq!(
            kind(wait(|done| wal.append(1, first, vec![payload(1, 1)], done))),
            io::ErrorKind::InvalidInput,
            "{first}"
        );
    }
    assert_eq!(
        kind(wait(|done| wal.append(1, 6, vec![payload((16 << 20) + 1, 1)], done))),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(kind(wait(|done| wal.purge_through(1, u64::MAX, Bytes::new(), done))), io::ErrorKind::InvalidInput);
    assert_eq!(wal.bounds(1), Bounds { first_index: 5, next_index: 6 });
    assert_eq!(wal.read(1, 4..6, 100).unwrap(), Vec::<Bytes>::new());
    // Larger than a segment: it gets a segment of its own size.
    wait(|done| wal.append(1, 6, vec![payload(1 << 20, 9)], done)).unwrap();
    drop(wal);
    assert_eq!(open(&disk).0.read(1, 6..7, 0).unwrap(), vec![payload(1 << 20, 9)]);
}

#[test]
fn purged_segments_are_reused_and_their_marks_live_on() {
    let disk = MemDisk::default();
    let wal = filled(&disk);
    let before = wal.stats();
    assert!(before.segments >= 4 && before.spares == 0, "{before:?}");
    for stream in [1, 2] {
        wait(|done| wal.purge_through(stream, 40, payload(5, 7), done)).unwrap();
    }
    sync(&wal).unwrap();
    // The writer reclaims after the callbacks, so go once more through it.
    wait(|done| wal.append(1, 41, vec![payload(10, 1)], done)).unwrap();
    let stats = wal.stats();
    assert_eq!((stats.segments, stats.spares), (1, 2));
    drop(wal);
    for _ in 0..3 {
        let (wal, report) = open(&disk);
        assert_eq!((report.segments, &report.damage[..]), (1, &[][..]));
        assert_eq!(wal.mark(3, Mark::Vote), Some(payload(10, 3)));
        assert_eq!(wal.mark(2, Mark::Purged), Some(payload(5, 7)));
        assert_eq!(wal.bounds(2), Bounds { first_index: 41, next_index: 41 });
        assert_eq!(wal.bounds(1), Bounds { first_index: 41, next_index: 42 });
    }
    // A reused file still holds records of its former generation behind the new ones.
    let (wal, _) = open(&disk);
    for index in 42..=70 {
        wait(|done| wal.append(1, index, vec![payload(3000, 2)], done)).unwrap();
    }
    assert!(wal.stats().spares < 2);
    drop(wal);
    let (wal, report) = open(&disk);
    assert_eq!((report.torn_tail_bytes, &report.damage[..]), (0, &[][..]));
    assert_eq!(wal.bounds(1), Bounds { first_index: 41, next_index: 71 });
}

#[test]
fn laggards_are_named_oldest_first() {
    let disk = MemDisk::default();
    let config = WalConfig { retain_bytes_soft: 128 << 10, ..small() };
    let (wal, _) = Wal::open_on(Arc::new(disk.clone()), config).unwrap();
    wait(|done| wal.append(7, 1, vec![payload(100, 1)], done)).unwrap();
    assert_eq!(wal.laggards(), []);
    for index in 1..=80 {
        wait(|done| wal.append(1, index, vec![payload(3000, 1)], done)).unwrap();
    }
    assert_eq!(wal.laggards()[0].0, 1);
    wait(|done| wal.purge_through(1, 70, Bytes::new(), done)).unwrap();
    assert_eq!(wal.laggards(), [(7, 152)]);
    wait(|done| wal.remove_stream(7, done)).unwrap();
    sync(&wal).unwrap();
    assert_eq!(wal.laggards(), []);
}

#[test]
fn callers_that_wait_together_share_an_fsync() {
    let (wal, _) = open(&MemDisk::default());
    // While the writer is held in a callback, as it would be in an fsync, a hundred others come.
    let (go, held) = mpsc::channel::<()>();
    wal.set_mark(0, Mark::Vote, payload(1, 1), Some(Box::new(move |_| held.recv().unwrap())));
    while wal.stats().batches == 0 {
        std::thread::yield_now();
    }
    let before = wal.stats();
    let (tx, rx) = mpsc::channel();
    for stream in 1..=100 {
        let tx = tx.clone();
        wal.append(stream, 1, vec![payload(10, 1)], Box::new(move |result| tx.send((stream, result.is_ok())).unwrap()));
    }
    go.send(()).unwrap();
    let order: Vec<(u64, bool)> = rx.iter().take(100).collect();
    assert_eq!(order, (1..=100).map(|stream| (stream, true)).collect::<Vec<_>>());
    let stats = wal.stats();
    assert_eq!((stats.batches, stats.fsyncs), (before.batches + 1, before.fsyncs + 1));
}

#[test]
fn many_threads_read_what_they_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), small()).unwrap();
    let acked = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for stream in 0..16u64 {
            let (wal, acked) = (&wal, &acked);
            scope.spawn(move || {
                for index in 1..=50 {
                    wait(|done| wal.append(stream, index, vec![payload(100, stream as u8)], done)).unwrap();
                    let read = wal.read(stream, index..index + 1, 0).unwrap();
                    assert_eq!(read, vec![payload(100, stream as u8)]);
                    acked.fetch_add(1, SeqCst);
                }
            });
        }
    });
    let stats = wal.stats();
    assert_eq!(acked.into_inner(), 800);
    assert_eq!(stats.pending_bytes, 0);
    drop(wal);
    let (wal, report) = Wal::open(dir.path(), small()).unwrap();
    assert_eq!(report.corrupt, []);
    assert!((0..16).all(|stream| wal.bounds(stream) == Bounds { first_index: 1, next_index: 51 }));
}

#[test]
fn purges_beside_reads_never_look_like_damage() {
    let disk = MemDisk::default();
    let (wal, _) = open(&disk);
    let reader = wal.clone();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            loop {
                let bounds = reader.bounds(1);
                if bounds.next_index > 600 {
                    break;
                }
                reader.read(1, bounds.first_index..bounds.next_index, usize::MAX).unwrap();
            }
        });
        for index in 0..=600u64 {
            wait(|done| wal.append(1, index, vec![payload(3000, index as u8)], done)).unwrap();
            if index % 50 == 49 {
                wait(|done| wal.purge_through(1, index - 5, Bytes::new(), done)).unwrap();
            }
        }
        reading.join().unwrap();
    });
    assert!(wal.stats().rotations > 20 && wal.stats().segments < 6);
}

#[test]
fn a_mark_that_nobody_waits_for_costs_no_fsync_of_its_own() {
    let disk = MemDisk::default();
    let config = WalConfig { idle_flush: Duration::from_secs(3600), ..small() };
    let (wal, _) = Wal::open_on(Arc::new(disk.clone()), config).unwrap();
    let before = wal.stats();
    for i in 0..10 {
        wal.set_mark(1, Mark::Committed, payload(8, i), None);
    }
    assert_eq!(wal.mark(1, Mark::Committed), Some(payload(8, 9)));
    assert_eq!(wal.stats().batches, before.batches);
    wait(|done| wal.set_mark(1, Mark::Vote, payload(8, 1), Some(done))).unwrap();
    assert_eq!((wal.stats().batches, wal.stats().records), (before.batches + 1, before.records + 11));
    drop(wal);
    assert_eq!(open(&disk).0.mark(1, Mark::Committed), Some(payload(8, 9)));

    let config = WalConfig { idle_flush: Duration::from_millis(1), ..small() };
    let (wal, _) = Wal::open_on(Arc::new(disk.clone()), config).unwrap();
    wal.set_mark(1, Mark::Committed, payload(8, 77), None);
    while wal.pending_bytes() > 0 {
        std::thread::yield_now();
    }
    assert_eq!(open(&disk.power_cut(1)).0.mark(1, Mark::Committed), Some(payload(8, 77)));
}

#[test]
fn a_failed_fsync_ends_the_log() {
    let disk = MemDisk::default();
    let (told, fatal) = mpsc::channel();
    let config = WalConfig { on_fatal: OnFatal::new(move |e| told.send(e.to_string()).unwrap()), ..small() };
    let (wal, _) = Wal::open_on(Arc::new(disk.clone()), config).unwrap();
    wait(|done| wal.append(1, 1, vec![payload(10, 1)], done)).unwrap();
    disk.fail_syncs(true);
    assert!(wait(|done| wal.append(1, 2, vec![payload(10, 2)], done)).is_err());
    assert_eq!(fatal.recv().unwrap(), "fsync failed");
    for _ in 0..3 {
        let error = wait(|done| wal.append(1, 3, vec![payload(10, 3)], done)).unwrap_err();
        assert!(error.to_string().contains("fsync failed"), "{error}");
    }
    assert!(fatal.try_recv().is_err(), "told once");
}

#[test]
fn damage_in_an_old_segment_names_its_stream_and_spares_the_others() {
    let disk = MemDisk::default();
    drop(filled(&disk));
    let name = format::segment_name(2);
    let (offset, stream, index) = records(&disk, &name).into_iter().find(|(_, stream, _)| *stream == 2).unwrap();
    disk.flip(&name, offset as usize + 1000, 1);
    let (wal, report) = open(&disk);
    let place = Place { segment: 2, offset };
    assert_eq!(report.corrupt, [CorruptStream { stream, place, loss: Loss::Entry { index } }]);
    assert_eq!(report.damage.len(), 1);
    assert_eq!(wal.read(2, 1..2, 0).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(wait(|done| wal.append(2, 41, vec![payload(1, 1)], done)).is_err());
    assert_eq!(wal.read(1, 1..41, usize::MAX).unwrap().len(), 40);
    assert_eq!(wal.mark(3, Mark::Vote), Some(payload(10, 3)));
    wait(|done| wal.remove_stream(2, done)).unwrap();
    wait(|done| wal.append(2, 100, vec![payload(1, 1)], done)).unwrap();
    drop(wal);
    let (wal, report) = open(&disk);
    assert_eq!(report.corrupt, []);
    assert_eq!(wal.bounds(2), Bounds { first_index: 100, next_index: 101 });
}

#[test]
fn a_torn_batch_is_cut_where_it_is_torn() {
    for torn in 0..5usize {
        for (what, at) in [("header", 0), ("payload", 100)] {
            let disk = MemDisk::default();
            let (wal, _) = open(&disk);
            wait(|done| wal.append(1, 1, vec![payload(1000, 1)], done)).unwrap();
            drop(wal);
            // Twice, so that the second batch is torn where leftovers of the first could lie behind it.
            let mut next = 2;
            for round in 0..2 {
                let (wal, report) = open(&disk);
                assert_eq!((report.damage, report.corrupt), (vec![], vec![]), "{what} {torn} {round}");
                wait(|done| wal.append(1, next, vec![payload(1000, 2); 5], done)).unwrap();
                drop(wal);
                let name = last_record(&disk).0;
                let batch = records(&disk, &name).into_iter().rev().take(5).map(|(at, ..)| at).collect::<Vec<_>>();
                disk.overwrite(&name, batch[4 - torn] as usize + at, &[0; 40]);
                let (wal, report) = open(&disk);
                assert_eq!((report.damage, report.corrupt), (vec![], vec![]), "{what} {torn} {round}");
                if torn < 4 || what == "payload" {
                    let from = if what == "payload" { torn } else { torn + 1 };
                    let gap = if what == "payload" { 0 } else { 1 };
                    let bytes = (5 - from + gap) as u64 * format::record_bytes(1000) as u64;
                    assert_eq!(report.torn_tail_bytes, bytes, "{what} {torn} {round}");
                }
                next += torn as u64;
                assert_eq!(wal.bounds(1).next_index, next, "{what} {torn} {round}");
                assert_eq!(wal.read(1, 1..next, usize::MAX).unwrap().len() as u64, next - 1);
            }
        }
    }
}

#[test]
fn leftovers_of_a_torn_batch_are_not_taken_for_damage() {
    let disk = MemDisk::default();
    let (wal, _) = open(&disk);
    wait(|done| wal.append(1, 1, vec![payload(1000, 1); 8], done)).unwrap();
    drop(wal);
    let name = last_record(&disk).0;
    let batch = records(&disk, &name);
    // The third of eight is torn: two stay, five are leftovers.
    disk.overwrite(&name, batch[3].0 as usize, &[0; 48]);
    let (wal, _) = open(&disk);
    assert_eq!(wal.bounds(1).next_index, 3);
    // A batch of which only a later record survives.
    wait(|done| wal.append(1, 3, vec![payload(300, 2); 3], done)).unwrap();
    drop(wal);
    let name = last_record(&disk).0;
    let (first, ..) = records(&disk, &name)[1];
    disk.overwrite(&name, first as usize, &[0; 48]);
    let (wal, report) = open(&disk);
    assert_eq!((report.damage, report.corrupt), (vec![], vec![]));
    assert_eq!(wal.bounds(1).next_index, 3);
}

#[test]
fn lost_headers_missing_files_and_unreadable_sectors_are_found() {
    let name = format::segment_name(2);
    type Spoil<'a> = &'a dyn Fn(&MemDisk);
    let cases: [(&str, Spoil<'_>); 4] = [
        ("both segment headers", &|disk| HEADER_COPIES.iter().for_each(|at| disk.flip(&name, *at as usize + 20, 1))),
        ("missing", &|disk| disk.delete(&name)),
        ("record headers", &|disk| disk.overwrite(&name, 5000, &[0; 8000])),
        ("unreadable", &|disk| disk.unreadable(20_000..30_000)),
    ];
    for (what, damage) in cases {
        let disk = MemDisk::default();
        drop(filled(&disk));
        damage(&disk);
        let (wal, report) = open(&disk);
        let corrupt: Vec<u64> = report.corrupt.iter().map(|c| c.stream).collect();
        assert!(!report.damage.is_empty(), "{what}");
        assert_eq!(corrupt, if what == "unreadable" { vec![1, 2, 3] } else { vec![1, 2] }, "{what}: {report:?}");
        assert_eq!(wal.mark(3, Mark::Vote), Some(payload(10, 3)), "{what}");
    }
    // One copy of a header is enough.
    let disk = MemDisk::default();
    drop(filled(&disk));
    disk.flip(&name, 20, 1);
    assert_eq!(open(&disk).1.damage, []);
}

#[test]
fn what_an_open_has_shown_outlives_a_power_cut_though_its_fsync_had_failed() {
    for seed in 0..60 {
        let disk = MemDisk::default();
        let (wal, _) = open(&disk);
        wait(|done| wal.append(1, 1, vec![payload(3000, 1)], done)).unwrap();
        disk.fail_syncs(true);
        let batch = (2..6).map(|n| payload(700, n)).collect();
        assert!(wait(|done| wal.append(1, 2, batch, done)).is_err(), "not acknowledged");
        drop(wal);
        disk.fail_syncs(false);
        let (wal, report) = open(&disk);
        let shown = wal.bounds(1);
        assert_eq!((shown.next_index, report.damage.len()), (6, 0), "but there, and raft counts on what is there");
        let cut = disk.power_cut(seed);
        let (wal, report) = open(&cut);
        assert_eq!((wal.bounds(1), report.damage.len()), (shown, 0), "seed {seed}");
    }
}

#[test]
fn an_unreadable_end_is_no_torn_write_and_an_unreadable_device_no_damage() {
    let few = |disk: &MemDisk| {
        let (wal, _) = open(disk);
        for index in 1..=5 {
            wait(|done| wal.append(1, index, vec![payload(3000, index as u8)], done)).unwrap();
            wait(|done| wal.append(2, index, vec![payload(3000, index as u8)], done)).unwrap();
        }
        drop(wal);
        last_record(disk).1 as u64
    };
    let at_last: [fn(u64) -> Range<u64>; 3] = [|at| at..at + 10, |at| at + 2000..at + 2001, |at| at + 8000..at + 8001];
    for range in at_last {
        let disk = MemDisk::default();
        let last = few(&disk);
        disk.unreadable(range(last));
        let (wal, report) = open(&disk);
        let corrupt: Vec<u64> = report.corrupt.iter().map(|c| c.stream).collect();
        assert_eq!(corrupt, [1, 2], "synced, and perhaps lost: {report:?}");
        assert!(wal.read(1, 0..10, usize::MAX).is_err());
    }
    let disk = MemDisk::default();
    few(&disk);
    disk.unreadable(0..u64::MAX / 2);
    let refused = Wal::open_on(Arc::new(disk), small());
    assert!(refused.is_err_and(|e| e.to_string().contains("read the header of wal-")));
}

#[test]
fn a_damaged_roster_is_never_taken_for_a_torn_write() {
    for offset in [0, 60] {
        let disk = MemDisk::default();
        let wal = filled(&disk);
        for stream in [1, 2] {
            wait(|done| wal.purge_through(stream, 40, Bytes::new(), done)).unwrap();
        }
        drop(wal);
        let name = last_record(&disk).0;
        assert_eq!(disk.names().iter().filter(|n| n.starts_with("wal-")).count(), 1);
        disk.flip(&name, format::RECORDS_START as usize + offset, 1);
        let (wal, report) = open(&disk);
        assert!(report.streams_may_be_missing && report.damage.len() == 1, "{report:?}");
        assert_eq!(report.corrupt.iter().map(|c| c.stream).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(wal.mark(3, Mark::Vote), None, "lost with the roster, which the report says");
    }
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let disk = MemDisk::default();
    drop(filled(&disk));
    let mut header = [0; 64];
    disk.open(&format::segment_name(1)).unwrap().read_exact_at(&mut header, 0).unwrap();
    header[4] = 9;
    let crc = crc32fast::hash(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    disk.overwrite(&format::segment_name(1), 0, &header);
    let error = Wal::open_on(Arc::new(disk), small()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("version 9"), "{error}");
}

#[test]
fn the_last_handle_may_go_in_a_callback() {
    let disk = MemDisk::default();
    let (wal, _) = open(&disk);
    let (tx, rx) = mpsc::channel();
    let inside = wal.clone();
    let (go, gone) = mpsc::channel::<()>();
    wal.append(
        1,
        1,
        vec![payload(10, 1)],
        Box::new(move |result| {
            gone.recv().unwrap();
            drop(inside);
            tx.send(result).unwrap();
        }),
    );
    drop(wal);
    go.send(()).unwrap();
    rx.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
}
