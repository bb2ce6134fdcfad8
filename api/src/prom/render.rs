//! The JSON envelope and the values in it, byte for byte as Prometheus writes them.
use axum::response::Response;
use trine_query::memory::{Account, Charge};
use trine_query::promql::histogram::{Bucket, Histogram};
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
            held.sub((size_of_val(s.points.as_slice()) + size_of_val(s.histograms.as_slice())) as u64);
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

/// `[time,{"count":…,"sum":…,"buckets":…}]`.
fn push_histogram(out: &mut String, time_ms: i64, h: &Histogram) {
    out.push('[');
    push_seconds(out, time_ms);
    out.push_str(",{\"count\":\"");
    push_float(out, h.count);
    out.push_str("\",\"sum\":\"");
    push_float(out, h.sum);
    out.push('"');
    let buckets = h.buckets();
    if buckets.iter().any(|b| b.count != 0.0) {
        out.push_str(",\"buckets\":");
        push_json_list(out, buckets.iter().filter(|b| b.count != 0.0), push_bucket);
    }
    out.push_str("}]");
}

/// Which bounds belong to the bucket, the bounds, and its count.
fn push_bucket(out: &mut String, b: &Bucket) {
    out.push_str(match (b.lower_inclusive, b.upper_inclusive) {
        (false, true) => "[0",
        (true, false) => "[1",
        (false, false) => "[2",
        (true, true) => "[3",
    });
    for v in [b.lower, b.upper, b.count] {
        out.push_str(",\"");
        push_float(out, v);
        out.push('"');
    }
    out.push(']');
}

fn push_sample(out: &mut String, sample: &VectorSample) {
    out.push_str("{\"metric\":");
    push_labels(out, &sample.labels);
    match &sample.histogram {
        Some(h) => {
            out.push_str(",\"histogram\":");
            push_histogram(out, sample.time_ms, h);
        }
        None => {
            out.push_str(",\"value\":");
            push_point(out, sample.time_ms, sample.value);
        }
    }
    out.push('}');
}

/// A kind of sample that the series has none of is left out.
fn push_series(out: &mut String, series: &MatrixSeries) {
    out.push_str("{\"metric\":");
    push_labels(out, &series.labels);
    if !series.points.is_empty() {
        out.push_str(",\"values\":");
        push_json_list(out, &series.points, |out, (time_ms, value)| push_point(out, *time_ms, *value));
    }
    if !series.histograms.is_empty() {
        out.push_str(",\"histograms\":");
        push_json_list(out, &series.histograms, |out, (time_ms, h)| push_histogram(out, *time_ms, h));
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trine_query::promql::histogram::Buckets;

    use super::*;

    #[test]
    fn values_as_prometheus_writes_them() {
        let labels = || Labels::from_pairs([("job", "a\"b"), ("__name__", "up")]).unwrap();
        let sample = |time_ms, histogram| VectorSample { labels: labels(), time_ms, value: f64::NAN, histogram };
        let series = |points, histograms| MatrixSeries { labels: labels(), points, histograms };
        let histogram = || {
            let side = |index: Vec<i32>, count: Vec<f64>| Buckets { index, count };
            let (positive, negative) = (side(vec![0, 1], vec![21.0, 0.0]), side(vec![-1], vec![3.0]));
            Arc::new(Histogram {
                count: 42.0,
                sum: 3.5,
                zero_threshold: 0.25,
                zero_count: 3.0,
                positive,
                negative,
                ..Histogram::default()
            })
        };
        let empty = || Arc::new(Histogram::default());
        for (value, expected) in [
            (
                Value::Vector(vec![sample(1000, Some(histogram()))]),
                r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a\"b"},"histogram":[1,{"count":"42","sum":"3.5","buckets":[[1,"-0.5","-0.25","3"],[3,"-0.25","0.25","3"],[0,"0.5","1","21"]]}]}]}"#,
            ),
            (
                Value::Matrix(vec![series(vec![(0, 1.0)], vec![(1500, empty())])]),
                r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a\"b"},"values":[[0,"1"]],"histograms":[[1.500,{"count":"0","sum":"0"}]]}]}"#,
            ),
            (
                Value::Matrix(vec![series(vec![], vec![(0, empty())])]),
                r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a\"b"},"histograms":[[0,{"count":"0","sum":"0"}]]}]}"#,
            ),
            (Value::Scalar(4000, 2.0), r#"{"resultType":"scalar","result":[4,"2"]}"#),
            (Value::String(1500, "x".into()), r#"{"resultType":"string","result":[1.500,"x"]}"#),
            (
                Value::Vector(vec![sample(1_435_781_451_781, None)]),
                r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a\"b"},"value":[1435781451.781,"NaN"]}]}"#,
            ),
            (
                Value::Matrix(vec![series(vec![(0, 1.0), (15_000, 1e21)], vec![])]),
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
