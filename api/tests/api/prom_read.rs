//! What is read as it is stored: exemplars, remote read, federation, statistics of the TSDB.
use crate::client::{Client, NOW_S, enc};
use crate::prom::HEADERS;
use crate::wire::{exemplar, histogram, label, message, sample, snappy, uvarint};

const T: i64 = NOW_S * 1000;

/// Writes one series each of a WriteRequest.
async fn write(client: &Client, series: &[Vec<u8>]) {
    let mut request = Vec::new();
    series.iter().for_each(|s| message(&mut request, 1, s));
    let answer = client.post("/api/v1/write", &HEADERS, snappy(&request)).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

pub(crate) fn series(labels: &[(&str, &str)], fields: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    labels.iter().for_each(|(n, v)| message(&mut out, 1, &label(n, v)));
    fields.iter().for_each(|(number, bytes)| message(&mut out, *number, bytes));
    out
}

async fn some_data(client: &Client) {
    let stale = f64::from_bits(trine_store::model::STALE_NAN_BITS);
    let requests = |job: &str, value: f64| {
        let labels = [("__name__", "requests_total"), ("job", job)];
        let exemplars = (4..6).map(|i| (3, exemplar(&[("trace_id", &format!("{job}{i}"))], 0.5, T - 1000 * i)));
        let samples = [(2, sample(T - 15_000, value)), (2, sample(T, value + 1.0))];
        series(&labels, &samples.into_iter().chain(exemplars).collect::<Vec<_>>())
    };
    write(
        client,
        &[
            requests("a", 1.0),
            requests("b", 2.0),
            series(&[("__name__", "gone"), ("job", "a")], &[(2, sample(T - 1000, 1.0)), (2, sample(T, stale))]),
            series(&[("__name__", "old"), ("job", "a")], &[(2, sample(T - 360_000, 1.0))]),
            series(&[("__name__", "latency"), ("job", "a")], &[(4, histogram(T - 15_000, 3)), (4, histogram(T, 4))]),
        ],
    )
    .await;
}

#[tokio::test]
async fn exemplars_of_every_selector_in_an_expression() {
    let client = Client::new();
    some_data(&client).await;
    let ask = |query: &str, more: &str| format!("/api/v1/query_exemplars?query={}{more}", enc(query));
    let a = client.get(&ask("rate(requests_total{job=\"a\"}[5m]) / requests_total", "")).await;
    let one = |job: &str| {
        format!(
            r#"{{"seriesLabels":{{"__name__":"requests_total","job":"{job}"}},"exemplars":[{{"labels":{{"trace_id":"{job}5"}},"value":"0.5","timestamp":{}}},{{"labels":{{"trace_id":"{job}4"}},"value":"0.5","timestamp":{}}}]}}"#,
            NOW_S - 5,
            NOW_S - 4
        )
    };
    assert_eq!(a.text(), format!(r#"{{"status":"success","data":[{},{}]}}"#, one("a"), one("b")));
    let range = format!("&start={}&end={}", NOW_S - 4, NOW_S);
    let a = client.form("/api/v1/query_exemplars", &format!("query={}{range}", enc("requests_total{job=\"b\"}"))).await;
    assert_eq!(a.json()["data"][0]["exemplars"].as_array().unwrap().len(), 1);
    for (path, status, text) in [
        (ask("1+1", ""), 204, ""),
        (ask("test", "&start=1795297600000&end=1795297660000"), 200, r#"{"status":"success","data":[]}"#),
        (
            ask("test", "&start=2&end=1"),
            400,
            r#"{"status":"error","errorType":"bad_data","error":"end timestamp must not be before start timestamp"}"#,
        ),
    ] {
        let a = client.get(&path).await;
        assert_eq!((a.status.as_u16(), a.text().as_str()), (status, text), "{path}");
    }
}

/// A ReadRequest of one query.
fn read_request(matchers: &[(u8, &str, &str)], range: (i64, i64), accepted: &[u8], hints: &[u8]) -> Vec<u8> {
    let mut query = vec![8];
    uvarint(&mut query, range.0 as u64);
    query.push(16);
    uvarint(&mut query, range.1 as u64);
    for (op, name, value) in matchers {
        let mut matcher = vec![8, *op];
        message(&mut matcher, 2, name.as_bytes());
        message(&mut matcher, 3, value.as_bytes());
        message(&mut query, 3, &matcher);
    }
    if !hints.is_empty() {
        message(&mut query, 4, hints);
    }
    let mut request = Vec::new();
    message(&mut request, 1, &query);
    if !accepted.is_empty() {
        message(&mut request, 2, accepted);
    }
    snappy(&request)
}

const READ_HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-read-version", "0.1.0"),
];

#[tokio::test]
async fn remote_read_gives_samples_and_histograms() {
    let config = trine_api::ApiConfig {
        external_labels: [("cluster".to_owned(), "east".to_owned())].into(),
        ..trine_api::ApiConfig::default()
    };
    let client = Client::with(config);
    some_data(&client).await;
    for path in ["/api/v1/read", "/prometheus/api/v1/read"] {
        // The external label is not stored: asking for it asks for nothing.
        let matchers = [(2, "__name__", "requests_total|latency"), (0, "cluster", "east"), (3, "job", "b")];
        let a = client.post(path, &READ_HEADERS, read_request(&matchers, (T - 20_000, T), &[], &[])).await;
        assert_eq!((a.status.as_u16(), a.header("content-type")), (200, "application/x-protobuf"), "{}", a.text());
        assert_eq!(a.header("content-encoding"), "snappy");
        let message = snap::raw::Decoder::new().decompress_vec(&a.bytes).unwrap();
        let response = crate::wire::ReadResponse::decode(&message);
        assert_eq!(response.results.len(), 1);
        let found: Vec<_> =
            response.results[0].timeseries.iter().map(|s| (s.labels(), &s.samples, s.histograms.len())).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0, r#"__name__="latency",cluster="east",job="a""#);
        assert_eq!((found[0].1.len(), found[0].2), (0, 2));
        assert_eq!(found[1].0, r#"__name__="requests_total",cluster="east",job="a""#);
        assert_eq!(
            found[1].1.iter().map(|s| (s.timestamp, s.value)).collect::<Vec<_>>(),
            [(T - 15_000, 1.0), (T, 2.0)]
        );
    }
}

#[tokio::test]
async fn remote_read_streams_chunks() {
    let client = Client::new();
    some_data(&client).await;
    let matchers = [(2, "__name__", "requests_total|latency|gone")];
    let request = read_request(&matchers, (T - 20_000, T), &[1, 0], &[]);
    let a = client.post("/api/v1/read", &READ_HEADERS, request).await;
    assert_eq!(a.header("content-type"), "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse");
    let frames = crate::wire::frames(&a.bytes);
    let series: Vec<String> = frames.iter().map(|f| f.chunked_series[0].labels()).collect();
    assert_eq!(series.len(), 4);
    assert!(series.is_sorted(), "{series:?}");
    let kinds: Vec<Vec<i32>> =
        frames.iter().map(|f| f.chunked_series[0].chunks.iter().map(|c| c.encoding).collect()).collect();
    assert_eq!(kinds, [vec![1], vec![2], vec![1], vec![1]]);
    let chunk = &frames[0].chunked_series[0].chunks[0];
    assert_eq!((chunk.min_time_ms, chunk.max_time_ms, chunk.data[..2].to_vec()), (T - 1000, T, vec![0, 2]));
}

#[tokio::test]
async fn remote_read_looks_at_hints_and_refuses_what_it_cannot_do() {
    let client = Client::new();
    some_data(&client).await;
    let count = async |hints: &[u8]| {
        let request = read_request(&[(0, "__name__", "requests_total")], (T - 20_000, T), &[0], hints);
        let a = client.post("/api/v1/read", &READ_HEADERS, request).await;
        let message = snap::raw::Decoder::new().decompress_vec(&a.bytes).unwrap();
        let series = crate::wire::ReadResponse::decode(&message).results.remove(0).timeseries;
        (series.len(), series.iter().map(|s| s.samples.len()).sum::<usize>())
    };
    assert_eq!(count(&[]).await, (2, 4));
    let mut narrow = vec![24];
    uvarint(&mut narrow, (T - 1000) as u64);
    narrow.push(32);
    uvarint(&mut narrow, T as u64);
    assert_eq!(count(&narrow).await, (2, 2));
    let mut names = Vec::new();
    message(&mut names, 2, b"series");
    assert_eq!(count(&names).await, (2, 0));
    for (body, text) in [
        (b"garbage".to_vec(), "snappy: corrupt input"),
        (read_request(&[(0, "a", "b")], (0, 1), &[9], &[]), "does not support any of the requested response types"),
        (read_request(&[(2, "a", "(")], (0, 1), &[], &[]), "matcher of \"a\""),
    ] {
        let a = client.post("/api/v1/read", &READ_HEADERS, body).await;
        assert_eq!(a.status, 400);
        assert!(a.text().contains(text), "{}", a.text());
        assert!(a.header("content-type").starts_with("text/plain"));
    }
    assert_eq!(client.get("/api/v1/read").await.status, 405);
}

#[tokio::test]
async fn federation_shows_the_newest_sample_of_living_series() {
    let client = Client::new();
    some_data(&client).await;
    let path = format!("/federate?match[]={}&match[]={}", enc("{job=\"a\"}"), enc("requests_total"));
    let a = client.get(&path).await;
    assert_eq!(a.header("content-type"), "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
    assert_eq!(
        a.text(),
        format!(
            "# TYPE requests_total untyped\nrequests_total{{job=\"a\",instance=\"\"}} 2 {T}\nrequests_total{{job=\"b\",instance=\"\"}} 3 {T}\n"
        )
    );
    let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let a = client.get_with(&path, &[("accept", accept)]).await;
    assert!(a.header("content-type").starts_with("application/vnd.google.protobuf"));
    // Only protobuf has native histograms, in each of its forms.
    assert!(a.text().contains("latency"));
    for (encoding, begins) in [
        ("text", "name: \"latency\"\ntype: HISTOGRAM\nmetric: {\n  label: {\n"),
        ("compact-text", "name:\"latency\" type:HISTOGRAM metric:{label:{"),
    ] {
        let accept = format!("{}={encoding}", accept.strip_suffix("=delimited").unwrap());
        let a = client.get_with(&path, &[("accept", &accept)]).await;
        let content_type = format!(
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding={encoding}; escaping=underscores"
        );
        assert_eq!(a.header("content-type"), content_type);
        assert!(a.text().starts_with(begins), "{}", a.text());
        assert_eq!(a.text().matches("timestamp_ms:").count(), 3, "{}", a.text());
    }
    assert_eq!(client.get("/federate").await.text(), "");
    let a = client.get("/federate?match[]=%7B").await;
    assert_eq!(a.status, 400);
    assert!(!a.text().starts_with('{'), "{}", a.text());
}

#[tokio::test]
async fn statistics_name_who_makes_the_series() {
    let client = Client::new();
    some_data(&client).await;
    let a = client.get("/api/v1/status/tsdb?limit=2").await;
    let data = &a.json()["data"];
    assert_eq!(data["headStats"]["numSeries"], 5);
    assert_eq!(data["headStats"]["numLabelPairs"], 6);
    let rows = |name: &str| {
        let row = |r: &serde_json::Value| format!("{} {}", r["name"].as_str().unwrap(), r["value"]);
        data[name].as_array().unwrap().iter().map(row).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(rows("seriesCountByMetricName"), "requests_total 2, gone 1");
    assert_eq!(rows("labelValueCountByLabelName"), "__name__ 4, job 2");
    assert_eq!(rows("memoryInBytesByLabelName"), "__name__ 42, job 5");
    assert_eq!(rows("seriesCountByLabelValuePair"), "job=a 4, __name__=requests_total 2");
    // Another tenant has none of it.
    let a = client.get_with("/api/v1/status/tsdb", &[("x-scope-orgid", "other")]).await;
    assert_eq!(a.json()["data"]["headStats"]["numSeries"], 0);
    for (limit, text) in [
        ("0", "limit must be a positive number"),
        ("x", "limit must be a positive number"),
        ("10001", "limit must not exceed 10000"),
    ] {
        let a = client.get(&format!("/api/v1/status/tsdb?limit={limit}")).await;
        assert_eq!((a.status.as_u16(), a.json()["error"].as_str()), (400, Some(text)));
    }
}

#[tokio::test]
async fn the_admin_api_names_the_metric_and_label_with_the_most_series() {
    let client = Client::new();
    let users: Vec<Vec<u8>> = (0..5)
        .map(|user| {
            // The last two are new within the hour.
            let first = T - if user < 3 { 5_400_000 } else { 60_000 };
            let labels = [("__name__", "logins_total"), ("job", "a"), ("user", &user.to_string())];
            series(&labels, &[(2, sample(first, 1.0)), (2, sample(T, 2.0))])
        })
        .collect();
    write(&client, &users).await;
    some_data(&client).await;
    let a = client.get("/admin/v1/cardinality?tenant=default&limit=2").await.json();
    let t = &a["tenants"][0];
    assert_eq!((&t["tenant"], &t["series"], &t["growth"]), (&"default".into(), &10.into(), &7.into()));
    assert_eq!(
        t["offender"],
        serde_json::json!({ "metric": "logins_total", "label": "user", "values": 5, "series": 5 })
    );
    assert_eq!(t["metrics"][0]["growth"], 2);
    assert_eq!(
        t["metrics"][1],
        serde_json::json!({ "metric": "requests_total", "series": 2, "growth": 2, "label": "job", "values": 2 })
    );
    let names: Vec<_> =
        t["labels"].as_array().unwrap().iter().map(|l| (l["label"].as_str().unwrap(), &l["values"])).collect();
    assert_eq!(names, [("__name__", &5.into()), ("user", &5.into())]);
    assert_eq!(t["pairs"][0], serde_json::json!({ "label": "job", "value": "a", "series": 9 }));
    let a = client.get("/admin/v1/cardinality?limit=0").await;
    assert_eq!((a.status.as_u16(), a.text().contains("not within 1 and 50")), (400, true));
}

#[tokio::test]
async fn mimirs_cardinality_pages() {
    let client = Client::new();
    some_data(&client).await;
    let a = client.get("/prometheus/api/v1/cardinality/label_names?limit=1").await;
    assert_eq!(
        a.text(),
        r#"{"label_values_count_total":6,"label_names_count":2,"cardinality":[{"label_name":"__name__","label_values_count":4}]}"#
    );
    let path = format!(
        "/prometheus/api/v1/cardinality/label_values?label_names[]=job&label_names[]=none&selector={}",
        enc("{__name__=~\"requests_total|gone\"}")
    );
    assert_eq!(
        client.get(&path).await.text(),
        r#"{"series_count_total":3,"labels":[{"label_name":"job","label_values_count":2,"series_count":3,"cardinality":[{"label_value":"a","series_count":2},{"label_value":"b","series_count":1}]},{"label_name":"none","label_values_count":0,"series_count":0,"cardinality":[]}]}"#
    );
    let a = client.get(&format!("/api/v1/cardinality/active_series?selector={}", enc("latency"))).await;
    assert_eq!(a.text(), r#"{"data":[{"__name__":"latency","job":"a"}]}"#);
    let a = client.get("/api/v1/cardinality/active_native_histogram_metrics?selector=latency").await;
    assert_eq!(
        a.text(),
        r#"{"data":[{"metric":"latency","series_count":1,"bucket_count":1,"avg_bucket_count":1,"min_bucket_count":1,"max_bucket_count":1}]}"#
    );
    assert_eq!(client.get("/api/v1/user_stats").await.json()["numSeries"], 5);
    assert_eq!(client.get("/api/v1/user_limits").await.json()["ingestion_rate"], 0);
    for (path, text) in [
        ("label_names?limit=501", "'limit' param cannot be greater than '500'\n"),
        ("label_names?limit=-1", "'limit' param cannot be less than '0'\n"),
        ("label_names?count_method=x", "invalid 'count_method' param 'x'. valid options are: [inmemory active]\n"),
        ("label_values", "'label_names[]' param is required\n"),
        ("active_series", "missing 'selector' parameter\n"),
    ] {
        let a = client.get(&format!("/api/v1/cardinality/{path}")).await;
        assert_eq!((a.status.as_u16(), a.text().as_str()), (400, text), "{path}");
    }
}
