//! Every page of Prometheus' API that is the same whatever is stored: answers, checks of parameters, methods.
use trine_api::ApiConfig;

use crate::client::{Client, enc};

const ERROR: &str = r#"{"status":"error","errorType":"bad_data","error":"#;

fn ok(data: &str) -> String {
    format!(r#"{{"status":"success","data":{data}}}"#)
}

fn bad(text: &str) -> String {
    format!("{ERROR}{}}}", serde_json::Value::from(text))
}

#[tokio::test]
async fn pages_and_their_parameters() {
    let client = Client::new();
    let no_groups = ok(r#"{"groups":[]}"#);
    let doubled = "/api/v1/rules?rule_name=a&rule_name[]=a&rule_group[]=g&rule_group=g&file=f&file[]=f&type=alert&exclude_alerts=true&group_limit=40&match[]=up";
    for (path, status, expected) in [
        (doubled.to_owned(), 200, no_groups.clone()),
        ("/api/v1/rules?type=Record".to_owned(), 200, no_groups),
        ("/api/v1/rules?type=x".to_owned(), 400, bad(r#"invalid parameter "type": not supported value "x""#)),
        (
            "/api/v1/rules?exclude_alerts=x".to_owned(),
            400,
            bad(
                r#"invalid parameter "exclude_alerts": error converting exclude_alerts: strconv.ParseBool: parsing "x": invalid syntax"#,
            ),
        ),
        (
            "/api/v1/rules?group_limit=0".to_owned(),
            400,
            bad(r#"invalid parameter "group_limit": group_limit needs to be greater than 0"#),
        ),
        (
            "/api/v1/rules?group_next_token=x".to_owned(),
            400,
            bad(
                r#"invalid parameter "group_next_token": group_limit needs to be present in order to paginate over the groups"#,
            ),
        ),
        (
            "/api/v1/rules?group_next_token=x&group_limit=1".to_owned(),
            400,
            bad(r#"invalid parameter "group_next_token": invalid group_next_token 'x'. were rule groups changed?"#),
        ),
        ("/prometheus/api/v1/alerts".to_owned(), 200, ok(r#"{"alerts":[]}"#)),
        (
            "/api/v1/targets?state=ACTIVE".to_owned(),
            200,
            ok(r#"{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":null}"#),
        ),
        ("/api/v1/targets".to_owned(), 200, ok(r#"{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}"#)),
        ("/api/v1/targets/metadata?limit=x".to_owned(), 400, bad("limit must be a number")),
        ("/api/v1/targets/metadata?match_target=up&metric=a".to_owned(), 200, ok("[]")),
        ("/api/v1/targets/relabel_steps".to_owned(), 400, bad("no scrapePool parameter provided")),
        ("/api/v1/targets/relabel_steps?scrapePool=a".to_owned(), 400, bad("no labels parameter provided")),
        ("/api/v1/scrape_pools".to_owned(), 200, ok(r#"{"scrapePools":[]}"#)),
        ("/api/v1/alertmanagers".to_owned(), 200, ok(r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#)),
        ("/api/v1/status/walreplay".to_owned(), 200, ok(r#"{"min":0,"max":0,"current":0}"#)),
        ("/api/v1/status/tsdb/blocks".to_owned(), 200, ok(r#"{"blocks":[]}"#)),
        ("/api/v1/notifications".to_owned(), 200, ok("[]")),
        (format!("/api/v1/format_query?query={}", enc("a/b")), 200, ok(r#""a / b""#)),
        ("/api/v1/labels?match[]=%7B%7D".to_owned(), 400, bad("match[] must contain at least one non-empty matcher")),
        (
            "/api/v1/series?match[]=%7B%7D".to_owned(),
            400,
            bad(r#"invalid parameter "match[]": match[] must contain at least one non-empty matcher"#),
        ),
        (
            "/api/v1/labels?limit=x".to_owned(),
            400,
            bad(r#"invalid parameter "limit": strconv.Atoi: parsing "x": invalid syntax"#),
        ),
        (
            "/api/v1/labels?limit=99999999999999999999".to_owned(),
            400,
            bad(r#"invalid parameter "limit": strconv.Atoi: parsing "99999999999999999999": value out of range"#),
        ),
        (
            "/api/v1/query_range?query=1&start=x&end=2&step=1".to_owned(),
            400,
            bad(r#"invalid parameter "start": cannot parse "x" to a valid timestamp"#),
        ),
        (
            "/api/v1/query_range?query=1&start=1&end=2&step=1e299".to_owned(),
            400,
            bad(r#"invalid parameter "step": cannot parse "1e299" to a valid duration. It overflows int64"#),
        ),
        (
            "/api/v1/query_range?query=1&start=1&end=2".to_owned(),
            400,
            bad(r#"invalid parameter "step": cannot parse "" to a valid duration"#),
        ),
        (
            "/api/v1/query_range?query=1&start=0&end=9&step=0.0001".to_owned(),
            400,
            bad(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
            ),
        ),
        (
            "/api/v1/query?limit=-1&time=x&timeout=x&query=%28".to_owned(),
            400,
            bad(r#"invalid parameter "limit": limit must be non-negative"#),
        ),
        (
            "/api/v1/query?timeout=x&lookback_delta=x&query=%28".to_owned(),
            400,
            bad(r#"invalid parameter "timeout": cannot parse "x" to a valid duration"#),
        ),
        (
            "/api/v1/series?match[]=%28&start=x".to_owned(),
            400,
            bad(r#"invalid parameter "start": invalid time value for 'start': cannot parse "x" to a valid timestamp"#),
        ),
        (
            "/api/v1/query?query=".to_owned(),
            400,
            bad(r#"invalid parameter "query": unknown position: parse error: no expression found in input"#),
        ),
        (
            "/api/v1/format_query".to_owned(),
            400,
            bad(r#"invalid parameter "query": unknown position: parse error: no expression found in input"#),
        ),
        (
            "/api/v1/parse_query?query=%20%0A".to_owned(),
            400,
            bad(r#"invalid parameter "query": 1:1: parse error: no expression found in input"#),
        ),
        (
            "/api/v1/query?query=1&lookback_delta=x".to_owned(),
            400,
            bad(r#"error parsing lookback delta duration: cannot parse "x" to a valid duration"#),
        ),
        (
            "/api/v1/query?query=1&time=4&lookback_delta=0".to_owned(),
            200,
            ok(r#"{"resultType":"scalar","result":[4,"1"]}"#),
        ),
        ("/config/v1/rules".to_owned(), 200, "{}\n".to_owned()),
        ("/prometheus/config/v1/rules/a%2Fb".to_owned(), 200, "{}\n".to_owned()),
        ("/prometheus/rules/a%2Fb/c".to_owned(), 404, "group does not exist\n".to_owned()),
    ] {
        let a = client.get(&path).await;
        assert_eq!((a.status.as_u16(), a.text()), (status, expected), "{path}");
    }
    let a = client.get("/config/v1/rules").await;
    assert_eq!(a.header("content-type"), "application/yaml");
    for path in ["/-/reload", "/-/quit"] {
        let a = client.post(path, &[], "").await;
        assert_eq!((a.status.as_u16(), a.text().as_str()), (403, "Lifecycle API is not enabled."));
        assert_eq!(client.get(path).await.status, 405);
    }
    let request = http::Request::delete("/api/v1/query").body(axum::body::Body::empty()).unwrap();
    let a = client.send(request).await;
    assert_eq!((a.status.as_u16(), a.text().as_str()), (405, "Method Not Allowed\n"));
    let a = client.get("/alertmanager/api/v1/status/buildinfo").await;
    assert!(a.json()["data"]["application"].is_null());
    for path in ["/-/healthy", "/-/ready", "/ready"] {
        let request = http::Request::head(path).body(axum::body::Body::empty()).unwrap();
        assert_eq!(client.send(request).await.status, 200, "HEAD {path}");
    }
}

#[tokio::test]
async fn admin_pages_are_turned_off() {
    let client = Client::new();
    let disabled = r#"{"status":"error","errorType":"unavailable","error":"admin APIs disabled"}"#;
    for (path, status, expected) in [
        ("delete_series?match[]=up", 500, disabled.to_owned()),
        ("delete_series", 400, bad("no match[] parameter provided")),
        (
            "delete_series?match[]=up&start=x",
            400,
            bad(r#"invalid parameter "start": invalid time value for 'start': cannot parse "x" to a valid timestamp"#),
        ),
        ("clean_tombstones", 500, disabled.to_owned()),
        ("snapshot?skip_head=true", 500, disabled.to_owned()),
        (
            "snapshot?skip_head=x",
            400,
            bad(
                r#"invalid parameter "skip_head": unable to parse boolean: strconv.ParseBool: parsing "x": invalid syntax"#,
            ),
        ),
    ] {
        let path = format!("/api/v1/admin/tsdb/{path}");
        for method in ["POST", "PUT"] {
            let request = http::Request::builder().method(method).uri(&path).body(axum::body::Body::empty());
            let a = client.send(request.unwrap()).await;
            assert_eq!((a.status.as_u16(), a.text()), (status, expected.clone()), "{method} {path}");
        }
        assert_eq!(client.get(&path).await.status, 405, "{path}");
    }
}

#[tokio::test]
async fn what_this_server_says_of_itself() {
    let config =
        ApiConfig { external_labels: [("cluster".to_owned(), "east".to_owned())].into(), ..ApiConfig::default() };
    let client = Client::with(config);
    let data = async |path: &str| client.get(path).await.json()["data"].clone();
    let yaml = data("/api/v1/status/config").await;
    assert!(yaml["yaml"].as_str().unwrap().contains("  external_labels:\n    \"cluster\": \"east\"\n"), "{yaml}");
    let flags = data("/prometheus/api/v1/status/flags").await;
    assert_eq!(
        (&flags["query.lookback-delta"], &flags["web.enable-remote-write-receiver"]),
        (&"300s".into(), &"true".into())
    );
    assert!(flags.as_object().unwrap().values().all(serde_json::Value::is_string));
    let info = data("/api/v1/status/runtimeinfo").await;
    for key in ["startTime", "serverTime", "lastConfigTime", "storageRetention"] {
        assert!(info[key].is_string(), "{key} in {info}");
    }
    let features = data("/api/v1/features").await;
    assert_eq!((&features["promql_functions"]["rate"], &features["api"]["admin"]), (&true.into(), &false.into()));
    assert_eq!((&features["api"]["search"], &flags["web.search.max-limit"]), (&true.into(), &"10000".into()));
    let own = data("/api/v1/status/self_metrics?metric_name_pattern=trine_api_inflight.*").await;
    assert_eq!(own[0]["name"], "trine_api_inflight_bytes");
    assert_eq!(client.get("/api/v1/status/self_metrics?metric_name_pattern=(").await.status, 400);
    let a = client.get(&format!("/api/v1/parse_query?query={}", enc("-up"))).await;
    assert_eq!(a.json()["data"]["type"], "unaryExpr", "{}", a.text());
    let a = client.get("/api/v1/query?query=1&stats=some").await;
    let warning = r#"value "some" for parameter "stats" is deprecated and will be rejected in the next major release, use "true" or "all""#;
    assert_eq!(a.json()["warnings"][0], warning);
    assert!(a.json()["data"]["stats"]["timings"]["evalTotalTime"].is_number());
    assert!(client.get("/api/v1/query?query=1&stats=all").await.json()["warnings"].is_null());
    assert!(client.get("/api/v1/query?query=1&stats=").await.json()["data"]["stats"].is_null());
}

#[tokio::test]
async fn a_node_that_is_not_ready_says_so_but_for_what_tells_how_far_it_is() {
    let client = Client::new();
    *client.cluster.ready.lock().unwrap() = Err("opening".to_owned());
    for (path, status) in [
        ("/api/v1/query?query=1", 503),
        ("/api/v1/status/tsdb", 503),
        ("/api/v1/targets", 503),
        ("/api/v1/rules", 503),
        ("/federate?match[]=up", 503),
        ("/api/v1/status/walreplay", 200),
        ("/api/v1/notifications", 200),
        ("/prometheus/api/v1/notifications", 200),
    ] {
        let a = client.get(path).await;
        assert_eq!(a.status, status, "{path}");
        if status == 503 {
            assert_eq!(
                (a.text().trim_end(), a.header("x-prometheus-stopping")),
                ("Service Unavailable", "false"),
                "{path}"
            );
        }
    }
}
