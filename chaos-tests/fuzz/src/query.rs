//! Texts of queries.
use trine_query::{logql, promql, traceql};

pub(crate) const TARGETS: [crate::Decoder; 6] = [
    ("promql", |bytes| on_text(bytes, promql_text)),
    ("remote_read_chunks", remote_read_chunks),
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

/// A frame of the stream that an export reads, or by the first byte one kind of the chunks in it.
fn remote_read_chunks(bytes: &[u8]) {
    use trine_query::promql::chunk::{Split, decode, histogram, split};
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let mut samples_count = 0usize;
    let ended = match kind % 4 {
        0 => decode(bytes, |_, _| samples_count += 1),
        1 => histogram::decode(bytes, false, |_, _| samples_count += 1),
        2 => histogram::decode(bytes, true, |_, _| samples_count += 1),
        _ => {
            if let Split::Frame { from, to } = split(bytes) {
                assert!(from <= to && to <= bytes.len());
            }
            return;
        }
    };
    histogram::is_gauge(bytes);
    // A chunk says in its first two bytes how many samples it has.
    let said = bytes.first_chunk().map_or(0, |b| usize::from(u16::from_be_bytes(*b)));
    assert!(samples_count <= said && (ended.is_err() || samples_count == said));
}
