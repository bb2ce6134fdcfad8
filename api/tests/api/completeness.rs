//! Every answer says what it comes from; one that lacks a shard says so, or is an error for who asked for strictness (P4).
use crate::client::Client;

/// Every kind of answer that comes from shards.
const QUERIES: [&str; 26] = [
    "/api/v1/query?query=up",
    "/api/v1/query_range?query=rate(up[1m])&start=0&end=60&step=15",
    "/api/v1/labels",
    "/api/v1/label/job/values",
    "/api/v1/series?match[]=up",
    "/api/v1/metadata",
    "/api/v1/search/metric_names?include_metadata=true",
    "/api/v1/search/label_names?search[]=job",
    "/api/v1/search/label_values?label=job",
    "/loki/api/v1/query_range?query=%7Bapp=%22x%22%7D",
    "/loki/api/v1/query?query=sum(count_over_time(%7Bapp=%22x%22%7D[1m]))",
    "/loki/api/v1/labels",
    "/loki/api/v1/label/app/values",
    "/loki/api/v1/series?match[]=%7Bapp=%22x%22%7D",
    "/loki/api/v1/index/stats?query=%7Bapp=%22x%22%7D",
    "/loki/api/v1/index/volume?query=%7Bapp=%22x%22%7D",
    "/loki/api/v1/index/volume_range?query=%7Bapp=%22x%22%7D",
    "/loki/api/v1/detected_labels",
    "/loki/api/v1/detected_fields?query=%7Bapp=%22x%22%7D",
    "/api/traces/2",
    "/api/v2/traces/2",
    "/api/search?q=%7B%7D",
    "/api/search/tags",
    "/api/v2/search/tags",
    "/api/search/tag/service.name/values",
    "/api/v2/search/tag/resource.service.name/values",
];

#[tokio::test]
async fn every_answer_names_its_shards_replicas_and_positions() {
    let client = Client::new();
    for path in QUERIES {
        let whole = client.get(path).await;
        assert_eq!(whole.header("x-trine-completeness"), "2/2", "{path}: {} {}", whole.status, whole.text());
        let shards = r#"0;node="n1";replica=5;position=0, 1;node="n1";replica=5;position=0"#;
        assert_eq!(whole.header("x-trine-shards"), shards, "{path}");
    }
}

#[tokio::test]
async fn a_missing_shard_is_said_and_refused_when_strict() {
    let client = Client::new();
    *client.cluster.missing.lock().unwrap() = Some(1);
    let missing = "shard 1 is missing from this answer (node n1): down";
    // Whether the trace exists is not known: a 404 would be a lie.
    let unknown = client.get("/api/traces/2").await;
    assert_eq!((unknown.status.as_u16(), unknown.text().as_str()), (503, missing));
    for path in QUERIES.into_iter().filter(|p| !p.starts_with("/api/traces/")) {
        let part = client.get(path).await;
        assert_eq!(part.header("x-trine-completeness"), "1/2", "{path}: {} {}", part.status, part.text());
        let shards = r#"0;node="n1";replica=5;position=0, 1;node="n1";missing"#;
        assert_eq!(part.header("x-trine-shards"), shards, "{path}");
        let in_body = match path {
            // The bodies of these have no place for it.
            p if p.contains("/index/stats") || p.contains("/detected_") => true,
            p if p.starts_with("/api/search/tag") => true,
            p if p.starts_with("/api/v2/traces/") => part.json()["message"] == missing,
            p if p.starts_with("/api/v1/search/") => {
                part.text().lines().next() == Some(&format!("{{\"results\":[],\"warnings\":[\"{missing}\"]}}"))
            }
            p if p.contains("search") => {
                (&part.json()["metrics"]["completedJobs"], &part.json()["metrics"]["totalJobs"])
                    == (&1.into(), &2.into())
            }
            _ => part.json()["warnings"][0] == missing,
        };
        assert!(in_body, "{path}: {}", part.text());

        let strict = client.get_with(path, &[("x-trine-strict", "true")]).await;
        assert_eq!(strict.status.as_u16(), 503, "{path}: {}", strict.text());
        assert!(strict.text().contains("shard 1"), "{path}: {}", strict.text());
    }
}
