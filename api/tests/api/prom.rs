//! Prometheus: remote write and the query API.
use crate::client::{Answer, Client, NOW_S, enc};

fn varint(out: &mut Vec<u8>, v: u64) {
    trine_store::codec::put_uvarint(out, v);
}

fn message(out: &mut Vec<u8>, number: u32, body: &[u8]) {
    varint(out, u64::from(number << 3 | 2));
    trine_store::codec::put_bytes(out, body);
}

/// One series of a WriteRequest: labels and (ms, value).
pub(crate) type Series<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

/// A snappy-compressed WriteRequest.
pub(crate) fn write_request(series: &[Series<'_>]) -> Vec<u8> {
    let mut request = Vec::new();
    for (labels, samples) in series {
        let mut one = Vec::new();
        for (name, value) in *labels {
            let mut label = Vec::new();
            message(&mut label, 1, name.as_bytes());
            message(&mut label, 2, value.as_bytes());
            message(&mut one, 1, &label);
        }
        for (t, v) in *samples {
            let mut sample = vec![9];
            sample.extend_from_slice(&v.to_bits().to_le_bytes());
            sample.push(16);
            varint(&mut sample, *t as u64);
            message(&mut one, 2, &sample);
        }
        message(&mut request, 1, &one);
    }
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

pub(crate) const HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

async fn write(client: &Client, path: &str, series: &[Series<'_>]) -> Answer {
    client.post(path, &HEADERS, write_request(series)).await
}

#[tokio::test]
async fn a_write_is_seen_by_the_next_query() {
    let client = Client::new();
    let t = NOW_S * 1000;
    let up: &[(&str, &str)] = &[("__name__", "up"), ("job", "node")];
    let down: &[(&str, &str)] = &[("__name__", "up"), ("job", "db")];
    let a = write(&client, "/api/v1/write", &[(up, &[(t - 15_000, 1.0), (t, 1.0)]), (down, &[(t, 0.0)])]).await;
    assert_eq!((a.status.as_u16(), a.text().as_str()), (204, ""));
    let a = client.form("/api/v1/query", &format!("query=up&time={NOW_S}")).await;
    assert_eq!(
        a.text(),
        format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{"__name__":"up","job":"db"}},"value":[{NOW_S},"0"]}},{{"metric":{{"__name__":"up","job":"node"}},"value":[{NOW_S},"1"]}}]}}}}"#
        )
    );
    assert_eq!(a.header("x-trine-completeness"), "2/2");
    let a = client
        .get(&format!(
            "/prometheus/api/v1/query_range?query={}&start={}&end={NOW_S}&step=15",
            enc("sum(up)"),
            NOW_S - 15
        ))
        .await;
    assert_eq!(
        a.text(),
        format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[[{},"1"],[{NOW_S},"1"]]}}]}}}}"#,
            NOW_S - 15
        )
    );
    let a = client.get("/api/v1/labels").await;
    assert_eq!(a.text(), r#"{"status":"success","data":["__name__","job"]}"#);
    let a = client.get(&format!("/api/v1/label/job/values?match[]={}", enc("up{job=\"db\"}"))).await;
    assert_eq!(a.text(), r#"{"status":"success","data":["db"]}"#);
    let a = client.form("/api/v1/series", &format!("match[]={}&limit=1", enc("{__name__!=\"\"}"))).await;
    assert_eq!(
        a.text(),
        r#"{"status":"success","data":[{"__name__":"up","job":"db"}],"warnings":["results truncated due to limit"]}"#
    );
    // Another tenant sees nothing.
    let a = client.get_with("/api/v1/labels", &[("x-scope-orgid", "other")]).await;
    assert_eq!(a.text(), r#"{"status":"success","data":[]}"#);
}

#[tokio::test]
async fn a_retry_is_not_seen_twice_and_a_conflict_is_named() {
    let client = Client::new();
    let t = NOW_S * 1000;
    let up: &[(&str, &str)] = &[("__name__", "up"), ("job", "node")];
    for _ in 0..2 {
        assert_eq!(write(&client, "/api/v1/push", &[(up, &[(t, 1.0)])]).await.status, 200);
    }
    assert_eq!(client.cluster.outcomes.lock().unwrap().last().unwrap().repeated, 1);
    let a = write(&client, "/api/v1/write", &[(up, &[(t, 2.0), (t + 1, 3.0)])]).await;
    assert_eq!(a.status, 400);
    assert_eq!(
        a.text(),
        format!(
            "duplicate sample for timestamp {t}; overrides not allowed: existing 1, new value 2 for series {{__name__=\"up\", job=\"node\"}}\n1 of 2 samples rejected, the others are stored\n"
        )
    );
    let a = client.get(&format!("/api/v1/query?query={}&time={}", enc("up[1m]"), NOW_S + 1)).await;
    assert!(a.text().contains(&format!(r#""values":[[{NOW_S},"1"],[{NOW_S}.001,"3"]]"#)), "{}", a.text());
}

#[tokio::test]
async fn refusals_of_writes() {
    let client = Client::new();
    let t = NOW_S * 1000;
    let up: &[(&str, &str)] = &[("__name__", "up")];
    let a = write(&client, "/api/v1/write", &[(up, &[(t + 601_000, 1.0)])]).await;
    assert_eq!(a.status, 400);
    assert!(
        a.text().starts_with("out of bounds: timestamp is too far in the future for series {__name__=\"up\"}\n1 of 1"),
        "{}",
        a.text()
    );
    let body = write_request(&[(up, &[(t, 1.0)])]);
    for (headers, status) in [
        (vec![("content-type", "text/plain")], 415),
        (vec![("content-type", "application/x-protobuf;proto=unknown")], 415),
        (vec![("content-type", "application/x-protobuf"), ("content-encoding", "gzip")], 415),
        (vec![], 204),
        (
            vec![
                ("content-type", "application/x-protobuf;proto=prometheus.WriteRequest"),
                ("content-encoding", "snappy"),
            ],
            204,
        ),
    ] {
        assert_eq!(client.post("/api/v1/write", &headers, body.clone()).await.status.as_u16(), status, "{headers:?}");
    }
    let v2 = [
        ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
        ("content-encoding", "snappy"),
    ];
    let empty = snap::raw::Encoder::new().compress_vec(&[]).unwrap();
    let a = client.post("/api/v1/write", &v2, empty).await;
    assert_eq!((a.status.as_u16(), a.header("x-prometheus-remote-write-samples-written")), (204, "0"));
    assert_eq!(client.post("/api/v1/write", &HEADERS, "garbage").await.status, 400);
    assert_eq!(client.post("/api/v1/write", &HEADERS, vec![0; (32 << 20) + 1]).await.status, 413);
    assert_eq!(client.get("/api/v1/write").await.status, 405);
}

#[tokio::test]
async fn what_grafana_asks_first() {
    let client = Client::new();
    let a = client.form("/api/v1/query", "query=1%2B1&time=4").await;
    assert_eq!(a.text(), r#"{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}"#);
    assert_eq!(a.header("content-type"), "application/json");
    let a = client.get("/api/v1/status/buildinfo").await;
    assert!(a.json()["data"]["version"].is_string() && a.json()["data"]["features"].is_null());
    // The exemplar probe sends milliseconds as seconds.
    let a = client.get("/api/v1/query_exemplars?query=test&start=1795297600000&end=1795297660000").await;
    assert_eq!((a.status.as_u16(), a.text().as_str()), (200, r#"{"status":"success","data":[]}"#));
    let a = client.get("/api/v1/rules?file=a&file[]=b&exclude_alerts=true&group_limit=40").await;
    assert_eq!(a.text(), r#"{"status":"success","data":{"groups":[]}}"#);
    assert_eq!(client.get("/api/v1/alerts").await.text(), r#"{"status":"success","data":{"alerts":[]}}"#);
    assert_eq!(client.get("/api/v1/metadata").await.text(), r#"{"status":"success","data":{}}"#);
    let a = client.get("/config/v1/rules/test/test").await;
    assert_eq!((a.status.as_u16(), a.text().as_str()), (404, "group does not exist\n"));
}

#[tokio::test]
async fn errors_are_envelopes() {
    let client = Client::new();
    for (path, status, text) in [
        (
            "/api/v1/query?query=1&time=x",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"time\": invalid time value for 'time': cannot parse \"x\" to a valid timestamp"}"#,
        ),
        (
            "/api/v1/query_range?query=1&start=1&end=0&step=1",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"end\": end timestamp must not be before start time"}"#,
        ),
        (
            "/api/v1/query_range?query=1&start=0&end=11001&step=1",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"}"#,
        ),
        (
            "/api/v1/query_range?query=1&start=0&end=1&step=0",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer"}"#,
        ),
        ("/api/v1/series", 400, r#"{"status":"error","errorType":"bad_data","error":"no match[] parameter provided"}"#),
        ("/api/v1/series?match[]=%7B%7D", 400, ""),
        ("/api/v1/query?query=1%2B", 400, ""),
        (
            "/api/v1/query?query=up&limit=-1",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"limit\": limit must be non-negative"}"#,
        ),
        (
            "/api/v1/metadata?limit=x",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"limit must be a number"}"#,
        ),
    ] {
        let a = client.get(path).await;
        assert_eq!(a.status.as_u16(), status, "{path}: {}", a.text());
        assert_eq!(a.json()["status"], "error", "{path}");
        if !text.is_empty() {
            assert_eq!(a.text(), text, "{path}");
        }
    }
}

#[tokio::test]
async fn cors_and_compression() {
    let client = Client::new();
    let request = http::Request::options("/api/v1/query").header("origin", "http://x").body(axum::body::Body::empty());
    let a = client.send(request.unwrap()).await;
    assert_eq!((a.status.as_u16(), a.header("access-control-allow-origin")), (204, "*"));
    let t = NOW_S * 1000;
    let many: Vec<String> = (0..50).map(|i| format!("metric_number_{i}")).collect();
    for name in &many {
        write(&client, "/api/v1/write", &[(&[("__name__", name)], &[(t, 1.0)])]).await;
    }
    let a = client.get_with("/api/v1/label/__name__/values", &[("accept-encoding", "gzip")]).await;
    assert_eq!(a.header("content-encoding"), "gzip");
    let deflated = client.get_with("/api/v1/label/__name__/values", &[("accept-encoding", "deflate")]).await;
    assert_eq!(deflated.header("content-encoding"), "deflate");
    assert!(a.headers.get_all("vary").iter().any(|v| v.to_str().unwrap().eq_ignore_ascii_case("accept-encoding")));
}

#[tokio::test]
async fn statistics_count_samples_by_step() {
    let client = Client::new();
    let begin_s = NOW_S - 100;
    let samples: Vec<(i64, f64)> = (0..10).map(|n| ((begin_s + n * 10) * 1000, 1.0)).collect();
    assert_eq!(write(&client, "/api/v1/write", &[(&[("__name__", "m")], &samples)]).await.status, 204);
    let [first, second, third] = [30.5, 40.5, 50.5].map(|s| begin_s as f64 + s);
    let path = format!("/api/v1/query_range?query=sum_over_time(m[20s])&start={first}&end={third}&step=10");
    let samples = async |how: &str| {
        let mut answer = client.get(&format!("{path}&stats={how}")).await.json();
        answer["data"]["stats"]["samples"].take()
    };
    let (all, totals) = (samples("all").await, samples("true").await);
    assert_eq!((&all["totalQueryableSamples"], &all["samplesRead"]), (&6.into(), &4.into()), "{all}");
    let steps = |counts: [u64; 3]| serde_json::json!([[first, counts[0]], [second, counts[1]], [third, counts[2]]]);
    assert_eq!(all["totalQueryableSamplesPerStep"], steps([2; 3]));
    assert_eq!(all["samplesReadPerStep"], steps([2, 1, 1]));
    assert_eq!((&totals["totalQueryableSamples"], &totals["samplesRead"]), (&6.into(), &4.into()));
    assert!(totals["samplesReadPerStep"].is_null(), "{totals}");
}
