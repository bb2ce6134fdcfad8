//! A node on a small file system of its own that fills up and is emptied again. Needs the right to mount a tmpfs.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
#[path = "../common/http.rs"]
mod http;
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
#[path = "../common/ports.rs"]
mod ports;
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
#[path = "../common/process.rs"]
mod process;
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
#[path = "../common/until.rs"]
mod until;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use http::Http;
use ports::{free_tcp_ports, free_udp_ports};
use process::{Program, output_of};
use until::{now_ns, until};

const DISK_MIB: usize = 700;
const RESERVE_MIB: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);

/// A mounted tmpfs; unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(at: PathBuf) -> Self {
        std::fs::create_dir(&at).unwrap();
        let size = format!("size={DISK_MIB}m");
        output_of(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at));
        Self(at)
    }

    fn free_mib(&self) -> usize {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        ((stat.f_bavail * stat.f_frsize) >> 20) as usize
    }

    /// Leaves this many MiB free, or none at all.
    fn fill(&self, leave_mib: usize) {
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).unwrap();
        while self.free_mib() > leave_mib {
            if let Err(error) = ballast.write_all(&vec![1; 1 << 20]) {
                assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
                return;
            }
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(
            unmounted.is_ok_and(|s| s.success()) || std::thread::panicking(),
            "{} is still mounted",
            self.0.display()
        );
    }
}

/// One node; dropped before its disk.
struct Node {
    program: Program,
    http: Http,
    lines: usize,
}

impl Node {
    async fn start(dir: &Path, disk: &Mount) -> Self {
        let (tcp, udp) = (free_tcp_ports(2), free_udp_ports(1));
        let mut command = Command::new(env!("CARGO_BIN_EXE_trine"));
        command.args(["node", "--node-name", "small", "--advertise", "127.0.0.1", "--bootstrap-expect", "1"]);
        command.arg("--data-dir").arg(disk.0.join("data"));
        for (flag, port) in [("--http", tcp[0]), ("--rpc", tcp[1]), ("--gossip", udp[0])] {
            command.args([flag, &format!("127.0.0.1:{port}")]);
        }
        for listener in ["loki", "tempo", "mimir", "otlp_grpc", "otlp_http"] {
            command.args(["--set", &format!("listen.{listener}=\"\"")]);
        }
        command.args(["--set", "cluster.shards=2", "--set", "node.memory_bytes=268435456"]);
        command.args(["--set", &format!("storage.disk_reserve_bytes={}", RESERVE_MIB << 20)]);
        let mut node = Self {
            program: Program::start("small", &mut command, dir),
            http: Http::new(&format!("http://127.0.0.1:{}", tcp[0])),
            lines: 0,
        };
        let http = node.http.clone();
        until("the node is ready", PATIENCE, || {
            assert_eq!(node.program.ended(), None);
            async { http.try_get("/ready", &[]).await.and_then(|r| r.success().map(drop)) }
        })
        .await;
        node
    }

    /// Pushes one line; the status, the text and how long to wait.
    async fn push(&mut self) -> (u16, String, Option<String>) {
        let line = serde_json::json!({ "streams": [{
            "stream": { "app": "disk" },
            "values": [[now_ns().to_string(), format!("line {}", self.lines)]],
        }] });
        let headers = [("content-type", "application/json")];
        let reply = self.http.post("/loki/api/v1/push", &headers, line.to_string().into_bytes()).await;
        self.lines += usize::from(reply.status == 204);
        let retry_after = reply.headers.get("retry-after").map(|v| v.to_str().unwrap().to_owned());
        (reply.status, reply.text(), retry_after)
    }

    async fn until_pushed(&mut self, status: u16) -> (u16, String, Option<String>) {
        let since = std::time::Instant::now();
        loop {
            let pushed = self.push().await;
            if pushed.0 == status {
                return pushed;
            }
            assert!(since.elapsed() < PATIENCE, "still {pushed:?}");
            assert_eq!(self.program.ended(), None);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Every line that was taken is found.
    async fn check_lines(&self) {
        let query = [("query", "sum(count_over_time({app=\"disk\"}[1h]))")];
        let answer = self.http.json("/loki/api/v1/query", &query).await;
        assert_eq!(answer["data"]["result"][0]["value"][1], self.lines.to_string(), "{answer}");
    }

    async fn metric(&self, name: &str) -> f64 {
        let text = self.http.get("/metrics", &[]).await.text();
        let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
        line.trim().parse().unwrap()
    }
}

/// Writes are refused with the reason, queries and seals go on, and writes are taken again without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_nothing_else_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Mount::new(dir.path().join("disk"));
    let mut node = Node::start(dir.path(), &disk).await;
    for _ in 0..20 {
        assert_eq!(node.push().await.0, 204);
    }
    assert_eq!(node.metric("trine_node_disk_full").await, 0.0);
    // Below the reserve, then not a byte.
    for leave_mib in [RESERVE_MIB / 2, 0] {
        disk.fill(leave_mib);
        let (_, text, retry_after) = node.until_pushed(503).await;
        assert!(text.contains("the disk of node small is full"), "{text}");
        assert!(text.contains(&format!("of the {RESERVE_MIB} MiB kept in reserve")), "{text}");
        assert_eq!(retry_after.as_deref(), Some("10"));
        assert_eq!(node.metric("trine_node_disk_full").await, 1.0);
        assert!(node.metric("trine_node_disk_refused_writes_total").await >= 1.0);
        node.check_lines().await;
        if leave_mib > 0 {
            let flushed = node.http.post("/admin/v1/flush", &[], Vec::new()).await;
            assert_eq!(flushed.status, 200, "a seal may use the reserve: {}", flushed.text());
            node.check_lines().await;
        }
        assert_eq!(node.program.ended(), None);
        disk.empty();
        node.until_pushed(204).await;
        node.check_lines().await;
    }
    drop(node);
    drop(disk);
}
