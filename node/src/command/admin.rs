//! `trine admin`: the admin REST API in a terminal, and what is done to a node that does not run.
mod bars;
mod blocks;
mod cardinality;
mod demotion;
mod healing;
mod ledger;
mod metadata;
mod scrub;
mod spread;

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use trine_api::admin::model::{AdminCluster, AdminNode, AdminShard, FlushReport};

use super::out;
use super::url::server_url;
use crate::cli::{AdminCommand, AdminFlags};
use crate::error::{Error, chain, io};
use crate::stop::Stop;

pub(crate) fn run(flags: AdminFlags) -> Result<(), Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io("start the runtime"))?;
    let url = server_url(&flags.url).map_err(Error::Admin)?.as_str().trim_end_matches('/').to_owned();
    let client = Client { http: reqwest::Client::new(), url };
    runtime.block_on(async {
        match flags.command {
            AdminCommand::Status { watch, json } => status(&client, watch, json).await,
            AdminCommand::Flush => flush(&client).await,
            AdminCommand::Scrub { watch } => scrub::run(&client, watch).await,
            AdminCommand::Healing { json } => healing::show(&client, json).await,
            AdminCommand::Ledger { verify, tenant, json } => {
                ledger::run(&client, verify, tenant.as_deref(), json).await
            }
            AdminCommand::Blocks { tenant, json } => blocks::run(&client, tenant.as_deref(), json).await,
            AdminCommand::Cardinality { tenant, limit, json } => {
                cardinality::run(&client, tenant.as_deref(), limit, json).await
            }
            AdminCommand::Demotions { command, json } => demotion::run(&client, command, json).await,
            AdminCommand::Spread { command, json } => spread::run(&client, command, json).await,
            AdminCommand::RemoveNode { name, drain } => healing::remove_node(&client, &name, drain).await,
            AdminCommand::ExportMetadata { out } => metadata::export(&client, &out).await,
            AdminCommand::RecoverMetadata(flags) => metadata::recover(&flags).await,
        }
    })
}

/// How the admin API words a failure.
#[derive(serde::Deserialize)]
struct AdminRefusal {
    error: String,
}

struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    async fn call<T: serde::de::DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, Error> {
        let unreachable = |e: reqwest::Error| {
            Error::Admin(format!("no answer from {}: {}; give a node's address with --url", self.url, chain(&e)))
        };
        let reply = request.send().await.map_err(unreachable)?;
        let (status, text) = (reply.status(), reply.text().await.map_err(unreachable)?);
        if let Ok(AdminRefusal { error }) = serde_json::from_str(&text)
            && !status.is_success()
        {
            return Err(Error::Admin(format!("{}: {error}", self.url)));
        }
        if !status.is_success() {
            return Err(Error::Admin(format!("{} answered {status}: {text}", self.url)));
        }
        serde_json::from_str(&text)
            .map_err(|e| Error::Admin(format!("{} gave an answer of another kind: {e}", self.url)))
    }

    /// What the node says of its readiness.
    async fn readiness(&self) -> Result<String, Error> {
        let unreachable = |e: reqwest::Error| Error::Admin(format!("no answer from {}: {}", self.url, chain(&e)));
        let request = self.http.get(format!("{}/ready", self.url)).timeout(Duration::from_secs(10));
        let reply = request.send().await.map_err(unreachable)?;
        Ok(reply.text().await.map_err(unreachable)?.trim_end().to_owned())
    }

    /// As [`Self::get`] with a query of these names and values, which may be any text.
    async fn get_with<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        params: impl IntoIterator<Item = (&'static str, &str)>,
    ) -> Result<T, Error> {
        let mut params = params.into_iter().peekable();
        if params.peek().is_none() {
            return self.get(path).await;
        }
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.url), params);
        let url = url.map_err(|e| Error::Admin(format!("{}{path} is no URL: {e}", self.url)))?;
        self.call(self.http.get(url).timeout(Duration::from_secs(60))).await
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.call(self.http.get(format!("{}{path}", self.url)).timeout(Duration::from_secs(10))).await
    }
}

async fn status(client: &Client, watch: bool, json: bool) -> Result<(), Error> {
    loop {
        let cluster: AdminCluster = client.get("/admin/v1/cluster").await?;
        let nodes: Vec<AdminNode> = client.get("/admin/v1/nodes").await?;
        let shards: Vec<AdminShard> = client.get("/admin/v1/shards").await?;
        let text = if json {
            let document = serde_json::json!({ "cluster": cluster, "nodes": nodes, "shards": shards });
            format!("{document:#}\n")
        } else if shards.is_empty() {
            let text = without_cluster(&client.url, &cluster, &client.readiness().await?);
            if !watch {
                return Err(Error::Admin(text));
            }
            format!("{text}\n")
        } else {
            table(&cluster, &nodes, &shards)
        };
        if !watch {
            return out::print(text);
        }
        // Clear the screen and go home.
        out::print(format_args!("\x1b[2J\x1b[H{text}"))?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The status of a node that knows no shards, in one sentence.
fn without_cluster(url: &str, cluster: &AdminCluster, readiness: &str) -> String {
    // It may have found its cluster since it was asked.
    let why = if readiness == "ready" { "it has just found its cluster; ask again" } else { readiness };
    format!("{} at {url}, version {}, shows no shards: {why}", cluster.node, cluster.version)
}

/// The status as a person reads it.
fn table(cluster: &AdminCluster, nodes: &[AdminNode], shards: &[AdminShard]) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        std::fmt::Write::write_fmt(&mut out, text)
            .and_then(|()| out.write_char('\n'))
            .expect("writing to a string does not fail");
    };
    let health = match cluster.shards_without_leader.len() {
        0 => "every shard has a leader".to_owned(),
        n => format!("{n} shards WITHOUT A LEADER: {:?}", cluster.shards_without_leader),
    };
    line(format_args!(
        "cluster {}  version {}  {} nodes  {} shards",
        cluster.id,
        cluster.version,
        nodes.len(),
        shards.len()
    ));
    line(format_args!("metadata leader {}  {health}", cluster.metadata_leader.as_deref().unwrap_or("NONE")));
    line(format_args!(""));
    line(format_args!(
        "{:<16} {:<9} {:<22} {:<10} {:>7} {:>8} {:>19} {:>10} {:>10}",
        "NODE", "STATE", "ADDRESS", "ZONE", "LEADERS", "REPLICAS", "MEMORY", "DISK USED", "DISK FREE"
    ));
    for n in nodes {
        let state = state_of(n);
        let memory = format!("{} of {}", bytes(n.memory_bytes), bytes(n.memory_budget_bytes));
        line(format_args!(
            "{:<16} {state:<9} {:<22} {:<10} {:>7} {:>8} {memory:>19} {:>10} {:>10}",
            n.name,
            n.http_address.as_deref().unwrap_or(&n.address),
            n.zone,
            n.leaders_count,
            n.replicas_count,
            bytes(n.disk_used_bytes),
            bytes(n.disk_free_bytes),
        ));
    }
    line(format_args!(""));
    line(format_args!(
        "{:<6} {:<16} {:>5} {:>10} {:>10} {:>10} {:>7}  REPLICAS (lag)",
        "SHARD", "LEADER", "TERM", "APPLIED", "HEAD", "BLOCKS", "FILES"
    ));
    for s in shards {
        let applied = s.applied.unwrap_or(0);
        let replicas: Vec<String> = s
            .replicas
            .iter()
            .map(|r| {
                let kind = if r.voter { "" } else { " learner" };
                match r.matched {
                    Some(at) => format!("{}{kind} ({})", r.node, applied.saturating_sub(at)),
                    None => format!("{}{kind} (?)", r.node),
                }
            })
            .collect();
        line(format_args!(
            "{:<6} {:<16} {:>5} {applied:>10} {:>10} {:>10} {:>7}  {}",
            s.shard,
            s.leader.as_deref().unwrap_or("NONE"),
            s.term,
            bytes(s.head_bytes.unwrap_or(0)),
            bytes(s.blocks_bytes.unwrap_or(0)),
            s.blocks_count.unwrap_or(0),
            replicas.join(", "),
        ));
    }
    out
}

fn state_of(node: &AdminNode) -> &'static str {
    match (node.alive, node.disk_full, node.ready) {
        (false, _, _) => "DEAD",
        // It answers queries, and takes no writes until there is room.
        (true, true, _) => "DISK FULL",
        (true, false, false) => "starting",
        (true, false, true) => "ready",
    }
}

/// Ends when the work does, or when the person at the terminal has seen enough: the nodes go on then, and `then` says how to
/// look again.
async fn unless_interrupted<T>(work: impl Future<Output = Result<T, Error>>, then: &str) -> Result<T, Error> {
    let mut stop = Stop::by_signals()?;
    tokio::select! {
        done = work => done,
        () = stop.asked() => Err(Error::Admin(format!("interrupted; the nodes go on. {then}"))),
    }
}

/// A byte count in three digits and a binary unit.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 1000.0 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

async fn flush(client: &Client) -> Result<(), Error> {
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} sealing heads {elapsed}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(100));
    if spinner.is_hidden() {
        drop(writeln!(std::io::stderr(), "sealing heads"));
    }
    let request = client.http.post(format!("{}/admin/v1/flush", client.url)).timeout(Duration::from_secs(120));
    let report: Result<FlushReport, Error> = client.call(request).await;
    spinner.finish_and_clear();
    let report = report?;
    out::line(format_args!(
        "{} shards sealed: {} blocks, {}",
        report.shards.len(),
        report.blocks_count,
        bytes(report.bytes)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts_are_short() {
        assert_eq!([bytes(5), bytes(1536), bytes(3 << 30)], ["5 B", "1.5 KiB", "3.0 GiB"]);
    }

    #[test]
    fn the_table_names_what_is_wrong() {
        let cluster = AdminCluster { shards_without_leader: vec![3], ..AdminCluster::default() };
        let text =
            table(&cluster, &[AdminNode { name: "n1".into(), ..AdminNode::default() }], &[AdminShard::default()]);
        assert!(text.contains("WITHOUT A LEADER: [3]") && text.contains("DEAD") && text.contains("NONE"), "{text}");
    }

    #[test]
    fn a_node_that_takes_no_writes_is_not_ready_for_an_operator() {
        for (alive, disk_full, ready, state) in [
            (true, false, true, "ready"),
            (true, true, true, "DISK FULL"),
            (true, true, false, "DISK FULL"),
            (true, false, false, "starting"),
            (false, true, true, "DEAD"),
        ] {
            assert_eq!(state_of(&AdminNode { alive, disk_full, ready, ..AdminNode::default() }), state);
        }
    }

    #[test]
    fn a_node_without_a_cluster_says_what_it_waits_for() {
        let cluster = AdminCluster { node: "n1".into(), version: "1".into(), ..AdminCluster::default() };
        let said = without_cluster("http://a:1", &cluster, "not in a cluster yet: it waits for n2");
        assert_eq!(said, "n1 at http://a:1, version 1, shows no shards: not in a cluster yet: it waits for n2");
    }
}
