//! What single queries mean, over a small trace.
use trine_store::model::events::{Event, Link, encode_events, encode_links};
use trine_store::model::{Attr, Scope, Value, intrinsic};

use super::support::SpanBuilder;
use crate::error::{Error, Result};
use crate::traceql::eval::Plan;
use crate::traceql::model::{SpanRow, TraceHit};
use crate::traceql::parser::parse;
use crate::traceql::trace::{Needs, Trace};

const MS: i64 = 1_000_000;

fn str(text: &str) -> Value {
    Value::Str(text.to_owned())
}

fn event(name: &str, time_ns: i64, key: &str, value: Value) -> Event {
    let attrs = vec![Attr { scope: Scope::Event, key: key.to_owned(), value }];
    Event { time_ns, name: name.to_owned(), dropped_attributes_count: 0, attrs }
}

/// ```text
/// 1 frontend GET /         server ok     0..100 ms
/// +- 2 frontend call       client        10..60
/// |  +- 3 cart list        server error  20..50   two events, one link
/// |     +- 4 db SELECT     client        30..40
/// +- 5 frontend render     internal      60..90
/// 6 lost orphan (parent 99)              95..99
/// ```
fn spans() -> Vec<SpanRow> {
    let link = Link { trace_id: vec![0xf1; 16], span_id: vec![0xe2; 8], ..Link::default() };
    let events = [event("exception", 25 * MS, "type", str("E1")), event("retry", 45 * MS, "type", str("E2"))];
    let named = |b: SpanBuilder, name: &str, kind: i64| {
        b.intrinsic(intrinsic::NAME, str(name)).intrinsic(intrinsic::KIND, Value::Int(kind))
    };
    let new = |id, parent, service: &str| SpanBuilder::new(1, id, parent, service);
    vec![
        named(new(1, 0, "frontend").at(0, 100 * MS), "GET /", 2)
            .intrinsic(intrinsic::STATUS_CODE, Value::Int(1))
            .attr("http.status_code", Value::Int(200))
            .attr("ratio", Value::Double(0.5))
            .attr("both", str("span"))
            .resource("both", "resource")
            .build(),
        named(new(2, 1, "frontend").at(10 * MS, 50 * MS), "call", 3)
            .attr("retry", Value::Bool(true))
            .attr("tags", Value::Array(vec![str("a"), str("b")]))
            .attr("numbers", Value::Array(vec![Value::Int(1), Value::Int(2)]))
            .build(),
        named(new(3, 2, "cart").at(20 * MS, 30 * MS), "list", 2)
            .intrinsic(intrinsic::STATUS_CODE, Value::Int(2))
            .intrinsic(intrinsic::STATUS_MESSAGE, str("boom\nbang"))
            .intrinsic(intrinsic::EVENTS, Value::Bytes(encode_events(&events)))
            .intrinsic(intrinsic::LINKS, Value::Bytes(encode_links(&[link])))
            .attr("http.status_code", Value::Int(500))
            .build(),
        named(new(4, 3, "db").at(30 * MS, 10 * MS), "SELECT", 3).attr("rows", Value::Int(7)).build(),
        named(new(5, 1, "frontend").at(60 * MS, 30 * MS), "render", 1).attr("rows", Value::Int(3)).build(),
        named(new(6, 99, "lost").at(95 * MS, 4 * MS), "orphan", 0).build(),
    ]
}

fn hit(query: &str) -> Result<Option<TraceHit>> {
    let plan = Plan::new(&parse(query)?)?;
    let trace = Trace::assemble([1; 16], spans(), plan.needs)?.unwrap();
    plan.evaluate(&trace, 0)
}

/// Span numbers by span set.
fn sets(query: &str) -> Vec<Vec<u8>> {
    let hit = hit(query).unwrap_or_else(|e| panic!("{query}: {e}"));
    let ids = |s: &crate::traceql::model::SpanSetHit| s.spans.iter().map(|s| s.span_id[0]).collect();
    hit.map(|h| h.span_sets.iter().map(ids).collect()).unwrap_or_default()
}

#[track_caller]
fn check(cases: &[(&str, &[u8])]) {
    for (query, expected) in cases {
        let found = sets(query).concat();
        assert_eq!(found, *expected, "{query}");
    }
}

#[test]
fn comparisons_of_fields() {
    check(&[
        ("{}", &[1, 2, 3, 4, 5, 6]),
        ("{ false }", &[]),
        ("{ 1 < 1h }", &[1, 2, 3, 4, 5, 6]),
        ("{ name = \"call\" }", &[2]),
        ("{ name =~ \"c.*|list\" }", &[2, 3]),
        ("{ name =~ \"c\" }", &[]),
        ("{ name !~ \".*e.*\" }", &[1, 2, 3, 4, 6]),
        ("{ statusMessage =~ \"boom.*\" }", &[3]),
        ("{ status = error }", &[3]),
        ("{ status != unset }", &[1, 3]),
        ("{ kind = client || kind = unspecified }", &[2, 4, 6]),
        ("{ duration > 30ms }", &[1, 2]),
        ("{ duration = 30000000 }", &[3, 5]),
        ("{ 2 * duration >= 100ms }", &[1, 2]),
        ("{ .http.status_code >= 500 }", &[3]),
        ("{ span.http.status_code = 200.0 }", &[1]),
        ("{ span.http.status_code = \"200\" }", &[]),
        ("{ .http.status_code > 100 && .http.status_code < 300 }", &[1]),
        ("{ .ratio < 1 }", &[1]),
        ("{ .retry }", &[2]),
        ("{ !.retry }", &[]),
        ("{ .retry = true && !(name = \"x\") }", &[2]),
        ("{ -.rows = -7 }", &[4]),
        ("{ .rows % 2 = 1 && .rows / 2 = 1 }", &[5]),
        ("{ .rows ^ 2 = 49 }", &[4]),
        ("{ .rows + .missing = 7 }", &[]),
        ("{ name > \"call\" && name < \"m\" }", &[3]),
    ]);
}

#[test]
fn a_missing_attribute_makes_every_comparison_false() {
    check(&[
        ("{ .rows != 7 }", &[5]),
        ("{ .both != \"x\" }", &[1]),
        ("{ .both !~ \"x\" }", &[1]),
        ("{ .rows != nil }", &[4, 5]),
        ("{ .rows = nil }", &[1, 2, 3, 6]),
        ("{ !(.rows = 7) }", &[1, 2, 3, 5, 6]),
        ("{ nil = nil }", &[1, 2, 3, 4, 5, 6]),
        ("{ nil != nil }", &[]),
        ("{ .rows != \"x\" }", &[]),
    ]);
}

#[test]
fn scopes_arrays_events_and_links() {
    check(&[
        ("{ .both = \"span\" }", &[1]),
        ("{ .both = \"resource\" }", &[]),
        ("{ resource.both = \"resource\" }", &[1]),
        ("{ resource.service.name = \"frontend\" }", &[1, 2, 5]),
        ("{ .service.name = \"db\" }", &[4]),
        ("{ .tags = \"b\" }", &[2]),
        ("{ .tags != \"b\" }", &[]),
        ("{ .tags != \"c\" }", &[2]),
        ("{ .tags =~ \"[xb]\" }", &[2]),
        ("{ .tags !~ \"[xb]\" }", &[]),
        ("{ .numbers > 1 }", &[2]),
        ("{ .numbers > 2 }", &[]),
        ("{ event:name = \"exception\" }", &[3]),
        ("{ event:timeSinceStart > 20ms }", &[3]),
        ("{ event.type = \"E2\" }", &[3]),
        ("{ .type = \"E1\" }", &[3]),
        ("{ link:traceID = \"f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1\" }", &[3]),
        ("{ link:spanID = \"E2E2E2E2E2E2E2E2\" }", &[3]),
        ("{ span:id = \"404040404040404\" }", &[4]),
        ("{ span:parentID = \"0101010101010101\" }", &[2, 5]),
        ("{ trace:id = \"1010101010101010101010101010101\" }", &[1, 2, 3, 4, 5, 6]),
    ]);
}

#[test]
fn the_shape_of_the_trace() {
    check(&[
        ("{ rootName = \"GET /\" && rootServiceName = \"frontend\" && name = \"SELECT\" }", &[4]),
        ("{ traceDuration = 100ms && kind = internal }", &[5]),
        ("{ span:childCount = 2 }", &[1]),
        ("{ nestedSetParent < 0 }", &[1]),
        ("{ nestedSetParent = 1 }", &[2, 5]),
        ("{ nestedSetLeft = 0 }", &[6]),
        ("{ nestedSetLeft = 3 && nestedSetRight = 6 }", &[3]),
    ]);
}

#[test]
fn relations_between_span_sets() {
    check(&[
        ("{ status = error } && { kind = internal }", &[3, 5]),
        ("{ status = error } && { name = \"none\" }", &[]),
        ("{ status = error } || { name = \"none\" }", &[3]),
        ("{ kind = server } > { kind = client }", &[2, 4]),
        ("{ name = \"GET /\" } >> {}", &[2, 3, 4, 5]),
        ("{ name = \"SELECT\" } << {}", &[1, 2, 3]),
        ("{ name = \"SELECT\" } < {}", &[3]),
        ("{ name = \"call\" } ~ {}", &[5]),
        ("{ name = \"GET /\" } !>> {}", &[1, 6]),
        ("{ kind = server } !> { kind = client }", &[]),
        ("{ name = \"SELECT\" } !<< {}", &[4, 5, 6]),
        ("{ name = \"SELECT\" } !< { kind = server }", &[1]),
        ("{ name = \"call\" } !~ { kind != unspecified }", &[1, 2, 3, 4]),
        ("{ status = error } &> { kind = client }", &[3, 4]),
        ("{ name = \"GET /\" } &>> { name = \"SELECT\" }", &[1, 4]),
        ("{ name = \"SELECT\" } &<< { name = \"GET /\" }", &[1, 4]),
        ("{ name = \"SELECT\" } &< { status = error }", &[3, 4]),
        ("{ name = \"call\" } &~ { name = \"render\" }", &[2, 5]),
        ("({ name = \"GET /\" } &>> { kind = server }) || ({ status = error })", &[1, 3]),
        ("({ kind = client } | count() > 1) >> ({ kind = client })", &[4]),
        ("({ kind = client } | count() > 2) >> ({ kind = client })", &[]),
    ]);
}

#[test]
fn pipelines() {
    check(&[
        ("{ kind = client } | count() = 2", &[2, 4]),
        ("{ kind = client } | count() > 2", &[]),
        ("{ kind = client } | { name = \"call\" }", &[2]),
        ("{} | avg(duration) > 37ms", &[1, 2, 3, 4, 5, 6]),
        ("{} | avg(duration) > 38ms", &[]),
        ("{} | sum(.rows) = 10", &[1, 2, 3, 4, 5, 6]),
        ("{} | min(.rows) = 3 | max(.rows) = 7", &[1, 2, 3, 4, 5, 6]),
        ("{} | min(.missing) < 3", &[]),
        ("max(duration) >= 100ms", &[1, 2, 3, 4, 5, 6]),
        ("{} | by(resource.service.name) | count() > 2", &[1, 2, 5]),
        ("{} | by(resource.service.name) | count() > 2 | coalesce()", &[1, 2, 5]),
        ("{} | select(.rows)", &[1, 2, 3, 4, 5, 6]),
    ]);
    let groups = sets("{} | by(resource.service.name)");
    assert_eq!(groups, [vec![1, 2, 5], vec![3], vec![4], vec![6]]);
    assert_eq!(sets("{} | by(resource.service.name) | coalesce()").len(), 1);
}

#[test]
fn results_show_what_was_asked() {
    let shown = |query: &str, set: usize| hit(query).unwrap().unwrap().span_sets[set].clone();
    let set = shown("{ name = \"list\" && .http.status_code = 500 && status = error && duration > 1ms }", 0);
    let attrs = vec![("http.status_code".to_owned(), Value::Int(500)), ("status".to_owned(), str("error"))];
    assert_eq!(set.spans[0].attrs, attrs);
    assert_eq!((set.matched, set.spans[0].name.as_str(), set.spans[0].duration_ns), (1, "list", 30_000_000));

    let set = shown(
        "{ status = error } | select(kind, nestedSetParent, nestedSetLeft, event:timeSinceStart, resource.none)",
        0,
    );
    let attrs = [
        ("status", str("error")),
        ("kind", str("server")),
        ("nestedSetParent", Value::Int(2)),
        ("nestedSetLeft", Value::Int(3)),
        ("event:timeSinceStart", str("5ms")),
    ];
    assert_eq!(set.spans[0].attrs, attrs.map(|(k, v)| (k.to_owned(), v)));

    let set = shown("{} | by(resource.service.name) | avg(duration) > 1ns | count() > 2", 0);
    let attrs =
        [("by(resource.service.name)", str("frontend")), ("avg(duration)", str("60ms")), ("count()", Value::Int(3))];
    assert_eq!(set.attrs, attrs.map(|(k, v)| (k.to_owned(), v)));
    assert_eq!(shown("{} | by(.rows)", 0).attrs, [("by(.rows)".to_owned(), str("nil"))]);

    let trace = hit("{}").unwrap().unwrap();
    assert_eq!((trace.root_service.as_str(), trace.root_name.as_str()), ("frontend", "GET /"));
    assert_eq!((trace.start_ns, trace.duration_ms), (0, 100));
    assert_eq!((trace.service_stats["cart"].span_count, trace.service_stats["cart"].error_count), (1, 1));
}

#[test]
fn what_is_not_evaluated_is_named() {
    for query in ["{} | rate()", "{ parent.a = 1 }", "({} | count()) > ({} | count())", "sum(.a) > min(.a)"] {
        assert!(matches!(hit(query), Err(Error::Unsupported { .. })), "{query}");
    }
    assert!(matches!(hit("{ .rows / 0 = 1 }"), Err(Error::Execution { .. })));
}

#[test]
fn odd_traces_are_assembled() {
    let assemble = |spans: Vec<SpanRow>| Trace::assemble([1; 16], spans, Needs::default()).unwrap();
    assert!(assemble(Vec::new()).is_none());
    let new = |id, parent, kind: i64| {
        SpanBuilder::new(1, id, parent, "a").intrinsic(intrinsic::KIND, Value::Int(kind)).build()
    };
    // Repeated spans count once, a cycle ends, a missing root shows.
    let trace = assemble(vec![new(1, 2, 0), new(2, 1, 0), new(2, 1, 0), new(3, 3, 0)]).unwrap();
    assert_eq!(trace.spans.len(), 3);
    assert_eq!(trace.order.len(), 3);
    assert_eq!(trace.root_service_shown(), crate::traceql::model::ROOT_MISSING);
    // Zipkin: client and server share id 2; the server is the client's child and parent of 3.
    let trace = assemble(vec![new(1, 0, 2), new(2, 1, 3), new(2, 1, 2), new(3, 2, 1)]).unwrap();
    let at = |id: u8, kind: i64| trace.spans.iter().position(|s| s.row.span_id()[0] == id && s.row.kind() == kind);
    assert_eq!(trace.spans[at(2, 2).unwrap()].parent, at(2, 3));
    assert_eq!(trace.spans[at(3, 1).unwrap()].parent, at(2, 2));
    // Three spans of one id: no nested-set numbers.
    let trace = assemble(vec![new(1, 0, 2), new(2, 1, 3), new(2, 1, 2), new(2, 1, 1)]).unwrap();
    assert!(trace.spans.iter().all(|s| s.nested_left == 0 && s.nested_parent == 0));
}

#[test]
fn the_largest_queries_fit_a_small_stack() {
    let chain = |part: &str| format!("{{ .a = 1{} }}", part.repeat(249));
    let ands = format!("{{ true{} }}", " && true".repeat(500));
    let sets = format!("{{}}{}", " || {}".repeat(500));
    let sums = format!("{{ 1{} > 0 }}", " + 1".repeat(499));
    let deep = format!("{{ {}true{} }}", "!(".repeat(30), ")".repeat(30));
    let queries = [ands, sets, sums, deep, chain(" || .b = 2")];
    let run = move || {
        for query in queries {
            let tree = parse(&query).unwrap();
            assert!(tree.to_string().len() > 50);
            hit(&query).unwrap();
            crate::traceql::conditions::of_query(&tree);
        }
    };
    // Half of what threads have by default.
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}
