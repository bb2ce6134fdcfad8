//! Answers in columns: for eyes, and as CSV.
use std::fmt::Write;

use super::answer::{Answer, METRIC_NAME, Series};
use crate::command::columns::aligned;
use crate::command::moment::utc;

/// More labels than these are written as one column.
const LABELS_MAX: usize = 8;

/// Heads of columns that are no labels.
const METRIC: &str = "METRIC";
const TIME: &str = "TIME (UTC)";
const VALUE: &str = "VALUE";

/// A row a point, in the answer's order: labels, time of a range vector's, value.
pub(super) fn table(answer: &Answer) -> String {
    let names = answer.label_names();
    let is_wide = names.len() > LABELS_MAX;
    let mut head = if is_wide { vec!["SERIES".to_owned()] } else { heads(&names) };
    head.extend(answer.is_matrix.then(|| TIME.to_owned()));
    head.push(VALUE.to_owned());
    let mut rows = vec![head];
    for series in &answer.series {
        for point in &series.points {
            let mut row = if is_wide { vec![series.name()] } else { cells(series, &names) };
            row.extend(answer.is_matrix.then(|| utc(point.time_ms, "%F %T")));
            row.push(point.text.clone());
            rows.push(row);
        }
    }
    aligned(&rows)
}

/// Labels in capitals where those tell them apart, else as they are, in quotes where even that does not.
fn heads(names: &[&str]) -> Vec<String> {
    let mut capitals: Vec<String> = names.iter().filter(|n| **n != METRIC_NAME).map(|n| n.to_uppercase()).collect();
    capitals.extend([METRIC, TIME, VALUE].map(str::to_owned));
    capitals.sort_unstable();
    let are_told_apart = capitals.windows(2).all(|pair| pair[0] != pair[1]);
    let head = |name: &str| match name {
        METRIC_NAME => METRIC.to_owned(),
        METRIC | TIME | VALUE => format!("{name:?}"),
        name if are_told_apart => name.to_uppercase(),
        name => name.to_owned(),
    };
    names.iter().map(|name| head(name)).collect()
}

fn cells(series: &Series, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| series.labels.get(*name).cloned().unwrap_or_default()).collect()
}

/// A column a label, then Unix seconds and the value. Quoted as RFC 4180 has it, lines end as Unix's do.
pub(super) fn csv(answer: &Answer) -> String {
    let names = answer.label_names();
    let mut out = String::new();
    // A label with the name of one of the last two columns is told from it.
    let label =
        |name: &str| if matches!(name, "timestamp" | "value") { format!("label_{name}") } else { name.to_owned() };
    let heads = names.iter().map(|name| label(name)).chain(["timestamp", "value"].map(str::to_owned));
    let head = heads.map(|head| quoted(&head)).collect::<Vec<_>>().join(",");
    out.push_str(&head);
    out.push('\n');
    for series in &answer.series {
        let labels: String = cells(series, &names).iter().map(|cell| quoted(cell) + ",").collect();
        for point in &series.points {
            let seconds = point.time_ms as f64 / 1000.0;
            writeln!(out, "{labels}{seconds:.3},{}", quoted(&point.text)).expect("writing to a string does not fail");
        }
    }
    out
}

fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(json: serde_json::Value) -> Answer {
        Answer::of(&json).unwrap()
    }

    #[test]
    fn an_instant_is_a_table_of_labels() {
        let vector = answer(json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "a,\"b"}, "value": [1.5, "1"]},
            {"metric": {"zone": "x"}, "value": [1.5, "+Inf"]},
            {"metric": {}, "histogram": [1.5, {"count": "2", "sum": "0.5"}]},
        ]}));
        let expected = "METRIC  JOB   ZONE                        VALUE\n\
                        up      a,\"b                                  1\n              x                            +Inf\n\
                        \u{20}                   histogram(count 2, sum 0.5)\n";
        assert_eq!(table(&vector), expected);
        let expected = "__name__,job,zone,timestamp,value\nup,\"a,\"\"b\",,1.500,1\n,,x,1.500,+Inf\n\
                        ,,,1.500,\"histogram(count 2, sum 0.5)\"\n";
        assert_eq!(csv(&vector), expected);
        assert_eq!(vector.series[0].name(), "up{job=\"a,\\\"b\"}");
    }

    #[test]
    fn labels_with_the_names_of_columns_are_told_apart() {
        let vector = answer(json!({"resultType": "vector", "result": [{"metric": {"value": "v"}, "value": [1, "2"]}]}));
        assert_eq!(csv(&vector), "label_value,timestamp,value\nv,1.000,2\n");
    }

    #[test]
    fn labels_that_differ_in_case_are_told_apart() {
        let head = |names: &[&str]| heads(names).join(" ");
        assert_eq!(head(&["__name__", "Job", "zone"]), "METRIC JOB ZONE");
        assert_eq!(head(&["__name__", "Job", "job"]), "METRIC Job job");
        assert_eq!(head(&["job", "value"]), "job value");
        assert_eq!(head(&["VALUE", "metric"]), "\"VALUE\" metric");
    }

    #[test]
    fn a_range_has_times_and_a_scalar_is_one_number() {
        let matrix = answer(json!({"resultType": "matrix", "result": [
            {"metric": {"job": "a"}, "values": [[0, "1"], [60, "NaN"]]}]}));
        let expected =
            "JOB  TIME (UTC)           VALUE\na    1970-01-01 00:00:00      1\na    1970-01-01 00:01:00    NaN\n";
        assert_eq!(table(&matrix), expected);
        let one = answer(json!({"resultType": "matrix", "result": [{"metric": {}, "values": [[60, "1"]]}]}));
        assert_eq!(table(&one), "TIME (UTC)           VALUE\n1970-01-01 00:01:00      1\n");
        assert_eq!(table(&answer(json!({"resultType": "scalar", "result": [1, "42"]}))), "VALUE\n   42\n");
        assert_eq!(Answer::of(&json!({"resultType": "streams", "result": []})), None);
        assert_eq!(Answer::of(&json!({"resultType": "vector", "result": [{"metric": {}, "value": [1]}]})), None);
    }
}
