//! A network namespace a node, joined by a bridge; nftables in each drops what must not leave it.
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use super::{NODES, PROXIES, Quality};
use crate::error::{Error, Result, io};

/// Namespaces of one cluster; removed when dropped. Names carry the process id, so that a later run can remove what a
/// killed one left.
#[derive(Debug)]
pub(super) struct Namespaces {
    bridge: String,
    /// Each namespace, and the end of its link that is outside.
    names: Vec<(String, String)>,
}

const PREFIX: &str = "trine-chaos-";
/// Last byte of the clients' own address.
const CLIENTS: u8 = 254;

/// Whether this process may make namespaces and has the programs for it.
pub(super) fn allowed() -> bool {
    let has = |program: &str, argument: &str| {
        let mut command = Command::new(program);
        command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|s| s.success())
    };
    rustix::process::geteuid().is_root() && has("ip", "-V") && has("nft", "--version") && has("nsenter", "--version")
}

impl Namespaces {
    pub(super) fn create(net: [u8; 3], nodes: usize) -> Result<Self> {
        remove_leftovers();
        let me = std::process::id();
        let bridge = format!("trc{me}");
        let mut made = Self { bridge: bridge.clone(), names: Vec::new() };
        let [a, b, c] = net;
        let at = |last: u8| format!("{a}.{b}.{c}.{last}/24");
        let last = |base: u8, n: usize| base + u8::try_from(n).expect("a cluster of a test has few nodes");
        ip(&["link", "add", &bridge, "type", "bridge"])?;
        ip(&["addr", "add", &at(CLIENTS), "dev", &bridge])?;
        for n in 0..nodes {
            ip(&["addr", "add", &at(last(PROXIES, n)), "dev", &bridge])?;
        }
        ip(&["link", "set", &bridge, "up"])?;
        for n in 0..nodes {
            let (name, outside) = (format!("{PREFIX}{me}-{n}"), format!("trv{me}-{n}"));
            ip(&["netns", "add", &name])?;
            made.names.push((name.clone(), outside.clone()));
            ip(&["link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
            ip(&["link", "set", &outside, "master", &bridge, "up"])?;
            ip(&["-n", &name, "addr", "add", &at(last(NODES, n)), "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        Ok(made)
    }

    /// Runs a program in a node's network, as the same process.
    pub(super) fn enter(&self, n: usize) -> Vec<String> {
        vec!["nsenter".into(), format!("--net=/run/netns/{}", self.names[n].0), "--".into()]
    }

    /// Drops what must not leave a node towards these peers; replaces earlier rules.
    pub(super) fn filter(&self, n: usize, peers: &[(Ipv4Addr, Quality)]) -> Result<()> {
        let mut enter = self.enter(n).into_iter();
        let mut command = Command::new(enter.next().unwrap_or_default());
        command.args(enter).args(["nft", "-f", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(io("run nft"))?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(rules(peers).as_bytes()).map_err(io("tell nft"))?;
        }
        finished("nft", child.wait_with_output().map_err(io("wait for nft"))?)
    }
}

/// One table that replaces the last in one transaction.
fn rules(peers: &[(Ipv4Addr, Quality)]) -> String {
    let mut text = String::from("add table inet chaos\ndelete table inet chaos\ntable inet chaos {\n  chain out {\n");
    text.push_str("    type filter hook output priority 0; policy accept;\n");
    for (peer, quality) in peers {
        if quality.cut {
            text.push_str(&format!("    ip daddr {peer} drop\n"));
        } else if quality.loss_percent > 0 {
            text.push_str(&format!("    ip daddr {peer} numgen random mod 100 < {} drop\n", quality.loss_percent));
        }
    }
    text.push_str("  }\n}\n");
    text
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for (name, outside) in &self.names {
            // First: a namespace goes only once nothing of its processes is left, and its links with it.
            complain(ip(&["link", "del", outside]));
            complain(ip(&["netns", "del", name]));
        }
        complain(ip(&["link", "del", &self.bridge]));
    }
}

fn complain(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("{error}");
    }
}

/// Removes namespaces and bridges of harnesses that were killed.
fn remove_leftovers() {
    let gone = |pid: &str| pid.parse::<u32>().is_ok_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists());
    let names = |dir: &str| -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().into_string().ok()).collect()
    };
    for name in names("/run/netns") {
        if name.strip_prefix(PREFIX).and_then(|n| n.split('-').next()).is_some_and(gone) {
            complain(ip(&["netns", "del", &name]));
        }
    }
    for name in names("/sys/class/net") {
        if name.strip_prefix("trc").is_some_and(gone) {
            complain(ip(&["link", "del", &name]));
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output().map_err(io("run ip"))?;
    finished(&format!("ip {}", arguments.join(" ")), output)
}

fn finished(what: &str, output: std::process::Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let source = std::io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    Err(Error::Io { what: format!("{what}: {source}"), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_cut_and_lossy_peers_only() {
        let lossy = Quality { loss_percent: 20, ..Quality::default() };
        let ip = |last| Ipv4Addr::new(198, 18, 0, last);
        let text = rules(&[(ip(1), Quality::cut()), (ip(2), Quality::default()), (ip(3), lossy)]);
        assert!(text.contains("ip daddr 198.18.0.1 drop\n"), "{text}");
        assert!(!text.contains("198.18.0.2"), "{text}");
        assert!(text.contains("ip daddr 198.18.0.3 numgen random mod 100 < 20 drop\n"), "{text}");
    }
}
