//! The block of version 1 that is kept in the tree must be readable for ever.
use std::path::PathBuf;

use super::model::{Fact, World, seen};
use super::*;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/metrics-block-v1.trnm")
}

/// What is in the fixture.
fn world() -> World {
    let mut world = World::default();
    for (tenant, scale) in [("a", 1.0), ("b", 0.01)] {
        let mut facts: Vec<Fact> = (0..600i64)
            .map(|i| Fact::Float {
                series: (i % 5) as u8,
                time_ms: 1_700_000_000_000 + i / 5 * 15_000,
                bits: ((i / 5 * (i % 5 + 1) + i * 31 % 7) as f64 * scale).to_bits(),
            })
            .collect();
        facts.push(Fact::Float { series: 5, time_ms: 1_700_000_000_000, bits: 0.1f64.to_bits() });
        facts.push(Fact::Float { series: 5, time_ms: 1_700_000_015_000, bits: crate::model::STALE_NAN_BITS });
        use SampleKind::{Exemplar, FloatHistogram, IntHistogram, StartTimestamp};
        for (kind, series) in [(IntHistogram, 1), (FloatHistogram, 2), (StartTimestamp, 3), (Exemplar, 3)] {
            let payload = format!("{kind:?} of {tenant}").into_bytes();
            facts.push(Fact::Blob { series, kind, time_ms: 1_700_000_000_001, payload });
        }
        facts.push(Fact::Metadata { family: 1, metric_type: 2 });
        world.part(tenant, &facts);
    }
    world
}

/// Digest of the fixture's content: content that no longer has it is read wrongly.
const DIGEST: u128 = 0x6143_f0a1_8db9_8e36_924c_2025_a185_6825;

#[test]
fn version_1_reads_back() {
    let path = path();
    let mut world = world();
    if std::env::var_os("TRINE_WRITE_FIXTURES").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let summary = seal_view(&world.view(), &mut std::fs::File::create_new(&path).unwrap()).unwrap();
        println!("digest {:#034x}", summary.digest);
    }
    let block = open(std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(block.summary().digest, DIGEST, "{:#034x}", block.summary().digest);
    let view = MetricsView { blocks: vec![block], ..MetricsView::default() };
    world.model.check(&view, (i64::MIN, i64::MAX));
    for tenant in ["a", "b"] {
        assert_eq!(seen(&view, tenant, 0, i64::MAX), seen(&world.view(), tenant, 0, i64::MAX));
    }
    assert_eq!(model::sealed(&view).blocks[0].summary().digest, DIGEST, "sealed anew");
}
