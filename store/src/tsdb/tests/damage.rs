//! Damage anywhere in a block is detected and named, and never panics.
use super::model::{Fact, World, seen};
use super::*;

/// A block with every kind of section.
fn block() -> Vec<u8> {
    let mut world = World::default();
    for tenant in ["a", "b"] {
        let floats = (0..200).map(|i: i64| Fact::Float {
            series: (i % 6) as u8,
            time_ms: i / 6 * 15_000,
            bits: ((i * 37 % 101) as f64 / 10.0).to_bits(),
        });
        let facts: Vec<Fact> = floats
            .chain([
                Fact::Blob { series: 1, kind: SampleKind::Exemplar, time_ms: 5, payload: b"exemplar".to_vec() },
                Fact::Blob { series: 2, kind: SampleKind::IntHistogram, time_ms: 5, payload: vec![7; 100] },
                Fact::Metadata { family: 1, metric_type: 2 },
            ])
            .collect();
        world.part(tenant, &facts);
    }
    let mut bytes = Vec::new();
    seal_view(&world.view(), &mut bytes).unwrap();
    bytes
}

/// Whether a block with one changed byte passes [`verify`].
fn is_sound(good: &[u8], at: usize) -> bool {
    let mut bad = good.to_vec();
    bad[at] ^= 1;
    open(bad).is_ok_and(|block| verify(&block).is_ok())
}

/// Reads everything that a block has.
fn read_all(bytes: Vec<u8>) -> Result<()> {
    let view = MetricsView { blocks: vec![open(bytes)?], ..MetricsView::default() };
    let free = Account::unbounded();
    for tenant in view.tenants()? {
        view.metadata(&tenant, None)?;
        let (all, mut names) = ((i64::MIN, i64::MAX), TextSet::new(&free));
        view.label_names(&tenant, &[], all, &free, &mut names)?;
        for name in names.sorted()?.0 {
            view.label_values(&tenant, &name, &[], all, &free, &mut TextSet::new(&free))?;
        }
        let (mut times, mut values, mut blobs) = (Vec::new(), Vec::new(), Vec::new());
        for series in view.select(&tenant, &[], i64::MIN, i64::MAX)? {
            series.samples_into(&mut times, &mut values)?;
            series.blobs_into(SampleKind::IntHistogram, &mut blobs)?;
            series.blobs_into(SampleKind::Exemplar, &mut blobs)?;
        }
    }
    Ok(())
}

#[test]
fn every_flipped_byte_is_noticed() {
    let good = block();
    read_all(good.clone()).unwrap();
    for at in 0..good.len() {
        for mask in [1, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= mask;
            let error = read_all(bad).expect_err(&format!("byte {at} of {} was changed unnoticed", good.len()));
            assert!(error.to_string().contains("block test"), "{error}");
        }
    }
}

#[test]
fn verification_notices_every_flipped_byte() {
    let good = block();
    verify(&open(good.clone()).unwrap()).unwrap();
    for at in (0..good.len()).step_by(5) {
        assert!(!is_sound(&good, at), "byte {at} of {} was changed unnoticed", good.len());
    }
}

#[test]
fn every_truncation_is_noticed() {
    let good = block();
    for len in 0..good.len() {
        assert!(read_all(good[..len].to_vec()).is_err(), "{len} of {} bytes", good.len());
    }
}

#[test]
fn another_version_is_refused_by_number() {
    let mut bytes = block();
    bytes[4] = 9;
    let error = read_all(bytes).unwrap_err().to_string();
    assert_eq!(error, "metrics block test is of version 9, this release reads version 1");
}

#[test]
fn damage_of_one_tenant_leaves_the_others_readable() {
    let good = block();
    let mut bad = good.clone();
    // The first page of the first tenant.
    bad[10] ^= 1;
    let view = |bytes| MetricsView { blocks: vec![open(bytes).unwrap()], ..MetricsView::default() };
    assert_eq!(seen(&view(bad), "b", i64::MIN, i64::MAX), seen(&view(good), "b", i64::MIN, i64::MAX));
}

proptest! {
    /// With right checksums too: a block from a hostile hand.
    #[test]
    fn hostile_blocks_never_panic(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..4), piece: Vec<u8>) {
        use crate::tsdb::chunk::blobs;
        let mut bytes = block();
        for (at, byte) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        let _unchecked = read_all(bytes);
        let _unchecked = blobs::unpack(&piece);
        decode_tables(&piece);
    }
}
