//! Labels that are taken off where they come in: what would be left, what is stored, what is said.
use serde_json::{Value, json};

use crate::client::{Client, NOW_S, enc};
use crate::prom::HEADERS;
use crate::prom_read::series;
use crate::prom_write::{V2, counts, v2};
use crate::wire::{exemplar, message, sample, snappy};

const T: i64 = NOW_S * 1000;
/// Samples from here on lose the label.
const FROM: i64 = T + 15_000;
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// Logins of these users at some times, each with its user's number as value.
async fn logins(client: &Client, users: std::ops::Range<i64>, times_ms: &[i64]) -> (u16, String) {
    let mut request = Vec::new();
    for user in users {
        let labels = [("__name__", "logins_total"), ("job", "a"), ("user", &user.to_string())];
        let samples = times_ms.iter().map(|t| (2, sample(*t, user as f64)));
        let fields = samples.chain([(3, exemplar(&[("trace_id", "x")], 1.0, times_ms[0]))]).collect::<Vec<_>>();
        message(&mut request, 1, &series(&labels, &fields));
    }
    let answer = client.post("/api/v1/write", &HEADERS, snappy(&request)).await;
    (answer.status.as_u16(), answer.text())
}

async fn demote(client: &Client, more: Value) -> (u16, Value) {
    let mut body = json!({"metric": "logins_total", "label": "user"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = client.post("/admin/v1/demotions", &JSON, body.to_string()).await;
    (answer.status.as_u16(), answer.json())
}

/// Series with samples around `FROM`, each with its values in order of time.
async fn stored(client: &Client) -> Vec<(String, Vec<String>)> {
    let answer = client.get(&format!("/api/v1/query?query={}&time={}", enc("logins_total[1m]"), NOW_S + 45)).await;
    let result = answer.json()["data"]["result"].as_array().unwrap().clone();
    let values =
        |s: &Value| s["values"].as_array().unwrap().iter().map(|v| v[1].as_str().unwrap().to_owned()).collect();
    let user = |s: &Value| s["metric"]["user"].as_str().unwrap_or("-").to_owned();
    result.iter().map(|s| (user(s), values(s))).collect()
}

#[tokio::test]
async fn sources_that_would_meet_are_counted_and_refused_without_force() {
    let client = Client::new();
    assert_eq!(logins(&client, 1..4, &[T]).await.0, 204);
    let (status, answer) = demote(&client, json!({"dry_run": true})).await;
    let mut counted = answer.clone();
    assert!(counted["objection"].take().as_str().unwrap().contains("would become 1"), "{answer}");
    let answer = counted;
    let counted = json!({"demotion": null, "series": 3, "series_left": 1, "shared": 1, "sources_most": 3, "objection": null,
        "warnings": []});
    assert_eq!((status, answer), (200, counted));
    let (status, answer) = demote(&client, json!({})).await;
    let said = answer["error"].as_str().unwrap();
    assert!(status == 400 && said.contains("the 3 series of \"logins_total\" would become 1, of which 1"), "{said}");
    assert!(client.cluster.demotions.lock().unwrap().is_empty(), "neither did anything");
    for (more, why) in [
        (json!({"metric": "nothing"}), "no series of metric \"nothing\""),
        (json!({"label": "region"}), "no series of metric \"logins_total\" of tenant \"default\" has a current sample"),
        (json!({"tenant": "team-b"}), "tenant \"team-b\""),
        (json!({"tenant": "a/b"}), "unsupported character"),
        (json!({"label": "__name__", "force": true}), "cannot be demoted"),
        (json!({"label": "", "force": true}), "label is empty"),
        (json!({"labels": "user"}), "unknown field"),
    ] {
        let (status, answer) = demote(&client, more.clone()).await;
        assert!(status == 400 && answer["error"].as_str().unwrap().contains(why), "{more}: {answer}");
    }
    let (status, answer) = demote(&client, json!({"force": true})).await;
    let row = json!({"tenant": "default", "metric": "logins_total", "label": "user", "from_unix_ms": FROM,
        "until_unix_ms": null, "in_effect": false});
    assert_eq!((status, &answer["demotion"]), (200, &row));
    assert_eq!(client.get("/admin/v1/demotions").await.json(), json!({ "demotions": [row] }));
}

#[tokio::test]
async fn samples_lose_the_label_by_their_own_time_and_the_first_of_a_time_is_kept() {
    let client = Client::new();
    assert_eq!(logins(&client, 1..3, &[T]).await.0, 204);
    assert_eq!(demote(&client, json!({"force": true})).await.0, 200);
    // One request on both sides; a second one that comes before again, and one that is sent again whole.
    let sent = logins(&client, 1..3, &[T, FROM - 1, FROM, FROM + 10_000]).await;
    assert_eq!(sent, (204, String::new()), "that others were first is not the client's fault");
    let whole = ["1", "1"].map(str::to_owned).to_vec();
    let expected = vec![
        ("-".to_owned(), whole.clone()),
        ("1".to_owned(), whole),
        ("2".to_owned(), ["2", "2"].map(str::to_owned).to_vec()),
    ];
    let mut seen = stored(&client).await;
    seen.sort();
    assert_eq!(seen, expected);
    assert_eq!(logins(&client, 1..3, &[T, FROM - 1, FROM, FROM + 10_000]).await.0, 204);
    let mut again = stored(&client).await;
    again.sort();
    assert_eq!(again, expected, "a retry lands where the first try did");
    let metrics = client.get("/metrics").await.text();
    let count = |outcome: &str| {
        let line =
            metrics.lines().find(|l| l.starts_with("trine_api_facts_total") && l.contains(&format!("\"{outcome}\"")));
        line.unwrap_or_else(|| panic!("{outcome} is not in\n{metrics}")).rsplit(' ').next().unwrap().to_owned()
    };
    // The older of the two is found where samples are merged.
    assert_eq!((count("conflict"), count("demoted_conflict")), ("0".to_owned(), "1".to_owned()));
    // What is the client's fault is said still, and only that.
    let (status, text) = logins(&client, 7..8, &[FROM]).await;
    assert_eq!((status, text.as_str()), (204, ""));
    let labels = [("__name__", "logins_total"), ("job", "a")];
    let mut request = Vec::new();
    message(&mut request, 1, &series(&labels, &[(2, sample(FROM + 10_000, 9.0))]));
    let answer = client.post("/api/v1/write", &HEADERS, snappy(&request)).await;
    assert!(answer.status == 400 && answer.text().contains("duplicate sample for timestamp"), "{}", answer.text());
}

#[tokio::test]
async fn remote_write_2_counts_what_was_kept_and_a_restored_label_is_kept_again() {
    let client = Client::new();
    assert_eq!(logins(&client, 1..2, &[T]).await.0, 204);
    assert_eq!(demote(&client, json!({})).await.0, 200, "one source needs no force");
    let symbols = ["", "__name__", "logins_total", "user", "1", "2"];
    let request = |time_ms| {
        v2(
            &symbols,
            &[(&[1, 2, 3, 4], vec![(2, sample(time_ms, 1.0))]), (&[1, 2, 3, 5], vec![(2, sample(time_ms, 2.0))])],
        )
    };
    let answer = client.post("/api/v1/write", &V2, request(FROM)).await;
    assert_eq!((answer.status.as_u16(), counts(&answer)), (204, ["1", "0", "0"].map(str::to_owned)));
    let restore = |body: Value| client.post("/admin/v1/demotions/restore", &JSON, body.to_string());
    let answer = restore(json!({"metric": "logins_total", "label": "job"})).await;
    assert!(answer.status == 400 && answer.text().contains("not demoted"), "{}", answer.text());
    let answer = restore(json!({"metric": "logins_total", "label": "user"})).await.json();
    assert_eq!((&answer["from_unix_ms"], &answer["until_unix_ms"]), (&FROM.into(), &(T + 30_000).into()));
    let answer = client.post("/api/v1/write", &V2, request(T + 30_000)).await;
    assert_eq!((answer.status.as_u16(), counts(&answer)), (204, ["2", "0", "0"].map(str::to_owned)));
    let mut users: Vec<String> = stored(&client).await.into_iter().map(|(user, _)| user).collect();
    users.sort();
    assert_eq!(users, ["-", "1", "1", "2"], "with job a, and without job: with and without user");
}
