//! The engine as a whole against a naive model.
mod compact;
mod damage;
mod fixture;
mod model;

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::index::{MatchOp, Matcher};
use crate::memory::Account;
use crate::model::Labels;
use crate::part::SampleKind;
use model::{Fact, Model, World};

const TENANTS: [&str; 3] = ["a", "b", "c"];

/// What happens to a shard.
#[derive(Clone, Debug)]
enum Step {
    Part {
        tenant: usize,
        facts: Vec<Fact>,
    },
    /// Take work for the pool, if there is some.
    TakeJob,
    /// Finish the work taken.
    FinishJob,
    /// Both at once.
    Freeze,
    SealStart,
    SealFinish,
    /// Keep the view, to look again at the end.
    Snapshot,
}

fn fact() -> impl Strategy<Value = Fact> {
    let float = (0u8..6, 0i64..40, 0u8..4).prop_map(|(series, time_ms, value)| Fact::Float {
        series,
        time_ms,
        bits: [1.5f64.to_bits(), 2f64.to_bits(), crate::model::STALE_NAN_BITS, (-0.0f64).to_bits()][value as usize],
    });
    let kind = prop_oneof![
        Just(SampleKind::IntHistogram),
        Just(SampleKind::FloatHistogram),
        Just(SampleKind::StartTimestamp),
        Just(SampleKind::Exemplar)
    ];
    let blob = (0u8..4, kind, 0i64..20, 0u8..3).prop_map(|(series, kind, time_ms, payload)| Fact::Blob {
        series,
        kind,
        time_ms,
        payload: vec![payload; usize::from(payload)],
    });
    let metadata = (0u8..4, 0u8..3).prop_map(|(family, metric_type)| Fact::Metadata { family, metric_type });
    prop_oneof![12 => float, 3 => blob, 1 => metadata]
}

fn step() -> impl Strategy<Value = Step> {
    let part = (0..TENANTS.len(), proptest::collection::vec(fact(), 0..30))
        .prop_map(|(tenant, facts)| Step::Part { tenant, facts });
    prop_oneof![
        10 => part,
        3 => Just(Step::TakeJob),
        3 => Just(Step::FinishJob),
        8 => Just(Step::Freeze),
        1 => Just(Step::SealStart),
        1 => Just(Step::SealFinish),
        1 => Just(Step::Snapshot),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_view_is_what_the_model_says(steps in proptest::collection::vec(step(), 1..100)) {
        let mut world = World::default();
        let mut snapshots: Vec<(MetricsView, Model)> = Vec::new();
        for step in steps {
            match step {
                Step::Part { tenant, facts } => world.part(TENANTS[tenant], &facts),
                Step::TakeJob => {
                    world.take_job();
                }
                Step::FinishJob => world.finish_job(),
                Step::Freeze => {
                    world.take_job();
                    world.finish_job();
                }
                Step::SealStart => world.seal_start(),
                Step::SealFinish => world.seal_finish(),
                Step::Snapshot => snapshots.push((world.view(), world.model.clone())),
            }
            let view = world.view();
            world.model.check(&view, (i64::MIN, i64::MAX));
        }
        snapshots.push((world.view(), world.model.clone()));
        for (view, model) in &snapshots {
            for range in [(i64::MIN, i64::MAX), (10, 20), (7, 7), (39, 100), (50, 60), (20, 10)] {
                model.check(view, range);
            }
        }
        let (view, model) = snapshots.pop().unwrap();
        let compacted = model::sealed(&view);
        model.check(&compacted, (i64::MIN, i64::MAX));
        prop_assert_eq!(compacted.blocks[0].summary().digest, {
            model::sealed(&compacted).blocks[0].summary().digest
        });
    }
}

fn series(view: &MetricsView, tenant: &str, matchers: &[(&str, MatchOp, &str)]) -> Vec<String> {
    let matchers: Vec<Matcher> = matchers.iter().map(|(n, op, v)| Matcher::new(*n, *op, *v).unwrap()).collect();
    let labels = view.series_labels(tenant, &matchers, (i64::MIN, i64::MAX), &Account::unbounded()).unwrap();
    labels.iter().map(Labels::to_string).collect()
}

#[test]
fn matchers_select_alike_in_tail_run_and_block() {
    use MatchOp::{Eq, NotEq, NotRegex, Regex};
    let mut world = World::default();
    world.floats(
        "a",
        &[&[("n", "x"), ("l", "1")], &[("n", "x"), ("l", "2")], &[("n", "x")], &[("n", "y"), ("l", "10")]],
    );
    world.floats("b", &[&[("n", "x"), ("secret", "s")]]);
    let tail = world.view();
    assert!(world.take_job(), "nothing to freeze");
    world.finish_job();
    let run = world.view();
    let block = model::sealed(&run);
    type Case = (&'static [(&'static str, MatchOp, &'static str)], &'static [&'static str]);
    let cases: &[Case] = &[
        (&[("n", Eq, "x")], &[r#"{l="1", n="x"}"#, r#"{l="2", n="x"}"#, r#"{n="x"}"#]),
        (&[("n", Eq, "x"), ("l", Eq, "")], &[r#"{n="x"}"#]),
        (&[("l", NotEq, "1")], &[r#"{l="10", n="y"}"#, r#"{l="2", n="x"}"#, r#"{n="x"}"#]),
        (&[("l", Regex, "1.*")], &[r#"{l="1", n="x"}"#, r#"{l="10", n="y"}"#]),
        (&[("l", Regex, "1|2")], &[r#"{l="1", n="x"}"#, r#"{l="2", n="x"}"#]),
        (&[("l", NotRegex, "1.*")], &[r#"{l="2", n="x"}"#, r#"{n="x"}"#]),
        (&[("l", NotRegex, ".*")], &[]),
        (&[("none", Eq, ""), ("n", NotRegex, "x")], &[r#"{l="10", n="y"}"#]),
        (&[("none", NotEq, "")], &[]),
    ];
    for (stage, view) in [("tail", &tail), ("run", &run), ("block", &block)] {
        for (matchers, expected) in cases {
            assert_eq!(&series(view, "a", matchers), expected, "{stage}: {matchers:?}");
        }
        assert_eq!(series(view, "b", &[]), [r#"{n="x", secret="s"}"#], "{stage}");
        assert!(series(view, "nobody", &[]).is_empty());
        let (all, free) = ((i64::MIN, i64::MAX), Account::unbounded());
        let names = |range| texts(|names| view.label_names("a", &[], range, &free, names));
        let values = |name, of: &[Matcher]| texts(|values| view.label_values("a", name, of, all, &free, values));
        assert_eq!(names(all), ["l", "n"], "{stage}");
        assert_eq!(values("l", &[]), ["1", "10", "2"], "{stage}");
        assert_eq!(values("l", &[Matcher::new("n", Eq, "x").unwrap()]), ["1", "2"], "{stage}");
        assert!(values("secret", &[]).is_empty(), "{stage}");
        assert!(names((1_000, 2_000)).is_empty(), "{stage}");
    }
}

#[test]
fn a_repetition_is_counted_and_a_conflict_is_named() {
    let mut world = World::default();
    let float = |time_ms, value: f64| Fact::Float { series: 0, time_ms, bits: value.to_bits() };
    assert_eq!(world.apply("a", &[float(1, 1.0), float(2, 2.0)]).accepted, 2);
    let outcome = world.apply("a", &[float(2, 2.0), float(2, 3.0), float(1, 9.0), float(3, 3.0)]);
    assert_eq!((outcome.accepted, outcome.repeated, outcome.conflicts_count), (2, 1, 1));
    let conflict = outcome.conflicts[0];
    assert_eq!((conflict.time_ms, conflict.existing_bits, conflict.new_bits), (2, 2f64.to_bits(), 3f64.to_bits()));
    let many: Vec<Fact> = (0..20).map(|i| float(3, f64::from(i) + 10.0)).collect();
    let outcome = world.apply("a", &many);
    assert_eq!((outcome.conflicts_count, outcome.conflicts.len()), (20, 8));
}

#[test]
fn a_part_that_does_not_decode_changes_nothing() {
    let mut head = MetricsHead::new(HeadConfig::default());
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let labels = Labels::from_pairs([("n", "x")]).unwrap();
    let series = head.resolve(&a, 1, labels.as_bytes()).unwrap();
    assert_eq!(head.resolve(&a, 1, labels.as_bytes()).unwrap(), series);
    assert_ne!(head.resolve(&b, 1, labels.as_bytes()).unwrap(), series, "another tenant's series was found");
    assert!(head.resolve(&a, 1, b"\x01").is_err());
    let good = [0, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(head.append(&a, 1, &[series], &[&good[..], &[0, 9, 1, 0]].concat()).is_err());
    assert!(head.append(&b, 1, &[series], &good).is_err(), "another tenant's reference was taken");
    assert!(head.append(&a, 1, &[SeriesRef(9)], &good).is_err());
    assert_eq!(head.stats().facts, 0);
    assert_eq!(head.append(&a, 1, &[series], &good).unwrap().accepted, 1);
}

/// More than one page, piece of each table, chunk a series.
#[test]
fn a_large_head_seals_into_what_it_was() {
    let mut world = World::default();
    let mut state = 7u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let series: Vec<Labels> =
        (0..2500).map(|i| Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())]).unwrap()).collect();
    for scrape in 0..10 {
        let samples = series.iter().map(|labels| (labels, scrape * 15_000 + random() as i64 % 1000, random()));
        world.samples("a", samples);
        assert!(world.take_job(), "nothing to freeze");
        world.finish_job();
    }
    world.samples("a", (0..3000).map(|at| (&series[17], 1_000_000 + at, random())));
    let head = world.view();
    let block = model::sealed(&head);
    assert_eq!(block.stats().facts, 28_000);
    assert_eq!(block.stats().series, 2500);
    for (min_ms, max_ms) in [(i64::MIN, i64::MAX), (30_000, 40_000), (1_001_024, 1_001_500)] {
        assert_eq!(model::seen(&block, "a", min_ms, max_ms), model::seen(&head, "a", min_ms, max_ms));
    }
    let mut slots = 0;
    block.blocks[0].slots("a", |_| slots += 1).unwrap();
    assert_eq!(slots, 2500);
    verify(&block.blocks[0]).unwrap();
}

#[test]
fn a_block_without_a_tenant_keeps_the_others() {
    let mut world = World::default();
    world.floats("a", &[&[("n", "x")]]);
    world.floats("b", &[&[("n", "y")]]);
    let both = model::sealed(&world.view());
    let mut world = World::default();
    world.floats("b", &[&[("n", "y")]]);
    let one = model::sealed(&world.view());
    assert_eq!(series(&both, "b", &[]), series(&one, "b", &[]));
    assert_ne!(both.blocks[0].summary().digest, one.blocks[0].summary().digest);
    assert_eq!(both.stats().facts, 2);
    let mut bytes = Vec::new();
    let summary = retain_tenants(&both.blocks[0], |tenant| tenant == "b", &mut bytes).unwrap();
    let kept = open(bytes).unwrap();
    assert_eq!(kept.summary(), summary);
    assert_eq!(summary.digest, one.blocks[0].summary().digest);
    let kept = MetricsView { blocks: vec![kept], ..MetricsView::default() };
    assert_eq!(kept.tenants().unwrap(), ["b".into()]);
    assert_eq!(model::seen(&kept, "b", i64::MIN, i64::MAX), model::seen(&one, "b", i64::MIN, i64::MAX));
}

#[test]
fn an_empty_head_seals_into_an_empty_block() {
    let view = model::sealed(&MetricsView::default());
    assert!(view.tenants().unwrap().is_empty());
    let summary = view.blocks[0].summary();
    assert_eq!((summary.facts, summary.series), (0, 0));
    assert!(summary.min_time > summary.max_time);
}

fn open(bytes: Vec<u8>) -> Result<Arc<Block>> {
    Block::open_with(Arc::new(Bytes::from(bytes)), "test", Arc::new(BlockCache::new(1 << 20))).map(Arc::new)
}

/// What a question for texts finds.
fn texts(ask: impl FnOnce(&mut TextSet) -> Result<()>) -> Vec<String> {
    let mut texts = TextSet::new(&Account::unbounded());
    ask(&mut texts).unwrap();
    texts.sorted().unwrap().0
}
