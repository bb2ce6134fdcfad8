//! A disk without room for another segment.
use super::*;

const RECORDS: u64 = 60;

/// Appends more than the segment in use can hold; what becomes of each record arrives at the receiver.
fn append_all(wal: &Wal) -> mpsc::Receiver<io::Result<()>> {
    let (tx, outcomes) = mpsc::channel();
    for index in 1..=RECORDS {
        let tx = tx.clone();
        let done: Done = Box::new(move |result| tx.send(result).unwrap_or(()));
        wal.append(1, index, vec![payload(4000, index as u8)], done);
    }
    outcomes
}

fn until_stalled(wal: &Wal) {
    let since = std::time::Instant::now();
    while wal.stats().stalled == 0 {
        assert!(since.elapsed() < Duration::from_secs(20), "{:?}", wal.stats());
        std::thread::yield_now();
    }
}

#[test]
fn the_log_stands_still_on_a_full_disk_and_goes_on_once_there_is_room() {
    let disk = MemDisk::default();
    let (wal, _) = open(&disk);
    disk.set_full(true);
    let outcomes = append_all(&wal);
    until_stalled(&wal);
    let before = outcomes.try_iter().count() as u64;
    assert!(before < RECORDS, "no segment holds all of them");
    // What was enqueued can be read all the same.
    assert_eq!(wal.read(1, 1..2, 1 << 20).unwrap(), [payload(4000, 1)]);
    disk.set_full(false);
    for _ in before..RECORDS {
        outcomes.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
    }
    assert_eq!(wal.stats().stalled, 0);
    drop(wal);
    let (wal, report) = open(&disk);
    assert!(report.corrupt.is_empty() && report.damage.is_empty(), "{report:?}");
    assert_eq!(wal.bounds(1), Bounds { first_index: 1, next_index: RECORDS + 1 });
}

#[test]
fn a_log_that_is_closed_on_a_full_disk_says_so_and_loses_nothing_acknowledged() {
    let disk = MemDisk::default();
    let failed = Arc::new(AtomicU64::new(0));
    let counter = failed.clone();
    let on_fatal = OnFatal::new(move |_| {
        counter.fetch_add(1, SeqCst);
    });
    let (wal, _) = Wal::open_on(Arc::new(disk.clone()), WalConfig { on_fatal, ..small() }).unwrap();
    disk.set_full(true);
    let outcomes = append_all(&wal);
    until_stalled(&wal);
    drop(wal);
    let outcomes: Vec<_> = outcomes.iter().collect();
    let kept = outcomes.iter().filter(|o| o.is_ok()).count() as u64;
    assert!(outcomes.len() as u64 == RECORDS && kept < RECORDS);
    assert_eq!(failed.load(SeqCst), 0, "nothing that was written is in doubt");
    disk.set_full(false);
    assert!(open(&disk).0.bounds(1).next_index > kept);
}
