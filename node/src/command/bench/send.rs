//! The clock: sends a load over its connections and counts what was acknowledged.
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use reqwest::{Response, StatusCode};
use serde::Serialize;

use super::load::{Load, Request};
use crate::error::Error;

/// What came of a load.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Sent {
    /// From the first request to the last answer.
    pub(super) seconds: f64,
    /// Facts and raw bytes in requests that were answered with 2xx, and no others.
    pub(super) facts: u64,
    pub(super) raw_bytes: u64,
    pub(super) requests: u64,
    /// Answers 429 and 503, after which the request was sent again.
    pub(super) retries_busy: u64,
    /// Requests without an answer, sent again.
    pub(super) retries_transport: u64,
    /// Requests that were refused with another status, or given up.
    pub(super) failed: u64,
    /// The first of those answers.
    pub(super) failure: Option<String>,
    /// Of acknowledged requests, with their retries.
    pub(super) latency_ms: Latency,
}

/// Quantiles, in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a request is repeated before the lane gives it up.
const RETRIES_MAX: u32 = 60;
/// A lane may be so many requests ahead of the slowest: agents that scrape by the clock do not drift apart either, and
/// Prometheus refuses what is an hour older than its newest sample.
const LEAD_MAX: usize = 24;

/// Sends every lane over a connection of its own, spread over `urls`.
pub(super) async fn send(load: &Load, urls: &[String], bar: &ProgressBar) -> Result<Sent, Error> {
    let pace = Pace::new(load.lanes.len());
    let mut clients = Vec::new();
    for (at, lane) in load.lanes.iter().enumerate() {
        // Never through a proxy, and a pool of one: a lane is one connection.
        let client = reqwest::Client::builder().no_proxy().http1_only().pool_max_idle_per_host(1).tcp_nodelay(true);
        let client = client.build().map_err(|e| Error::Bench(format!("make a client: {e}")))?;
        let url = urls.get(at % urls.len().max(1)).ok_or_else(|| Error::Bench("there is no URL to send to".into()))?;
        clients.push(Lane { client, url, at, requests: lane, pace: &pace, headers: load.signal.headers(), bar });
    }
    let started = Instant::now();
    let lanes = futures::future::join_all(clients.into_iter().map(Lane::run)).await;
    let mut sent = Sent { seconds: started.elapsed().as_secs_f64(), ..Sent::default() };
    let mut latencies_us = Vec::new();
    for (lane, lane_latencies_us) in lanes {
        sent.facts += lane.facts;
        sent.raw_bytes += lane.raw_bytes;
        sent.requests += lane.requests;
        sent.retries_busy += lane.retries_busy;
        sent.retries_transport += lane.retries_transport;
        sent.failed += lane.failed;
        sent.failure = sent.failure.or(lane.failure);
        latencies_us.extend(lane_latencies_us);
    }
    sent.latency_ms = quantiles(latencies_us);
    Ok(sent)
}

fn quantiles(mut latencies_us: Vec<u64>) -> Latency {
    latencies_us.sort_unstable();
    let at = |q: f64| {
        let index = (latencies_us.len().saturating_sub(1) as f64 * q).round() as usize;
        latencies_us.get(index).map_or(0.0, |us| *us as f64 / 1000.0)
    };
    Latency { p50: at(0.5), p99: at(0.99), max: at(1.0) }
}

/// How far each lane is, so that none runs ahead.
struct Pace {
    done: tokio::sync::watch::Sender<Vec<usize>>,
}

impl Pace {
    fn new(lanes: usize) -> Self {
        Self { done: tokio::sync::watch::Sender::new(vec![0; lanes]) }
    }

    /// Ends when no lane is more than [`LEAD_MAX`] behind `request`.
    async fn wait(&self, request: usize) {
        let mut done = self.done.subscribe();
        let near = |done: &Vec<usize>| done.iter().all(|d| d.saturating_add(LEAD_MAX) >= request);
        // The sender lives as long as `self`.
        drop(done.wait_for(near).await);
    }

    fn set(&self, lane: usize, done: usize) {
        self.done.send_modify(|all| all[lane] = done);
    }
}

/// One connection at work.
struct Lane<'a> {
    client: reqwest::Client,
    url: &'a str,
    at: usize,
    requests: &'a [Request],
    pace: &'a Pace,
    headers: &'static [(&'static str, &'static str)],
    bar: &'a ProgressBar,
}

impl Lane<'_> {
    async fn run(self) -> (Sent, Vec<u64>) {
        let mut sent = Sent::default();
        let mut latencies_us = Vec::with_capacity(self.requests.len());
        for (at, request) in self.requests.iter().enumerate() {
            self.pace.wait(at).await;
            let started = Instant::now();
            match self.deliver(request, &mut sent).await {
                Ok(()) => {
                    latencies_us.push(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
                    sent.facts += request.facts;
                    sent.raw_bytes += request.raw_bytes;
                    sent.requests += 1;
                    self.bar.inc(request.facts);
                }
                Err(reason) => {
                    sent.failed += 1;
                    sent.failure.get_or_insert(reason);
                }
            }
            self.pace.set(self.at, at + 1);
        }
        self.pace.set(self.at, usize::MAX);
        (sent, latencies_us)
    }

    /// Sends one request until it is acknowledged or refused for good.
    async fn deliver(&self, request: &Request, sent: &mut Sent) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..RETRIES_MAX {
            let mut post = self.client.post(self.url).timeout(REQUEST_TIMEOUT).body(request.body.clone());
            for (name, value) in self.headers {
                post = post.header(*name, *value);
            }
            match post.send().await {
                Ok(reply) if reply.status().is_success() => {
                    // Read to the end: only then can the connection be used again.
                    return reply.bytes().await.map(drop).map_err(|e| e.to_string());
                }
                Ok(reply)
                    if [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&reply.status()) =>
                {
                    sent.retries_busy += 1;
                    let wait = retry_after(&reply);
                    last = refusal(reply).await;
                    tokio::time::sleep(wait).await;
                }
                Ok(reply) => return Err(refusal(reply).await),
                Err(error) => {
                    sent.retries_transport += 1;
                    last = crate::error::chain(&error);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        Err(format!("given up after {RETRIES_MAX} tries: {last}"))
    }
}

/// The wait that the server asks for, else a second.
fn retry_after(reply: &Response) -> Duration {
    let value =
        reply.headers().get("retry-after").and_then(|v| v.to_str().ok()).and_then(|v| v.trim().parse::<u64>().ok());
    Duration::from_secs(value.unwrap_or(1).min(30))
}

async fn refusal(reply: Response) -> String {
    let status = reply.status();
    let text = reply.text().await.unwrap_or_default();
    format!("{status}: {}", text.chars().take(300).collect::<String>().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_and_of_none() {
        let of = |us: &[u64]| {
            let l = quantiles(us.to_vec());
            (l.p50, l.p99, l.max)
        };
        assert_eq!(of(&[]), (0.0, 0.0, 0.0));
        assert_eq!(of(&[3_000]), (3.0, 3.0, 3.0));
        assert_eq!(of(&[5_000, 1_000, 3_000]), (3.0, 5.0, 5.0));
    }

    #[tokio::test]
    async fn a_lane_waits_for_the_slowest() {
        let pace = Pace::new(2);
        pace.set(0, LEAD_MAX + 1);
        let mut ahead = Box::pin(pace.wait(LEAD_MAX + 1));
        assert!(futures::poll!(&mut ahead).is_pending());
        pace.set(1, 1);
        ahead.await;
    }
}
