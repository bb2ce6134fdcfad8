//! The answer of a query as series of labels and points.
use std::collections::BTreeMap;

use serde_json::Value as Json;

/// A value at a time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    /// Unix ms.
    pub(super) time_ms: i64,
    /// As the node wrote it; a native histogram in short.
    pub(super) text: String,
    /// None for histograms and texts.
    pub(super) value: Option<f64>,
}

/// Points of one label set, by time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) points: Vec<Point>,
}

impl Series {
    /// As PromQL writes it: `name{label="value"}`.
    pub(super) fn name(&self) -> String {
        let metric = self.labels.get(METRIC_NAME).map_or("", String::as_str);
        let others = self.labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let others: Vec<String> = others.map(|(name, value)| format!("{name}={value:?}")).collect();
        match (metric, others.as_slice()) {
            (metric, []) if !metric.is_empty() => metric.to_owned(),
            (metric, others) => format!("{metric}{{{}}}", others.join(", ")),
        }
    }
}

pub(super) const METRIC_NAME: &str = "__name__";

/// What a query gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) series: Vec<Series>,
    /// A range vector, whose points are at times of their own.
    pub(super) is_matrix: bool,
}

impl Answer {
    /// Reads `data` of a reply; a scalar or string is a series without labels. None when it has another form.
    pub(super) fn of(data: &Json) -> Option<Self> {
        let result = &data["result"];
        let result_type = data["resultType"].as_str()?;
        let series = match result_type {
            "scalar" | "string" => vec![Series { points: vec![point(result)?], ..Series::default() }],
            "vector" | "matrix" => result.as_array()?.iter().map(series).collect::<Option<_>>()?,
            _ => return None,
        };
        Some(Self { series, is_matrix: result_type == "matrix" })
    }

    /// Names of all labels, the metric's first.
    pub(super) fn label_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.series.iter().flat_map(|s| s.labels.keys()).map(String::as_str).collect();
        names.sort_unstable_by_key(|name| (*name != METRIC_NAME, *name));
        names.dedup();
        names
    }
}

fn series(json: &Json) -> Option<Series> {
    let text = |(name, value): (&String, &Json)| Some((name.clone(), value.as_str()?.to_owned()));
    let labels = json["metric"].as_object()?.iter().map(text).collect::<Option<_>>()?;
    let mut points = Vec::new();
    for (one, many) in [("value", "values"), ("histogram", "histograms")] {
        points.extend(json.get(one).map(point));
        points.extend(json.get(many).and_then(Json::as_array).into_iter().flatten().map(point));
    }
    let mut points: Vec<Point> = points.into_iter().collect::<Option<_>>()?;
    points.sort_by_key(|p| p.time_ms);
    Some(Series { labels, points })
}

fn point(json: &Json) -> Option<Point> {
    let time_ms = (json[0].as_f64()? * 1000.0).round() as i64;
    if let Some(text) = json[1].as_str() {
        return Some(Point { time_ms, text: text.to_owned(), value: text.parse().ok() });
    }
    let (count, sum) = (json[1]["count"].as_str()?, json[1]["sum"].as_str()?);
    Some(Point { time_ms, text: format!("histogram(count {count}, sum {sum})"), value: None })
}
