//! Random parts, freezes and seals against a naive model: every stage answers the same.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use trine_store::index::{MatchOp, Matcher};
use trine_store::memory::Account;
use trine_store::model::signal::key_hash;
use trine_store::model::{Attr, AttrsBuilder, Labels, Scope, Signal, Value, intrinsic};
use trine_store::part::{PartRef, RowsPartBuilder};
use trine_store::rows::{
    AttrCondition, AttrTest, Block, HeadConfig, Row, RowOrder, RowScan, RowsHead, RowsView, StreamSelector, seal,
};

/// A row as the model keeps it.
#[derive(Clone, Debug, PartialEq)]
struct ModelRow {
    tenant: usize,
    stream: usize,
    time_ns: i64,
    body: Vec<u8>,
    attrs: Vec<Attr>,
}

const TENANTS: [&str; 2] = ["acme", "zeta"];
const ASSIGNED_NS: i64 = 55;

fn key(signal: Signal, stream: usize) -> Vec<u8> {
    if signal == Signal::Logs {
        let pairs = [("app", ["web", "db"][stream % 2]), ("n", &stream.to_string())];
        return Labels::from_pairs(pairs).unwrap().as_bytes().to_vec();
    }
    let mut key = AttrsBuilder::default();
    key.push_str(Scope::Resource, "service.name", &format!("service{stream}"));
    key.build().as_bytes().to_vec()
}

/// The naive model and the engine side by side.
struct Both {
    signal: Signal,
    rows: Vec<ModelRow>,
    head: RowsHead,
    view: RowsView,
    position: u64,
    config: HeadConfig,
}

impl Both {
    fn new(signal: Signal) -> Self {
        let config = HeadConfig {
            tail_bytes_max: 1 << 20,
            tail_batches_max: 3,
            granule_rows_max: 7,
            run_fanout: 2,
            ..HeadConfig::default()
        };
        let head = RowsHead::new(signal, config.clone());
        Self { signal, rows: Vec::new(), head, view: RowsView::new(signal), position: 0, config }
    }

    fn append(&mut self, tenant: usize, rows: &[ModelRow]) {
        self.position += 1;
        let name: Arc<str> = TENANTS[tenant].into();
        let mut part = RowsPartBuilder::new(self.signal, &name);
        part.assign_time(ASSIGNED_NS);
        let mut defs = BTreeMap::new();
        for row in rows {
            let key = key(self.signal, row.stream);
            let def = *defs.entry(row.stream).or_insert_with(|| part.stream(key_hash(&name, &key), &key));
            part.row(def, row.time_ns, &row.body, row.attrs.iter().map(|a| (a.scope, a.key.as_str(), &a.value)));
        }
        let bytes = part.finish();
        let part = PartRef::decode(&bytes).unwrap();
        let refs: Vec<_> = part.defs.iter().map(|d| self.head.resolve(&name, d.hash, d.key).unwrap()).collect();
        let outcome = self.head.append(&name, self.position, &refs, part.body, part.assigned_ns).unwrap();
        assert_eq!(outcome.accepted as usize, rows.len());
        for row in rows {
            let time_ns = if row.time_ns == 0 { ASSIGNED_NS } else { row.time_ns };
            let row = ModelRow { tenant, time_ns, ..row.clone() };
            if !self.rows.iter().any(|known| self.repeats(known, &row)) {
                self.rows.push(row);
            }
        }
    }

    fn repeats(&self, known: &ModelRow, row: &ModelRow) -> bool {
        let id = |row: &ModelRow| row.attrs.iter().filter(|a| a.scope == Scope::Intrinsic).cloned().collect::<Vec<_>>();
        match self.signal {
            Signal::Traces => known.tenant == row.tenant && id(known) == id(row),
            _ => known == row,
        }
    }

    fn freeze(&mut self) {
        if let Some(job) = self.head.freeze_job() {
            assert!(self.head.freeze_job().is_none(), "one job in flight");
            drop(job);
            self.head.abandon_job();
            let job = self.head.freeze_job().unwrap();
            self.head.install(job.run().unwrap());
        }
    }

    fn seal(&mut self) {
        let head = std::mem::replace(&mut self.head, RowsHead::new(self.signal, self.config.clone())).view();
        let mut file = Vec::new();
        let summary = seal(&head, &mut file).unwrap();
        let block = Block::open(Arc::new(Bytes::from(file))).unwrap();
        assert_eq!(block.summary(), summary);
        self.view.blocks.push(Arc::new(block));
    }

    fn view(&mut self) -> RowsView {
        RowsView { heads: vec![self.head.view()], ..self.view.clone() }
    }
}

fn model_row(signal: Signal, tenant: usize, row: Row<'_>) -> ModelRow {
    let stream = (0..8).find(|s| key(signal, *s) == row.stream().key()).unwrap();
    ModelRow { tenant, stream, time_ns: row.time_ns(), body: row.body().unwrap().to_vec(), attrs: row.attrs().unwrap() }
}

fn read(view: &RowsView, tenant: usize, scan: &RowScan) -> Vec<ModelRow> {
    let mut scan = view.scan(scan).unwrap();
    let mut rows = Vec::new();
    while let Some(batch) = scan.next_batch().unwrap() {
        rows.extend(batch.rows().map(|row| model_row(view.signal, tenant, row)));
    }
    assert!(scan.stats().rows as usize >= rows.len());
    rows
}

fn sorted(mut rows: Vec<ModelRow>) -> Vec<String> {
    rows.sort_by_key(|r| (r.stream, r.time_ns));
    let mut lines: Vec<String> = rows.iter().map(|r| format!("{r:?}")).collect();
    lines.sort();
    lines
}

fn check_logs(both: &mut Both) {
    let view = both.view();
    for (tenant, name) in TENANTS.into_iter().enumerate() {
        let of_tenant: Vec<ModelRow> = both.rows.iter().filter(|r| r.tenant == tenant).cloned().collect();
        for order in [RowOrder::Unordered, RowOrder::Forward, RowOrder::Backward] {
            let mut scan = RowScan { order, batch_rows_max: 3, ..RowScan::new(name, i64::MIN, i64::MAX) };
            let all = read(&view, tenant, &scan);
            assert_eq!(sorted(all.clone()), sorted(of_tenant.clone()));
            match order {
                RowOrder::Forward => assert!(all.is_sorted_by_key(|r| r.time_ns)),
                RowOrder::Backward => assert!(all.is_sorted_by_key(|r| std::cmp::Reverse(r.time_ns))),
                RowOrder::Unordered => {
                    assert!(all.is_sorted_by_key(|r| (key(Signal::Logs, r.stream), r.time_ns)));
                }
            }
            (scan.min_ns, scan.max_ns) = (20, 60);
            let web = Matcher::new("app", MatchOp::Eq, "web").unwrap();
            scan.streams = StreamSelector::Matching(vec![web]);
            let wanted = |r: &ModelRow| (20..60).contains(&r.time_ns) && ["web", "db"][r.stream % 2] == "web";
            let want: Vec<_> = of_tenant.iter().filter(|r| wanted(r)).cloned().collect();
            assert_eq!(sorted(read(&view, tenant, &scan)), sorted(want.clone()));
            scan.needles = vec![b"needle-3".to_vec(), b"aaaa".to_vec()];
            scan.conditions =
                vec![vec![AttrCondition { scope: None, key: "user".into(), test: AttrTest::StrIn(vec!["u1".into()]) }]];
            let holds = |r: &ModelRow| {
                let text = String::from_utf8_lossy(&r.body).into_owned();
                let user = r.attrs.iter().any(|a| a.key == "user" && a.value == Value::Str("u1".into()));
                text.contains("needle-3") && text.contains("aaaa") && user
            };
            let mut pruned = read(&view, tenant, &scan);
            pruned.retain(holds);
            let want: Vec<_> = want.into_iter().filter(holds).collect();
            assert_eq!(sorted(pruned), sorted(want));
        }
        check_streams(&view, tenant, &of_tenant);
    }
}

fn check_streams(view: &RowsView, tenant: usize, rows: &[ModelRow]) {
    let (min, max) = (i64::MIN, i64::MAX);
    let want: BTreeSet<Vec<u8>> = rows.iter().map(|r| key(Signal::Logs, r.stream)).collect();
    let streams = view.streams(TENANTS[tenant], &[], min, max).unwrap();
    assert_eq!(streams.iter().map(|s| s.key().to_vec()).collect::<Vec<_>>(), want.iter().cloned().collect::<Vec<_>>());
    let names = view.label_names(TENANTS[tenant], &[], min, max).unwrap();
    assert_eq!(names, if rows.is_empty() { vec![] } else { vec!["app", "n"] });
    let apps: BTreeSet<&str> = rows.iter().map(|r| ["web", "db"][r.stream % 2]).collect();
    assert_eq!(view.label_values(TENANTS[tenant], "app", &[], min, max).unwrap(), apps.into_iter().collect::<Vec<_>>());
    let stats = view.stats(TENANTS[tenant], &[], min, max).unwrap();
    assert_eq!(stats.hashes.len(), want.len());
    assert!(stats.entries as usize >= rows.len());
    let users: BTreeSet<String> =
        rows.iter().flat_map(|r| &r.attrs).filter(|a| a.key == "user").map(|a| format!("{:?}", a.value)).collect();
    let got = view.attr_values(TENANTS[tenant], Scope::Record, "user", min, max, 100, &Account::unbounded()).unwrap();
    assert_eq!(got.iter().map(|v| format!("{v:?}")).collect::<BTreeSet<_>>(), users);
    let columns = view.attr_columns(TENANTS[tenant], min, max).unwrap();
    let want: BTreeSet<_> =
        rows.iter().flat_map(|r| &r.attrs).map(|a| (a.scope, a.key.clone(), a.value.value_type())).collect();
    assert_eq!(columns, want.into_iter().collect::<Vec<_>>());
}

fn trace_id(row: &ModelRow) -> [u8; 16] {
    let id = row.attrs.iter().find(|a| a.key == intrinsic::TRACE_ID).map(|a| a.value.clone());
    let Some(Value::Bytes(id)) = id else { panic!("spans have a trace id") };
    id.try_into().unwrap()
}

fn check_traces(both: &mut Both) {
    let view = both.view();
    for (tenant, name) in TENANTS.into_iter().enumerate() {
        let mut of_trace: BTreeMap<[u8; 16], Vec<ModelRow>> = BTreeMap::new();
        for row in both.rows.iter().filter(|r| r.tenant == tenant) {
            of_trace.entry(trace_id(row)).or_default().push(row.clone());
        }
        let has_user = |r: &ModelRow| r.attrs.iter().any(|a| a.key == "user" && a.value == Value::Str("u1".into()));
        let in_range = |r: &ModelRow| (20..60).contains(&r.time_ns);
        let all = RowScan::new(name, i64::MIN, i64::MAX);
        let mut some = RowScan::new(name, 20, 60);
        let test = AttrTest::StrIn(vec!["u1".into()]);
        some.conditions = vec![vec![AttrCondition { scope: Some(Scope::Record), key: "user".into(), test }]];
        for (scan, exact) in [(&all, true), (&some, false)] {
            let mut got = Vec::new();
            let mut traces = view.traces(scan).unwrap();
            while let Some(trace) = traces.next_trace().unwrap() {
                let rows: Vec<_> = trace.rows.rows().map(|r| model_row(Signal::Traces, tenant, r)).collect();
                assert!(rows.is_sorted_by_key(|r| r.time_ns));
                assert_eq!(sorted(rows), sorted(of_trace[&trace.trace_id].clone()), "a trace comes whole");
                got.push(trace.trace_id);
            }
            assert!(got.is_sorted_by(|a, b| a < b));
            for (id, rows) in &of_trace {
                let matches = rows.iter().any(|r| in_range(r) && has_user(r));
                assert!(got.contains(id) || !(exact || matches));
            }
        }
        for (id, rows) in &of_trace {
            let found = view.trace(name, id, &Account::unbounded()).unwrap();
            let found: Vec<_> = found.rows().map(|r| model_row(Signal::Traces, tenant, r)).collect();
            assert_eq!(sorted(found), sorted(rows.clone()));
        }
        assert!(view.trace(name, &[0xee; 16], &Account::unbounded()).unwrap().is_empty());
        let spans: Vec<_> = of_trace.values().flatten().filter(|r| in_range(r)).cloned().collect();
        assert_eq!(sorted(read(&view, tenant, &RowScan::new(name, 20, 60))), sorted(spans));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize, Vec<ModelRow>),
    Repeat,
    Freeze,
    Seal,
}

fn attr(scope: Scope, key: &str, value: Value) -> Attr {
    Attr { scope, key: key.into(), value }
}

fn any_attrs() -> impl Strategy<Value = Vec<Attr>> {
    let value = prop_oneof![
        3 => (0..3u8).prop_map(|u| Value::Str(format!("u{u}"))),
        1 => any::<i64>().prop_map(Value::Int),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => any::<f64>().prop_map(Value::Double),
        1 => prop::collection::vec(any::<u8>(), 0..3).prop_map(Value::Bytes),
        1 => Just(Value::Empty),
        1 => Just(Value::Array(vec![Value::Int(1), Value::Str("x".into())])),
        1 => Just(Value::Map(vec![("k".into(), Value::Bool(true))])),
    ];
    prop::collection::vec(("user|status|code", value).prop_map(|(k, v)| attr(Scope::Record, &k, v)), 0..4)
}

fn any_row(signal: Signal) -> impl Strategy<Value = ModelRow> {
    let body = prop_oneof!["[a-c]{0,6} needle-[0-9] [ab]{4}", ".{0,8}"];
    (
        0..4usize,
        prop_oneof![20 => 0..80i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN)],
        body,
        any_attrs(),
        0..6u8,
        0..4u8,
    )
        .prop_map(move |(stream, time_ns, body, rest, trace, span)| {
            let mut attrs = Vec::new();
            if signal == Signal::Traces {
                attrs.push(attr(Scope::Intrinsic, intrinsic::TRACE_ID, Value::Bytes(vec![trace; 16])));
                attrs.push(attr(Scope::Intrinsic, intrinsic::SPAN_ID, Value::Bytes(vec![span; 8])));
                attrs.push(attr(Scope::Intrinsic, intrinsic::KIND, Value::Int(i64::from(span % 2))));
            }
            attrs.extend(rest);
            let body = if signal == Signal::Traces { Vec::new() } else { body.into_bytes() };
            ModelRow { tenant: 0, stream, time_ns, body, attrs }
        })
}

fn any_steps(signal: Signal) -> impl Strategy<Value = Vec<Step>> {
    let rows = prop::collection::vec(any_row(signal), 0..12);
    let step = prop_oneof![
        6 => (0..2usize, rows).prop_map(|(tenant, rows)| Step::Append(tenant, rows)),
        1 => Just(Step::Repeat),
        2 => Just(Step::Freeze),
        1 => Just(Step::Seal),
    ];
    prop::collection::vec(step, 1..24)
}

fn run(signal: Signal, steps: &[Step]) {
    let mut both = Both::new(signal);
    let mut last = None;
    for step in steps {
        match step {
            Step::Append(tenant, rows) => {
                both.append(*tenant, rows);
                last = Some((*tenant, rows.clone()));
            }
            Step::Repeat => {
                if let Some((tenant, rows)) = &last {
                    both.append(*tenant, rows);
                }
            }
            Step::Freeze => both.freeze(),
            Step::Seal => both.seal(),
        }
    }
    let check = if signal == Signal::Logs { check_logs } else { check_traces };
    check(&mut both);
    both.seal();
    check(&mut both);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn log_entries_come_back_from_every_stage(steps in any_steps(Signal::Logs)) {
        run(Signal::Logs, &steps);
    }

    #[test]
    fn spans_come_back_from_every_stage(steps in any_steps(Signal::Traces)) {
        run(Signal::Traces, &steps);
    }

    /// Replicas freeze at different moments and must seal the same content.
    #[test]
    fn the_digest_does_not_depend_on_freezes(steps in any_steps(Signal::Logs), spans in any_steps(Signal::Traces)) {
        for (signal, steps) in [(Signal::Logs, &steps), (Signal::Traces, &spans)] {
            let digests: Vec<u128> = [false, true].into_iter().map(|freezes| {
                let mut both = Both::new(signal);
                for step in steps {
                    match step {
                        Step::Append(tenant, rows) => both.append(*tenant, rows),
                        Step::Freeze if freezes => both.freeze(),
                        _ => {}
                    }
                }
                both.seal();
                both.view.blocks[0].summary().digest
            }).collect();
            prop_assert_eq!(digests[0], digests[1]);
        }
    }
}

#[test]
fn a_view_does_not_change() {
    let mut both = Both::new(Signal::Logs);
    let row = |time_ns| ModelRow { tenant: 0, stream: 1, time_ns, body: b"line".to_vec(), attrs: vec![] };
    (1..3).for_each(|t| both.append(0, &[row(t)]));
    let before = both.view();
    (3..9).for_each(|t| both.append(0, &[row(t)]));
    both.freeze();
    both.seal();
    let scan = RowScan::new(TENANTS[0], 0, 100);
    assert_eq!(read(&before, 0, &scan).len(), 2);
    assert_eq!(read(&both.view(), 0, &scan).len(), 8);
}

#[test]
fn a_bad_part_changes_nothing() {
    let mut head = RowsHead::new(Signal::Logs, HeadConfig::default());
    let tenant: Arc<str> = "t".into();
    assert!(head.resolve(&tenant, 1, b"\x01b\x011\x01a\x011").is_err());
    let stream = head.resolve(&tenant, 1, b"\x01a\x011").unwrap();
    // Two rows are promised, the second is cut short.
    let body = [1, 0, 2, 0, 0, 2, 1, b'x', 0, 0, 2, 9, b'y'];
    assert!(head.append(&tenant, 1, &[stream], &body, 0).is_err());
    assert_eq!(head.stats().facts, 0);
}
