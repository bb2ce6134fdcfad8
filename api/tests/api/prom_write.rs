//! Remote write 2.0, Mimir's push, pairs of replicas, OTLP metrics: what is stored and what is said.
use trine_api::{ApiConfig, Election, HaConfig, OtlpConfig};

use crate::client::{Answer, Client, NOW_S, enc};
use crate::prom::{HEADERS, write_request};
use crate::wire::{exemplar, message, sample, snappy, uvarint};

const T: i64 = NOW_S * 1000;
pub(crate) const V2: [(&str, &str); 2] =
    [("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"), ("content-encoding", "snappy")];

/// References of the labels' texts, and fields with their bytes.
pub(crate) type SeriesV2<'a> = (&'a [u8], Vec<(u32, Vec<u8>)>);

/// A 2.0 request; series are (label references, fields).
pub(crate) fn v2(symbols: &[&str], series: &[SeriesV2<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    symbols.iter().for_each(|s| message(&mut out, 4, s.as_bytes()));
    for (refs, fields) in series {
        let mut one = Vec::new();
        message(&mut one, 1, refs);
        fields.iter().for_each(|(number, bytes)| message(&mut one, *number, bytes));
        message(&mut out, 5, &one);
    }
    snappy(&out)
}

pub(crate) fn counts(a: &Answer) -> [String; 3] {
    ["samples", "histograms", "exemplars"]
        .map(|k| a.header(&format!("x-prometheus-remote-write-{k}-written")).to_owned())
}

#[tokio::test]
async fn what_is_good_in_a_request_is_stored_and_counted() {
    let client = Client::new();
    let symbols = ["", "__name__", "up", "job", "a", "down", "help me"];
    let v2_exemplar = |refs: &[u8]| {
        let mut out = Vec::new();
        message(&mut out, 1, refs);
        out.push(0x11);
        out.extend_from_slice(&1f64.to_le_bytes());
        out.push(0x18);
        uvarint(&mut out, T as u64);
        out
    };
    let request = v2(
        &symbols,
        &[
            (&[1, 2, 3, 4], vec![(2, sample(T, 1.0)), (4, v2_exemplar(&[3, 4])), (5, vec![8, 2, 0x18, 6])]),
            (&[1, 5], vec![(2, sample(T, 1.0)), (2, sample(T + 601_000, 1.0)), (4, v2_exemplar(&[3, 77]))]),
            (&[3, 4], vec![(2, sample(T, 1.0))]),
            (&[1, 2, 3, 4, 3, 4], vec![(2, sample(T, 1.0))]),
            (&[1, 2], vec![]),
            (&[1, 99], vec![(2, sample(T, 1.0))]),
            (&[1, 2], vec![(3, crate::wire::histogram(T, 5))]),
        ],
    );
    let a = client.post("/api/v1/write", &V2, request).await;
    assert_eq!((a.status.as_u16(), counts(&a)), (400, ["2", "1", "1"].map(str::to_owned)));
    assert_eq!(
        a.text(),
        concat!(
            "out of bounds: timestamp is too far in the future for series {__name__=\"down\"}\n",
            "parsing exemplar for series {__name__=\"down\"}: labelRefs 3 (name) = 77 (value) outside of symbols table (size 7)\n",
            "invalid metric name or labels, got {job=\"a\"}\n",
            "invalid labels for series, labels {__name__=\"up\", job=\"a\", job=\"a\"}, duplicated label job\n",
            "TimeSeries must contain at least one sample or histogram for series {__name__=\"up\"}\n",
            "parsing labels for series [1 99]: labelRefs 1 (name) = 99 (value) outside of symbols table (size 7)\n",
        )
    );
    let a = client.get("/api/v1/metadata?metric=up&limit_per_metric=0").await;
    assert_eq!(a.text(), r#"{"status":"success","data":{"up":[{"type":"gauge","help":"help me","unit":""}]}}"#);
    let a = client.get("/api/v1/query_exemplars?query=up").await;
    assert_eq!(a.json()["data"][0]["exemplars"][0]["labels"]["job"], "a");
    // Counts are on every answer of 2.0 that reached the store, and on none of 1.0.
    let a = client.post("/api/v1/write", &V2, snappy(&[0xff])).await;
    assert_eq!((a.status.as_u16(), counts(&a)), (400, ["0", "0", "0"].map(str::to_owned)));
    let a = client.post("/api/v1/push", &V2, v2(&symbols, &[(&[1, 5], vec![(2, sample(T, 1.0))])])).await;
    assert_eq!((a.status.as_u16(), counts(&a)), (200, ["1", "0", "0"].map(str::to_owned)));
    let a = client.post("/api/v1/write", &HEADERS, write_request(&[])).await;
    assert_eq!(counts(&a), ["", "", ""].map(str::to_owned));
}

#[tokio::test]
async fn exemplars_with_long_labels_are_dropped_in_silence() {
    let client = Client::new();
    let mut series = Vec::new();
    message(&mut series, 1, &crate::wire::label("__name__", "up"));
    message(&mut series, 2, &sample(T, 1.0));
    message(&mut series, 3, &exemplar(&[("trace_id", &"é".repeat(120))], 1.0, T));
    message(&mut series, 3, &exemplar(&[("trace_id", &"é".repeat(121))], 1.0, T));
    let mut request = Vec::new();
    message(&mut request, 1, &series);
    assert_eq!(client.post("/api/v1/write", &HEADERS, snappy(&request)).await.status, 204);
    let a = client.get("/api/v1/query_exemplars?query=up").await;
    assert_eq!(a.json()["data"][0]["exemplars"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn mimirs_push_says_when_to_come_again() {
    let client = Client::new();
    *client.cluster.refuse.lock().unwrap() = Some(trine_api::WriteError::Unavailable {
        reason: "no leader".to_owned(),
        retry_after: std::time::Duration::from_secs(1),
    });
    let body = write_request(&[(&[("__name__", "up")], &[(T, 1.0)])]);
    let headers: Vec<(&str, &str)> = HEADERS.into_iter().chain([("retry-attempt", "5")]).collect();
    let a = client.post("/api/v1/push", &headers, body.clone()).await;
    let seconds: u64 = a.header("retry-after").parse().unwrap();
    assert_eq!(a.status, 503);
    assert!((48..=96).contains(&seconds), "{seconds}");
    assert_eq!(client.post("/api/v1/write", &headers, body).await.header("retry-after"), "1");
}

#[tokio::test]
async fn of_a_pair_the_elected_replica_is_stored() {
    let ha = HaConfig { enabled: true, tenants: vec!["pairs".to_owned()], ..HaConfig::default() };
    let client = Client::with(ApiConfig { ha, ..ApiConfig::default() });
    let write = async |tenant: &str, replica: &str, value: f64| {
        let labels = [("__name__", "up"), ("cluster", "east"), ("__replica__", replica)];
        let headers: Vec<(&str, &str)> = HEADERS.into_iter().chain([("x-scope-orgid", tenant)]).collect();
        client.post("/api/v1/push", &headers, write_request(&[(&labels, &[(T, value)])])).await
    };
    let stored = async |tenant: &str| {
        let path = format!("/api/v1/query?query={}&time={NOW_S}", enc("up"));
        client.get_with(&path, &[("x-scope-orgid", tenant)]).await.json()["data"]["result"].clone()
    };
    *client.cluster.election.lock().unwrap() = Election::Elected;
    assert_eq!(write("pairs", "a", 1.0).await.status, 200);
    *client.cluster.election.lock().unwrap() = Election::Other("a".to_owned());
    let a = write("pairs", "b", 2.0).await;
    assert_eq!(
        (a.status.as_u16(), a.text().as_str()),
        (202, "replicas did not match, rejecting sample: replica=b, elected=a\n")
    );
    let found = stored("pairs").await;
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["metric"], serde_json::json!({"__name__": "up", "cluster": "east"}));
    assert_eq!(found[0]["value"][1], "1");
    *client.cluster.election.lock().unwrap() = Election::TooMany(100);
    let a = write("pairs", "b", 2.0).await;
    assert_eq!(a.status, 400);
    assert!(a.text().contains("err-mimir-tenant-too-many-ha-clusters"), "{}", a.text());
    // Another tenant takes no part: replicas are series of their own.
    assert_eq!(write("other", "b", 2.0).await.status, 200);
    assert_eq!(stored("other").await[0]["metric"]["__replica__"], "b");
}

#[tokio::test]
async fn otlp_metrics_by_the_settings() {
    let otlp = OtlpConfig {
        promote_resource_attributes: vec!["k8s.pod.name".to_owned()],
        delta_to_cumulative: true,
        ..OtlpConfig::default()
    };
    let client = Client::with(ApiConfig { otlp, ..ApiConfig::default() });
    let body = |time_s: i64| {
        let time = (time_s * 1_000_000_000).to_string();
        serde_json::json!({"resourceMetrics": [{
            "resource": {"attributes": [
                {"key": "service.name", "value": {"stringValue": "shop"}},
                {"key": "k8s.pod.name", "value": {"stringValue": "p-1"}},
            ]},
            "scopeMetrics": [{"metrics": [
                {"name": "orders", "sum": {"isMonotonic": true, "aggregationTemporality": 1,
                    "dataPoints": [{"asInt": "2", "timeUnixNano": time}]}},
                {"name": "lat", "unit": "s", "exponentialHistogram": {"aggregationTemporality": 2,
                    "dataPoints": [{"count": "3", "sum": 1.5, "scale": 20, "positive": {"offset": 5, "bucketCounts": ["1", "2"]}, "timeUnixNano": time}]}},
                {"name": "bad", "exponentialHistogram": {"aggregationTemporality": 2,
                    "dataPoints": [{"scale": -9, "timeUnixNano": time}]}},
            ]}],
        }]})
        .to_string()
    };
    let json = [("content-type", "application/json")];
    for (path, time_s) in [("/otlp/v1/metrics", NOW_S - 15), ("/api/v1/otlp/v1/metrics", NOW_S)] {
        let a = client.post(path, &json, body(time_s)).await;
        assert_eq!(a.status, 200, "{}", a.text());
        let partial = &a.json()["partialSuccess"];
        assert_eq!(partial["rejectedDataPoints"], "1");
        assert!(partial["errorMessage"].as_str().unwrap().contains("Scale must be >= -4, was -9"), "{partial}");
    }
    let a = client.get(&format!("/api/v1/query?query=orders_total&time={NOW_S}")).await;
    let found = &a.json()["data"]["result"][0];
    assert_eq!(found["metric"], serde_json::json!({"__name__": "orders_total", "job": "shop", "k8s_pod_name": "p-1"}));
    assert_eq!(found["value"][1], "4");
    let a = client.get("/api/v1/metadata?metric=lat_seconds").await;
    assert_eq!(a.json()["data"]["lat_seconds"][0]["type"], "histogram");
    let a = client.post("/otlp/v1/metrics", &[("content-type", "text/plain")], "x").await;
    assert_eq!(a.status, 415);
}
