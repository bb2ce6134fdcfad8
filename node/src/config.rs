//! The configuration file, the environment and the flags, as one validated value.
use std::net::SocketAddr;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

use crate::cli::NodeFlags;
use crate::error::Error;
use crate::memory;

mod check;
#[cfg(test)]
mod deployed;
#[cfg(test)]
mod document;
#[cfg(test)]
mod hostile;
mod refusal;
mod sections;
mod settings;
pub(crate) mod size;

pub(crate) use sections::*;

/// Everything that can be configured. Later sources win: defaults, file, environment, flags.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) node: NodeConfig,
    pub(crate) listen: ListenConfig,
    pub(crate) cluster: ClusterSection,
    pub(crate) storage: StorageConfig,
    pub(crate) retention: RetentionConfig,
    pub(crate) compaction: CompactionConfig,
    pub(crate) scrub: ScrubConfig,
    pub(crate) recovery: RecoveryConfig,
    pub(crate) limits: LimitsConfig,
    pub(crate) spread: SpreadConfig,
    pub(crate) tenancy: TenancyConfig,
    pub(crate) metrics: MetricsConfig,
    pub(crate) otlp: OtlpSection,
    pub(crate) ha: HaSection,
    pub(crate) telemetry: TelemetryConfig,
}

/// Keys whose value is text even where it looks like a number: a key of digits, a node named `7`.
const TEXT_KEYS: [&str; 4] = ["cluster.key", "node.name", "node.zone", "node.advertise"];

impl Config {
    /// Reads all sources and validates the result.
    pub(crate) fn load(flags: &NodeFlags) -> Result<Self, Error> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(path) = &flags.config {
            // For the reason in the system's words: figment leaves a file out that it cannot find.
            if let Err(error) = std::fs::read_to_string(path) {
                let path = path.display();
                return Err(Error::ConfigSource(format!(
                    "cannot read the configuration file {path}, which --config or TRINE_CONFIG names: {error}"
                )));
            }
            figment = figment.merge(Toml::file_exact(path));
        }
        figment = figment.merge(Env::prefixed("TRINE__").split("__"));
        for key in TEXT_KEYS {
            let variable = format!("TRINE__{}", key.replace('.', "__").to_uppercase());
            if let Ok(text) = std::env::var(variable) {
                figment = figment.merge(Serialized::default(key, text));
            }
        }
        for pair in &flags.set {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| Error::ConfigSource(format!("--set {pair}: it takes section.key=value")))?;
            // The value is TOML when it reads as TOML (numbers, booleans, lists), else a string.
            let parsed = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("v"));
            let parsed = parsed.filter(|p| p.is_str() || !TEXT_KEYS.contains(&key));
            let parsed = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
            figment = figment.merge(Serialized::default(key, parsed));
        }
        let mut config: Self = figment.extract().map_err(|e| refusal::refusal(&e))?;
        config.override_with(flags);
        config.fill()?;
        config.validate()?;
        Ok(config)
    }

    fn override_with(&mut self, flags: &NodeFlags) {
        fn set<T: Clone>(target: &mut T, flag: &Option<T>) {
            if let Some(value) = flag {
                *target = value.clone();
            }
        }
        set(&mut self.node.data_dir, &flags.data_dir);
        set(&mut self.node.name, &flags.node_name);
        set(&mut self.node.advertise, &flags.advertise);
        set(&mut self.node.memory_bytes, &flags.memory_bytes);
        set(&mut self.cluster.join, &flags.join);
        set(&mut self.cluster.bootstrap_expect, &flags.bootstrap_expect);
        set(&mut self.listen.http, &flags.http.map(|a| a.to_string()));
        set(&mut self.listen.rpc, &flags.rpc.map(|a| a.to_string()));
        set(&mut self.listen.gossip, &flags.gossip.map(|a| a.to_string()));
    }

    /// Fills what depends on the machine.
    fn fill(&mut self) -> Result<(), Error> {
        if self.node.name.is_empty() {
            let uname = rustix::system::uname();
            self.node.name = uname.nodename().to_string_lossy().into_owned();
        }
        if self.node.memory_bytes == 0 {
            self.node.memory_bytes = memory::default_budget_bytes();
        }
        if self.node.advertise.is_empty() {
            let rpc = address("listen.rpc", &self.listen.rpc)?;
            let any = rpc.ip().is_unspecified();
            self.node.advertise = if any { "127.0.0.1".into() } else { rpc.ip().to_string() };
        }
        Ok(())
    }

    /// (key, value) of every listener.
    pub(crate) fn listeners(&self) -> [(&'static str, &str); 8] {
        let l = &self.listen;
        [
            ("listen.http", &l.http),
            ("listen.loki", &l.loki),
            ("listen.tempo", &l.tempo),
            ("listen.mimir", &l.mimir),
            ("listen.otlp_grpc", &l.otlp_grpc),
            ("listen.otlp_http", &l.otlp_http),
            ("listen.rpc", &l.rpc),
            ("listen.gossip", &l.gossip),
        ]
    }
}

/// Parses a listener's address.
pub(crate) fn address(key: &str, value: &str) -> Result<SocketAddr, Error> {
    let parsed = if value.is_empty() { Err("cannot be turned off".to_owned()) } else { listen_address(value) };
    parsed.map_err(|reason| Error::Config { key: key.into(), reason: format!(": {reason}") })
}

/// Parses a listener's address; the error says what is expected.
pub(crate) fn listen_address(value: &str) -> Result<SocketAddr, String> {
    value.parse().map_err(|_| {
        let port = value.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).unwrap_or(9090);
        format!(
            "{value:?} is not an IP address with a port, like 0.0.0.0:{port} for every interface or 127.0.0.1:{port} for \
             this machine only; names are not resolved here"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(set: &[&str]) -> Result<Config, Error> {
        Config::load(&NodeFlags { set: set.iter().map(ToString::to_string).collect(), ..NodeFlags::default() })
    }

    #[test]
    fn defaults_are_valid_and_keys_are_named_in_errors() {
        assert!(load(&[]).is_ok());
        for (set, parts) in [
            ("cluster.shards=0", ["`cluster.shards`", "0 is not within 1 and 4096"]),
            ("cluster.replication_factor=2", ["`cluster.replication_factor`", "2 is not 1, 3 or 5"]),
            ("listen.http=nowhere", ["`listen.http`", "\"nowhere\" is not an IP address with a port"]),
            ("listen.http=localhost:9191", ["127.0.0.1:9191", "names are not resolved"]),
            ("listen.rpc=\"\"", ["`listen.rpc`", "cannot be turned off"]),
            ("listen.loki=0.0.0.0:9090", ["`listen.loki`", "taken by listen.http"]),
            ("ha.renew_s=30", ["`ha.renew_s`", "30 is not less than ha.failover_s"]),
            ("otlp.translation_strategy=None", ["`otlp.translation_strategy`", "NoTranslation"]),
            ("node.memory_bytes=5", ["`node.memory_bytes`", "5 is less than 128 MiB"]),
            (
                "node.memory_bytes=512M",
                ["`node.memory_bytes` in --set", "\"512M\" is not a number of bytes, or a size like"],
            ),
            ("node.memory_bytes=-1", ["`node.memory_bytes`", "-1 is not a number of bytes"]),
            ("storage.wal_bytes=true", ["`storage.wal_bytes`", "a size like 512MiB"]),
            ("node.colour=red", ["`node.colour` in --set: there is no such key", "[node] has advertise, data_dir"]),
            (
                "colour=red",
                ["`colour` in --set: there is no such key", "the sections are cluster, compaction, ha, limits"],
            ),
            ("nod.name=red", ["`nod` in --set: there is no such key", "docs/config.md"]),
            ("cluster.shards=many", ["`cluster.shards`", "string \"many\" is not a whole number, 0 or more"]),
            ("cluster.shards=-4", ["`cluster.shards`", "`-4` is not a whole number, 0 or more"]),
            ("tenancy.require_tenant=2", ["`tenancy.require_tenant`", "is not true or false"]),
            ("cluster.join=[\"nope\"]", ["`cluster.join`", "\"nope\" is not host:port"]),
            ("cluster.join=[\"a:1\", \"b:0\"]", ["`cluster.join`", "\"b:0\""]),
            ("cluster.join=[\"::1:7071\"]", ["`cluster.join`", "\"::1:7071\""]),
            (
                "storage.retention_s=0",
                ["`storage.retention_s`", "0 is not a number of seconds within 1 and 3153600000"],
            ),
            ("retention.tenants_s.a=3153600001", ["`retention.tenants_s`", "of \"a\" is more than 3153600000 seconds"]),
            ("retention.bytes=1.5GiB", ["retention.bytes", "512MiB"]),
            ("storage.head_age_s=0", ["`storage.head_age_s`", "0 is not a number of seconds within 1"]),
            ("storage.head_age_s=9223372036854775807", ["`storage.head_age_s`", "3153600000"]),
            ("limits.query_timeout_s=9223372036854775807", ["`limits.query_timeout_s`", "within 0 and"]),
            ("limits.future_s=43201", ["`limits.future_s`", "within 0 and 43200"]),
            ("spread.lead_s=0", ["`spread.lead_s`", "within 1 and 43200"]),
            ("spread.after_s=2", ["`spread.after_s`", "within 3 and"]),
            ("telemetry.interval_s=0", ["`telemetry.interval_s`", "within 1 and"]),
            ("colour", ["--set colour", "section.key=value"]),
        ] {
            let text = load(&[set]).unwrap_err().to_string();
            assert!(parts.iter().all(|p| text.contains(p)), "{set}: {text}");
        }
        for set in ["cluster.join=[\"a:1\", \"[::1]:7071\", \"10.0.0.1:7071\"]", "limits.query_timeout_s=0"] {
            assert!(load(&[set]).is_ok(), "{set}");
        }
        assert_eq!(load(&["cluster.key=123"]).unwrap().cluster.key, "123");
    }

    #[test]
    fn a_file_is_read_and_flags_win() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trine.toml");
        std::fs::write(&path, "[node]\nname = \"file\"\nzone = \"z\"\n[cluster]\njoin = [\"a:1\"]\n").unwrap();
        let flags = NodeFlags { config: Some(path), node_name: Some("flag".into()), ..NodeFlags::default() };
        let config = Config::load(&flags).unwrap();
        assert_eq!((config.node.name.as_str(), config.node.zone.as_str()), ("flag", "z"));
        assert_eq!(config.cluster.join, ["a:1"]);
    }
    #[test]
    fn sizes_are_read_from_every_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trine.toml");
        std::fs::write(&path, "[node]\nmemory_bytes = \"512MiB\"\n[storage]\nwal_bytes = 1073741824\n").unwrap();
        let set = |set: &[&str]| set.iter().map(ToString::to_string).collect();
        let flags = NodeFlags { config: Some(path.clone()), set: set(&[]), ..NodeFlags::default() };
        let config = Config::load(&flags).unwrap();
        assert_eq!((config.node.memory_bytes, config.storage.wal_bytes), (512 << 20, 1 << 30));
        let config = Config::load(&NodeFlags { set: set(&["storage.wal_bytes=2Gi"]), ..flags }).unwrap();
        assert_eq!((config.node.memory_bytes, config.storage.wal_bytes), (512 << 20, 2 << 30));
    }

    #[test]
    fn a_bad_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trine.toml");
        let refused = |config: &std::path::Path| {
            let flags = NodeFlags { config: Some(config.to_owned()), ..NodeFlags::default() };
            Config::load(&flags).unwrap_err().to_string()
        };
        for (text, parts) in [
            ("[node]\ncolour = 1\n", ["`node.colour` in ", "[node] has advertise"]),
            ("[node]\nmemory_bytes = \"lots\"\n", ["`node.memory_bytes` in ", "\"lots\" is not a number of bytes"]),
            ("[cluster]\nshards = \"many\"\n", ["`cluster.shards` in ", "string \"many\" is not a whole number"]),
            ("[node\n", ["configuration in ", "line 1"]),
        ] {
            std::fs::write(&path, text).unwrap();
            let said = refused(&path);
            assert!(parts.iter().all(|p| said.contains(p)) && said.contains("trine.toml"), "{text}: {said}");
            assert!(!said.contains("``") && !said.contains("one of"), "{said}");
        }
        for missing in [dir.path().join("none.toml"), dir.path().to_owned()] {
            let said = refused(&missing);
            let reason = if missing.is_dir() { "Is a directory" } else { "No such file" };
            assert!(said.contains(reason) && said.contains(&missing.display().to_string()), "{said}");
        }
    }
}
