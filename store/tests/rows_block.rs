//! Row blocks: real logs come back byte-equal, damage is named, kept files stay readable.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use trine_store::model::signal::key_hash;
use trine_store::model::{Labels, Scope, Signal, Value, ValueType};
use trine_store::part::{PART_BODY_BYTES_TARGET, PartRef, RowsPartBuilder};
use trine_store::rows::{Block, HeadConfig, RowOrder, RowScan, RowsHead, RowsView, StreamSelector, seal};

const TENANT: &str = "default";

struct Writer {
    head: RowsHead,
    position: u64,
}

impl Writer {
    fn new(config: HeadConfig) -> Self {
        Self { head: RowsHead::new(Signal::Logs, config), position: 0 }
    }

    fn append(&mut self, tenant: &str, part: RowsPartBuilder) {
        let bytes = part.finish();
        let part = PartRef::decode(&bytes).unwrap();
        let tenant: Arc<str> = tenant.into();
        let refs: Vec<_> = part.defs.iter().map(|d| self.head.resolve(&tenant, d.hash, d.key).unwrap()).collect();
        self.position += 1;
        self.head.append(&tenant, self.position, &refs, part.body, part.assigned_ns).unwrap();
        if let Some(job) = self.head.freeze_job() {
            self.head.install(job.run().unwrap());
        }
    }

    /// Appends lines one second apart as one stream, in parts as a router would cut them.
    fn lines(&mut self, stream: &str, lines: &[&[u8]]) {
        let key = Labels::from_pairs([("service_name", stream)]).unwrap();
        let level = Value::Str("info".into());
        let mut lines = lines.iter().enumerate().peekable();
        while lines.peek().is_some() {
            let mut part = RowsPartBuilder::new(Signal::Logs, TENANT);
            let def = part.stream(key_hash(TENANT, key.as_bytes()), key.as_bytes());
            while part.bytes_len() < PART_BODY_BYTES_TARGET
                && let Some((i, line)) = lines.next()
            {
                let time = 1_700_000_000_000_000_000 + i as i64 * 1_000_000_000;
                part.row(def, time, line, [(Scope::Record, "detected_level", &level)].into_iter());
            }
            self.append(TENANT, part);
        }
    }

    fn seal(mut self) -> Vec<u8> {
        let mut file = Vec::new();
        let summary = seal(&self.head.view(), &mut file).unwrap();
        assert_eq!(summary.bytes, file.len() as u64);
        file
    }
}

fn open(file: Vec<u8>) -> trine_store::rows::Result<RowsView> {
    let block = Block::open(Arc::new(Bytes::from(file)))?;
    Ok(RowsView { blocks: vec![Arc::new(block)], ..RowsView::new(Signal::Logs) })
}

/// Labels, time, line, number of attributes.
type ReadRow = (String, i64, Vec<u8>, usize);

/// Every column of every row, so that every region is read.
fn read_all(view: &RowsView, tenant: &str) -> trine_store::rows::Result<Vec<ReadRow>> {
    let mut scan = view.scan(&RowScan::new(tenant, i64::MIN, i64::MAX))?;
    let mut rows = Vec::new();
    while let Some(batch) = scan.next_batch()? {
        for row in batch.rows() {
            let labels = row.stream().labels().unwrap().to_string();
            rows.push((labels, row.time_ns(), row.body()?.to_vec(), row.attrs()?.len()));
        }
    }
    Ok(rows)
}

fn loghub() -> Vec<(String, Vec<u8>)> {
    let shared = std::env::var_os("TRINE_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let Ok(folder) = std::fs::read_dir(shared.join("data/loghub")) else { return Vec::new() };
    let mut files: Vec<_> = folder
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn real_logs_come_back_byte_equal_and_small() {
    let files = loghub();
    if files.is_empty() {
        println!("no loghub files: set TRINE_SHARED");
        return;
    }
    let mut writer = Writer::new(HeadConfig { tail_batches_max: 16, ..HeadConfig::default() });
    let split = |file: &[u8]| file.split(|&b| b == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    for (name, bytes) in &files {
        let lines = split(bytes);
        writer.lines(name, &lines.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    let file = writer.seal();
    let raw: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let ratio = raw as f64 / file.len() as f64;
    println!("loghub: {raw} raw bytes, {} block bytes, ratio {ratio:.2}", file.len());
    assert!(ratio >= 8.0, "ratio {ratio:.2}");
    let view = open(file).unwrap();
    for (name, bytes) in &files {
        let matcher = trine_store::index::Matcher::new("service_name", trine_store::index::MatchOp::Eq, name.as_str());
        let mut scan = RowScan::new(TENANT, i64::MIN, i64::MAX);
        scan.streams = StreamSelector::Matching(vec![matcher.unwrap()]);
        scan.order = RowOrder::Forward;
        let mut scan = view.scan(&scan).unwrap();
        let mut got = Vec::new();
        while let Some(batch) = scan.next_batch().unwrap() {
            got.extend(batch.rows().map(|row| row.body().unwrap().to_vec()));
        }
        assert_eq!(got, split(bytes), "{name}");
    }
    assert_eq!(view.stats(TENANT, &[], i64::MIN, i64::MAX).unwrap().hashes.len(), files.len());
    needles_are_proved_absent_or_found(&view, &files);
}

/// Long words of the lines are always found; made-up ones are nearly always proved absent without opening a granule.
fn needles_are_proved_absent_or_found(view: &RowsView, files: &[(String, Vec<u8>)]) {
    let mut absent_opened = 0;
    for (i, (_, bytes)) in files.iter().enumerate() {
        let line = bytes.split(|&b| b == b'\n').nth(77 + i).unwrap();
        let find = |needle: &[u8]| {
            let mut scan = RowScan::new(TENANT, i64::MIN, i64::MAX);
            scan.needles = vec![needle.to_vec()];
            let mut scan = view.scan(&scan).unwrap();
            let mut hits = 0;
            while let Some(batch) = scan.next_batch().unwrap() {
                hits += batch.rows().filter(|r| memchr::memmem::find(r.body().unwrap(), needle).is_some()).count();
            }
            (hits, scan.stats().granules_opened)
        };
        assert!(find(&line[line.len() / 3..]).0 > 0);
        absent_opened += find(format!("b1946ac92492d2347c6235b4d2611184{i:04}").as_bytes()).1;
    }
    assert_eq!(absent_opened, 0);
}

fn small_block() -> Vec<u8> {
    let mut writer = Writer::new(HeadConfig { granule_rows_max: 40, ..HeadConfig::default() });
    for (tenant, app) in [("acme", "web"), ("acme", "db"), ("zeta", "web")] {
        let mut part = RowsPartBuilder::new(Signal::Logs, tenant);
        let key = Labels::from_pairs([("app", app)]).unwrap();
        let def = part.stream(key_hash(tenant, key.as_bytes()), key.as_bytes());
        for i in 0..50i64 {
            let values = [Value::Str(format!("u{}", i % 7)), Value::Int(i * i), Value::Bool(i % 3 == 0)];
            let attrs = ["user", "bytes", "ok"].into_iter().zip(&values).map(|(k, v)| (Scope::Record, k, v));
            part.row(
                def,
                1_000 + i * 10,
                format!("GET /item/{i} from 10.0.0.{i} id={:08x}", i * 7919).as_bytes(),
                attrs,
            );
        }
        writer.append(tenant, part);
    }
    writer.seal()
}

#[test]
fn any_damaged_byte_is_an_error_and_never_other_rows() {
    let whole = small_block();
    let read = |file: Vec<u8>| -> trine_store::rows::Result<_> {
        let view = open(file)?;
        let needle = RowScan { needles: vec![b" from ".to_vec()], ..RowScan::new("acme", i64::MIN, i64::MAX) };
        while view.scan(&needle)?.next_batch()?.is_some_and(|b| b.is_empty()) {}
        Ok((read_all(&view, "acme")?, read_all(&view, "zeta")?))
    };
    let want = read(whole.clone()).unwrap();
    assert_eq!((want.0.len(), want.1.len()), (100, 50));
    let mut missed = 0;
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x20;
        match read(damaged) {
            Ok(got) => {
                // Only a region that this read had no need of (a value filter) may go unnoticed, and then it changes nothing.
                assert_eq!(got, want, "byte {at}");
                missed += 1;
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assert!(missed < whole.len() / 10, "{missed} of {} bytes", whole.len());
    for len in 0..whole.len() {
        assert!(open(whole[..len].to_vec()).is_err(), "{len}");
    }
}

#[test]
fn damage_names_its_region() {
    let whole = small_block();
    let errors: std::collections::BTreeSet<String> = (0..whole.len())
        .filter_map(|at| {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            let error =
                open(damaged).and_then(|view| Ok((read_all(&view, "acme")?, read_all(&view, "zeta")?))).err()?;
            Some(error.to_string().split(" at ").next().unwrap_or_default().to_owned())
        })
        .collect();
    for region in ["times", "bodies", "shapes", "attribute column", "streams", "label index", "granule directory"] {
        assert!(errors.iter().any(|e| e == &format!("checksum of {region}")), "{region}: {errors:?}");
    }
}

/// This file was written by version 1 of the format and must stay readable.
#[test]
fn the_kept_fixture_is_still_read() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rows-block-v1.trnr");
    if std::env::var_os("TRINE_WRITE_FIXTURES").is_some() {
        std::fs::write(&path, small_block()).unwrap();
    }
    let kept = std::fs::read(path).unwrap();
    assert_eq!((&kept[..4], kept[4], kept[5]), (&b"TRNR"[..], 1, Signal::Logs as u8));
    let block = Block::open(Arc::new(Bytes::from(kept.clone()))).unwrap();
    assert_eq!(block.tenants().collect::<Vec<_>>(), ["acme", "zeta"]);
    let summary = block.summary();
    assert_eq!((summary.facts, summary.series), (150, 3));
    assert_eq!((summary.min_time, summary.max_time), (Some(1_000), Some(1_490)));
    assert_eq!(summary.digest, open_summary(small_block()).digest, "the digest does not depend on the encoder");
    let view = open(kept).unwrap();
    let rows = read_all(&view, "acme").unwrap();
    assert_eq!(rows[0], (r#"{app="db"}"#.into(), 1_000, b"GET /item/0 from 10.0.0.0 id=00000000".to_vec(), 3));
    let columns = view.attr_columns("zeta", i64::MIN, i64::MAX).unwrap();
    assert_eq!(columns[2], (Scope::Record, "user".to_owned(), ValueType::Str));
}

fn open_summary(file: Vec<u8>) -> trine_store::rows::BlockSummary {
    Block::open(Arc::new(Bytes::from(file))).unwrap().summary()
}

#[test]
fn other_versions_are_refused_by_name() {
    let mut other = small_block();
    other[4] = 9;
    assert_eq!(open(other).unwrap_err().to_string(), "row block version 9 is not known");
    assert!(open(b"not a block, but long enough to hold a header and a trailer".to_vec()).is_err());
}
