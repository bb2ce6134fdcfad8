//! Searches for names of metrics and labels and for labels' values, line by line.
use serde_json::Value;

use crate::client::{Answer, Client, NOW_S};
use crate::prom::HEADERS;
use crate::wire::{label, message, sample, snappy};

const SEARCH: &str = "/api/v1/search";
const END: &str = "{\"status\":\"success\",\"has_more\":false}\n";
const MORE: &str = "{\"status\":\"success\",\"has_more\":true}\n";

fn series(labels: &[(&str, &str)], age_s: i64) -> Vec<u8> {
    let mut out = Vec::new();
    labels.iter().for_each(|(n, v)| message(&mut out, 1, &label(n, v)));
    message(&mut out, 2, &sample((NOW_S - age_s) * 1000, 1.0));
    out
}

fn metadata(metric_type: u8, family: &str, help: &str, unit: &str) -> Vec<u8> {
    let mut out = vec![8, metric_type];
    [(2, family), (4, help), (5, unit)].iter().for_each(|(field, text)| message(&mut out, *field, text.as_bytes()));
    out
}

/// Writes fields of a WriteRequest: 1 series, 3 metadata.
async fn write(client: &Client, fields: impl IntoIterator<Item = (u32, Vec<u8>)>) {
    let mut request = Vec::new();
    fields.into_iter().for_each(|(field, bytes)| message(&mut request, field, &bytes));
    let answer = client.post("/api/v1/write", &HEADERS, snappy(&request)).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

async fn some_data() -> Client {
    let client = Client::new();
    let fields = [
        (1, series(&[("__name__", "http_requests_total"), ("handler", "/api/\u{fc}ber")], 10)),
        (1, series(&[("__name__", "http_requests_total"), ("handler", "/health")], 10)),
        (1, series(&[("__name__", "http_duration_seconds"), ("handler", "/health"), ("job", "web")], 10)),
        (1, series(&[("__name__", "go_goroutines"), ("job", "web")], 10)),
        (1, series(&[("__name__", "up"), ("job", "db")], 10)),
        (3, metadata(1, "http_requests_total", "Requests \"served\".", "")),
        (3, metadata(2, "http_duration_seconds", "", "seconds")),
    ];
    write(&client, fields).await;
    client
}

/// The text of an answer that is whole and of the right type.
fn text(answer: &Answer, path: &str) -> String {
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    assert_eq!(answer.header("content-type"), "application/x-ndjson; charset=utf-8", "{path}");
    assert_eq!(answer.header("x-trine-completeness"), "2/2", "{path}");
    answer.text()
}

fn results(lines: &[&str], end: &str) -> String {
    lines.iter().map(|line| format!("{{\"results\":[{line}]}}\n")).collect::<String>() + end
}

#[tokio::test]
async fn names_and_values_that_are_like_a_word() {
    let client = some_data().await;
    let (go, duration) = (r#"{"name":"go_goroutines"}"#, r#"{"name":"http_duration_seconds"}"#);
    let (requests, up) = (r#"{"name":"http_requests_total"}"#, r#"{"name":"up"}"#);
    let all = [go, duration, requests, up].join(",");
    for (path, expected) in [
        ("metric_names", results(&[&all], END)),
        ("metric_names?search[]=", results(&[&all], END)),
        ("metric_names?limit=4", results(&[&all], END)),
        ("metric_names?limit=3&batch_size=2", results(&[&format!("{go},{duration}"), requests], MORE)),
        ("metric_names?sort_by=alpha&sort_dir=dsc&limit=1", results(&[up], MORE)),
        ("metric_names?match[]=%7Bjob=%22web%22%7D&match[]=up", results(&[&format!("{go},{duration},{up}")], END)),
        ("metric_names?search[]=quest", results(&[requests], END)),
        ("metric_names?search[]=QUEST", results(&[""], END)),
        ("metric_names?search[]=QUEST&case_sensitive=false", results(&[requests], END)),
        ("metric_names?search[]=hrt", results(&[&format!("{duration},{requests}")], END)),
        ("metric_names?search[]=hrt&fuzz_threshold=90", results(&[""], END)),
        ("metric_names?search[]=gorutines&fuzz_alg=jarowinkler", results(&[""], END)),
        ("metric_names?search[]=go_gorutine&fuzz_alg=jarowinkler&fuzz_threshold=90", results(&[go], END)),
        ("metric_names?search[]=up&search[]=go_&sort_by=score", results(&[&format!("{go},{up}")], END)),
        // A longer word has more of its text.
        ("metric_names?search[]=request&search[]=duration&sort_by=score&limit=1", results(&[duration], MORE)),
        ("label_names", results(&[r#"{"name":"__name__"},{"name":"handler"},{"name":"job"}"#], END)),
        ("label_names?search[]=job&include_score=1", results(&[r#"{"name":"job","score":1}"#], END)),
        ("label_values?label=job", results(&[r#"{"value":"db"},{"value":"web"}"#], END)),
        ("label_values?label=handler&search[]=%C3%BCb", results(&[r#"{"value":"/api/über"}"#], END)),
        ("label_values?label=handler&match[]=http_duration_seconds", results(&[r#"{"value":"/health"}"#], END)),
        ("label_values?label=none", results(&[""], END)),
    ] {
        for prefix in ["", "/prometheus"] {
            let answer = client.get(&format!("{prefix}{SEARCH}/{path}")).await;
            assert_eq!(text(&answer, path), expected, "{prefix} {path}");
        }
        let (path, form) = path.split_once('?').unwrap_or((path, ""));
        let answer = client.form(&format!("{SEARCH}/{path}"), form).await;
        assert_eq!(text(&answer, path), expected, "{path} with {form} as a form");
    }
    // Another tenant has none of them.
    let other = client.get_with(&format!("{SEARCH}/metric_names"), &[("x-scope-orgid", "other")]).await;
    assert_eq!(text(&other, "other"), results(&[""], END));
}

#[tokio::test]
async fn what_has_no_samples_in_the_last_hour_is_there_for_who_asks() {
    let client = Client::new();
    write(&client, [(1, series(&[("__name__", "long_gone"), ("host", "a")], 3601))]).await;
    let gone = r#"{"name":"long_gone"}"#;
    for (range, shown) in [
        (String::new(), ""),
        (format!("start={}", NOW_S - 3601), gone),
        (format!("start={}&end={}", NOW_S - 3601, NOW_S - 3601), gone),
        (format!("start=0&end={}", NOW_S - 3602), ""),
    ] {
        for matcher in ["", "&match[]=%7Bhost=%22a%22%7D"] {
            let path = format!("{SEARCH}/metric_names?{range}{matcher}");
            assert_eq!(text(&client.get(&path).await, &path), results(&[shown], END), "{path}");
        }
    }
}

#[tokio::test]
async fn metrics_come_with_what_is_known_of_them() {
    let client = some_data().await;
    for (query, expected) in [
        (
            "search[]=http",
            r#"{"name":"http_duration_seconds","type":"gauge","unit":"seconds"},{"name":"http_requests_total","type":"counter","help":"Requests \"served\"."}"#,
        ),
        (
            "search[]=http_req&include_score=true",
            r#"{"name":"http_requests_total","score":1,"type":"counter","help":"Requests \"served\"."}"#,
        ),
        ("search[]=up", r#"{"name":"up"}"#),
        ("search[]=none", ""),
    ] {
        let path = format!("{SEARCH}/metric_names?include_metadata=true&{query}");
        assert_eq!(text(&client.get(&path).await, &path), results(&[expected], END), "{query}");
    }
}

#[tokio::test]
async fn wrong_parameters_are_named_before_anything_is_sent() {
    let client = Client::new();
    for (path, name) in [
        ("metric_names?limit=10001", "limit"),
        ("metric_names?include_metadata=x", "include_metadata"),
        ("label_names?fuzz_threshold=101", "fuzz_threshold"),
        ("label_values", "label"),
        ("label_values?label=job&sort_by=score", "sort_by"),
        ("label_values?label=job&match[]=%7B%7D", "match[]"),
    ] {
        let a = client.get(&format!("{SEARCH}/{path}")).await;
        let (status, kind, error) = (a.status.as_u16(), &a.json()["errorType"], &a.json()["error"]);
        assert_eq!((status, a.header("content-type"), kind), (400, "application/json", &"bad_data".into()), "{path}");
        assert!(error.as_str().unwrap().starts_with(&format!("invalid parameter \"{name}\": ")), "{path}: {error}");
    }
}

/// Enough that the choice is made on another thread.
#[tokio::test]
async fn the_best_of_many_come_first() {
    const COUNT: usize = 3_000;
    let client = Client::new();
    let names: Vec<String> = (0..COUNT).map(|i| format!("some_metric_with_a_long_name_{i:04}_total")).collect();
    write(&client, names.iter().map(|name| (1, series(&[("__name__", name)], 10)))).await;
    let form = "search[]=0042_total&search[]=name&sort_by=score&include_score=true&batch_size=7&limit=";
    for (limit, has_more) in [(COUNT, false), (COUNT - 1, true), (20, true)] {
        let answer = client.form(&format!("{SEARCH}/metric_names"), &format!("{form}{limit}")).await;
        let lines: Vec<Value> = text(&answer, "many").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (end, batches) = lines.split_last().unwrap();
        assert_eq!(*end, serde_json::json!({"status": "success", "has_more": has_more}));
        assert!(batches.iter().rev().skip(1).all(|batch| batch["results"].as_array().unwrap().len() == 7));
        let shown: Vec<(f64, &str)> = batches
            .iter()
            .flat_map(|batch| batch["results"].as_array().unwrap())
            .map(|result| (result["score"].as_f64().unwrap(), result["name"].as_str().unwrap()))
            .collect();
        assert_eq!(shown.len(), limit);
        assert!(shown.is_sorted_by(|a, b| a.0 > b.0 || a.0 == b.0 && a.1 < b.1), "{limit}");
        assert_eq!((shown[0].1, shown[1].1), (names[42].as_str(), names[0].as_str()));
    }
    let unlike = client.form(&format!("{SEARCH}/metric_names"), "search[]=xyzzy").await;
    assert_eq!(text(&unlike, "unlike"), results(&[""], END));
}
