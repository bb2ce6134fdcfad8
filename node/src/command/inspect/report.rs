//! What is said of a block.
use std::fmt::Write;

use serde_json::{Value as Json, json};
use trine_store::inspect::{TenantContents, Weight};

use crate::command::admin::bytes;
use crate::command::columns::aligned;
use crate::command::moment::utc;

/// What a block holds.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) name: String,
    pub(super) signal: &'static str,
    /// Length of the file.
    pub(super) bytes: u64,
    pub(super) digest: u128,
    pub(super) tenants: Vec<TenantContents>,
    /// Everything was decoded and is what the digest says.
    pub(super) verified: bool,
}

impl Report {
    /// What series and facts are called.
    fn words(&self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self.signal {
            "metrics" => ("series", "samples", "metric", "label"),
            "logs" => ("streams", "lines", "stream", "column"),
            _ => ("streams", "spans", "stream", "column"),
        }
    }

    /// Times of rows are ns.
    fn ms(&self, time: i64) -> i64 {
        if self.signal == "metrics" { time } else { time.div_euclid(1_000_000) }
    }

    /// For people; `top` of each list.
    pub(super) fn table(&self, top: usize) -> String {
        let (members, facts, group, column) = self.words();
        let mut out = String::new();
        let checked = if self.verified { "verified: everything decodes to the digest" } else { "tables checked" };
        let footer = self.bytes.saturating_sub(self.tenants.iter().map(|t| t.bytes).sum());
        writeln!(out, "block    {}\nsignal   {}, {} tenants", self.name, self.signal, self.tenants.len())
            .and_then(|()| writeln!(out, "bytes    {} ({}), footer {footer}", self.bytes, bytes(self.bytes)))
            .and_then(|()| writeln!(out, "digest   {:032x}\nstate    {checked}", self.digest))
            .expect("writing to a string does not fail");
        for t in &self.tenants {
            let each = per(t.bytes, t.facts);
            let times = t.times.map_or("none".to_owned(), |(min, max)| {
                format!("{} to {} UTC", utc(self.ms(min), "%F %T%.3f"), utc(self.ms(max), "%F %T%.3f"))
            });
            let kinds: Vec<String> = t.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            writeln!(out, "\ntenant   {}\ntimes    {times}", t.tenant)
                .and_then(|()| writeln!(out, "{members:<8} {}", t.series))
                .and_then(|()| writeln!(out, "{facts:<8} {} ({})", t.facts, kinds.join(", ")))
                .and_then(|()| writeln!(out, "bytes    {} ({}), {each:.3} each of {facts}\n", t.bytes, bytes(t.bytes)))
                .expect("writing to a string does not fail");
            out.push_str(&sections(t));
            out.push_str(&list(
                &format!("TOP BY {}", facts.to_uppercase()),
                group,
                members,
                facts,
                &t.groups,
                top,
                |w| w.facts,
            ));
            out.push_str(&list("TOP BY BYTES", group, members, facts, &t.groups, top, |w| w.bytes));
            if self.signal == "metrics" {
                out.push_str(&list("TOP BY SERIES", group, members, facts, &t.groups, top, |w| w.members));
                out.push_str(&list("LABELS BY BYTES", column, "values", "-", &t.columns, top, |w| w.bytes));
            } else {
                out.push_str(&list("COLUMNS BY BYTES", column, "granules", "values", &t.columns, top, |w| w.bytes));
            }
        }
        out
    }

    /// For programs; `top` of each list.
    pub(super) fn json(&self, top: usize) -> Json {
        let weight = |w: &Weight| json!({"name": w.name, "members": w.members, "facts": w.facts, "bytes": w.bytes});
        let best = |all: &[Weight], by: fn(&Weight) -> u64| {
            sorted(all, by).into_iter().take(top).map(weight).collect::<Vec<_>>()
        };
        let pairs = |all: &[(&'static str, u64)]| {
            all.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect::<serde_json::Map<_, _>>()
        };
        let tenant = |t: &TenantContents| {
            json!({
                "tenant": t.tenant, "bytes": t.bytes, "series": t.series, "facts": t.facts,
                "min_time_ms": t.times.map(|t| self.ms(t.0)), "max_time_ms": t.times.map(|t| self.ms(t.1)),
                "bytes_per_fact": per(t.bytes, t.facts), "kinds": pairs(&t.kinds), "sections": pairs(&t.sections),
                "groups_count": t.groups.len(), "top_by_facts": best(&t.groups, |w| w.facts),
                "top_by_bytes": best(&t.groups, |w| w.bytes), "top_by_members": best(&t.groups, |w| w.members),
                "columns_by_bytes": best(&t.columns, |w| w.bytes),
            })
        };
        json!({
            "block": self.name, "signal": self.signal, "bytes": self.bytes, "digest": format!("{:032x}", self.digest),
            "verified": self.verified, "tenants": self.tenants.iter().map(tenant).collect::<Vec<_>>(),
        })
    }
}

fn per(bytes: u64, facts: u64) -> f64 {
    if facts == 0 { 0.0 } else { bytes as f64 / facts as f64 }
}

fn sections(t: &TenantContents) -> String {
    let mut rows = vec![["SECTION", "BYTES", "SHARE", "EACH"].map(str::to_owned).to_vec()];
    for (name, size) in &t.sections {
        let share = 100.0 * per(*size, t.bytes);
        rows.push(vec![
            (*name).to_owned(),
            size.to_string(),
            format!("{share:.1} %"),
            format!("{:.3}", per(*size, t.facts)),
        ]);
    }
    aligned(&rows)
}

/// The greatest first, names deciding between equals.
fn sorted(all: &[Weight], by: fn(&Weight) -> u64) -> Vec<&Weight> {
    let mut sorted: Vec<&Weight> = all.iter().collect();
    sorted.sort_by(|a, b| by(b).cmp(&by(a)).then_with(|| a.name.cmp(&b.name)));
    sorted
}

fn list(
    title: &str,
    name: &str,
    members: &str,
    facts: &str,
    all: &[Weight],
    top: usize,
    by: fn(&Weight) -> u64,
) -> String {
    if all.is_empty() || top == 0 {
        return String::new();
    }
    let mut rows = vec![[name, members, facts, "bytes"].map(str::to_uppercase).to_vec()];
    for w in sorted(all, by).into_iter().take(top) {
        let facts = if facts == "-" { String::new() } else { w.facts.to_string() };
        rows.push(vec![w.name.clone(), w.members.to_string(), facts, w.bytes.to_string()]);
    }
    format!("\n{title} ({} of {})\n{}", rows.len() - 1, all.len(), aligned(&rows))
}
