//! Three nodes as an engine.
use std::cell::Cell;

use serde_json::Value as Json;
use trine_store::model::Labels;

use crate::harness::{Cluster, Http};
use crate::load::Series;
use crate::runner::{Answer, Engine, Native, Points, Shown, Value};
use crate::script::When;
use crate::write;

/// Every `clear` begins a tenant of its own, so that the nodes run on.
pub(crate) struct HttpEngine {
    nodes: Vec<Http>,
    tenant: usize,
    /// Questions so far; they go to the nodes in turn.
    asked: Cell<usize>,
}

impl HttpEngine {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self { nodes: cluster.nodes.iter().map(|n| n.http.clone()).collect(), tenant: 0, asked: Cell::new(0) }
    }

    fn tenant(&self) -> String {
        format!("scripts-{}", self.tenant)
    }
}

impl Engine for HttpEngine {
    // Six times the questions would take minutes; what a pin changes is settled before anything is sent.
    const PINNED: bool = false;

    async fn clear(&mut self) {
        self.tenant += 1;
    }

    async fn load(&mut self, series: &[Series]) {
        let tenant = self.tenant();
        let headers = [
            ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", "2.0.0"),
            ("x-scope-orgid", tenant.as_str()),
        ];
        let reply = self.nodes[0].post("/api/v1/write", &headers, write::encode(series)).await;
        assert_eq!(reply.status, 204, "{}", reply.text());
    }

    async fn eval(&self, query: &str, when: When) -> Result<Answer, String> {
        let seconds = |ms: i64| format!("{}", ms as f64 / 1000.0);
        let (path, times) = match when {
            When::Instant { time_ms } => ("/api/v1/query", vec![("time", seconds(time_ms))]),
            When::Range { start_ms, end_ms, step_ms } => (
                "/api/v1/query_range",
                vec![("start", seconds(start_ms)), ("end", seconds(end_ms)), ("step", seconds(step_ms))],
            ),
        };
        let mut form = vec![("query", query)];
        form.extend(times.iter().map(|(name, value)| (*name, value.as_str())));
        let turn = self.asked.replace(self.asked.get() + 1);
        let node = &self.nodes[turn % self.nodes.len()];
        let tenant = self.tenant();
        let reply = node.post_form_with(path, &form, &[("x-scope-orgid", &tenant)]).await;
        let json: Json = serde_json::from_slice(&reply.body).map_err(|e| format!("{e}: {}", reply.text()))?;
        match json["status"].as_str() {
            Some("success") if reply.status == 200 => Ok(answer(&json)),
            Some("error") => Err(json["error"].as_str().unwrap_or_default().to_owned()),
            _ => Err(format!("{}: {json}", reply.status)),
        }
    }
}

fn answer(json: &Json) -> Answer {
    let result = &json["data"]["result"];
    let value = match json["data"]["resultType"].as_str().unwrap() {
        "scalar" => Value::Scalar(number(&result[1])),
        "string" => Value::Text(result[1].as_str().unwrap().to_owned()),
        "vector" => Value::Vector(list(result).iter().map(element).collect()),
        "matrix" => Value::Matrix(list(result).iter().map(series).collect()),
        other => panic!("result type {other}"),
    };
    let texts =
        |name: &str| json[name].as_array().into_iter().flatten().map(|t| t.as_str().unwrap().to_owned()).collect();
    Answer { value, warnings: texts("warnings"), infos: texts("infos") }
}

fn list(json: &Json) -> &[Json] {
    json.as_array().unwrap_or_else(|| panic!("no list: {json}"))
}

/// Values are texts.
fn number(json: &Json) -> f64 {
    let text = json.as_str().unwrap_or_else(|| panic!("no text: {json}"));
    crate::script::number(text).unwrap_or_else(|| panic!("no number: {text}"))
}

/// Times are numbers, in seconds.
fn time_ms(json: &Json) -> i64 {
    (json.as_f64().unwrap_or_else(|| panic!("no number: {json}")) * 1000.0).round() as i64
}

fn labels(json: &Json) -> Labels {
    let pairs =
        json["metric"].as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
    Labels::from_pairs(pairs).unwrap()
}

fn float(json: &Json) -> (i64, f64) {
    (time_ms(&json[0]), number(&json[1]))
}

fn histogram(json: &Json) -> (i64, Native) {
    let h = &json[1];
    let bucket = |b: &Json| (b[0].as_u64().unwrap(), number(&b[1]), number(&b[2]), number(&b[3]));
    let buckets = h["buckets"].as_array().into_iter().flatten().map(bucket).collect();
    let shown = Shown { count: number(&h["count"]), sum: number(&h["sum"]), buckets };
    (time_ms(&json[0]), Native { shown, whole: None })
}

fn element(json: &Json) -> Points {
    Points {
        labels: labels(json),
        floats: json.get("value").map(float).into_iter().collect(),
        histograms: json.get("histogram").map(histogram).into_iter().collect(),
    }
}

fn series(json: &Json) -> Points {
    let all = |name: &str| json.get(name).map_or(&[][..], list);
    Points {
        labels: labels(json),
        floats: all("values").iter().map(float).collect(),
        histograms: all("histograms").iter().map(histogram).collect(),
    }
}
