//! Searches over the sample shop, spread over several shards, against evaluation by hand.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use futures::executor::block_on;
use trine_store::model::events::decode_events;
use trine_store::model::{Scope, Value, intrinsic};

use super::rows::RowsCluster;
use super::support::{MemCluster, context, shop};
use crate::error::Error;
use crate::scatter::Scatter;
use crate::traceql::model::{SearchAnswer, SearchQuery, SearchRequest, SpanRow, TagScope, TagType};
use crate::traceql::{search, tag_values, tag_values_v1, tags, tags_v1, trace_by_id};

const MS: i64 = 1_000_000;

type Traces = BTreeMap<[u8; 16], Vec<SpanRow>>;
/// Span ids by trace.
type Found = BTreeMap<[u8; 16], BTreeSet<Vec<u8>>>;

fn by_trace(spans: &[SpanRow]) -> Traces {
    let mut out = Traces::new();
    for span in spans {
        out.entry(span.trace_id().try_into().unwrap()).or_default().push(span.clone());
    }
    out
}

/// A query's answer by hand: from a whole trace to the spans found.
type Naive = Box<dyn Fn(&[SpanRow]) -> Vec<&SpanRow>>;

fn each(predicate: impl Fn(&SpanRow) -> bool + 'static) -> Naive {
    Box::new(move |trace| trace.iter().filter(|s| predicate(s)).collect())
}

fn parent<'a>(trace: &'a [SpanRow], span: &SpanRow) -> Option<&'a SpanRow> {
    trace.iter().find(|s| s.span_id() == span.parent_span_id())
}

fn int(span: &SpanRow, key: &str) -> Option<i64> {
    match span.get(Scope::Record, key) {
        Some(Value::Int(i)) => Some(*i),
        _ => None,
    }
}

fn text<'a>(span: &'a SpanRow, key: &str) -> Option<&'a str> {
    match span.get(Scope::Record, key) {
        Some(Value::Str(s)) => Some(s),
        _ => None,
    }
}

fn event_names(span: &SpanRow) -> Vec<String> {
    match span.intrinsic(intrinsic::EVENTS) {
        Some(Value::Bytes(b)) => decode_events(b).unwrap().into_iter().map(|e| e.name).collect(),
        _ => Vec::new(),
    }
}

fn root(trace: &[SpanRow]) -> Option<&SpanRow> {
    trace.iter().find(|s| s.parent_span_id().is_empty())
}

fn trace_duration(trace: &[SpanRow]) -> i64 {
    trace.iter().map(SpanRow::end_ns).max().unwrap() - trace.iter().map(|s| s.time_ns).min().unwrap()
}

fn scope_name(span: &SpanRow) -> Option<&Value> {
    span.stream.get(Scope::Intrinsic, intrinsic::SCOPE_NAME)
}

fn cases() -> Vec<(&'static str, Naive)> {
    let is_str = |v: Option<&Value>, wanted: &str| v == Some(&Value::Str(wanted.to_owned()));
    vec![
        ("{}", each(|_| true)),
        ("{ resource.service.name = \"shop\" && name = \"price\" }", {
            each(|s| s.stream.service_name() == "shop" && s.name() == "price")
        }),
        ("{ status = error }", each(|s| s.status_code() == 2)),
        ("{ status = error && statusMessage = \"\" }", {
            each(|s| s.status_code() == 2 && s.intrinsic(intrinsic::STATUS_MESSAGE).is_none())
        }),
        ("{ .http.status_code >= 500 }", each(|s| int(s, "http.status_code").is_some_and(|c| c >= 500))),
        ("{ span.http.status_code != 200 }", each(|s| int(s, "http.status_code").is_some_and(|c| c != 200))),
        ("{ kind = server && duration > 20ms }", each(|s| s.kind() == 2 && s.duration_ns() > 20 * MS)),
        ("{ duration <= 2ms || kind = internal }", each(|s| s.duration_ns() <= 2 * MS || s.kind() == 1)),
        ("{ span.http.method =~ \"P.*\" }", each(|s| text(s, "http.method").is_some_and(|m| m.starts_with('P')))),
        ("{ .http.method !~ \"P.*\" }", each(|s| text(s, "http.method").is_some_and(|m| !m.starts_with('P')))),
        ("{ .none != \"x\" }", each(|_| false)),
        ("{ span.db.system = nil && kind = client }", each(|s| text(s, "db.system").is_none() && s.kind() == 3)),
        ("{ event:name = \"exception\" }", each(|s| event_names(s).iter().any(|n| n == "exception"))),
        ("{ event.total != nil }", each(|s| event_names(s).iter().any(|n| n == "priced"))),
        ("{ nestedSetParent < 0 }", each(|s| s.parent_span_id().is_empty())),
        ("{ instrumentation:name = \"stock\" }", each(move |s| is_str(scope_name(s), "stock"))),
        ("{ rootName = \"user journey\" && name = \"SELECT stock\" }", {
            Box::new(|t| {
                let is_journey = root(t).is_some_and(|r| r.name() == "user journey");
                t.iter().filter(|s| is_journey && s.name() == "SELECT stock").collect()
            })
        }),
        ("{ traceDuration > 60ms && kind = internal }", {
            Box::new(|t| t.iter().filter(|s| trace_duration(t) > 60 * MS && s.kind() == 1).collect())
        }),
        ("{ kind = server } > { name = \"price\" }", {
            Box::new(|t| {
                let of_server = |s: &SpanRow| parent(t, s).is_some_and(|p| p.kind() == 2);
                t.iter().filter(|s| s.name() == "price" && of_server(s)).collect()
            })
        }),
        ("{ name = \"POST\" } >> { status = error }", {
            Box::new(|t| {
                let below = |s: &SpanRow| {
                    let mut at = parent(t, s);
                    while let Some(p) = at.filter(|p| p.name() != "POST") {
                        at = parent(t, p);
                    }
                    at.is_some()
                };
                t.iter().filter(|s| s.status_code() == 2 && below(s)).collect()
            })
        }),
        ("{ status = error } && { name = \"price\" }", {
            Box::new(|t| {
                let (a, b): (Vec<_>, Vec<_>) = (
                    t.iter().filter(|s| s.status_code() == 2).collect(),
                    t.iter().filter(|s| s.name() == "price").collect(),
                );
                if a.is_empty() || b.is_empty() { Vec::new() } else { [a, b].concat() }
            })
        }),
        ("{ span.db.rows >= 0 } | count() > 2", {
            Box::new(|t| {
                let found: Vec<_> = t.iter().filter(|s| int(s, "db.rows").is_some_and(|r| r >= 0)).collect();
                if found.len() > 2 { found } else { Vec::new() }
            })
        }),
        ("{ kind = client } | avg(duration) > 15ms", {
            Box::new(|t| {
                let found: Vec<_> = t.iter().filter(|s| s.kind() == 3).collect();
                let sum: i64 = found.iter().map(|s| s.duration_ns()).sum();
                if !found.is_empty() && sum / found.len() as i64 > 15 * MS { found } else { Vec::new() }
            })
        }),
    ]
}

/// Shards in memory, and shards of the row engine.
fn clusters(spans: &[SpanRow]) -> Vec<Arc<dyn Scatter>> {
    let rows = RowsCluster::new(spans, 3);
    vec![
        MemCluster::new(spans.to_vec(), 5, 2).scatter(),
        MemCluster::new(spans.to_vec(), 1, 1).scatter(),
        Arc::new(rows),
    ]
}

fn request(query: &str, limit: usize) -> SearchRequest {
    let query = SearchQuery::TraceQl(query.to_owned());
    SearchRequest { query, start_ns: 0, end_ns: i64::MAX, limit, spans_per_set: 0 }
}

fn found(answer: &SearchAnswer) -> Found {
    let ids =
        |t: &crate::traceql::TraceHit| t.span_sets.iter().flat_map(|s| &s.spans).map(|s| s.span_id.clone()).collect();
    answer.traces.iter().map(|t| (t.trace_id, ids(t))).collect()
}

#[test]
fn searches_agree_with_evaluation_by_hand() {
    let spans = shop();
    let traces = by_trace(&spans);
    let mut some = 0;
    for scatter in clusters(&spans) {
        for (query, naive) in cases() {
            let answer = block_on(search(&scatter, &context(), &request(query, 100_000))).unwrap();
            let expected: Found = traces
                .iter()
                .map(|(id, t)| (*id, naive(t).into_iter().map(|s| s.span_id().to_vec()).collect::<BTreeSet<_>>()))
                .filter(|(_, spans)| !spans.is_empty())
                .collect();
            some += usize::from(!expected.is_empty());
            assert_eq!(found(&answer), expected, "{query}");
            assert!(answer.traces.windows(2).all(|w| w[0].start_ns >= w[1].start_ns));
            assert!(!answer.completeness.shards.is_empty());
        }
    }
    assert!(some >= 3 * (cases().len() - 3), "only {some} queries find anything");
}

#[test]
fn limits_give_the_newest_traces() {
    clusters(&shop()).iter().for_each(newest);
}

fn newest(scatter: &Arc<dyn Scatter>) {
    let all = block_on(search(scatter, &context(), &request("{ kind = server }", 100_000))).unwrap();
    for limit in [1, 7, 50] {
        let some = block_on(search(scatter, &context(), &request("{ kind = server }", limit))).unwrap();
        assert_eq!(some.traces, all.traces[..limit]);
        assert!(some.metrics.inspected_traces <= all.metrics.inspected_traces);
    }
    let mut request = request("{}", 3);
    request.spans_per_set = 2;
    for hit in block_on(search(scatter, &context(), &request)).unwrap().traces {
        assert_eq!((hit.span_sets.len(), hit.span_sets[0].spans.len()), (1, 2));
        assert!(hit.span_sets[0].matched > 2);
    }
}

#[test]
fn a_trace_matches_when_it_overlaps_the_range() {
    let spans = shop();
    clusters(&spans).iter().for_each(|scatter| overlaps(scatter, &spans));
}

fn overlaps(scatter: &Arc<dyn Scatter>, spans: &[SpanRow]) {
    let traces = by_trace(spans);
    let starts: Vec<i64> = traces.values().map(|t| t.iter().map(|s| s.time_ns).min().unwrap()).collect();
    let middle = starts[starts.len() / 2];
    for (start_ns, end_ns) in [(middle, middle), (middle + 1, middle + 5), (middle - 3 * MS, middle + 40 * MS), (0, 1)]
    {
        let expected: BTreeSet<_> = traces
            .iter()
            .filter(|(_, t)| {
                let start = t.iter().map(|s| s.time_ns).min().unwrap();
                start <= end_ns && start + trace_duration(t) >= start_ns
            })
            .map(|(id, _)| *id)
            .collect();
        let request = SearchRequest { start_ns, end_ns, ..request("{}", 1000) };
        let answer = block_on(search(scatter, &context(), &request)).unwrap();
        let found: BTreeSet<_> = answer.traces.iter().map(|t| t.trace_id).collect();
        assert_eq!(found, expected, "{start_ns}..{end_ns}");
        // The span that is asked for may lie outside the range.
        let request = SearchRequest { query: SearchQuery::TraceQl("{ name = \"price\" }".to_owned()), ..request };
        let answer = block_on(search(scatter, &context(), &request)).unwrap();
        let with_price = |id: &&[u8; 16]| traces[*id].iter().any(|s| s.name() == "price");
        assert_eq!(answer.traces.len(), expected.iter().filter(with_price).count());
    }
}

#[test]
fn answers_can_be_awaited_on_any_thread() {
    fn sendable<T: Send>(future: T) -> T {
        future
    }
    let scatter = MemCluster::new(Vec::new(), 1, 1).scatter();
    let (ctx, request) = (context(), request("{}", 1));
    assert!(block_on(sendable(search(&scatter, &ctx, &request))).unwrap().traces.is_empty());
    assert!(block_on(sendable(trace_by_id(&scatter, &ctx, [1; 16]))).unwrap().spans.is_empty());
    assert!(block_on(sendable(tags(&scatter, &ctx, TagScope::Span, "", 0, 1, 0))).unwrap().scopes.is_empty());
    assert!(block_on(sendable(tag_values(&scatter, &ctx, ".a", "", 0, 1, 0))).unwrap().values.is_empty());
}

#[test]
fn tag_search() {
    let spans = shop();
    let traces = by_trace(&spans);
    let scatter = MemCluster::new(spans, 4, 1).scatter();
    let ask = |tags: &[(&str, &str)], min: Option<i64>, max: Option<i64>| {
        let tags = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let query = SearchQuery::Tags { tags, min_duration_ns: min, max_duration_ns: max };
        let request = SearchRequest { query, ..request("", 100_000) };
        block_on(search(&scatter, &context(), &request)).map(|a| a.traces)
    };
    let by_hand = |matches: &dyn Fn(&[SpanRow]) -> bool| traces.values().filter(|t| matches(t)).count();
    let any = |p: fn(&SpanRow) -> bool| move |t: &[SpanRow]| t.iter().any(p);

    assert_eq!(ask(&[], None, None).unwrap().len(), traces.len());
    assert_eq!(
        ask(&[("service.name", "sho")], None, None).unwrap().len(),
        by_hand(&any(|s| s.stream.service_name() == "shop"))
    );
    assert_eq!(ask(&[("http.status_code", "500")], None, None).unwrap().len(), {
        by_hand(&any(|s| int(s, "http.status_code") == Some(500)))
    });
    assert_eq!(ask(&[("status.code", "error"), ("name", "SELECT")], None, None).unwrap().len(), {
        by_hand(&|t| t.iter().any(|s| s.status_code() == 2) && t.iter().any(|s| s.name().contains("SELECT")))
    });
    assert_eq!(ask(&[("db.system", "sqlit")], None, None).unwrap().len(), 0);
    let slow = ask(&[("root.name", "journey")], Some(60 * MS), Some(100 * MS)).unwrap();
    assert_eq!(slow.len(), by_hand(&|t| (60 * MS..=100 * MS).contains(&trace_duration(t)) && root(t).is_some()));
    assert!(slow.iter().all(|t| t.span_sets.is_empty()));
    assert!(ask(&[], Some(2), Some(1)).is_err());
}

#[test]
fn traces_by_id_come_back_as_they_were() {
    let spans = shop();
    let traces = by_trace(&spans);
    // Every span twice, as after a retry.
    for scatter in clusters(&[spans.clone(), spans].concat()) {
        for (id, expected) in traces.iter().take(20) {
            let answer = block_on(trace_by_id(&scatter, &context(), *id)).unwrap();
            assert_eq!(answer.spans.len(), expected.len());
            assert!(answer.spans.iter().all(|s| expected.contains(s)));
        }
        let unknown = block_on(trace_by_id(&scatter, &context(), [0; 16])).unwrap();
        assert!(unknown.spans.is_empty());
        assert!(!unknown.completeness.shards.is_empty());
    }
}

#[test]
fn tag_names() {
    clusters(&shop()).iter().for_each(names);
}

fn names(scatter: &Arc<dyn Scatter>) {
    let ask = |scope: &str, query: &str, limit| {
        let scope = TagScope::parse(scope).unwrap();
        block_on(tags(scatter, &context(), scope, query, 0, i64::MAX, limit)).unwrap()
    };
    let all = ask("", "", 0);
    let scopes: Vec<_> = all.scopes.iter().map(|s| s.scope).collect();
    assert_eq!(scopes, ["resource", "span", "event", "intrinsic"]);
    assert!(all.scopes[0].tags.contains(&"service.name".to_owned()));
    assert!(ask("event", "", 0).scopes[0].tags.contains(&"exception.message".to_owned()));
    assert_eq!(ask("intrinsic", "", 0).scopes[0].tags.len(), 25);
    assert!(ask("trace", "", 0).scopes.is_empty());
    let two = ask("span", "", 2);
    assert_eq!((two.scopes[0].tags.len(), two.truncated), (2, true));
    assert_eq!(ask("span", "{ name = \"price\" && .x = }", 0).scopes[0].tags, ["items"]);
    assert!(TagScope::parse("x").is_err());
    let v1 = block_on(tags_v1(scatter, &context(), TagScope::Any, 0, i64::MAX, 0)).unwrap().names();
    assert!(v1.contains(&"db.system".to_owned()) && !v1.contains(&"rootName".to_owned()));
}

#[test]
fn values_of_tags() {
    clusters(&shop()).iter().for_each(values);
}

fn values(scatter: &Arc<dyn Scatter>) {
    let ask = |tag: &str, query: &str, limit| {
        let answer = block_on(tag_values(scatter, &context(), tag, query, 0, i64::MAX, limit)).unwrap();
        let values: Vec<String> = answer.values.iter().map(|v| v.value.clone()).collect();
        (values, answer.values.first().map(|v| v.tag_type))
    };
    let string = Some(TagType::String);
    assert_eq!(ask("resource.telemetry.sdk.language", "", 0), (vec!["python".to_owned()], string));
    assert_eq!(ask(".http.status_code", "", 0).1, Some(TagType::Int));
    assert_eq!(ask("span.http.method", "{ name = \"POST\" }", 0), (vec!["POST".to_owned()], string));
    assert_eq!(ask("name", "{ status = error && .x = }", 1).0.len(), 1);
    assert_eq!(ask("event:name", "", 0).0, ["exception", "priced"]);
    assert_eq!(ask("event.total", "", 0).1, Some(TagType::Float));
    assert_eq!(ask("rootName", "", 0).0, ["user journey"]);
    assert_eq!(ask("status", "", 0), (["ok", "error", "unset"].map(str::to_owned).to_vec(), Some(TagType::Keyword)));
    assert_eq!(ask("span:kind", "", 0).0.len(), 6);
    assert!(ask("duration", "", 0).0.is_empty());
    assert!(ask("span.none", "", 0).0.is_empty());
    let invalid = block_on(tag_values(scatter, &context(), "foo", "", 0, i64::MAX, 0));
    assert_eq!(invalid.unwrap_err().to_string(), "please provide a valid tagName: foo");
    let v1 = |tag: &str| -> Vec<String> {
        let answer = block_on(tag_values_v1(scatter, &context(), tag, 0, i64::MAX, 0)).unwrap();
        answer.values.into_iter().map(|v| v.value).collect()
    };
    assert_eq!(v1("status.code"), ["unset", "ok", "error"]);
    assert_eq!(v1("error"), ["true"]);
    assert!(v1("service.name").contains(&"shop".to_owned()));
}

#[test]
fn a_missing_shard_shows_and_bounds_hold() {
    let cluster = |reply_bytes_max, missing| MemCluster { reply_bytes_max, missing, ..MemCluster::new(shop(), 4, 2) };
    let all = block_on(search(&cluster(u64::MAX, None).scatter(), &context(), &request("{}", 100_000))).unwrap();
    let part = block_on(search(&cluster(u64::MAX, Some(2)).scatter(), &context(), &request("{}", 100_000))).unwrap();
    assert!(part.traces.len() < all.traces.len());
    assert_eq!(part.completeness.warnings().len(), 1);

    let small = block_on(search(&cluster(10_000, None).scatter(), &context(), &request("{}", 100_000)));
    assert!(matches!(small, Err(Error::Limit { .. })));

    let mut late = context();
    late.deadline = Instant::now();
    let late = block_on(search(&cluster(u64::MAX, None).scatter(), &late, &request("{}", 10)));
    assert!(matches!(late, Err(Error::Timeout)));

    let scatter = cluster(u64::MAX, None).scatter();
    let metrics = block_on(search(&scatter, &context(), &request("{} | rate()", 10)));
    assert!(matches!(metrics, Err(Error::Unsupported { .. })));
    let wrong = block_on(search(&scatter, &context(), &request("{ foo = 1 }", 10)));
    assert!(matches!(wrong, Err(Error::Parse { .. })));
}
