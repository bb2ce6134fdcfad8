//! Texts of queries.
use trine_query::{logql, promql, traceql};

pub(crate) const TARGETS: [crate::Decoder; 5] = [
    ("promql", |bytes| on_text(bytes, promql_text)),
    ("promql_selector", |bytes| on_text(bytes, |text| drop(promql::parse_selector(text)))),
    ("logql", |bytes| on_text(bytes, logql_text)),
    ("traceql", |bytes| on_text(bytes, traceql_text)),
    ("traceql_field", |bytes| on_text(bytes, traceql_field)),
];

fn on_text(bytes: &[u8], run: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        run(text);
    }
}

/// What a query is printed as means the same query.
fn promql_text(text: &str) {
    let Ok(printed) = promql::format(text) else { return };
    match promql::format(&printed) {
        Ok(again) => assert_eq!(again, printed, "of {text:?}"),
        Err(error) => panic!("{text:?} is printed as {printed:?}: {error}"),
    }
}

fn logql_text(text: &str) {
    let Ok(parsed) = logql::parse(text) else { return };
    let printed = parsed.to_string();
    match logql::parse(&printed) {
        Ok(again) => assert_eq!(again.to_string(), printed, "of {text:?}"),
        Err(error) => panic!("{text:?} is printed as {printed:?}: {error}"),
    }
}

fn traceql_text(text: &str) {
    let Ok(parsed) = traceql::parser::parse(text) else { return };
    let printed = parsed.to_string();
    match traceql::parser::parse(&printed) {
        Ok(again) => assert_eq!(again.to_string(), printed, "of {text:?}"),
        // Printed, each operand has parentheses, which may be more than the parser goes down.
        Err(error) if error.to_string().contains("is nested deeper than") => {}
        Err(error) => panic!("{text:?} is printed as {printed:?}: {error}"),
    }
}

fn traceql_field(text: &str) {
    drop(traceql::parser::parse_field(text));
    traceql::duration::parse_go(text);
}
