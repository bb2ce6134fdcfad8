//! The parser and printer against the rules and dashboards that people use, and against expressions made up at random.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value as Json;
use trine_query::Error;
use trine_query::promql::{format, parse_tree, parser::parse};

fn shared() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    std::env::var_os("TRINE_SHARED").map_or(beside, PathBuf::from)
}

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("read {}: {e}; set TRINE_SHARED", dir.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            out.push(path);
        }
    }
}

/// `expr:` values of a rule file: plain, quoted, or a block.
fn expressions(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |l: &str| l.len() - l.trim_start().len();
    let mut out = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let Some(value) = line.trim_start().trim_start_matches("- ").strip_prefix("expr:") else { continue };
        let value = value.trim();
        let key = line.find("expr:").unwrap_or(0);
        let deeper = || lines[i + 1..].iter().take_while(|l| l.trim().is_empty() || indent(l) > key);
        if value.starts_with('|') || value.starts_with('>') {
            out.push(deeper().copied().collect::<Vec<_>>().join("\n"));
        } else if let Some(inner) = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')) {
            out.push(inner.replace("''", "'"));
        } else if !value.starts_with('"') && !value.is_empty() && deeper().next().is_none() {
            out.push(value.to_owned());
        }
    }
    out
}

fn round_trip(query: &str) {
    let Ok(expr) = parse(query) else { panic!("{query}: {}", parse(query).unwrap_err()) };
    let printed = format(query).unwrap();
    let again = parse(&printed).unwrap_or_else(|e| panic!("{query} printed as {printed}: {e}"));
    assert_eq!(format(&printed).unwrap(), printed, "{query}");
    assert_eq!(expr.value_type(), again.value_type(), "{query}");
    assert_eq!(tree(query), tree(&printed), "{query}");
}

/// The syntax tree, with matchers in the printer's order.
fn tree(query: &str) -> Json {
    let mut tree = parse_tree(query).unwrap();
    sort_matchers(&mut tree);
    tree
}

fn sort_matchers(tree: &mut Json) {
    match tree {
        Json::Object(fields) => {
            if let Some(Json::Array(matchers)) = fields.get_mut("matchers") {
                matchers.sort_by_key(Json::to_string);
            }
            fields.values_mut().for_each(sort_matchers);
        }
        Json::Array(all) => all.iter_mut().for_each(sort_matchers),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

#[test]
fn rules_that_people_use() {
    let mut paths = Vec::new();
    files(&shared().join("data/rules"), &mut paths);
    let mut count = 0;
    for path in paths {
        for query in expressions(&std::fs::read_to_string(&path).unwrap()) {
            round_trip(&query);
            count += 1;
        }
    }
    assert!(count > 500, "only {count} rules found");
}

#[test]
fn errors_in_prometheus_words() {
    for (query, message) in [
        ("", "unknown position: parse error: no expression found in input"),
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("foo{", "1:5: parse error: unexpected end of input inside braces"),
        ("foo{a=b}", "1:7: parse error: unexpected identifier \"b\" in label matching, expected string"),
        ("foo{a}", "1:6: parse error: unexpected \"}\" in label matching, expected label matching operator"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("{a=~\".*\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("rate(foo)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
        ("abs()", "1:1: parse error: expected 1 argument(s) in call to \"abs\", got 0"),
        ("nope(1)", "1:1: parse error: unknown function with name \"nope\""),
        ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
        (
            "topk(foo)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("foo + bool bar", "1:5: parse error: bool modifier can only be used on comparison operators"),
        ("foo and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
        ("foo and on(a) group_left bar", "1:1: parse error: no grouping allowed for \"and\" operation"),
        (
            "foo + on(a) group_left(a) bar",
            "1:5: parse error: label \"a\" must not occur in ON and GROUP clause at once",
        ),
        ("foo[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
        ("foo[0m]", "1:5: parse error: duration must be greater than 0"),
        ("foo offset 1m[5m]", "1:14: parse error: no offset modifiers allowed before range"),
        ("(foo + 1)[5m]", "1:10: parse error: ranges only allowed for vector selectors"),
        (
            "rate(foo[5m]) offset 5m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("foo{__name__=\"bar\"}", "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\""),
        ("foo\n  + $", "2:5: parse error: unexpected character: '$'"),
    ] {
        match parse(query) {
            Err(Error::Parse { message: got }) => assert_eq!(got, message, "{query}"),
            other => panic!("{query}: {other:?}"),
        }
    }
}

#[test]
fn texts_are_prometheus_layout() {
    for (query, text) in [
        ("sum(rate(foo[5m]))by(a)", "sum by (a) (rate(foo[5m]))"),
        ("a+on(b)group_left(c) d", "a + on (b) group_left (c) d"),
        ("{\"m.x\",a='b'}", "{__name__=\"m.x\",a=\"b\"}"),
        ("x@1.5 offset -5m", "x @ 1.500 offset -5m"),
        ("x[5m:] @ end()", "x[5m:] @ end()"),
        ("-1^2", "-1 ^ 2"),
        ("x[90s]", "x[1m30s]"),
        ("0x10 + 1e3", "16 + 1000"),
    ] {
        assert_eq!(format(query).unwrap(), text, "{query}");
    }
}

#[test]
fn deep_nesting_is_refused_not_overflowed() {
    let nested = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let chain = vec!["1"; 100_000].join("+");
    let minus = format!("{}1", "-".repeat(100_000));
    for query in [nested, chain, minus] {
        assert!(matches!(parse(&query), Err(Error::Parse { .. })));
    }
}

/// Text of a vector expression.
fn vector() -> impl Strategy<Value = String> {
    let label = || prop::sample::select(vec!["a", "job", "le", "sum", "by"]);
    let leaf = prop_oneof![
        Just("m".to_owned()),
        (label(), "[a-z\"\\\\\n{}]{0,4}").prop_map(|(l, v)| format!("m{{{l}={v:?}}} offset 5m")),
        Just("{\"utf.8 name\"} @ start()".to_owned()),
        Just("rate(m[5m] @ 10)".to_owned()),
        Just("max_over_time(m[1h:5m] offset -1m)".to_owned()),
        prop::sample::select(vec!["increase(m[5m] anchored)", "delta(m[5m] smoothed offset 1m)", "m smoothed"])
            .prop_map(str::to_owned),
        (1u32..90, 1u32..90, prop::sample::select(vec!["+", "-", "*", "/", "%", "^"]))
            .prop_map(|(a, b, op)| format!("rate(m[{a}s {op} {b}] offset (step() {op} {b}m))")),
        (1u32..90).prop_map(|a| format!("rate(m[max_of(step() * {a}, -(range() - 2m))])")),
    ];
    leaf.prop_recursive(4, 24, 3, move |inner| {
        let operator = prop::sample::select(vec!["+", "-", "*", "/", "%", "^", "and", "or", "unless", ">", "== bool"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (inner.clone(), label()).prop_map(|(a, l)| format!("sum by ({l}) ({a})")),
            (inner.clone(), label()).prop_map(|(a, l)| format!("topk without ({l}) (3, {a})")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            (inner.clone(), -5i32..5).prop_map(|(a, n)| format!("{a} * {n}")),
            (inner.clone(), inner.clone(), prop::sample::select(vec!["fill (0)", "fill_left (-1)", "fill_right (2)"]))
                .prop_map(|(a, b, fill)| format!("{a} + on (a) {fill} {b}")),
            (inner.clone(), prop::sample::select(vec!["</", ">/"])).prop_map(|(a, op)| format!("({a} {op} 3)")),
            inner.clone().prop_map(|a| format!("label_replace({a}, \"a\", \"$1\", \"b\", `(.*)`)")),
            (inner.clone(), label(), inner).prop_map(|(a, l, b)| format!("{a} * on ({l}) group_left () {b}")),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_again(query in vector()) {
        round_trip(&query);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-z0-9(){}\\[\\]+*/\"'=~!<>@:., #-]{0,60}") {
        if let Err(error) = parse(&text) {
            let is_parse_error = matches!(error, Error::Parse { .. });
            prop_assert!(is_parse_error);
        }
    }
}
