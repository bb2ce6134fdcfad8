//! Logs of sixteen real systems, pushed as Loki's agents push them, come back byte for byte from every node, from the
//! head and again from blocks; and LogQL over them counts what a plain loop over the files counts.
use std::collections::BTreeMap;

use prost::Message;
use serde_json::{Value, json};

use crate::harness::{Cluster, Http, LokiEntry, LokiPush, LokiStream, LokiTime, now_ns, shared};

/// Lines in one answer; the contract's largest.
const PAGE: usize = 5000;

/// One pushed line. A line keeps its carriage return: only the line feed separates.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    time_ns: i64,
    file: String,
    line: String,
}

/// What was pushed, by time; no two entries share one.
struct Corpus {
    entries: Vec<Entry>,
}

impl Corpus {
    /// Reads every sample and gives line `i` of all files neighbouring times, so that any page holds every stream.
    fn read() -> Self {
        let dir = std::fs::read_dir(shared("data/loghub")).expect("the samples can be listed");
        let paths = dir.map(|e| e.expect("the samples can be listed").path());
        let mut paths: Vec<_> = paths.filter(|p| p.extension().is_some_and(|e| e == "log")).collect();
        paths.sort();
        assert_eq!(paths.len(), 16, "{paths:?}");
        let start_ns = now_ns() / 1_000_000_000 * 1_000_000_000 - 120_000_000_000;
        let mut entries = Vec::new();
        for (k, path) in paths.iter().enumerate() {
            let file = path.file_name().expect("a listed file has a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(path).expect("the samples are UTF-8");
            for (i, line) in text.strip_suffix('\n').unwrap_or(&text).split('\n').enumerate() {
                // Not whole milliseconds: every digit has to come back.
                let time_ns = start_ns + (i as i64 * 16 + k as i64) * 1_000_000 + i as i64 * 7 + 1;
                entries.push(Entry { time_ns, file: file.clone(), line: line.to_owned() });
            }
        }
        entries.sort_by_key(|e| e.time_ns);
        Self { entries }
    }

    fn files(&self) -> BTreeMap<&str, Vec<&Entry>> {
        let mut files: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in &self.entries {
            files.entry(&entry.file).or_default().push(entry);
        }
        files
    }

    /// The text of one file's lines.
    fn lines<'a>(&'a self, file: &'a str) -> impl Iterator<Item = &'a str> {
        self.entries.iter().filter(move |e| e.file == file).map(|e| e.line.as_str())
    }

    fn start(&self) -> i64 {
        self.entries[0].time_ns
    }

    /// Past the last entry.
    fn end(&self) -> i64 {
        self.entries[self.entries.len() - 1].time_ns + 1
    }
}

async fn push(node: &Http, labels: &BTreeMap<&str, &str>, entries: &[(i64, &str)], as_json: bool) {
    let (kind, body) = if as_json {
        let values: Vec<Value> = entries.iter().map(|(time, line)| json!([time.to_string(), line])).collect();
        ("application/json", json!({"streams": [{"stream": labels, "values": values}]}).to_string().into_bytes())
    } else {
        ("application/x-protobuf", protobuf(labels, entries.iter().map(|(time, line)| (*time, line.as_bytes()))))
    };
    let reply = node.post("/loki/api/v1/push", &[("Content-Type", kind)], body).await;
    assert_eq!((reply.status, reply.text().as_str()), (204, ""), "{labels:?}");
}

fn protobuf<'a>(labels: &BTreeMap<&str, &str>, entries: impl Iterator<Item = (i64, &'a [u8])>) -> Vec<u8> {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let entry = |(time, line): (i64, &[u8])| {
        let (seconds, nanos) = (time.div_euclid(1_000_000_000), time.rem_euclid(1_000_000_000) as i32);
        LokiEntry { timestamp: Some(LokiTime { seconds, nanos }), line: line.to_vec() }
    };
    let stream = LokiStream { labels: format!("{{{}}}", pairs.join(", ")), entries: entries.map(entry).collect() };
    let message = LokiPush { streams: vec![stream] }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&message).expect("a short message can be compressed")
}

#[tokio::test]
async fn every_line_comes_back_and_is_counted_from_heads_and_blocks() {
    let cluster = Cluster::start().await;
    let corpus = Corpus::read();
    let first = &cluster.first().http;
    for (k, (file, entries)) in corpus.files().into_iter().enumerate() {
        let entries: Vec<(i64, &str)> = entries.iter().map(|e| (e.time_ns, e.line.as_str())).collect();
        push(first, &[("file", file), ("job", "loghub")].into(), &entries, k % 2 == 0).await;
    }
    push_as_json_lines(first, &corpus).await;
    refuses_what_is_not_text(first, &corpus).await;
    for node in &cluster.nodes {
        check(&node.http, &corpus).await;
    }
    cluster.flush().await;
    for node in &cluster.nodes {
        check(&node.http, &corpus).await;
    }
}

/// The words of a line of HDFS: date, time, process, level, component.
fn hdfs_words(line: &str) -> Vec<&str> {
    line.splitn(6, ' ').collect()
}

/// HDFS' lines again as JSON objects, in a stream without the label `file`.
async fn push_as_json_lines(node: &Http, corpus: &Corpus) {
    let mut entries = Vec::new();
    for entry in corpus.entries.iter().filter(|e| e.file == "HDFS_2k.log") {
        let words = hdfs_words(&entry.line);
        let pid: u64 = words[2].parse().expect("HDFS' third word is a number");
        let line = json!({"process": {"id": pid}, "severity": words[3], "component": words[4], "text": words[5]});
        entries.push((entry.time_ns, line.to_string()));
    }
    let entries: Vec<(i64, &str)> = entries.iter().map(|(time, line)| (*time, line.as_str())).collect();
    push(node, &[("objects", "hdfs")].into(), &entries, false).await;
}

/// A protobuf string and JSON are UTF-8: nothing else is stored, and the answer tells an agent not to retry.
async fn refuses_what_is_not_text(node: &Http, corpus: &Corpus) {
    let entries = [(corpus.start(), &b"broken \xff\xfe text"[..])];
    let body = protobuf(&[("file", "broken"), ("job", "loghub")].into(), entries.into_iter());
    let reply = node.post("/loki/api/v1/push", &[("Content-Type", "application/x-protobuf")], body).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    let body = b"{\"streams\":[{\"stream\":{\"file\":\"broken\"},\"values\":[[\"1\",\"\xff\"]]}]}".to_vec();
    let reply = node.post("/loki/api/v1/push", &[("Content-Type", "application/json")], body).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
}

async fn check(node: &Http, corpus: &Corpus) {
    let got = all_lines(node, corpus).await;
    assert_eq!(got.len(), corpus.entries.len(), "number of lines");
    for (got, expected) in got.iter().zip(&corpus.entries) {
        assert_eq!(got, expected);
    }
    counts_agree(node, corpus).await;
    filters_agree(node, corpus).await;
    parsers_agree(node, corpus).await;
}

/// Pages forward through every stream at once.
async fn all_lines(node: &Http, corpus: &Corpus) -> Vec<Entry> {
    let (mut start, mut all) = (corpus.start(), Vec::new());
    loop {
        let page = page(node, "{file=~\".+\"}", start, corpus.end(), PAGE).await;
        let full = page.len() == PAGE;
        all.extend(page);
        match all.last() {
            Some(last) if full => start = last.time_ns + 1,
            _ => return all,
        }
    }
}

/// One page, by time. Labels are asked for by category, so that levels found in a line do not split a stream.
async fn page(node: &Http, query: &str, start: i64, end: i64, limit: usize) -> Vec<Entry> {
    let (start, end, limit) = (start.to_string(), end.to_string(), limit.to_string());
    let parameters = [("query", query), ("start", &start), ("end", &end), ("limit", &limit), ("direction", "forward")];
    let headers = [("X-Loki-Response-Encoding-Flags", "categorize-labels")];
    let answer = node.get_with("/loki/api/v1/query_range", &parameters, &headers).await.json();
    assert_eq!(answer["data"]["resultType"], "streams", "{query}");
    assert_eq!(answer["data"]["encodingFlags"], json!(["categorize-labels"]), "{query}");
    let mut entries = Vec::new();
    for stream in answer["data"]["result"].as_array().expect("streams") {
        let file = stream["stream"]["file"].as_str().unwrap_or_default();
        for value in stream["values"].as_array().expect("values") {
            assert!(value[2].is_object(), "{value}");
            let time_ns = value[0].as_str().and_then(|t| t.parse().ok()).unwrap_or_else(|| panic!("{value}"));
            let line = value[1].as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
            entries.push(Entry { time_ns, file: file.to_owned(), line });
        }
    }
    entries.sort_by_key(|e| e.time_ns);
    entries
}

/// An instant metric query whose range is all of the corpus: values by one label.
async fn instant(node: &Http, corpus: &Corpus, by: &str, query: &str) -> BTreeMap<String, f64> {
    let query = query.replace("$all", "10m");
    let end = corpus.end().to_string();
    let answer = node.json("/loki/api/v1/query", &[("query", &query), ("time", &end)]).await;
    assert_eq!(answer["data"]["resultType"], "vector", "{query}: {answer}");
    let samples = answer["data"]["result"].as_array().expect("samples");
    let sample = |s: &Value| {
        let value = s["value"][1].as_str().and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("{query}: {s}"));
        (s["metric"][by].as_str().unwrap_or_default().to_owned(), value)
    };
    samples.iter().map(sample).collect()
}

fn count_by<'a>(keys: impl Iterator<Item = &'a str>) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key.to_owned()).or_insert(0.0) += 1.0;
    }
    counts
}

async fn counts_agree(node: &Http, corpus: &Corpus) {
    let total = instant(node, corpus, "", "sum(count_over_time({file=~\".+\"}[$all]))").await;
    assert_eq!(total, [(String::new(), corpus.entries.len() as f64)].into());
    let by_file = instant(node, corpus, "file", "sum by (file) (count_over_time({job=\"loghub\"}[$all]))").await;
    assert_eq!(by_file, count_by(corpus.entries.iter().map(|e| e.file.as_str())));
    let bytes = instant(node, corpus, "", "sum(bytes_over_time({file=~\".+\"}[$all]))").await;
    let expected: usize = corpus.entries.iter().map(|e| e.line.len()).sum();
    assert_eq!(bytes, [(String::new(), expected as f64)].into());
}

/// What a line filter says of a line.
type Keeps = fn(&str) -> bool;

async fn filters_agree(node: &Http, corpus: &Corpus) {
    let filters: [(&str, Keeps); 4] = [
        ("|= \"error\"", |line| line.contains("error")),
        ("!= \"INFO\" |= \"a\"", |line| !line.contains("INFO") && line.contains('a')),
        ("|~ \"(?i)fail(ed|ure)\"", |line| {
            let line = line.to_ascii_lowercase();
            line.contains("failed") || line.contains("failure")
        }),
        ("|= \"blk_-\" or \"rhost\"", |line| line.contains("blk_-") || line.contains("rhost")),
    ];
    for (filter, keeps) in filters {
        let query = format!("sum by (file) (count_over_time({{file=~\".+\"}} {filter} [$all]))");
        let kept = corpus.entries.iter().filter(|e| keeps(&e.line));
        let expected = count_by(kept.map(|e| e.file.as_str()));
        assert!(!expected.is_empty(), "{filter} compares nothing");
        assert_eq!(instant(node, corpus, "file", &query).await, expected, "{filter}");
    }
    let kept: Vec<Entry> = corpus.entries.iter().filter(|e| e.line.contains("error")).take(PAGE).cloned().collect();
    assert_eq!(page(node, "{file=~\".+\"} |= `error`", corpus.start(), corpus.end(), PAGE).await, kept);
}

async fn parsers_agree(node: &Http, corpus: &Corpus) {
    let rhosts = corpus.lines("Linux_2k.log").filter_map(|line| {
        let found = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("rhost="));
        found.filter(|host| !host.is_empty())
    });
    let query = "sum by (rhost) (count_over_time({file=\"Linux_2k.log\"} | logfmt | rhost!=\"\" [$all]))";
    assert_eq!(instant(node, corpus, "rhost", query).await, count_by(rhosts), "logfmt");

    let levels = corpus.lines("Apache_2k.log").filter_map(|line| line.split(['[', ']']).nth(3));
    let query =
        "sum by (severity) (count_over_time({file=\"Apache_2k.log\"} | pattern `[<_>] [<severity>] <_>` [$all]))";
    assert_eq!(instant(node, corpus, "severity", query).await, count_by(levels), "pattern");

    let words = || corpus.lines("HDFS_2k.log").map(hdfs_words);
    let components = words().filter(|w| w[3] == "INFO").map(|w| w[4]);
    let query = "sum by (component) (count_over_time({objects=\"hdfs\"} | json | severity=\"INFO\" [$all]))";
    assert_eq!(instant(node, corpus, "component", query).await, count_by(components), "json");
    let newest = words().map(|w| w[2].parse().expect("a number")).fold(0.0, f64::max);
    let query = "max(max_over_time({objects=\"hdfs\"} | json | unwrap process_id [$all]))";
    assert_eq!(instant(node, corpus, "", query).await, [(String::new(), newest)].into(), "unwrap");
}
