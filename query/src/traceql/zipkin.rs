//! Client and server spans that share an id, as Zipkin clients send them, are told apart when a trace is shown.
use std::collections::{HashMap, HashSet};

use trine_store::model::{Attr, Scope, Value, intrinsic};
use xxhash_rust::xxh3::xxh3_64;

use crate::traceql::ast::Kind;
use crate::traceql::model::SpanRow;

/// Gives a server span that shares its id with a client span an id of its own, the same at each call; the shared id becomes
/// its parent, and spans that named the shared id as parent become its children.
pub(crate) fn untangle(mut spans: Vec<SpanRow>) -> Vec<SpanRow> {
    let renamed = renamed(&spans);
    if renamed.is_empty() {
        return spans;
    }
    for span in &mut spans {
        let own = renamed.get(span.span_id()).filter(|_| span.kind() == Kind::Server as i64).cloned();
        let parent = renamed.get(span.parent_span_id()).cloned();
        match (own, parent) {
            (Some(own), _) => {
                let shared = span.span_id().to_vec();
                set(span, intrinsic::PARENT_SPAN_ID, shared);
                set(span, intrinsic::SPAN_ID, own);
            }
            (None, Some(parent)) => set(span, intrinsic::PARENT_SPAN_ID, parent),
            (None, None) => {}
        }
    }
    spans
}

/// New ids of server spans by the id they share with a client span.
fn renamed(spans: &[SpanRow]) -> HashMap<Vec<u8>, Vec<u8>> {
    let of_kind = |kind: Kind| spans.iter().filter(move |s| s.kind() == kind as i64).map(SpanRow::span_id);
    let clients: HashSet<&[u8]> = of_kind(Kind::Client).filter(|id| !id.is_empty()).collect();
    let mut taken: HashSet<Vec<u8>> = spans.iter().map(|s| s.span_id().to_vec()).collect();
    let mut out = HashMap::new();
    for id in of_kind(Kind::Server).filter(|id| clients.contains(id)) {
        let mut fresh = xxh3_64(id);
        while fresh == 0 || !taken.insert(fresh.to_be_bytes().to_vec()) {
            fresh = fresh.wrapping_add(1);
        }
        out.insert(id.to_vec(), fresh.to_be_bytes().to_vec());
    }
    out
}

fn set(span: &mut SpanRow, key: &str, id: Vec<u8>) {
    let value = Value::Bytes(id);
    match span.attrs.iter_mut().find(|a| a.scope == Scope::Intrinsic && a.key == key) {
        Some(attr) => attr.value = value,
        None => span.attrs.push(Attr { scope: Scope::Intrinsic, key: key.to_owned(), value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traceql::tests::support::SpanBuilder;

    #[test]
    fn a_server_span_gets_its_own_id() {
        let span = |id, parent, kind: Kind| {
            SpanBuilder::new(1, id, parent, "a").intrinsic(intrinsic::KIND, Value::Int(kind as i64)).build()
        };
        let spans = vec![
            span(1, 0, Kind::Server),
            span(2, 1, Kind::Client),
            span(2, 1, Kind::Server),
            span(3, 2, Kind::Internal),
            span(4, 3, Kind::Client),
        ];
        let out = untangle(spans.clone());
        assert_eq!(out, untangle(spans.clone()));
        let fresh = out[2].span_id().to_vec();
        assert!(fresh.len() == 8 && spans.iter().all(|s| s.span_id() != fresh));
        assert_eq!(out[2].parent_span_id(), [2; 8]);
        assert_eq!(out[3].parent_span_id(), fresh);
        assert_eq!((&out[0], &out[1], &out[4]), (&spans[0], &spans[1], &spans[4]));
    }
}
