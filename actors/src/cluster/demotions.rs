//! Demoting labels: asking the metadata for it, from a sample time on that no write has reached yet. The table is in the metadata
//! (`meta::DemotionTable`), what it means in `store::model::demotion`, why it is right in ADR 0019.
use tracing::info;
use trine_store::model::{Demotion, Demotions, LabelOfMetric};

use super::Cluster;
use super::shared::Shared;
use crate::meta::{Command, DemotionRecord, LEAD_MS, Reply};
use crate::spread::now_ns;

const NS_PER_MS: i64 = 1_000_000;

impl Shared {
    fn demotions(&self) -> Demotions {
        self.meta.get().map_or_else(Demotions::default, |m| m.demotions.borrow().clone())
    }
}

/// When a change of the table that is asked for now takes effect, as a sample time in ms.
fn from_now_ms() -> i64 {
    (now_ns() / NS_PER_MS).saturating_add(LEAD_MS)
}

impl Cluster {
    /// Labels that samples lose, as far as this node knows.
    pub fn demotions(&self) -> Demotions {
        self.shared.demotions()
    }

    /// The table of demoted labels, in the order in which they were asked for.
    pub fn demotion_rows(&self) -> Vec<Demotion> {
        self.shared.meta().demotions.rows()
    }

    /// Has samples of a metric lose a label, from the sample time on that is given, in ms. `Err` says why not.
    pub async fn demote(&self, what: &LabelOfMetric) -> Result<i64, String> {
        let LabelOfMetric { tenant, metric, label } = what.clone();
        let row = DemotionRecord { tenant, metric, label, from_ms: from_now_ms(), until_ms: i64::MAX };
        match self.shared.meta_command(&Command::Demote(row)).await? {
            Reply::LabelFrom(from_ms) => {
                info!(
                    tenant = what.tenant,
                    metric = what.metric,
                    label = what.label,
                    from_ms,
                    "a label is demoted, by request"
                );
                Ok(from_ms)
            }
            other => Err(format!("the metadata group answered {other:?}")),
        }
    }

    /// Has them keep it again, from the sample time on that is given, in ms. `Err` says why not.
    pub async fn restore(&self, what: &LabelOfMetric) -> Result<i64, String> {
        let LabelOfMetric { tenant, metric, label } = what.clone();
        match self.shared.meta_command(&Command::Restore { tenant, metric, label, until_ms: from_now_ms() }).await? {
            Reply::LabelFrom(until_ms) => {
                info!(
                    tenant = what.tenant,
                    metric = what.metric,
                    label = what.label,
                    until_ms,
                    "a label is restored, by request"
                );
                Ok(until_ms)
            }
            other => Err(format!("the metadata group answered {other:?}")),
        }
    }
}
