//! `trine admin cardinality`.
use std::fmt::Write;

use trine_api::admin::model::{AdminCardinality, AdminTenantCardinality};

use super::super::out;
use super::Client;
use crate::error::Error;

pub(super) async fn run(client: &Client, tenant: Option<&str>, limit: usize, json: bool) -> Result<(), Error> {
    let limit = limit.to_string();
    let params = tenant.map(|t| ("tenant", t)).into_iter().chain([("limit", limit.as_str())]);
    let document: AdminCardinality = client.get_with("/admin/v1/cardinality", params).await?;
    match json {
        true => out::line(format_args!("{:#}", serde_json::json!(document))),
        false => out::print(text(&document)),
    }
}

/// The document as a person reads it.
fn text(document: &AdminCardinality) -> String {
    if document.tenants.is_empty() {
        return "no tenant has metrics\n".to_owned();
    }
    let mut out = document.tenants.iter().map(tenant).collect::<Vec<_>>().join("\n");
    if document.tenants_left_out > 0 {
        out.push_str(&format!("\n{} more tenants: --tenant shows one\n", document.tenants_left_out));
    }
    out
}

fn tenant(t: &AdminTenantCardinality) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        writeln!(out, "{}", text.trim_end()).expect("writing to a string does not fail");
    };
    line(format!(
        "tenant {}: {} series with samples in the last 2 h, {:+} in the last hour; {} label names, {} label=value pairs",
        t.tenant, t.series, t.growth, t.label_names, t.label_pairs
    ));
    t.warnings.iter().for_each(|warning| line(format!("INCOMPLETE: {warning}")));
    if let Some(worst) = &t.offender {
        line(format!(
            "most: label {:?} of {} has {} values, in {} series",
            worst.label, worst.metric, worst.values, worst.series
        ));
    }
    line(String::new());
    line(format!("{:>10} {:>10} {:>10}  {:<24} METRIC", "SERIES", "IN 1 H", "VALUES", "OF LABEL"));
    for m in &t.metrics {
        line(format!("{:>10} {:>+10} {:>10}  {:<24} {}", m.series, m.growth, m.values, m.label, m.metric));
    }
    line(String::new());
    line(format!("{:>10} {:>10}  LABEL", "VALUES", "SERIES"));
    for l in &t.labels {
        line(format!("{:>10} {:>10}  {}", l.values, l.series, l.label));
    }
    line(String::new());
    line(format!("{:>10}  LABEL=VALUE", "SERIES"));
    for p in &t.pairs {
        line(format!("{:>10}  {}={:?}", p.series, p.label, p.value));
    }
    out
}

#[cfg(test)]
mod tests {
    use trine_api::admin::model::{AdminLabelCardinality, AdminMetricCardinality, AdminOffender, AdminPairCardinality};

    use super::*;

    #[test]
    fn the_text_names_the_offender() {
        let (metric, label, value) = ("requests_total".to_owned(), "user_id".to_owned(), "7".to_owned());
        let tenant = AdminTenantCardinality {
            tenant: "team-a".into(),
            series: 1200,
            growth: -3,
            offender: Some(AdminOffender { metric: metric.clone(), label: label.clone(), values: 900, series: 1000 }),
            metrics: vec![AdminMetricCardinality {
                metric,
                series: 1000,
                growth: 250,
                label: label.clone(),
                values: 900,
            }],
            labels: vec![AdminLabelCardinality { label: label.clone(), values: 900, series: 1000 }],
            pairs: vec![AdminPairCardinality { label, value, series: 2 }],
            warnings: vec!["shard 3 is missing".into()],
            ..AdminTenantCardinality::default()
        };
        let shown = text(&AdminCardinality { tenants: vec![tenant], tenants_left_out: 2 });
        for said in [
            "tenant team-a: 1200 series with samples in the last 2 h, -3 in the last hour",
            "INCOMPLETE: shard 3 is missing",
            "most: label \"user_id\" of requests_total has 900 values, in 1000 series",
            "      1000       +250        900  user_id                  requests_total",
            "         2  user_id=\"7\"",
            "2 more tenants",
        ] {
            assert!(shown.contains(said), "{said:?} is not in\n{shown}");
        }
        assert_eq!(text(&AdminCardinality::default()), "no tenant has metrics\n");
    }
}
