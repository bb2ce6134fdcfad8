//! Merged blocks show what their inputs did, without what the limits hide, and count every sample.
use super::model::{Seen, World, seen};
use super::*;
use crate::index::MatchOp;
use crate::limits::{Cutoffs, DeleteSeries, Limits, Tombstone};
use crate::shard::CompactedFacts;

fn compacted(blocks: &[Arc<Block>], limits: &Limits) -> (MetricsView, Vec<CompactedFacts>) {
    let mut bytes = Vec::new();
    let (summary, facts) = compact(blocks, limits, &mut |_| Ok(()), &mut bytes).unwrap();
    let block = open(bytes).unwrap();
    assert_eq!(block.summary(), summary);
    verify(&block).unwrap();
    (MetricsView { blocks: vec![block], ..MetricsView::default() }, facts)
}

fn all(view: &MetricsView, tenant: &str) -> Seen {
    seen(view, tenant, i64::MIN, i64::MAX)
}

/// A world of sealed blocks; the block at `i` was made at log index `i + 1`.
fn world(parts: &[(usize, Vec<Fact>, bool)]) -> World {
    let mut world = World::default();
    for (tenant, facts, seals) in parts {
        world.part(TENANTS[*tenant], facts);
        if *seals {
            world.seal_start();
            world.seal_finish();
        }
    }
    world.seal_start();
    world.seal_finish();
    world
}

fn limits() -> impl Strategy<Value = Limits> {
    let tombstone =
        (0u64..8, 0usize..3, 0u8..3, 0i64..40, 0i64..40).prop_map(|(index, tenant, metric, min_ms, span)| {
            let matchers = vec![Matcher::new("__name__", MatchOp::Eq, format!("m{metric}")).unwrap()];
            let delete =
                DeleteSeries { id: 0, tenant: TENANTS[tenant].into(), matchers, min_ms, max_ms: min_ms + span };
            Arc::new(Tombstone { index, delete })
        });
    let tombstones = proptest::collection::vec(tombstone, 0..4);
    (tombstones, prop_oneof![Just(i64::MIN), 0i64..45], 0i64..45).prop_map(|(tombstones, all, of_a)| {
        let cutoffs = if all == i64::MIN { Cutoffs::default() } else { Cutoffs::new(all, [("a", of_a)]) };
        Limits { cutoffs: Arc::new(cutoffs), tombstones, frozen: Vec::new() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_merge_shows_what_its_inputs_did(
        parts in proptest::collection::vec((0..TENANTS.len(), proptest::collection::vec(fact(), 0..30), any::<bool>()), 1..12),
        limits in limits(),
    ) {
        let view = world(&parts).view();
        let limited = MetricsView { limits: Arc::new(limits.clone()), ..view.clone() };
        let (merged, facts) = compacted(&view.blocks, &limits);
        for tenant in TENANTS {
            prop_assert_eq!(all(&merged, tenant), all(&limited, tenant), "{}", tenant);
        }
        let before: u64 = view.blocks.iter().map(|b| b.summary().facts).sum();
        let sum: u64 = facts.iter().map(|f| f.facts + f.folded + f.expired + f.deleted).sum();
        prop_assert_eq!((sum, facts.iter().map(|f| f.facts).sum()), (before, merged.blocks[0].summary().facts));
        let (plain, _) = compacted(&view.blocks, &Limits::default());
        let sealed = model::sealed(&MetricsView { blocks: view.blocks, ..MetricsView::default() });
        prop_assert_eq!(plain.blocks[0].summary().digest, sealed.blocks[0].summary().digest);
    }
}

/// Full chunks are taken over as they are, the rest is put together; both read back.
#[test]
fn long_series_keep_their_full_chunks() {
    let mut world = World::default();
    let labels = Labels::from_pairs([("__name__", "m0")]).unwrap();
    let mut time_ms = 0;
    for count in [2000, 100, 100, 700, 3] {
        let samples: Vec<(i64, u64)> =
            (0..count).map(|i| (time_ms + i64::from(i) * 10, f64::from(i * 7 % 13).to_bits())).collect();
        world.samples("a", samples.iter().map(|(t, b)| (&labels, *t, *b)));
        time_ms += i64::from(count) * 10;
        world.seal_start();
        world.seal_finish();
    }
    let view = world.view();
    let (merged, facts) = compacted(&view.blocks, &Limits::default());
    assert_eq!(all(&merged, "a"), all(&view, "a"));
    assert_eq!(facts[0].facts, 2903);
    let (sum, one): (u64, u64) =
        (view.blocks.iter().map(|b| b.summary().bytes).sum(), merged.blocks[0].summary().bytes);
    assert!(one < sum, "{one} bytes of {sum}");
}

#[test]
fn a_merge_ends_when_it_is_told_to() {
    let facts = vec![Fact::Float { series: 1, time_ms: 1, bits: 1 }, Fact::Float { series: 2, time_ms: 1, bits: 1 }];
    let view = world(&[(0, facts.clone(), true), (0, facts, true)]).view();
    let mut calls = 0;
    let stop = &mut |_| {
        calls += 1;
        Err(std::io::Error::other("stopped"))
    };
    let result = compact(&view.blocks, &Limits::default(), stop, &mut Vec::new());
    assert_eq!(result.unwrap_err().to_string(), "stopped");
    assert_eq!(calls, 1);
}
