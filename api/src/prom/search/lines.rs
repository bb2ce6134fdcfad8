//! An answer as lines of JSON: results in batches, the first one with the warnings, and a last line that says how it ended.
//! All lines are made before the first is sent, so that what fails is an error like any other, never a line.
use trine_query::memory::Account;
use trine_query::scatter::Completeness;

use crate::call::Outcome;
use crate::json::push_json_strs;
use crate::reply;
use crate::writer::Writer;

const CONTENT_TYPE: &str = "application/x-ndjson; charset=utf-8";

/// 200 with `items`, each written by `push`, `batch` of them a line.
pub(super) fn respond<T>(
    memory: &Account,
    items: &[T],
    batch: usize,
    has_more: bool,
    completeness: &Completeness,
    push: impl Fn(&mut String, &T),
) -> Outcome {
    let mut writer = Writer::new(memory);
    let mut batches = items.chunks(batch);
    let mut warnings = completeness.warnings();
    // Without any result there is a line, too: for the warnings.
    let mut next = Some(batches.next().unwrap_or_default());
    while let Some(batch) = next {
        writer.text().push_str("{\"results\":");
        writer.list(batch, &push)?;
        let said = std::mem::take(&mut warnings);
        if !said.is_empty() {
            writer.text().push_str(",\"warnings\":");
            push_json_strs(writer.text(), said.iter().map(String::as_str));
        }
        writer.text().push_str("}\n");
        next = batches.next();
    }
    let has_more = if has_more { "true" } else { "false" };
    writer.text().push_str("{\"status\":\"success\",\"has_more\":");
    writer.text().push_str(has_more);
    writer.text().push_str("}\n");
    Ok(reply::complete(writer.respond(CONTENT_TYPE)?, completeness))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use trine_query::scatter::ShardAnswer;

    use super::*;

    async fn text(items: &[u8], batch: usize, has_more: bool, completeness: &Completeness) -> String {
        let push = |out: &mut String, item: &u8| out.push_str(&item.to_string());
        let response = respond(&Account::unbounded(), items, batch, has_more, completeness, push).unwrap();
        assert_eq!(response.headers()["content-type"], CONTENT_TYPE);
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn batches_warnings_and_the_end() {
        let missing = ShardAnswer { shard: 3, node: "n".into(), error: Some("down".into()), ..ShardAnswer::default() };
        let (all, part) = (Completeness::default(), Completeness { shards: vec![missing] });
        let warnings = r#","warnings":["shard 3 is missing from this answer (node n): down"]"#;
        let end = "{\"status\":\"success\",\"has_more\":false}\n";
        for (items, batch, completeness, expected) in [
            (&[][..], 2, &all, format!("{{\"results\":[]}}\n{end}")),
            (&[], 2, &part, format!("{{\"results\":[]{warnings}}}\n{end}")),
            (&[1, 2], 2, &all, format!("{{\"results\":[1,2]}}\n{end}")),
            (&[1, 2, 3], 2, &part, format!("{{\"results\":[1,2]{warnings}}}\n{{\"results\":[3]}}\n{end}")),
            (&[1, 2, 3], usize::MAX, &all, format!("{{\"results\":[1,2,3]}}\n{end}")),
        ] {
            assert_eq!(text(items, batch, false, completeness).await, expected, "{items:?} by {batch}");
        }
        assert!(text(&[1], 1, true, &all).await.ends_with("{\"status\":\"success\",\"has_more\":true}\n"));
    }
}
