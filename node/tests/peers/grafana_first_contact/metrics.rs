//! The Prometheus data source.
use serde_json::{Value, json};

use super::{Seeded, assert_order, resource, strings};
use crate::harness::Http;

/// One counter with two points, one gauge.
pub(super) fn request(at_ns: i64) -> Value {
    let point = |time: i64, value: i64| {
        let exemplar =
            json!({"traceId": super::TRACE_ID, "timeUnixNano": time.to_string(), "asInt": value.to_string()});
        let attributes = json!([{"key": "http.route", "value": {"stringValue": "/cart"}}]);
        json!({"attributes": attributes, "startTimeUnixNano": (at_ns - 60_000_000_000).to_string(),
            "timeUnixNano": time.to_string(), "asInt": value.to_string(), "exemplars": [exemplar]})
    };
    let metrics = json!([
        {"name": "shop.orders", "description": "Orders taken.", "unit": "{order}", "sum": {"isMonotonic": true,
            "aggregationTemporality": 2, "dataPoints": [point(at_ns - 15_000_000_000, 10), point(at_ns, 25)]}},
        {"name": "shop.stock", "description": "Items in stock.", "unit": "", "gauge": {"dataPoints": [point(at_ns, 7)]}},
    ]);
    json!({"resourceMetrics": [{"resource": resource(), "scopeMetrics": [{"scope": {"name": "shop"}, "metrics": metrics}]}]})
}

pub(super) async fn check(node: &Http, seeded: &Seeded) {
    for prefix in ["", "/prometheus"] {
        save_and_test(node, prefix).await;
        panels(node, prefix, seeded).await;
        autocomplete(node, prefix, seeded).await;
        alerting(node, prefix).await;
    }
}

async fn save_and_test(node: &Http, prefix: &str) {
    let path = format!("{prefix}/api/v1/query");
    for reply in [
        node.post_form(&path, &[("query", "1+1"), ("time", "4")]).await,
        node.get(&path, &[("query", "1+1"), ("time", "4")]).await,
    ] {
        let answer = reply.json();
        assert_eq!(reply.content_type(), "application/json");
        assert_eq!(answer, json!({"status": "success", "data": {"resultType": "scalar", "result": [4, "2"]}}));
        assert_order(&reply.text(), "resultType", "result");
    }
    let info = node.json(&format!("{prefix}/api/v1/status/buildinfo"), &[]).await;
    assert_eq!(info["status"], "success");
    for key in ["version", "revision", "branch", "buildUser", "buildDate", "goVersion"] {
        assert!(info["data"][key].is_string(), "{key} in {info}");
    }
    if let Some(features) = info["data"].get("features") {
        let features = features.as_object().expect("features is an object");
        assert!(features.values().all(Value::is_string), "features must be strings: {info}");
    }
}

async fn panels(node: &Http, prefix: &str, seeded: &Seeded) {
    let at = seeded.seconds(0);
    let query = format!("{prefix}/api/v1/query");
    let instant = [("query", "shop_orders_total"), ("time", at.as_str())];
    let reply = node.post_form(&query, &instant).await;
    let labels = json!({"__name__": "shop_orders_total", "http_route": "/cart", "job": "shop"});
    let time: Value = at.parse::<i64>().expect("seconds are a number").into();
    assert_eq!(reply.json()["data"]["result"], json!([{"metric": labels, "value": [time, "25"]}]));
    assert_eq!(reply.json(), node.json(&query, &instant).await, "GET and POST agree");

    let (start, end) = (seeded.seconds(-30), seeded.seconds(30));
    let range = [("query", "increase(shop_orders_total[1m])"), ("start", &start), ("end", &end), ("step", "15")];
    let reply = node.post_form(&format!("{prefix}/api/v1/query_range"), &range).await;
    assert_eq!(reply.json()["data"]["resultType"], "matrix");
    assert_order(&reply.text(), "resultType", "result");
    assert!(!reply.json()["data"]["result"][0]["values"].as_array().expect("values").is_empty());

    // The plugin's probe gives milliseconds where seconds belong: a year near 50,000 must not be an error.
    let exemplars = [("query", "test"), ("start", "1700000000000"), ("end", "1700003600000")];
    let path = format!("{prefix}/api/v1/query_exemplars");
    for reply in [node.get(&path, &exemplars).await, node.post_form(&path, &exemplars).await] {
        assert_eq!(reply.json(), json!({"status": "success", "data": []}));
    }
    let about = [("query", "sum(rate(shop_orders_total[1m]))"), ("start", start.as_str()), ("end", end.as_str())];
    let reply = node.post_form(&path, &about).await;
    assert_order(&reply.text(), "seriesLabels", "exemplars");
    let found = &reply.json()["data"][0]["exemplars"];
    let newest = json!({"labels": {"trace_id": super::TRACE_ID}, "value": "25", "timestamp": time});
    assert_eq!((found.as_array().map(Vec::len), &found[1]), (Some(2), &newest));
    let reply = node.post_form(&query, &[("query", "sum(")]).await;
    assert_eq!((reply.status, reply.content_type()), (400, "application/json"));
    let answer: Value = serde_json::from_slice(&reply.body).expect("errors are JSON");
    assert_eq!((&answer["status"], &answer["errorType"]), (&json!("error"), &json!("bad_data")));
    assert!(answer["error"].is_string(), "{answer}");
}

async fn autocomplete(node: &Http, prefix: &str, seeded: &Seeded) {
    let (start, end) = (seeded.seconds(-3600), seeded.seconds(60));
    let window = [("start", start.as_str()), ("end", end.as_str()), ("limit", "40000")];
    let labels_path = format!("{prefix}/api/v1/labels");
    let labels = node.json(&labels_path, &window).await;
    assert_eq!(labels, node.post_form(&labels_path, &window).await.json(), "GET and POST agree");
    for expected in ["__name__", "http_route", "job"] {
        assert!(strings(&labels["data"]).contains(&expected), "{expected} in {labels}");
    }
    let names = node.json(&format!("{prefix}/api/v1/label/__name__/values"), &window).await;
    for expected in ["shop_orders_total", "shop_stock", "target_info"] {
        assert!(strings(&names["data"]).contains(&expected), "{expected} in {names}");
    }
    let escaped = node.json(&format!("{prefix}/api/v1/label/U__http_5f_route/values"), &window).await;
    assert_eq!(escaped["data"], json!(["/cart"]), "a U__ name is decoded");
    let unknown = node.json(&format!("{prefix}/api/v1/label/nowhere/values"), &window).await;
    assert_eq!(unknown, json!({"status": "success", "data": []}));

    let matched = [&[("match[]", "{__name__!=\"\"}")][..], &window].concat();
    let path = format!("{prefix}/api/v1/series");
    let series = node.post_form(&path, &matched).await.json();
    assert_eq!(series, node.json(&path, &matched).await, "GET and POST agree");
    let orders = json!({"__name__": "shop_orders_total", "http_route": "/cart", "job": "shop"});
    assert!(series["data"].as_array().expect("series").contains(&orders), "{series}");

    let metadata = node.json(&format!("{prefix}/api/v1/metadata"), &[]).await;
    assert_eq!(metadata["data"]["shop_orders_total"][0]["type"], "counter", "{metadata}");
    assert_eq!(metadata["data"]["shop_stock"][0]["help"], "Items in stock.", "{metadata}");
    assert!(metadata["data"]["shop_stock"][0]["unit"].is_string(), "{metadata}");
}

async fn alerting(node: &Http, prefix: &str) {
    // Grafana sends Prometheus' and Mimir's spelling of each filter in one request.
    let doubled = [
        ("file", "a"),
        ("file[]", "a"),
        ("rule_group", "b"),
        ("rule_group[]", "b"),
        ("rule_name", "c"),
        ("rule_name[]", "c"),
        ("exclude_alerts", "true"),
        ("group_limit", "40"),
    ];
    for parameters in [&[][..], &doubled[..]] {
        let rules = node.json(&format!("{prefix}/api/v1/rules"), parameters).await;
        assert_eq!(rules, json!({"status": "success", "data": {"groups": []}}));
    }
    let alerts = node.json(&format!("{prefix}/api/v1/alerts"), &[]).await;
    assert_eq!(alerts, json!({"status": "success", "data": {"alerts": []}}));
    let ruler = node.get(&format!("{prefix}/config/v1/rules"), &[]).await;
    assert_eq!((ruler.status, ruler.text().trim()), (200, "{}"));
    assert!(ruler.content_type().starts_with("application/yaml"), "{}", ruler.content_type());
    let probe = node.get(&format!("{prefix}/config/v1/rules/test/test"), &[]).await;
    assert_eq!(probe.status, 404);
    assert!(probe.text().contains("group does not exist"), "{}", probe.text());
}
