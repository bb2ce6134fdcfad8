//! Own metrics: what the cluster layer adds to `/metrics`, and all families as parts.
use std::collections::BTreeMap;

use trine_actors::Cluster;
use trine_actors::meta::META_SHARD;
use trine_api::metrics::{MetricFamily, MetricKind, MetricSample};
use trine_api::{Backend, MetricsSource, ShardPart};
use trine_store::model::signal::{key_hash, slot_of_hash};
use trine_store::model::{LabelsBuilder, Signal};
use trine_store::part::MetricsPartBuilder;

use super::TENANT;

/// Families of the cluster layer.
pub(crate) struct NodeMetrics {
    cluster: Cluster,
}

impl NodeMetrics {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    fn segments(&self) -> MetricFamily {
        let (hits, misses) = self.cluster.segments().hits_and_misses();
        let sample = |(outcome, count): (&'static str, u64)| MetricSample {
            labels: vec![("outcome", outcome.to_owned())],
            value: count as f64,
        };
        MetricFamily {
            name: "trine_query_segments_total",
            help: "Segments of answers over sealed data that queries asked for, by whether they were kept.",
            kind: MetricKind::Counter,
            samples: [("hit", hits), ("miss", misses)].map(sample).into(),
        }
    }
}

fn one(name: &'static str, help: &'static str, kind: MetricKind, value: f64) -> MetricFamily {
    MetricFamily { name, help, kind, samples: vec![MetricSample { labels: Vec::new(), value }] }
}

impl MetricsSource for NodeMetrics {
    fn families(&self) -> Vec<MetricFamily> {
        use MetricKind::{Counter, Gauge};
        let status = self.cluster.own_status();
        let wal = self.cluster.wal_stats();
        let (scrub, verification) = (self.cluster.scrub_here(false), self.cluster.verification());
        let spreads = self.cluster.spread_view();
        let shards = || status.replicas.iter().filter(|r| r.shard != META_SHARD);
        let sum = |f: fn(&trine_actors::rpc::proto::ReplicaStatus) -> u64| shards().map(f).sum::<u64>() as f64;
        let mut families = vec![
            one("trine_node_ready", "1 when this node serves.", Gauge, f64::from(u8::from(status.ready))),
            one("trine_node_memory_bytes", "Resident memory.", Gauge, status.memory_bytes as f64),
            one("trine_node_memory_budget_bytes", "Memory budget.", Gauge, status.memory_budget_bytes as f64),
            one("trine_node_disk_used_bytes", "Bytes under the data directory.", Gauge, status.disk_used_bytes as f64),
            one("trine_node_disk_free_bytes", "Free bytes of its file system.", Gauge, status.disk_free_bytes as f64),
            one(
                "trine_node_disk_reserve_bytes",
                "Free bytes below which no writes are taken.",
                Gauge,
                self.cluster.disk().reserve_bytes() as f64,
            ),
            one(
                "trine_node_disk_full",
                "1 while no writes are taken for want of room.",
                Gauge,
                f64::from(u8::from(self.cluster.disk().is_full())),
            ),
            one(
                "trine_node_disk_refused_writes_total",
                "Parts of requests refused for want of room.",
                Counter,
                self.cluster.disk().refused() as f64,
            ),
            one(
                "trine_query_segments_bytes",
                "Memory of answers over sealed data that are kept, about.",
                Gauge,
                self.cluster.segments().bytes() as f64,
            ),
            self.segments(),
            one("trine_store_wal_stalled", "1 while the log waits for room on the disk.", Gauge, wal.stalled as f64),
            one(
                "trine_node_start_time_seconds",
                "Start of the process, Unix time.",
                Gauge,
                status.started_unix_ms as f64 / 1000.0,
            ),
            one("trine_store_wal_fsyncs_total", "Syncs of the write-ahead log.", Counter, wal.fsyncs as f64),
            one("trine_store_wal_fsync_seconds_total", "Time in those syncs.", Counter, wal.fsync_ns as f64 / 1e9),
            one("trine_store_wal_written_bytes_total", "Bytes written to the log.", Counter, wal.bytes as f64),
            one("trine_store_wal_segments", "Segment files of the log.", Gauge, wal.segments as f64),
            one("trine_store_head_bytes", "Memory of open heads.", Gauge, sum(|r| r.head_bytes)),
            one("trine_store_head_facts", "Samples, lines and spans in open heads.", Gauge, sum(|r| r.head_facts)),
            one("trine_store_blocks", "Sealed blocks.", Gauge, sum(|r| r.blocks_count)),
            one("trine_store_blocks_lost", "Blocks in quarantine, not healed yet.", Gauge, sum(|r| r.blocks_lost)),
            one(
                "trine_store_scrub_running",
                "1 while this node is scrubbed.",
                Gauge,
                f64::from(u8::from(scrub.running)),
            ),
            one("trine_store_scrub_runs_total", "Scrubs that ended.", Counter, scrub.runs as f64),
            one(
                "trine_store_scrub_bytes",
                "Bytes that the current or last scrub has read.",
                Gauge,
                scrub.bytes_done as f64,
            ),
            one(
                "trine_store_scrub_damaged",
                "Damaged blocks that the current or last scrub has found.",
                Gauge,
                scrub.damaged as f64,
            ),
            one(
                "trine_store_scrub_disagreeing",
                "Blocks on which the replicas did not agree in the current or last scrub.",
                Gauge,
                scrub.disagreeing as f64,
            ),
            one(
                "trine_store_scrub_finish_time_seconds",
                "End of the last scrub since the start, Unix time; 0 when there was none.",
                Gauge,
                scrub.finished_unix_ms as f64 / 1000.0,
            ),
            one(
                "trine_ledger_verify_running",
                "1 while everything on this node is counted again.",
                Gauge,
                f64::from(u8::from(verification.running)),
            ),
            one("trine_ledger_verify_runs_total", "Such counts that ended.", Counter, verification.runs as f64),
            one(
                "trine_ledger_verify_facts",
                "Facts that the current or last count has come across.",
                Gauge,
                verification.facts_counted as f64,
            ),
            one(
                "trine_ledger_verify_uncounted_replicas",
                "Replicas that it could not count.",
                Gauge,
                verification.errors.len() as f64,
            ),
            one(
                "trine_ledger_verify_imbalances",
                "Figures in which it found the books of this node's replicas to be wrong.",
                Gauge,
                trine_actors::ledger::imbalances([("", &verification)]).len() as f64,
            ),
            one(
                "trine_ledger_unbalanced_rows",
                "Tenants and signals whose facts are not all accounted for after the last seal.",
                Gauge,
                self.cluster.unbalanced_rows() as f64,
            ),
            one(
                "trine_spread_rows",
                "Rows of the table of log streams that are spread over several slots.",
                Gauge,
                spreads.places.spreads.len() as f64,
            ),
            one(
                "trine_spread_settled_seconds",
                "How far ahead of this node's clock the places of log entries are settled, as far as it knows.",
                Gauge,
                spreads.places.horizon_ns.saturating_sub(spreads.now_ns) as f64 / 1e9,
            ),
            one("trine_store_blocks_bytes", "Bytes of sealed blocks.", Gauge, sum(|r| r.blocks_bytes)),
            one(
                "trine_raft_leaders",
                "Shards that this node leads.",
                Gauge,
                shards().filter(|r| r.leads).count() as f64,
            ),
            one("trine_raft_replicas", "Shards with a replica here.", Gauge, shards().count() as f64),
            one(
                "trine_raft_terms_total",
                "Sum of the terms of its groups: rises by one an election.",
                Counter,
                status.replicas.iter().map(|r| r.term).sum::<u64>() as f64,
            ),
            one(
                "trine_raft_applied_entries_total",
                "Sum of applied log positions.",
                Counter,
                status.replicas.iter().map(|r| r.applied_index).sum::<u64>() as f64,
            ),
        ];
        families.extend(self.opening());
        families.extend(self.healing());
        families.extend(self.compaction());
        families
    }
}

impl NodeMetrics {
    /// How far replicas are that are being opened, and which had to be opened again.
    fn opening(&self) -> Vec<MetricFamily> {
        use MetricKind::{Counter, Gauge};
        let replayed = self.cluster.replayed();
        let reopened = self
            .cluster
            .reopened()
            .map(|(cause, count)| MetricSample { labels: vec![("cause", cause.to_owned())], value: count as f64 });
        vec![
            one(
                "trine_store_replay_bytes",
                "Bytes of log that the replicas here had to apply again when they were opened.",
                Gauge,
                replayed.total as f64,
            ),
            one("trine_store_replay_done_bytes", "What of that is applied.", Gauge, replayed.done as f64),
            MetricFamily {
                name: "trine_raft_replicas_reopened_total",
                help: "Replicas that stopped by themselves and were opened again.",
                kind: Counter,
                samples: reopened.to_vec(),
            },
        ]
    }

    /// What was compacted.
    fn compaction(&self) -> Vec<MetricFamily> {
        use MetricKind::{Counter, Gauge};
        let counts = self.cluster.merged();
        let by = |name, help, label: &'static str, values: &[(&str, u64)]| MetricFamily {
            name,
            help,
            kind: Counter,
            samples: values
                .iter()
                .map(|(of, n)| MetricSample { labels: vec![(label, (*of).to_owned())], value: *n as f64 })
                .collect(),
        };
        let room = Signal::ALL.into_iter().map(|s| (s.as_str(), self.cluster.room_from_ms(s)));
        let room = room.filter(|(_, ms)| *ms > i64::MIN).map(|(signal, ms)| MetricSample {
            labels: vec![("signal", signal.to_owned())],
            value: ms as f64 / 1000.0,
        });
        vec![
            one("trine_store_compactions_total", "Compactions carried out on this node.", Counter, counts.done as f64),
            one(
                "trine_store_compactions_failed_total",
                "Merges that failed, and were or will be tried again.",
                Counter,
                counts.failed as f64,
            ),
            one(
                "trine_store_compactions_pending",
                "Compactions in the logs of the replicas here that are not carried out yet.",
                Gauge,
                self.cluster.compactions_pending() as f64,
            ),
            MetricFamily {
                name: "trine_store_room_from_seconds",
                help: "What is older goes, since there is no room for it, Unix time; none while there is.",
                kind: Gauge,
                samples: room.collect(),
            },
            one("trine_store_compaction_blocks_total", "Blocks that were merged.", Counter, counts.blocks as f64),
            by(
                "trine_store_compaction_bytes_total",
                "Bytes of blocks that went into compactions and came out of them.",
                "direction",
                &[("read", counts.bytes_read), ("written", counts.bytes_written)],
            ),
            by(
                "trine_store_compaction_dropped_facts_total",
                "Facts that compactions left out.",
                "reason",
                &[("folded", counts.folded), ("expired", counts.expired), ("deleted", counts.deleted)],
            ),
        ]
    }

    /// What was damaged and is healed.
    fn healing(&self) -> Vec<MetricFamily> {
        use MetricKind::{Counter, Gauge};
        let (counts, fetched) = (self.cluster.healing().counts(), self.cluster.fetched());
        let sample = |labels: &[(&'static str, &str)], value: u64| MetricSample {
            labels: labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            value: value as f64,
        };
        let of = |wanted: &'static [&'static str]| {
            let found = counts.found.iter().filter(move |((kind, _), _)| wanted.contains(kind));
            found.map(|((kind, reason), n)| sample(&[("kind", kind), ("reason", reason)], *n)).collect::<Vec<_>>()
        };
        let mut open = BTreeMap::new();
        for record in self.cluster.healing().records() {
            *open.entry((record.kind.as_str(), record.state.as_str())).or_insert(0) += 1;
        }
        let many = |name, help, kind, samples| MetricFamily { name, help, kind, samples };
        vec![
            many(
                "trine_replicas_quarantined_total",
                "Replicas found damaged and taken out of use.",
                Counter,
                of(&["replica", "wal"]),
            ),
            many(
                "trine_healing_found_total",
                "Everything found damaged: replicas, blocks, log streams, metadata.",
                Counter,
                of(&["replica", "wal", "block", "metadata"]),
            ),
            many(
                "trine_healing_healed_total",
                "What of it was healed.",
                Counter,
                counts.healed.iter().map(|(kind, n)| sample(&[("kind", kind)], *n)).collect(),
            ),
            many(
                "trine_healing_records",
                "Entries of the list behind /admin/v1/healing.",
                Gauge,
                open.into_iter().map(|((kind, state), n)| sample(&[("kind", kind), ("state", state)], n)).collect(),
            ),
            one(
                "trine_replicas_replaced_total",
                "Replicas whose replacement this node led to its end.",
                Counter,
                self.cluster.replicas_replaced() as f64,
            ),
            one("trine_fetch_bytes_total", "Bytes fetched for new replicas.", Counter, fetched.bytes as f64),
            one("trine_fetch_files_total", "Block files fetched for new replicas.", Counter, fetched.files as f64),
            one(
                "trine_fetch_resumed_total",
                "Fetches of a file that went on where an earlier one broke off.",
                Counter,
                fetched.resumed as f64,
            ),
        ]
    }
}

/// Own samples at one time, with the labels that a scrape of this node would give them.
pub(super) fn parts(backend: &dyn Backend, node: &str, time_ms: i64, families: &[MetricFamily]) -> Vec<ShardPart> {
    let mut builders = BTreeMap::new();
    let mut labels = LabelsBuilder::default();
    let mut key = Vec::new();
    for family in families {
        let metric_type = match family.kind {
            MetricKind::Counter => 1,
            MetricKind::Gauge => 2,
        };
        for (i, sample) in family.samples.iter().enumerate() {
            labels.clear();
            labels.push("__name__", family.name);
            labels.push("job", "trine");
            labels.push("instance", node);
            for (name, value) in &sample.labels {
                labels.push(name, value);
            }
            key.clear();
            if labels.encode_into(&mut key).is_err() {
                continue;
            }
            let hash = key_hash(TENANT, &key);
            let slot = slot_of_hash(hash);
            let shard = backend.shard_of(slot);
            let (_, builder) = builders.entry(shard).or_insert_with(|| (slot, MetricsPartBuilder::new(TENANT)));
            let series = builder.series(hash, &key);
            builder.floats(series, [(time_ms, sample.value.to_bits())].into_iter());
            if i == 0 {
                builder.metadata(family.name, metric_type, family.help, "");
            }
        }
    }
    let finish = |(shard, (slot, builder)): (u32, (_, MetricsPartBuilder))| ShardPart {
        shard,
        slot,
        part: builder.finish().into(),
        demoted: false,
    };
    builders.into_iter().map(finish).collect()
}
