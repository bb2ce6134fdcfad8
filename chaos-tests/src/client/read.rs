//! Reading facts back: PromQL, LogQL, TraceQL search, and traces by id.
use std::net::SocketAddr;
use std::ops::Range;

use serde_json::Value;

use super::{Client, TIMEOUT, chain};
use crate::fact::{Batch, Run, Signal};

/// What was read: numbers as often as they came, and what made no sense.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub numbers: Vec<u64>,
    /// Facts whose content does not belong to their time.
    pub altered: Vec<String>,
}

/// Why there is no answer, or none to rely on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    #[error("no reply: {0}")]
    NoReply(String),
    #[error("status {status}: {text}")]
    Status { status: u16, text: String },
    /// The node said itself that something is missing.
    #[error("incomplete: {0}")]
    Incomplete(String),
    #[error("unexpected shape: {0}")]
    Shape(String),
}

type Pairs = Vec<(&'static str, String)>;

/// Numbers asked for by one request: below the 5,000 lines that Loki gives at most, with room for doubles.
const WINDOW: u64 = 2000;

impl Client {
    /// Reads all facts of a signal with these numbers, through the node at `at`.
    pub async fn read(
        &self,
        at: SocketAddr,
        run: &Run,
        signal: Signal,
        numbers: Range<u64>,
    ) -> Result<Answer, ReadError> {
        let mut answer = Answer::default();
        let mut from = numbers.start;
        while from < numbers.end {
            let to = numbers.end.min(from + WINDOW);
            match signal {
                Signal::Metrics => self.read_metrics(at, run, from..to, &mut answer).await?,
                Signal::Logs => self.read_logs(at, run, from..to, &mut answer).await?,
                Signal::Traces => self.read_traces(at, run, from..to, &mut answer).await?,
            }
            from = to;
        }
        Ok(answer)
    }

    /// A range selector gives every sample in `(time - range, time]` as it is stored.
    async fn read_metrics(&self, at: SocketAddr, run: &Run, n: Range<u64>, out: &mut Answer) -> Result<(), ReadError> {
        let query = format!("chaos_fact{{run=\"{}\"}}[{}ms]", run.name, n.end - n.start);
        let last_ms = run.time_ms(n.end - 1);
        let time = format!("{}.{:03}", last_ms / 1000, last_ms % 1000);
        let reply = self.get(at, "/api/v1/query", vec![("query", query), ("time", time)]).await?;
        let data = reply.get("data").ok_or_else(|| shape("no data", &reply))?;
        for series in array(data, "result")? {
            for pair in array(series, "values")? {
                let (Some(t), Some(v)) = (pair[0].as_f64(), pair[1].as_str()) else {
                    return Err(shape("not a sample", pair));
                };
                let number = v.parse::<f64>().ok().filter(|v| v.fract() == 0.0 && *v >= 0.0).map(|v| v as u64);
                keep(run, number, (t * 1000.0).round() as i64, pair, out);
            }
        }
        Ok(())
    }

    async fn read_logs(&self, at: SocketAddr, run: &Run, n: Range<u64>, out: &mut Answer) -> Result<(), ReadError> {
        let query = format!("{{app=\"chaos\", run=\"{}\"}}", run.name);
        let (start, end) = (format!("{}000000", run.time_ms(n.start)), format!("{}000000", run.time_ms(n.end)));
        let limits = [("limit", "5000".into()), ("direction", "forward".into())];
        let mut pairs: Pairs = vec![("query", query), ("start", start), ("end", end)];
        pairs.extend(limits);
        let reply = self.get(at, "/loki/api/v1/query_range", pairs).await?;
        let data = reply.get("data").ok_or_else(|| shape("no data", &reply))?;
        for stream in array(data, "result")? {
            for entry in array(stream, "values")? {
                let (Some(ns), Some(line)) = (entry[0].as_str().and_then(|t| t.parse::<i64>().ok()), entry[1].as_str())
                else {
                    return Err(shape("not an entry", entry));
                };
                let number = line.strip_prefix("fact=").and_then(|l| l.split(' ').next()).and_then(|n| n.parse().ok());
                keep(run, number, ns / 1_000_000, entry, out);
            }
        }
        Ok(())
    }

    async fn read_traces(&self, at: SocketAddr, run: &Run, n: Range<u64>, out: &mut Answer) -> Result<(), ReadError> {
        let of_run = format!("resource.run = \"{}\"", run.name);
        let query = format!("{{ {of_run} && span.fact >= {} && span.fact < {} }} | select(span.fact)", n.start, n.end);
        let (start, end) = (run.time_ms(n.start) / 1000, run.time_ms(n.end) / 1000 + 1);
        let pairs = vec![
            ("q", query),
            ("start", start.to_string()),
            ("end", end.to_string()),
            ("limit", "10000".into()),
            ("spss", "100".into()),
        ];
        let reply = self.get(at, "/api/search", pairs).await?;
        for trace in array(&reply, "traces")? {
            for set in array(trace, "spanSets")? {
                let spans = array(set, "spans")?;
                if set["matched"].as_u64() != Some(spans.len() as u64) {
                    out.altered.push(format!("a span set of {} spans says matched {}", spans.len(), set["matched"]));
                }
                spans.iter().for_each(|span| keep_span(run, span, out));
            }
        }
        Ok(())
    }

    /// Reads one batch of spans by its trace id.
    pub async fn read_trace(&self, at: SocketAddr, run: &Run, batch: Batch) -> Result<Answer, ReadError> {
        let reply = self.get(at, &format!("/api/v2/traces/{}", run.trace_id(batch)), Vec::new()).await?;
        let mut answer = Answer::default();
        let trace = reply.get("trace").ok_or_else(|| shape("no trace", &reply))?;
        let none = Vec::new();
        for resource in trace["resourceSpans"].as_array().unwrap_or(&none) {
            for scope in array(resource, "scopeSpans")? {
                array(scope, "spans")?.iter().for_each(|span| keep_span(run, span, &mut answer));
            }
        }
        Ok(answer)
    }

    /// One GET whose reply must be 200, JSON, and complete by its own word.
    pub async fn get(&self, at: SocketAddr, path: &str, pairs: Pairs) -> Result<Value, ReadError> {
        let request = self.http.get(format!("http://{at}{path}")).timeout(TIMEOUT).query(&pairs);
        let reply = request.send().await.map_err(|e| ReadError::NoReply(chain(&e)))?;
        let status = reply.status();
        let text = reply.text().await.map_err(|e| ReadError::NoReply(chain(&e)))?;
        if !status.is_success() {
            return Err(ReadError::Status { status: status.as_u16(), text });
        }
        let value: Value = serde_json::from_str(&text).map_err(|e| ReadError::Shape(format!("{e} in {text}")))?;
        if let Some(warnings) = value.get("warnings").and_then(Value::as_array).filter(|w| !w.is_empty()) {
            return Err(ReadError::Incomplete(format!("{warnings:?}")));
        }
        if value.get("status").and_then(Value::as_str) == Some("PARTIAL") {
            return Err(ReadError::Incomplete(value["message"].to_string()));
        }
        if let Some(jobs) = missing_jobs(&value) {
            return Err(ReadError::Incomplete(jobs));
        }
        Ok(value)
    }
}

/// How a search by TraceQL says that a shard is missing: jobs are shards.
fn missing_jobs(reply: &Value) -> Option<String> {
    let count = |key| match &reply["metrics"][key] {
        Value::String(text) => text.parse().unwrap_or(0),
        number => number.as_u64().unwrap_or(0),
    };
    let (done, total): (u64, u64) = (count("completedJobs"), count("totalJobs"));
    (done < total).then(|| format!("{done} of {total} jobs completed"))
}

fn shape(what: &str, value: &Value) -> ReadError {
    ReadError::Shape(format!("{what}: {}", value.to_string().chars().take(300).collect::<String>()))
}

fn array<'v>(value: &'v Value, key: &str) -> Result<&'v Vec<Value>, ReadError> {
    value.get(key).and_then(Value::as_array).ok_or_else(|| shape(&format!("no list {key}"), value))
}

/// Adds a fact that was read, if its number belongs to its time.
fn keep(run: &Run, number: Option<u64>, time_ms: i64, seen: &Value, out: &mut Answer) {
    match number {
        Some(number) if run.time_ms(number) == time_ms => out.numbers.push(number),
        _ => out.altered.push(seen.to_string()),
    }
}

fn keep_span(run: &Run, span: &Value, out: &mut Answer) {
    let none = Vec::new();
    let attributes = span["attributes"].as_array().unwrap_or(&none);
    let fact = attributes.iter().find(|a| a["key"] == "fact").map(|a| &a["value"]["intValue"]);
    let number = fact.and_then(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok()));
    let time_ns = span["startTimeUnixNano"].as_str().and_then(|t| t.parse::<i64>().ok());
    keep(run, number, time_ns.map_or(i64::MIN, |ns| ns / 1_000_000), span, out);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fact_that_does_not_belong_to_its_time_is_altered() {
        let run = Run::new("t");
        let mut out = Answer::default();
        keep(&run, Some(7), run.time_ms(7), &json!("sound"), &mut out);
        keep(&run, Some(7), run.time_ms(8), &json!("late"), &mut out);
        keep(&run, None, run.time_ms(9), &json!("mute"), &mut out);
        assert_eq!(out.numbers, [7]);
        assert_eq!(out.altered, ["\"late\"", "\"mute\""]);
    }

    #[test]
    fn a_search_with_jobs_that_did_not_complete_is_incomplete() {
        let told = |done: Value, total: Value| {
            missing_jobs(&json!({"traces": [], "metrics": {"completedJobs": done, "totalJobs": total}}))
        };
        assert_eq!(told(json!(15), json!(16)).unwrap(), "15 of 16 jobs completed");
        assert_eq!(told(json!("16"), json!("16")), None);
        assert_eq!(
            missing_jobs(&json!({"traces": [], "metrics": {"totalJobs": 16}})).unwrap(),
            "0 of 16 jobs completed"
        );
        assert_eq!(missing_jobs(&json!({"status": "success"})), None);
    }

    #[test]
    fn spans_are_read_from_searches_and_traces() {
        let run = Run::new("t");
        let span = |value: Value, at: u64| {
            let attributes = json!([{"key": "a", "value": {"stringValue": "b"}}, {"key": "fact", "value": value}]);
            json!({"startTimeUnixNano": format!("{}000000", run.time_ms(at)), "attributes": attributes})
        };
        let mut out = Answer::default();
        keep_span(&run, &span(json!({"intValue": "3"}), 3), &mut out);
        keep_span(&run, &span(json!({"intValue": 4}), 4), &mut out);
        keep_span(&run, &span(json!({"stringValue": "5"}), 5), &mut out);
        keep_span(&run, &json!({}), &mut out);
        assert_eq!((out.numbers, out.altered.len()), (vec![3, 4], 2));
    }
}
