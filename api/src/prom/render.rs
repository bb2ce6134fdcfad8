//! The JSON envelope and the values in it, byte for byte as Prometheus writes them.
use axum::response::Response;
use trine_query::memory::{Account, Charge};
use trine_query::promql::{MatrixSeries, Value, VectorSample};
use trine_query::scatter::Completeness;
use trine_store::model::Labels;

use crate::call::Outcome;
use crate::error::ApiError;
use crate::json::{push_json_list, push_json_map, push_json_str, push_json_strs};
use crate::number::{push_float, push_seconds};
use crate::reply;
use crate::writer::Writer;

/// Warning of every answer that a limit cut.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

/// The beginning of `{"status":"success","data":…}`; [`close`] ends it.
pub(super) fn open(memory: &Account) -> Writer {
    let mut body = Writer::new(memory);
    body.text().push_str("{\"status\":\"success\",\"data\":");
    body
}

/// Ends what [`open`] began, with warnings and infos, which are left out when empty.
pub(super) fn close(mut writer: Writer, warnings: &[String], infos: &[String], completeness: &Completeness) -> Outcome {
    let body = writer.text();
    for (name, texts) in [("warnings", warnings), ("infos", infos)] {
        if !texts.is_empty() {
            body.push_str(",\"");
            body.push_str(name);
            body.push_str("\":");
            push_json_strs(body, texts.iter().map(String::as_str));
        }
    }
    body.push('}');
    Ok(reply::complete(writer.respond("application/json")?, completeness))
}

/// An answer that no shard was asked for.
pub(super) fn plain(data: &str) -> Response {
    reply::json(format!("{{\"status\":\"success\",\"data\":{data}}}"))
}

/// Warnings of a metadata answer.
pub(super) fn metadata_warnings(truncated: bool, completeness: &Completeness) -> Vec<String> {
    let mut warnings = completeness.warnings();
    if truncated {
        warnings.push(TRUNCATED.to_owned());
    }
    warnings
}

/// `{"resultType":…,"result":…` and the closing brace; `stats` is a finished object. What of the value has been written
/// is dropped and given back to `held`.
pub(super) fn result(
    writer: &mut Writer,
    value: Value,
    held: &mut Charge,
    stats: Option<&str>,
) -> Result<(), ApiError> {
    let out = writer.text();
    out.push_str("{\"resultType\":\"");
    out.push_str(match value {
        Value::Scalar(..) => "scalar",
        Value::String(..) => "string",
        Value::Vector(_) => "vector",
        Value::Matrix(_) => "matrix",
    });
    out.push_str("\",\"result\":");
    match value {
        Value::Scalar(time_ms, v) => push_point(out, time_ms, v),
        Value::String(time_ms, text) => {
            out.push('[');
            push_seconds(out, time_ms);
            out.push(',');
            push_json_str(out, &text);
            out.push(']');
        }
        Value::Vector(samples) => writer.list(&samples, push_sample)?,
        Value::Matrix(series) => writer.list(series, |out, s| {
            push_series(out, &s);
            held.sub(size_of_val(s.points.as_slice()) as u64);
        })?,
    }
    let out = writer.text();
    if let Some(stats) = stats {
        out.push_str(",\"stats\":");
        out.push_str(stats);
    }
    out.push('}');
    Ok(())
}

/// A label set as an object in name order.
pub(super) fn push_labels(out: &mut String, labels: &Labels) {
    push_json_map(out, labels.iter());
}

fn push_point(out: &mut String, time_ms: i64, value: f64) {
    out.push('[');
    push_seconds(out, time_ms);
    out.push_str(",\"");
    push_float(out, value);
    out.push_str("\"]");
}

fn push_sample(out: &mut String, sample: &VectorSample) {
    out.push_str("{\"metric\":");
    push_labels(out, &sample.labels);
    out.push_str(",\"value\":");
    push_point(out, sample.time_ms, sample.value);
    out.push('}');
}

fn push_series(out: &mut String, series: &MatrixSeries) {
    out.push_str("{\"metric\":");
    push_labels(out, &series.labels);
    out.push_str(",\"values\":");
    push_json_list(out, &series.points, |out, (time_ms, value)| push_point(out, *time_ms, *value));
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_prometheus_writes_them() {
        let labels = || Labels::from_pairs([("job", "a\"b"), ("__name__", "up")]).unwrap();
        for (value, expected) in [
            (Value::Scalar(4000, 2.0), r#"{"resultType":"scalar","result":[4,"2"]}"#),
            (Value::String(1500, "x".into()), r#"{"resultType":"string","result":[1.500,"x"]}"#),
            (
                Value::Vector(vec![VectorSample { labels: labels(), time_ms: 1_435_781_451_781, value: f64::NAN }]),
                r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a\"b"},"value":[1435781451.781,"NaN"]}]}"#,
            ),
            (
                Value::Matrix(vec![MatrixSeries { labels: labels(), points: vec![(0, 1.0), (15_000, 1e21)] }]),
                r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a\"b"},"values":[[0,"1"],[15,"1e+21"]]}]}"#,
            ),
            (Value::Matrix(vec![]), r#"{"resultType":"matrix","result":[]}"#),
        ] {
            let memory = Account::unbounded();
            let mut writer = Writer::new(&memory);
            result(&mut writer, value, &mut memory.open(), None).unwrap();
            assert_eq!(writer.text(), expected);
        }
    }
}
