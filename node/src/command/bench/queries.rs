//! Queries that dashboards ask of a fleet, timed against a target that is at rest, and how soon an acknowledged sample is seen.
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value;

use super::load::{Signal, snappy};
use super::target::Target;
use super::{now_ns, wire};
use crate::error::Error;

/// What is asked of a load of metrics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Time of the load's last scrape, in ms.
    pub(super) end_ms: i64,
    /// From its first scrape to its last, in ms; long queries ask for no more.
    pub(super) span_ms: i64,
    /// How often each query is asked.
    pub(super) repeat: u32,
}

/// How long answers to one query took.
#[derive(Clone, Debug, Serialize)]
pub(super) struct QueryTime {
    pub(super) name: &'static str,
    pub(super) p50_ms: f64,
    pub(super) min_ms: f64,
    pub(super) max_ms: f64,
    /// Results in the last answer: series, label values, or samples of a single series.
    pub(super) results: usize,
}

/// One kind of query.
struct Question {
    name: &'static str,
    path: &'static str,
    /// The parameters, given the time that is asked for in seconds and the span of the data in seconds.
    parameters: fn(i64, i64) -> Vec<(&'static str, String)>,
}

const HOUR_S: i64 = 3600;
const QUERY_TIMEOUT: Duration = Duration::from_secs(60);
/// A sample that is not seen by then counts as that late.
const VISIBLE_PATIENCE: Duration = Duration::from_secs(30);
const VISIBLE_POLL: Duration = Duration::from_micros(200);
const VISIBLE_REPEAT: u32 = 5;

const QUESTIONS: [Question; 6] = [
    Question { name: "sum by (mode) of rate, 9 h, step 60 s", path: "/api/v1/query_range", parameters: sum_of_rates },
    Question { name: "histogram_quantile, 1 h, step 60 s", path: "/api/v1/query_range", parameters: quantile },
    Question { name: "regex over all series, instant", path: "/api/v1/query", parameters: regex_instant },
    Question { name: "one series raw, 1 h", path: "/api/v1/query", parameters: one_series },
    Question { name: "label values", path: "/api/v1/label/instance/values", parameters: label_values },
    Question { name: "series by regex", path: "/api/v1/series", parameters: series_by_regex },
];

fn range(query: &str, from_s: i64, end_s: i64) -> Vec<(&'static str, String)> {
    vec![
        ("query", query.to_owned()),
        ("start", from_s.to_string()),
        ("end", end_s.to_string()),
        ("step", "60".to_owned()),
        // VictoriaMetrics keeps answers; what is measured is making them.
        ("nocache", "1".to_owned()),
    ]
}

fn sum_of_rates(end_s: i64, span_s: i64) -> Vec<(&'static str, String)> {
    range("sum by (mode) (rate(node_cpu_seconds_total[5m]))", end_s - span_s.min(9 * HOUR_S), end_s)
}

fn quantile(end_s: i64, span_s: i64) -> Vec<(&'static str, String)> {
    let query = "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))";
    range(query, end_s - span_s.min(HOUR_S), end_s)
}

fn instant(query: &str, end_s: i64) -> Vec<(&'static str, String)> {
    vec![("query", query.to_owned()), ("time", end_s.to_string()), ("nocache", "1".to_owned())]
}

fn regex_instant(end_s: i64, _: i64) -> Vec<(&'static str, String)> {
    instant(r#"count({instance=~"10[.]20[.].*"})"#, end_s)
}

fn one_series(end_s: i64, _: i64) -> Vec<(&'static str, String)> {
    instant(r#"node_load1{instance="10.20.0.10:9100",numa_node="0"}[1h]"#, end_s)
}

fn label_values(end_s: i64, span_s: i64) -> Vec<(&'static str, String)> {
    vec![("start", (end_s - span_s.min(HOUR_S)).to_string()), ("end", end_s.to_string())]
}

fn series_by_regex(end_s: i64, span_s: i64) -> Vec<(&'static str, String)> {
    let mut all = label_values(end_s, span_s);
    all.push(("match[]", r#"{__name__=~"node_cpu.*",instance=~"10[.]20[.]0[.]1.*"}"#.to_owned()));
    all
}

/// Asks every query `asked.repeat` times, each time for a minute earlier, so that no answer serves twice.
pub(super) async fn ask(client: &reqwest::Client, target: &Target, asked: Asked) -> Result<Vec<QueryTime>, Error> {
    let base = target.bases.first().ok_or_else(|| Error::Bench("there is no URL to ask".into()))?;
    let bar = ProgressBar::new(QUESTIONS.len() as u64 * u64::from(asked.repeat) + u64::from(VISIBLE_REPEAT))
        .with_message(format!("queries to {}", target.name));
    let mut times = Vec::new();
    for question in &QUESTIONS {
        let mut took = Vec::new();
        let mut results = 0;
        // One more, to open the connection and what a first query opens.
        for nth in 0..=i64::from(asked.repeat) {
            let parameters = (question.parameters)(asked.end_ms / 1000 - 60 * nth, asked.span_ms / 1000);
            let started = Instant::now();
            let answer = get(client, &format!("{base}{}", question.path), &parameters).await?;
            if nth > 0 {
                took.push(started.elapsed());
                bar.inc(1);
            }
            results = count_results(&answer);
        }
        times.push(QueryTime::of(question.name, took, results));
    }
    let mut took = Vec::new();
    for nth in 0..VISIBLE_REPEAT {
        took.push(until_visible(client, target, base, nth).await?);
        bar.inc(1);
    }
    times.push(QueryTime::of("acknowledged until visible", took, 1));
    bar.finish_and_clear();
    Ok(times)
}

impl QueryTime {
    fn of(name: &'static str, mut took: Vec<Duration>, results: usize) -> Self {
        took.sort_unstable();
        let ms = |at: usize| took.get(at).map_or(0.0, |d| d.as_secs_f64() * 1e3);
        Self { name, p50_ms: ms(took.len() / 2), min_ms: ms(0), max_ms: ms(took.len().saturating_sub(1)), results }
    }
}

async fn get(client: &reqwest::Client, url: &str, parameters: &[(&'static str, String)]) -> Result<Value, Error> {
    let failed = |e: reqwest::Error| Error::Bench(format!("ask {url}: {}", crate::error::chain(&e)));
    let url = reqwest::Url::parse_with_params(url, parameters).map_err(|e| Error::Bench(format!("ask {url}: {e}")))?;
    let reply = client.get(url.clone()).timeout(QUERY_TIMEOUT).send().await.map_err(failed)?;
    let status = reply.status();
    let body = reply.bytes().await.map_err(failed)?;
    if !status.is_success() {
        let text = String::from_utf8_lossy(&body);
        return Err(Error::Bench(format!("ask {url}: {status}: {}", text.chars().take(300).collect::<String>())));
    }
    serde_json::from_slice(&body).map_err(|e| Error::Bench(format!("ask {url}: the answer is no JSON: {e}")))
}

/// Elements of `data` or of its `result`; of a single series with values, those.
fn count_results(answer: &Value) -> usize {
    let data = &answer["data"];
    let Some(list) = data.as_array().or_else(|| data["result"].as_array()) else { return 0 };
    match list.as_slice() {
        [one] if one["values"].is_array() => one["values"].as_array().map_or(0, Vec::len),
        list => list.len(),
    }
}

/// From the acknowledgement of a new series' sample to the first answer that has it.
async fn until_visible(client: &reqwest::Client, target: &Target, base: &str, nth: u32) -> Result<Duration, Error> {
    let url = target.urls.first().ok_or_else(|| Error::Bench("there is no URL to send to".into()))?;
    let now_ms = now_ns() / 1_000_000;
    let run = format!("{now_ms}-{nth}");
    let body = one_sample(&run, now_ms)?;
    let mut post = client.post(url).body(body);
    for (name, value) in Signal::Metrics.headers() {
        post = post.header(*name, *value);
    }
    let failed = |e: reqwest::Error| Error::Bench(format!("write to {url}: {}", crate::error::chain(&e)));
    post.send().await.map_err(failed)?.error_for_status().map_err(failed)?;
    let acknowledged = Instant::now();
    let query = instant(&format!(r#"trine_bench_visible{{run="{run}"}}"#), now_ms / 1000 + 1);
    loop {
        let answer = get(client, &format!("{base}/api/v1/query"), &query).await?;
        if count_results(&answer) > 0 || acknowledged.elapsed() > VISIBLE_PATIENCE {
            return Ok(acknowledged.elapsed());
        }
        tokio::time::sleep(VISIBLE_POLL).await;
    }
}

fn one_sample(run: &str, at_ms: i64) -> Result<bytes::Bytes, Error> {
    let mut series = Vec::new();
    for (name, value) in [("__name__", "trine_bench_visible"), ("run", run)] {
        let mut label = Vec::new();
        wire::bytes(&mut label, 1, name.as_bytes());
        wire::bytes(&mut label, 2, value.as_bytes());
        wire::bytes(&mut series, 1, &label);
    }
    let mut sample = Vec::new();
    wire::double(&mut sample, 1, 1.0);
    wire::int(&mut sample, 2, at_ms);
    wire::bytes(&mut series, 2, &sample);
    let mut message = Vec::new();
    wire::bytes(&mut message, 1, &series);
    snappy(&mut snap::raw::Encoder::new(), &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_each_form_are_counted() {
        let of = |text: &str| count_results(&serde_json::from_str(text).unwrap());
        assert_eq!(of(r#"{"data":{"resultType":"matrix","result":[{"values":[[1,"1"],[2,"2"]]}]}}"#), 2);
        assert_eq!(of(r#"{"data":{"resultType":"vector","result":[{"value":[1,"1"]}]}}"#), 1);
        assert_eq!(of(r#"{"data":{"result":[{"values":[]},{"values":[]}]}}"#), 2);
        assert_eq!(of(r#"{"data":["a","b","c"]}"#), 3);
        assert_eq!(of(r#"{"status":"error"}"#), 0);
    }

    #[test]
    fn times_are_of_the_middle() {
        let of = |ms: &[u64]| QueryTime::of("q", ms.iter().map(|m| Duration::from_millis(*m)).collect(), 0);
        let times = of(&[9, 1, 5]);
        assert_eq!((times.min_ms, times.p50_ms, times.max_ms), (1.0, 5.0, 9.0));
        assert_eq!(of(&[]).p50_ms, 0.0);
    }

    #[test]
    fn long_queries_stay_within_the_data() {
        let parameters = sum_of_rates(100_000, 600);
        assert_eq!(parameters[1], ("start", "99400".to_owned()));
    }
}
