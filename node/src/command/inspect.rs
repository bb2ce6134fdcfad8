//! `trine inspect block`: what a block file holds, and whether it is whole. Needs no node.
mod file;
mod report;

use std::path::Path;
use std::sync::Arc;

use trine_store::inspect::TenantContents;
use trine_store::{rows, tsdb};

use self::file::{Watched, damage};
use self::report::Report;
use super::out;
use crate::cli::{InspectFlags, InspectFormat, InspectWhat};
use crate::error::{Error, io};

/// First bytes of a block's file.
const METRICS: [u8; 4] = *b"TRNM";
const ROWS: [u8; 4] = *b"TRNR";

pub(crate) fn run(flags: &InspectFlags) -> Result<(), Error> {
    let InspectWhat::Block { file, verify, top, format } = &flags.what;
    let report = block(file, *verify)?;
    match format {
        InspectFormat::Table => out::print(report.table(*top)),
        InspectFormat::Json => {
            let json = report.json(*top);
            out::line(format_args!("{json:#}"))
        }
    }
}

fn block(path: &Path, verify: bool) -> Result<Report, Error> {
    let name = path.display().to_string();
    let file = Arc::new(Watched::open(path).map_err(io(format!("open {name}")))?);
    let magic = file.magic().map_err(io(format!("read {name}")))?;
    let damaged = |error: &(dyn std::error::Error + 'static)| Error::Inspect(damage(&name, &file, error));
    match magic {
        METRICS => metrics(&name, file.clone(), verify).map_err(|e| damaged(&*e)),
        ROWS => row_block(&name, file.clone(), verify).map_err(|e| damaged(&*e)),
        other => Err(Error::Inspect(format!(
            "{name} is no block: it begins with {other:02x?}, a block of metrics with TRNM, of logs and traces with TRNR"
        ))),
    }
}

type Failure = Box<dyn std::error::Error + 'static>;

fn metrics(name: &str, file: Arc<Watched>, verify: bool) -> Result<Report, Failure> {
    let cache = Arc::new(tsdb::BlockCache::new(CACHE_BYTES));
    let block = Arc::new(tsdb::Block::open_with(file, name, cache)?);
    let summary = block.summary();
    let tenants = tsdb::contents(&block)?;
    if verify {
        tsdb::verify(&block)?;
    }
    Ok(report(name, "metrics", summary.bytes, summary.digest, tenants, verify))
}

fn row_block(name: &str, file: Arc<Watched>, verify: bool) -> Result<Report, Failure> {
    let block = Arc::new(rows::Block::open_with(file, name)?);
    let summary = block.summary();
    let tenants = rows::contents(&block)?;
    if verify {
        rows::verify(&block)?;
    }
    Ok(report(name, block.signal().as_str(), summary.bytes, summary.digest, tenants, verify))
}

/// Decoded pieces that are kept.
const CACHE_BYTES: usize = 64 << 20;

fn report(
    name: &str,
    signal: &'static str,
    bytes: u64,
    digest: u128,
    tenants: Vec<TenantContents>,
    verified: bool,
) -> Report {
    Report { name: name.to_owned(), signal, bytes, digest, tenants, verified }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/fixtures").join(name)
    }

    #[test]
    fn a_kept_block_of_each_kind_is_explained() {
        for (name, signal) in [("metrics-block-v1.trnm", "metrics"), ("rows-block-v1.trnr", "logs")] {
            let report = block(&fixture(name), true).unwrap();
            assert_eq!(report.signal, signal);
            let bytes: u64 = report.tenants.iter().map(|t| t.bytes).sum();
            let sections: u64 = report.tenants.iter().flat_map(|t| &t.sections).map(|s| s.1).sum();
            assert!(bytes < report.bytes && sections <= bytes && sections * 10 > bytes * 9, "{sections} of {bytes}");
            for tenant in &report.tenants {
                let facts: u64 = tenant.groups.iter().map(|g| g.facts).sum();
                assert_eq!(facts, tenant.facts, "{name}: {}", tenant.tenant);
                assert_eq!(tenant.kinds.iter().map(|k| k.1).sum::<u64>(), tenant.facts, "{name}");
            }
            let text = report.table(3);
            for part in ["verified", "tenant", "bytes", signal] {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert_eq!(report.json(3)["signal"], signal);
        }
    }

    #[test]
    fn damage_anywhere_is_named_and_never_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("block");
        for name in ["metrics-block-v1.trnm", "rows-block-v1.trnr"] {
            let whole = std::fs::read(fixture(name)).unwrap();
            let (mut named, mut tried) = (0, 0);
            let places = (0..whole.len()).step_by((whole.len() / 150).max(1));
            for at in places {
                let mut bytes = whole.clone();
                bytes[at] ^= 0x55;
                std::fs::write(&path, &bytes).unwrap();
                tried += 1;
                // Reserved bytes, filters, and padding between pieces are not content.
                if let Err(error) = block(&path, true) {
                    let text = error.to_string();
                    assert!(text.contains(&path.display().to_string()), "{text}");
                    named += usize::from(text.contains("at byte"));
                }
                std::fs::write(&path, &whole[..at]).unwrap();
                assert!(block(&path, true).is_err(), "{name} cut at {at}");
            }
            assert!(named * 10 > tried * 7, "{name}: only {named} of {tried} have an offset");
        }
        std::fs::write(&path, "no block").unwrap();
        assert!(block(&path, false).unwrap_err().to_string().contains("is no block"));
    }
}
