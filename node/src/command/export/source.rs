//! The node that is asked: names, metadata, series, and samples as a stream of frames.
use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use serde_json::Value as Json;
use trine_query::promql::chunk::{Split, split};
use trine_store::index::{MatchOp, Matcher};

use super::Range;
use super::exemplar::{Exemplar, Pending};
use super::family::{Metadata, escaped};
use super::series::Labels;
use super::wire::{ChunkedReadResponse, LabelMatcher, Query, ReadRequest};
use crate::command::url::server_url;
use crate::error::{Error, chain};

/// A node, over HTTP.
#[derive(Debug)]
pub(super) struct Source {
    url: String,
    tenant: Option<String>,
    http: reqwest::Client,
}

impl Source {
    pub(super) fn new(url: &str, tenant: Option<String>) -> Result<Self, Error> {
        let url = server_url(url).map_err(Error::Export)?.as_str().trim_end_matches('/').to_owned();
        let http = reqwest::Client::builder().no_proxy().build();
        Ok(Self { url, tenant, http: http.map_err(|e| Error::Export(format!("make a client: {e}")))? })
    }

    /// Names of metrics with samples in the range, in order.
    pub(super) async fn names(&self, selectors: &[String], range: Range) -> Result<BTreeSet<String>, Error> {
        let mut query = times(range);
        query.extend(selectors.iter().map(|s| ("match[]", s.clone())));
        let names = self.data("/api/v1/label/__name__/values", &query).await?;
        let names: Result<_, _> = serde_json::from_value(names);
        names.map_err(|e| self.unexpected("names of metrics", &e))
    }

    /// By name of the family.
    pub(super) async fn metadata(&self) -> Result<BTreeMap<String, Metadata>, Error> {
        let all = self.data("/api/v1/metadata", &[]).await?;
        let all: Result<BTreeMap<String, Vec<Metadata>>, _> = serde_json::from_value(all);
        let all = all.map_err(|e| self.unexpected("metadata", &e))?;
        Ok(all.into_iter().filter_map(|(name, mut kept)| Some((name, kept.pop()?))).collect())
    }

    /// Series that match, in order.
    pub(super) async fn series(&self, matchers: &[Matcher], range: Range) -> Result<BTreeSet<Labels>, Error> {
        let mut query = times(range);
        query.push(("match[]", selector(matchers)));
        let series: Result<_, _> = serde_json::from_value(self.data("/api/v1/series", &query).await?);
        series.map_err(|e| self.unexpected("series", &e))
    }

    /// Exemplars of series that satisfy one of the sets of matchers, by the series' labels. The inner error is the node's
    /// refusal.
    pub(super) async fn exemplars(
        &self,
        sets: &[Vec<Matcher>],
        range: Range,
    ) -> Result<Result<BTreeMap<Labels, Pending>, String>, Error> {
        let mut query = times(range);
        query.push(("query", sets.iter().map(|s| selector(s)).collect::<Vec<_>>().join(" or ")));
        let found = match self.ask("/api/v1/query_exemplars", &query).await? {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let found: Result<Vec<FoundExemplars>, _> = serde_json::from_value(found);
        let found = found.map_err(|e| self.unexpected("exemplars", &e))?;
        let one = |of: FoundExemplars| {
            let all: Option<Vec<Exemplar>> = of.exemplars.into_iter().map(FoundExemplar::read).collect();
            Some((of.series_labels, Pending::new(all?)))
        };
        let all: Option<BTreeMap<Labels, Pending>> = found.into_iter().map(one).collect();
        let all =
            all.ok_or_else(|| Error::Export(format!("{} gave an exemplar whose value is no number", self.url)))?;
        Ok(Ok(all))
    }

    /// Labels that the node adds to the series of a read, and to nothing else.
    pub(super) async fn external_labels(&self) -> Result<Vec<(String, String)>, Error> {
        let config = self.data("/api/v1/status/config", &[]).await?;
        Ok(external_labels(config["yaml"].as_str().unwrap_or_default()))
    }

    /// The samples that match. The inner error is the node's refusal.
    pub(super) async fn read(&self, matchers: &[Matcher], range: Range) -> Result<Result<Stream, String>, Error> {
        let matchers = matchers
            .iter()
            .map(|m| LabelMatcher { kind: kind(m.op), name: m.name.clone(), value: m.value.clone() })
            .collect();
        let query = Query { start_timestamp_ms: range.start_ms, end_timestamp_ms: range.end_ms, matchers };
        let body = ReadRequest { queries: vec![query], accepted_response_types: vec![1] }.encode_to_vec();
        let body = snap::raw::Encoder::new().compress_vec(&body);
        let body = body.map_err(|e| Error::Export(format!("compress a request: {e}")))?;
        let request = self.http.post(format!("{}/api/v1/read", self.url)).body(body);
        let request = request.header("content-type", "application/x-protobuf").header("content-encoding", "snappy");
        let reply = self.send(request).await?;
        if !reply.status().is_success() {
            let (status, text) = (reply.status(), reply.text().await.map_err(|e| self.lost(&e))?);
            return Ok(Err(format!("{} answered {status}: {}", self.url, text.trim())));
        }
        Ok(Ok(Stream { reply, url: self.url.clone(), buffer: Vec::new() }))
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> Result<reqwest::Response, Error> {
        if let Some(tenant) = &self.tenant {
            request = request.header("x-scope-orgid", tenant);
        }
        // An export with holes looks like one without.
        request.header("x-trine-strict", "true").send().await.map_err(|e| self.lost(&e))
    }

    async fn data(&self, path: &str, query: &[(&'static str, String)]) -> Result<Json, Error> {
        self.ask(path, query).await?.map_err(Error::Export)
    }

    /// The inner error is the node's refusal.
    async fn ask(&self, path: &str, query: &[(&'static str, String)]) -> Result<Result<Json, String>, Error> {
        let reply = self.send(self.http.get(format!("{}{path}", self.url)).query(query)).await?;
        let (status, text) = (reply.status(), reply.text().await.map_err(|e| self.lost(&e))?);
        let mut json: Json = serde_json::from_str(&text).unwrap_or(Json::Null);
        if status.is_success() && json["status"] == "success" {
            return Ok(Ok(json["data"].take()));
        }
        let said = json["error"].as_str().unwrap_or(text.trim());
        Ok(Err(format!("{}{path} answered {status}: {said}", self.url)))
    }

    fn lost(&self, error: &reqwest::Error) -> Error {
        let url = &self.url;
        Error::Export(format!("no answer from {url}: {}; give a node's address with --url", chain(error)))
    }

    fn unexpected(&self, what: &str, error: &serde_json::Error) -> Error {
        Error::Export(format!("{} gave {what} in another form: {error}", self.url))
    }
}

fn times(range: Range) -> Vec<(&'static str, String)> {
    let text = |ms: i64| format!("{:.3}", ms as f64 / 1000.0);
    vec![("start", text(range.start_ms)), ("end", text(range.end_ms))]
}

fn selector(matchers: &[Matcher]) -> String {
    let text: Vec<String> =
        matchers.iter().map(|m| format!("{}{}\"{}\"", m.name, operator(m.op), escaped(&m.value))).collect();
    format!("{{{}}}", text.join(","))
}

/// Of the configuration as Prometheus shows it: lines of quoted names and values behind a line of their own.
fn external_labels(yaml: &str) -> Vec<(String, String)> {
    let lines = yaml.lines().skip_while(|line| line.trim() != "external_labels:").skip(1);
    let pairs = lines.map_while(|line| serde_json::from_str::<Labels>(&format!("{{{line}}}")).ok());
    pairs.flatten().collect()
}

/// The exemplars of a series as the node has them.
#[derive(Debug, serde::Deserialize)]
struct FoundExemplars {
    #[serde(rename = "seriesLabels")]
    series_labels: Labels,
    exemplars: Vec<FoundExemplar>,
}

#[derive(Debug, serde::Deserialize)]
struct FoundExemplar {
    labels: Labels,
    value: String,
    /// Unix seconds.
    timestamp: f64,
}

impl FoundExemplar {
    /// None when its value is no number.
    fn read(self) -> Option<Exemplar> {
        let time_ms = (self.timestamp * 1000.0).round() as i64;
        Some(Exemplar { labels: self.labels, value: self.value.parse().ok()?, time_ms })
    }
}

fn kind(op: MatchOp) -> i32 {
    match op {
        MatchOp::Eq => 0,
        MatchOp::NotEq => 1,
        MatchOp::Regex => 2,
        MatchOp::NotRegex => 3,
    }
}

fn operator(op: MatchOp) -> &'static str {
    ["=", "!=", "=~", "!~"][kind(op) as usize]
}

/// Frames as they come.
#[derive(Debug)]
pub(super) struct Stream {
    reply: reqwest::Response,
    url: String,
    buffer: Vec<u8>,
}

impl Stream {
    /// The next frame; None at the end.
    pub(super) async fn next(&mut self) -> Result<Option<ChunkedReadResponse>, Error> {
        loop {
            match split(&self.buffer) {
                Split::Frame { from, to } => {
                    let frame = ChunkedReadResponse::decode(&self.buffer[from..to]);
                    self.buffer.drain(..to);
                    return frame
                        .map(Some)
                        .map_err(|e| Error::Export(format!("{} sent a damaged frame: {e}", self.url)));
                }
                Split::Damaged => return Err(Error::Export(format!("{} sent no frame of chunks", self.url))),
                Split::More => {}
            }
            let more = self.reply.chunk().await;
            let more = more.map_err(|e| Error::Export(format!("{} broke off: {}", self.url, chain(&e))))?;
            match more {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(Error::Export(format!("{} ended within a frame", self.url))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_are_added_are_known() {
        let yaml = "global:\n  scrape_interval: 1m\n  external_labels:\n    \"cluster\": \"ea\\\"st\"\n    \"b\": \"\"\nother: x\n";
        let pairs = [("cluster", "ea\"st"), ("b", "")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(external_labels(yaml), pairs);
        assert_eq!(external_labels("global:\n  scrape_interval: 1m\n"), []);
    }

    #[test]
    fn exemplars_are_read_as_the_node_writes_them() {
        let json = r#"{"labels":{"trace_id":"a"},"value":"+Inf","timestamp":1600096945.479}"#;
        let exemplar = serde_json::from_str::<FoundExemplar>(json).unwrap().read().unwrap();
        assert_eq!((exemplar.value, exemplar.time_ms), (f64::INFINITY, 1_600_096_945_479));
        let json = json.replace("+Inf", "x");
        assert_eq!(serde_json::from_str::<FoundExemplar>(&json).unwrap().read(), None);
    }
}
