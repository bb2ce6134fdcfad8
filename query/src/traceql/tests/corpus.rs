//! The example queries of the conformance files.
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::Error;
use crate::traceql::parser::parse;
use crate::traceql::validate::validate;

/// A file of the shared test data.
pub(super) fn shared(path: &str) -> PathBuf {
    let root = std::env::var_os("TRINE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    root.join(path)
}

/// Reads `key:` and `- item` lines; items are plain, 'single' or "double" quoted, and may go on over indented lines, where
/// a blank line is a line break.
fn lists(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut key = String::new();
    let mut pending: Option<String> = None;
    let mut blank = false;
    for line in text.lines() {
        if let Some(item) = line.strip_prefix("- ") {
            pending = Some(item.to_owned());
            blank = false;
        } else if line.trim().is_empty() {
            blank = true;
            continue;
        } else if let Some(tail) = line.strip_prefix("  ") {
            let item = pending.as_mut().expect("an item to go on with");
            item.push_str(if blank { "\n" } else { " " });
            item.push_str(tail);
        } else {
            key = line.trim_end_matches(':').to_owned();
            continue;
        }
        let item = pending.as_ref().unwrap();
        if let Some(value) = scalar(item) {
            out.entry(key.clone()).or_default().push(value);
            pending = None;
        }
    }
    assert!(pending.is_none());
    out
}

/// The text of one scalar; `None` while its quote is open.
fn scalar(item: &str) -> Option<String> {
    if let Some(inner) = item.strip_prefix('\'') {
        let inner = inner.strip_suffix('\'')?;
        return Some(inner.replace("''", "'"));
    }
    if let Some(inner) = item.strip_prefix('"') {
        let inner = inner.strip_suffix('"')?;
        return Some(
            inner
                .replace("\\\\", "\0")
                .replace("\\\"", "\"")
                .replace("\\t", "\t")
                .replace("\\r", "\r")
                .replace('\0', "\\"),
        );
    }
    Some(item.to_owned())
}

fn examples() -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(shared("conformance/traceql/examples.yaml")).unwrap();
    lists(&text)
}

/// Fails with all complaints at once.
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn all_lists_are_read() {
    let counts: Vec<(String, usize)> = examples().into_iter().map(|(k, v)| (k, v.len())).collect();
    let all: usize = counts.iter().map(|c| c.1).sum();
    assert!(all > 300 && counts.len() >= 4, "{counts:?}");
}

#[test]
fn valid_queries_parse_and_validate() {
    let check = |q: &String| parse(q).and_then(|p| validate(&p)).err().map(|e| format!("{q}: {e}"));
    none(examples()["valid"].iter().filter_map(check).collect());
}

#[test]
fn syntax_errors_do_not_parse() {
    let check = |q: &String| match parse(q) {
        Err(Error::Parse { message }) if message.starts_with("invalid TraceQL query: parse error at line 1, col ") => {
            None
        }
        other => Some(format!("{q}: {other:?}")),
    };
    none(examples()["parse_fails"].iter().filter_map(check).collect());
}

#[test]
fn invalid_queries_parse_and_do_not_validate() {
    let check = |q: &String| match parse(q).map(|p| validate(&p)) {
        Ok(Err(Error::Parse { .. })) => None,
        other => Some(format!("{q}: {other:?}")),
    };
    none(examples()["validate_fails"].iter().filter_map(check).collect());
}

#[test]
fn unsupported_queries_parse_and_say_so() {
    let check = |q: &String| match parse(q).map(|p| validate(&p)) {
        Ok(Err(Error::Unsupported { .. })) => None,
        other => Some(format!("{q}: {other:?}")),
    };
    none(examples()["unsupported"].iter().filter_map(check).collect());
}

#[test]
fn what_is_printed_parses_to_the_same_tree() {
    let check = |q: &String| {
        let tree = parse(q).unwrap();
        let printed = tree.to_string();
        let again = parse(&printed);
        (again.as_ref().ok() != Some(&tree)).then(|| format!("{q} -> {printed}: {again:?}"))
    };
    let lists = examples();
    none(["valid", "validate_fails", "unsupported"].iter().flat_map(|l| &lists[*l]).filter_map(check).collect());
}

#[test]
fn errors_have_positions_and_tempo_words() {
    for (text, message) in [
        ("{ .a < 3", "parse error at line 1, col 9: syntax error: unexpected $end"),
        ("{ .a = 1 }\n| foo()", "parse error at line 2, col 3: unknown identifier: foo"),
        ("{ foo = 1 }", "parse error at line 1, col 3: unknown identifier: foo"),
        ("{ .a = 'x' }", "parse error at line 1, col 8: syntax error: unexpected '\\''"),
        ("{ .a = \"x }", "parse error at line 1, col 8: literal not terminated"),
        // The number has a sign in its exponent; a unit follows.
        ("{0e-8d8}", "parse error at line 1, col 2: syntax error: unexpected d8"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), format!("invalid TraceQL query: {message}"));
    }
    for (text, message) in [
        ("{ 1 + 1 }", "span filter field expressions must resolve to a boolean: { 1 + 1 }"),
        ("{ 1 = name }", "binary operations must operate on the same type: 1 = name"),
        ("{} | by(1)", "grouping field expressions must reference the span: by(1)"),
        ("{} | quantile_over_time(duration, 2)", "quantile must be between 0 and 1: 2"),
    ] {
        let error = validate(&parse(text).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), format!("invalid TraceQL query: {message}"));
    }
}

#[test]
fn hostile_queries_are_refused() {
    let deep = format!("{{ {}true{} }}", "(".repeat(5000), ")".repeat(5000));
    let wide = format!("{{ true{} }}", " && true".repeat(5000));
    let long = format!("{{ .a = \"{}\" }}", "x".repeat(200_000));
    for text in [deep, wide, long, format!("{}{{}}", "(".repeat(20_000)), "{ !".repeat(9000)] {
        assert!(parse(&text).is_err());
    }
}
