//! `/admin/v1/spread`: the table of spread streams.
use trine_actors::Cluster;
use trine_actors::spread::text_of;
use trine_api::admin::model::{AdminSpread, AdminSpreads};

const NS_PER_MS: i64 = 1_000_000;

/// The first whole ms that is not before.
fn ms_up(ns: i64) -> i64 {
    ns.div_euclid(NS_PER_MS) + i64::from(ns.rem_euclid(NS_PER_MS) > 0)
}

pub(super) fn spreads(cluster: &Cluster) -> AdminSpreads {
    let view = cluster.spread_view();
    let row = |r: &trine_actors::meta::SpreadRecord| AdminSpread {
        tenant: r.tenant.clone(),
        stream: text_of(&r.stream),
        from_unix_ms: ms_up(r.from_ns),
        from_unix_ns: r.from_ns,
        slots: r.slots,
        begun: r.from_ns <= view.now_ns,
    };
    AdminSpreads {
        earliest_unix_ms: ms_up(view.earliest_ns),
        settled_unix_ms: view.places.horizon_ns.max(0).div_euclid(NS_PER_MS),
        bytes_per_second: cluster.config().spread_bytes_per_second,
        spreads: view.places.spreads.iter().map(row).collect(),
    }
}
