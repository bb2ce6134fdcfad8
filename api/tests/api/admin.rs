//! The admin REST and the node's own metrics.
use crate::client::Client;

#[tokio::test]
async fn documents() {
    let client = Client::new();
    assert_eq!(client.get("/admin/v1/cluster").await.json()["shards_count"], 2);
    assert_eq!(client.get("/admin/v1/nodes").await.json()[0]["name"], "n1");
    assert_eq!(client.get("/admin/v1/shards").await.json()[1]["shard"], 1);
    let a = client.post("/admin/v1/flush", &[], "").await;
    assert_eq!(a.json()["shards"], serde_json::json!([0, 1]));
    assert_eq!(client.get("/admin/v1/flush").await.status, 405);
    let a = client.get("/admin/v1/openapi.json").await;
    assert!(a.json()["paths"]["/admin/v1/flush"]["post"].is_object());
    assert!(a.json()["paths"]["/admin/v1/scrub"]["get"].is_object());
    assert!(client.post("/admin/v1/scrub", &[], "").await.json()["nodes"][0]["running"] == true);
    assert!(client.get("/admin/v1/scrub").await.json()["nodes"][0]["running"] == false);
    assert_eq!(client.get("/nowhere").await.status, 404);
}

#[tokio::test]
async fn every_family_is_documented() {
    let client = Client::new();
    client.get("/api/v1/query?query=1").await;
    let text = client.get("/metrics").await.text();
    assert!(text.contains("trine_api_requests_total{operation=\"prom_query\",code=\"200\"} 1\n"), "{text}");
    let table = std::fs::read_to_string("../docs/metrics.md").unwrap();
    for name in text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).filter_map(|l| l.split(' ').next()) {
        assert!(table.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
    }
}
