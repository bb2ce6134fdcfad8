//! What `deploy/` gives to a node is something that a node takes: files, flags, environment, ports.
use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Parser;

use super::{Config, ListenConfig};
use crate::cli::{Cli, Command, NodeFlags};

fn deploy(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "deploy", file].iter().collect()
}

fn text(file: &str) -> String {
    std::fs::read_to_string(deploy(file)).unwrap_or_else(|e| panic!("deploy/{file}: {e}"))
}

fn node_flags<'a>(arguments: impl IntoIterator<Item = &'a str>) -> NodeFlags {
    let cli = Cli::try_parse_from(std::iter::once("trine").chain(arguments)).unwrap_or_else(|e| panic!("{e}"));
    match cli.command {
        Command::Node(flags) => *flags,
        other => panic!("not a node: {other:?}"),
    }
}

fn ports(listen: &ListenConfig) -> BTreeSet<u16> {
    let l = listen;
    let all = [&l.http, &l.loki, &l.tempo, &l.mimir, &l.otlp_grpc, &l.otlp_http, &l.rpc, &l.gossip];
    all.into_iter().map(|at| super::address("listen", at).unwrap().port()).collect()
}

#[test]
fn a_pod_starts_with_its_file_and_flags() {
    let manifest = text("kubernetes/statefulset.yaml");
    let arguments = manifest.lines().skip_while(|l| l.trim() != "args:").skip(1).map(str::trim);
    let arguments: Vec<String> = arguments
        .take_while(|l| l.starts_with("- ") || l.starts_with('#'))
        .filter_map(|l| l.strip_prefix("- "))
        .map(|l| l.replace("$(POD_NAME)", "trine-0").replace("$(POD_NAMESPACE)", "observability"))
        .collect();
    let mut flags = node_flags(arguments.iter().map(String::as_str));
    assert_eq!(flags.config, Some(PathBuf::from("/etc/trine/trine.toml")));
    flags.config = Some(deploy("kubernetes/trine.toml"));
    let config = Config::load(&flags).unwrap();
    assert_eq!(config.node.name, "trine-0");
    assert_eq!(config.node.advertise, "trine-0.trine-headless.observability.svc.cluster.local");
    assert_eq!(config.cluster.join, ["trine-headless:7071"]);
    assert_eq!(config.cluster.bootstrap_expect, 3);
    assert!(manifest.contains(&format!("mountPath: {}", config.node.data_dir.display())));
    let opened = manifest.lines().filter_map(|l| l.trim().strip_prefix("containerPort: ")).map(|p| p.parse().unwrap());
    assert_eq!(opened.collect::<BTreeSet<u16>>(), ports(&config.listen));
}

#[test]
fn a_container_of_the_compose_file_starts() {
    let compose = text("compose/docker-compose.yml");
    // Environment variables take the same values as `--set`, and setting variables in a test would reach the others.
    let environment = compose.lines().filter_map(|l| l.trim().strip_prefix("TRINE__")).map(|l| {
        let (key, value) = l.split_once(": ").unwrap();
        let value = value.trim_matches(['\'', '"']).replace("${TRINE_CLUSTER_KEY:-change-me}", "change-me");
        format!("{}={value}", key.to_lowercase().replace("__", "."))
    });
    let environment: Vec<String> = environment.collect();
    let commands: Vec<&str> = compose.lines().filter_map(|l| l.trim().strip_prefix("command: [")).collect();
    assert_eq!(commands.len(), 3);
    for command in commands {
        let mut flags = node_flags(command.trim_end_matches(']').split(", "));
        flags.set = environment.clone();
        let config = Config::load(&flags).unwrap();
        assert_eq!(config.node.name, config.node.advertise);
        assert!(config.cluster.join.contains(&format!("{}:7071", config.node.name)), "{:?}", config.cluster.join);
        assert!(config.telemetry.ingest_own);
    }
}

#[test]
fn the_image_starts_and_opens_every_port() {
    let image = text("docker/Dockerfile");
    let after = |word: &str| image.lines().find_map(|l| l.strip_prefix(word)).unwrap_or_else(|| panic!("no {word}"));
    let command: Vec<String> = serde_json::from_str(after("CMD ")).unwrap();
    let config = Config::load(&node_flags(command.iter().map(String::as_str))).unwrap();
    let exposed = after("EXPOSE ").split_whitespace().map(|p| p.trim_end_matches("/udp").parse().unwrap());
    assert_eq!(exposed.collect::<BTreeSet<u16>>(), ports(&config.listen));
}
