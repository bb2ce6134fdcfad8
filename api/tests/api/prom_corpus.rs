//! The expressions of dashboards and rules that people use, over scraped data: each is answered.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value;

use crate::client::{Client, NOW_S, enc};
use crate::prom::{HEADERS, write_request};

/// Seconds between two scrapes of the recorded files.
const SCRAPE_S: i64 = 15;

fn shared() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    std::env::var_os("TRINE_SHARED").map_or(beside, PathBuf::from)
}

/// Labels and value of a line of the text format, if it is a sample.
fn sample_of(line: &str) -> Option<(Vec<(String, String)>, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, inner) = series.split_once('{').map_or((series, ""), |(n, rest)| (n, rest.trim_end_matches('}')));
    let pair = Regex::new(r#"([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)""#).unwrap();
    let mut labels = vec![("__name__".to_owned(), name.to_owned())];
    let plain = |text: &str| text.replace("\\\"", "\"").replace("\\n", "\n").replace("\\\\", "\\");
    labels.extend(pair.captures_iter(inner).map(|c| (c[1].to_owned(), plain(&c[2]))));
    Some((labels, value))
}

/// Writes a file of scrapes; the last one was at the client's now.
async fn write_scrapes(client: &Client, file: &str, job: &str) {
    let text = std::fs::read_to_string(shared().join("data").join(file)).unwrap();
    let scrapes: Vec<&str> = text.split("# scrape ").skip(1).collect();
    for (at, scrape) in scrapes.iter().enumerate() {
        let time_ms = (NOW_S - SCRAPE_S * (scrapes.len() - 1 - at) as i64) * 1000;
        let samples: Vec<_> = scrape.lines().filter(|l| !l.starts_with('#')).filter_map(sample_of).collect();
        assert!(samples.len() > 100, "{file}: {} samples in scrape {at}", samples.len());
        let points = samples.iter().map(|(_, value)| [(time_ms, *value)]).collect::<Vec<_>>();
        let labels: Vec<Vec<(&str, &str)>> = samples
            .iter()
            .map(|(labels, _)| {
                let own = labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
                own.chain([("job", job), ("instance", "localhost:1")]).collect()
            })
            .collect();
        let series: Vec<_> = labels.iter().zip(&points).map(|(l, p)| (l.as_slice(), p.as_slice())).collect();
        let a = client.post("/api/v1/write", &HEADERS, write_request(&series)).await;
        assert_eq!(a.status, 204, "{}", a.text());
    }
}

fn files(dir: &Path, ending: &str, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("read {}: {e}; set TRINE_SHARED", dir.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, out);
        } else if path.to_string_lossy().ends_with(ending) {
            out.push(path);
        }
    }
}

/// Every `expr` of a dashboard that is not for a Loki data source.
fn expressions(value: &Value, source: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let own = fields.get("datasource").map(Value::to_string);
            let source = own.as_deref().unwrap_or(source);
            if let Some(Value::String(text)) = fields.get("expr")
                && !source.to_lowercase().contains("loki")
            {
                out.insert(with_values(text));
            }
            fields.values().for_each(|v| expressions(v, source, out));
        }
        Value::Array(items) => items.iter().for_each(|v| expressions(v, source, out)),
        _ => {}
    }
}

/// What Grafana puts in the place of its variables.
fn with_values(text: &str) -> String {
    let text = text.replace("$__rate_interval", "5m").replace("$__interval", "1m").replace("$__range", "1h");
    let text = text.replace("$__auto", "5m").replace("${1}", "\u{1}").replace("$1", "\u{2}");
    let variable = Regex::new(r"\$\{[^}]*\}|\$[a-zA-Z_]\w*").unwrap();
    let value = |c: &regex::Captures<'_>| match c[0].trim_start_matches(['$', '{']).trim_end_matches('}') {
        "job" => "node",
        "node" | "instance" => "localhost:1",
        // Nothing matches what is absent.
        "cluster" => "",
        _ => ".+",
    };
    variable.replace_all(&text, value).replace('\u{1}', "${1}").replace('\u{2}', "$1")
}

async fn answers(client: &Client, query: &str) -> Result<bool, String> {
    let a = client.form("/api/v1/query", &format!("query={}&time={NOW_S}", enc(query))).await;
    if a.status != 200 {
        return Err(format!("{}: {query}", a.text()));
    }
    Ok(a.json()["data"]["result"].as_array().is_some_and(|r| !r.is_empty()))
}

#[tokio::test]
async fn dashboards_and_rules_that_people_use_are_answered() {
    let client = Client::new();
    write_scrapes(&client, "node_exporter.prom", "node").await;
    write_scrapes(&client, "prometheus.prom", "prometheus").await;
    let (mut paths, mut queries) = (Vec::new(), BTreeSet::new());
    files(&shared().join("data/dashboards"), ".json", &mut paths);
    for path in &paths {
        let dashboard: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        expressions(&dashboard, "", &mut queries);
    }
    assert!(queries.len() > 500, "only {} expressions in {} dashboards", queries.len(), paths.len());
    let mut rules = Vec::new();
    files(&shared().join("data/rules"), ".yaml", &mut rules);
    for path in rules {
        queries.extend(rule_expressions(&std::fs::read_to_string(&path).unwrap()));
    }
    let (mut failed, mut filled) = (Vec::new(), 0);
    for query in &queries {
        match answers(&client, query).await {
            Ok(has_result) => filled += usize::from(has_result),
            Err(text) => failed.push(text),
        }
    }
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), queries.len(), failed.join("\n"));
    assert!(filled > 50, "only {filled} of {} expressions find something in the scrapes", queries.len());
}

/// `expr:` values of a rule file: plain or a block; quoted ones are left to the parser's own test.
fn rule_expressions(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |l: &str| l.len() - l.trim_start().len();
    let mut out = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let Some(value) = line.trim_start().trim_start_matches("- ").strip_prefix("expr:").map(str::trim) else {
            continue;
        };
        let key = line.find("expr:").unwrap_or(0);
        let deeper = || lines[i + 1..].iter().take_while(|l| l.trim().is_empty() || indent(l) > key);
        if value.starts_with('|') || value.starts_with('>') {
            out.push(deeper().copied().collect::<Vec<_>>().join("\n"));
        } else if !value.starts_with(['"', '\'']) && !value.is_empty() && deeper().next().is_none() {
            out.push(value.to_owned());
        }
    }
    out
}
