//! `detected_fields` and the values of one: what the newest lines of a query hold besides their labels.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use trine_query::logql::{self, Direction, LogEntry, LogQuery, LogValue};
use trine_query::memory::Charge;
use trine_query::scatter::Completeness;

use super::params;
use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::json::{push_json_list, push_json_str, push_json_strs};
use crate::reply;
use crate::time::go_duration_ns;

/// Fields or values of an answer that names no limit.
const LIMIT: usize = 1000;
/// Lines that are looked at.
const LINES: usize = 100;
/// Deepest JSON object that is flattened.
const DEPTH_MAX: usize = 8;

/// Where a field was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Parser {
    Json,
    Logfmt,
}

/// A field over all lines. No parsers: structured metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Field {
    values: BTreeSet<String>,
    parsers: BTreeSet<Parser>,
    path: Vec<String>,
}

type Fields = BTreeMap<String, Field>;

/// What the fields of lines weigh at most, in weights of the lines.
const FIELDS_FACTOR: u64 = 4;

async fn detect(call: &Call) -> Result<(Fields, usize, Completeness, Charge), ApiError> {
    let (start_ns, end_ns) = params::range(call)?;
    let limit = params::limit(call, &["limit", "field_limit"], LIMIT)?;
    let query = LogQuery {
        query: call.params.required("query")?.to_owned(),
        start_ns,
        end_ns,
        step_ms: params::step_ms(call, start_ns, end_ns)?,
        interval_ns: 0,
        limit: params::limit(call, &["line_limit"], LINES)?.min(call.api.config().log_entries_max),
        direction: Direction::Backward,
    };
    let ctx = call.context(None);
    let answer = logql::query_range(&call.scatter(), &ctx, &query).await?;
    // Names and values of all fields once more, and a line as JSON.
    let held = ctx.memory.charge(FIELDS_FACTOR * answer.held.bytes()).map_err(trine_query::Error::from)?;
    let mut fields = Fields::new();
    if let LogValue::Streams(streams) = &answer.value {
        for entry in streams.iter().flat_map(|s| &s.entries) {
            add_entry(&mut fields, entry);
        }
    }
    Ok((fields, limit, answer.completeness, held))
}

fn add(fields: &mut Fields, name: &str, value: &str, parser: Option<Parser>, path: &[&str]) {
    if name.is_empty() || name.starts_with("__") || value.is_empty() {
        return;
    }
    let field = fields.entry(name.to_owned()).or_default();
    field.values.insert(value.to_owned());
    field.parsers.extend(parser);
    if field.path.is_empty() {
        field.path = path.iter().map(|p| (*p).to_owned()).collect();
    }
}

fn add_entry(fields: &mut Fields, entry: &LogEntry) {
    for (name, value) in &entry.structured_metadata {
        add(fields, name, value, None, &[]);
    }
    match serde_json::from_str::<Value>(&entry.line) {
        Ok(Value::Object(object)) => {
            for (key, value) in &object {
                add_json(fields, &mut vec![key], value);
            }
        }
        _ => add_logfmt(fields, &entry.line),
    }
}

fn sanitize(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn add_json<'a>(fields: &mut Fields, path: &mut Vec<&'a str>, value: &'a Value) {
    let name = || path.iter().map(|p| sanitize(p)).collect::<Vec<_>>().join("_");
    match value {
        Value::Object(object) if path.len() < DEPTH_MAX => {
            for (key, value) in object {
                path.push(key);
                add_json(fields, path, value);
                path.pop();
            }
        }
        Value::String(s) => add(fields, &name(), s, Some(Parser::Json), path),
        Value::Number(_) | Value::Bool(_) => add(fields, &name(), &value.to_string(), Some(Parser::Json), path),
        Value::Object(_) | Value::Array(_) | Value::Null => {}
    }
}

fn add_logfmt(fields: &mut Fields, line: &str) {
    let mut rest = line;
    while let Some(equals) = rest.find('=') {
        let key = rest[..equals].rsplit(char::is_whitespace).next().unwrap_or_default();
        let after = &rest[equals + 1..];
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => match quoted.split_once('"') {
                Some(split) => split,
                None => return,
            },
            None => after.split_at(after.find(char::is_whitespace).unwrap_or(after.len())),
        };
        if key.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
            add(fields, &sanitize(key), value, Some(Parser::Logfmt), &[]);
        }
        rest = next;
    }
}

fn type_of_value(value: &str) -> &'static str {
    let is_bytes = || {
        let digits = value.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let unit = value[digits..].trim().to_ascii_lowercase();
        digits > 0 && ["b", "kb", "kib", "mb", "mib", "gb", "gib", "tb", "tib"].contains(&unit.as_str())
    };
    if value.parse::<i64>().is_ok() {
        "int"
    } else if value.parse::<f64>().is_ok() {
        "float"
    } else if value == "true" || value == "false" {
        "boolean"
    } else if go_duration_ns(value).is_some() {
        "duration"
    } else if is_bytes() {
        "bytes"
    } else {
        "string"
    }
}

/// One type for all values: mixed numbers are floats, any other mix is strings.
fn type_of(values: &BTreeSet<String>) -> &'static str {
    let types: BTreeSet<&str> = values.iter().map(|v| type_of_value(v)).collect();
    match types.iter().copied().collect::<Vec<_>>().as_slice() {
        [one] => type_of_value(values.first().map_or(*one, String::as_str)),
        ["float", "int"] => "float",
        _ => "string",
    }
}

fn push_field(out: &mut String, name: &str, field: &Field) {
    out.push_str("{\"label\":");
    push_json_str(out, name);
    out.push_str(&format!(
        ",\"type\":\"{}\",\"cardinality\":{},\"parsers\":",
        type_of(&field.values),
        field.values.len()
    ));
    if field.parsers.is_empty() {
        // Null tells structured metadata from parsed fields; an empty list would not.
        out.push_str("null");
    } else {
        let name = |p: &Parser| if *p == Parser::Json { "json" } else { "logfmt" };
        push_json_strs(out, field.parsers.iter().map(name));
    }
    if !field.path.is_empty() {
        out.push_str(",\"jsonPath\":");
        push_json_strs(out, field.path.iter().map(String::as_str));
    }
    out.push('}');
}

/// `/loki/api/v1/detected_fields`: not wrapped.
pub(super) async fn fields(call: Call) -> Outcome {
    let (fields, limit, completeness, _held) = detect(&call).await?;
    let mut body = String::from("{\"fields\":");
    push_json_list(&mut body, fields.iter().take(limit), |out, (name, field)| push_field(out, name, field));
    body.push_str(&format!(",\"limit\":{limit}}}"));
    Ok(reply::complete(reply::json_utf8(body), &completeness))
}

/// `/loki/api/v1/detected_field/{name}/values`: not wrapped.
pub(super) async fn values(call: Call) -> Outcome {
    let (fields, limit, completeness, _held) = detect(&call).await?;
    let values = fields.get(call.path("name")).map(|f| &f.values);
    let mut body = String::from("{\"values\":");
    push_json_strs(&mut body, values.into_iter().flatten().take(limit).map(String::as_str));
    body.push_str(&format!(",\"limit\":{limit}}}"));
    Ok(reply::complete(reply::json_utf8(body), &completeness))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_lines() {
        let mut fields = Fields::new();
        for line in [
            r#"{"http":{"status":200},"took":"5ms","ok":true,"list":[1]}"#,
            r#"{"http":{"status":404},"took":"1s"}"#,
            "size=10KB ratio=0.5 msg=\"a b\" n=1",
        ] {
            let metadata = vec![("trace_id".to_owned(), "x".to_owned())];
            add_entry(
                &mut fields,
                &LogEntry { line: line.to_owned(), structured_metadata: metadata, ..LogEntry::default() },
            );
        }
        let mut out = String::new();
        push_json_list(&mut out, &fields, |out, (name, field)| push_field(out, name, field));
        assert_eq!(
            out,
            concat!(
                r#"[{"label":"http_status","type":"int","cardinality":2,"parsers":["json"],"jsonPath":["http","status"]},"#,
                r#"{"label":"msg","type":"string","cardinality":1,"parsers":["logfmt"]},"#,
                r#"{"label":"n","type":"int","cardinality":1,"parsers":["logfmt"]},"#,
                r#"{"label":"ok","type":"boolean","cardinality":1,"parsers":["json"],"jsonPath":["ok"]},"#,
                r#"{"label":"ratio","type":"float","cardinality":1,"parsers":["logfmt"]},"#,
                r#"{"label":"size","type":"bytes","cardinality":1,"parsers":["logfmt"]},"#,
                r#"{"label":"took","type":"duration","cardinality":2,"parsers":["json"],"jsonPath":["took"]},"#,
                r#"{"label":"trace_id","type":"string","cardinality":1,"parsers":null}]"#
            )
        );
    }
}
