//! Writing a batch of facts: remote write 1.0, Loki's push JSON, OTLP/HTTP JSON.
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Client, TIMEOUT};
use crate::fact::{Batch, Run, Signal};
use crate::wire::{TimeSeries, WriteRequest};

/// What a client knows of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx, nothing rejected.
    Acknowledged,
    /// Refused with this status and text. It may still have been applied in part (P4).
    Failed { status: u16, text: String },
    /// Reset, refused connection or time-out: nobody knows.
    Unknown { reason: String },
}

/// Series and streams that the facts of a run are spread over, so that a request has parts for several shards.
const SPREAD: u64 = 24;

/// Labels of all streams that lines of a run go to.
pub fn streams(run: &Run) -> impl Iterator<Item = String> {
    let stream = |spread| format!(r#"{{app="chaos", run="{}", spread="{spread}"}}"#, run.name);
    (0..SPREAD).map(stream)
}

impl Client {
    /// Writes a batch through the node at `at`. The same batch always has the same bytes, as a retry of an agent has.
    pub async fn write(&self, at: SocketAddr, run: &Run, batch: Batch) -> Outcome {
        let (path, content_type, body) = match batch.signal {
            Signal::Metrics => ("/api/v1/write", "application/x-protobuf", remote_write(run, batch)),
            Signal::Logs => ("/loki/api/v1/push", "application/json", loki_push(run, batch).to_string().into_bytes()),
            Signal::Traces => ("/v1/traces", "application/json", otlp(run, batch).to_string().into_bytes()),
        };
        let mut request =
            self.http.post(format!("http://{at}{path}")).timeout(TIMEOUT).header("content-type", content_type);
        if batch.signal == Signal::Metrics {
            request = request.header("content-encoding", "snappy").header("x-prometheus-remote-write-version", "0.1.0");
        }
        match request.body(body).send().await {
            Err(error) => Outcome::Unknown { reason: chain(&error) },
            Ok(reply) => {
                let status = reply.status();
                match reply.text().await {
                    Err(error) if status.is_success() => Outcome::Unknown { reason: chain(&error) },
                    Ok(text) if status.is_success() && !text.contains("rejected") => Outcome::Acknowledged,
                    text => Outcome::Failed { status: status.as_u16(), text: text.unwrap_or_default() },
                }
            }
        }
    }
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn remote_write(run: &Run, batch: Batch) -> Vec<u8> {
    let series = |number: u64| {
        let spread = (number % SPREAD).to_string();
        let labels = [("__name__", "chaos_fact"), ("run", run.name.as_str()), ("spread", spread.as_str())];
        TimeSeries::of(&labels, number as f64, run.time_ms(number))
    };
    WriteRequest { timeseries: batch.numbers().map(series).collect() }.to_body()
}

fn loki_push(run: &Run, batch: Batch) -> Value {
    let stream = |number: u64| {
        json!({
            "stream": {"app": "chaos", "run": run.name, "spread": (number % SPREAD).to_string()},
            "values": [[format!("{}000000", run.time_ms(number)), format!("fact={number} level=info")]],
        })
    };
    json!({"streams": batch.numbers().map(stream).collect::<Vec<_>>()})
}

fn otlp(run: &Run, batch: Batch) -> Value {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let span = |number: u64| {
        let start = run.time_ms(number);
        json!({
            "traceId": run.trace_id(batch),
            "spanId": format!("{:016x}", number + 1),
            "name": "fact",
            "kind": 1,
            "startTimeUnixNano": format!("{start}000000"),
            "endTimeUnixNano": format!("{start}500000"),
            "attributes": [{"key": "fact", "value": {"intValue": number.to_string()}}],
        })
    };
    let resource = json!({"attributes": [text("service.name", "chaos"), text("run", &run.name)]});
    let spans: Vec<Value> = batch.numbers().map(span).collect();
    json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "chaos"}, "spans": spans}]}]})
}
