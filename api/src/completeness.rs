//! The headers in which every reply to a query says what it comes from (P4).
use std::fmt::Write;

use axum::response::Response;
use http::HeaderValue;
use http::header::HeaderName;
use trine_query::scatter::{Completeness, ShardAnswer};

/// `whole/all`: shards whose part of the answer is whole, of those that were asked.
const COMPLETENESS: HeaderName = HeaderName::from_static("x-trine-completeness");
/// A structured list (RFC 9651) of shards, each with who answered and up to which position.
const SHARDS: HeaderName = HeaderName::from_static("x-trine-shards");
/// Longest value of [`SHARDS`]: clients and proxies refuse replies with long headers.
const SHARDS_BYTES_MAX: usize = 4 << 10;

/// Adds how much of the answer is there, and from where.
pub(crate) fn complete(mut response: Response, completeness: &Completeness) -> Response {
    let counts = format!("{}/{}", completeness.whole(), completeness.shards.len());
    for (name, text) in [(COMPLETENESS, counts), (SHARDS, shards(completeness))] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// All shards, or those that are missing when all are too long for a header.
fn shards(completeness: &Completeness) -> String {
    let all = list(completeness.shards.iter());
    if all.len() <= SHARDS_BYTES_MAX {
        return all;
    }
    let mut missing = list(completeness.shards.iter().filter(|s| s.error.is_some()));
    if missing.len() > SHARDS_BYTES_MAX {
        // Between two items, so that what is left is a list still.
        let end = missing[..SHARDS_BYTES_MAX].rfind(", ").unwrap_or(0);
        missing.truncate(end);
    }
    missing
}

fn list<'a>(shards: impl Iterator<Item = &'a ShardAnswer>) -> String {
    let mut out = String::new();
    for shard in shards {
        if !out.is_empty() {
            out.push_str(", ");
        }
        push(&mut out, shard);
    }
    out
}

fn push(out: &mut String, s: &ShardAnswer) {
    // Quotes, backslashes and what is not ASCII have no place in such a string; no node has a name with them.
    let plain = |c: &char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
    let written = write!(out, "{};node=\"", s.shard).and_then(|()| {
        out.extend(s.node.chars().filter(plain));
        out.push('"');
        if s.replica == 0 { Ok(()) } else { write!(out, ";replica={};position={}", s.replica, s.position) }
    });
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
    match (&s.error, s.replica) {
        (None, _) => {}
        (Some(_), 0) => out.push_str(";missing"),
        (Some(_), _) => out.push_str(";partial"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(shard: u32, replica: u64, error: Option<&str>) -> ShardAnswer {
        let position = if replica == 0 { 0 } else { 1_000 + u64::from(shard) };
        ShardAnswer { shard, node: "node-1".into(), replica, position, error: error.map(str::to_owned) }
    }

    #[test]
    fn a_reply_names_shards_replicas_and_positions() {
        let shards = vec![answer(0, 7, None), answer(1, 0, Some("no leader")), answer(2, 9, Some("a block"))];
        let reply = complete(Response::default(), &Completeness { shards });
        assert_eq!(reply.headers()["x-trine-completeness"], "1/3");
        assert_eq!(
            reply.headers()["x-trine-shards"],
            r#"0;node="node-1";replica=7;position=1000, 1;node="node-1";missing, 2;node="node-1";replica=9;position=1002;partial"#
        );
    }

    #[test]
    fn a_long_list_keeps_what_is_missing_and_stays_a_list() {
        let many =
            |missing: u32| (0..4_096).map(move |n| answer(n, u64::from(n >= missing), (n < missing).then_some("x")));
        let few = shards(&Completeness { shards: many(2).collect() });
        assert_eq!(few, r#"0;node="node-1";missing, 1;node="node-1";missing"#);
        let all = shards(&Completeness { shards: many(4_096).collect() });
        assert!(all.len() <= SHARDS_BYTES_MAX && all.ends_with(";missing"), "{all}");
    }

    #[test]
    fn a_name_cannot_break_the_header() {
        let odd = ShardAnswer { node: "a\"b\\c\nd\u{e4}".into(), ..answer(0, 0, None) };
        assert_eq!(list([odd].iter()), r#"0;node="abcd""#);
    }
}
