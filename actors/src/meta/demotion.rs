//! Which labels are taken off the series of which metrics, and from which sample times on. What a row means is in
//! `store::model::demotion`, why it goes by sample times in ADR 0019.
use serde::{Deserialize, Serialize};
use trine_store::model::{DEMOTIONS_OF_METRIC_MAX, Demotion, Demotions, LabelOfMetric, TENANT_BYTES_MAX};

/// Most rows of the table.
const ROWS_MAX: usize = 1024;
/// Most bytes of the names in the table: it is in every copy of the metadata.
const TABLE_BYTES_MAX: usize = 256 << 10;
/// Longest name of a metric or label.
const NAME_BYTES_MAX: usize = 1024;
/// How far ahead of the clock, in sample time, a demotion begins and ends: longer than the command takes to every node, so that samples
/// of that time are treated alike by all, when they come and when they are sent again.
pub(crate) const LEAD_MS: i64 = 15_000;
/// A row that has ended is forgotten this long after its end: nobody repeats a write for as long.
const ENDED_KEPT_MS: i64 = 24 * 3_600_000;

/// A label that a metric's samples lose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemotionRecord {
    pub tenant: String,
    pub metric: String,
    pub label: String,
    /// First sample time, in ms.
    pub from_ms: i64,
    /// The first sample time, in ms, that keeps the label again; `i64::MAX` while there is none.
    pub until_ms: i64,
}

impl DemotionRecord {
    fn is_of(&self, tenant: &str, metric: &str, label: &str) -> bool {
        self.tenant == tenant && self.metric == metric && self.label == label
    }

    fn is_of_metric(&self, other: &Self) -> bool {
        self.tenant == other.tenant && self.metric == other.metric
    }

    fn bytes(&self) -> usize {
        self.tenant.len() + self.metric.len() + self.label.len()
    }
}

/// The table, in the order in which rows were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemotionTable(pub Vec<DemotionRecord>);

/// Why a label is not demoted, or not restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DemotionError {
    #[error("{what} of {bytes} bytes; 1 to {bytes_max} are possible")]
    Name { what: &'static str, bytes: usize, bytes_max: usize },
    #[error("the label __name__ is the metric itself and cannot be demoted")]
    MetricName,
    #[error(
        "metric {metric:?} of tenant {tenant:?} has {DEMOTIONS_OF_METRIC_MAX} rows already; ended ones make room a day after their end"
    )]
    ManyOfMetric { tenant: String, metric: String },
    #[error(
        "the table of demoted labels is full: {rows} rows, {bytes} bytes; {ROWS_MAX} rows, {TABLE_BYTES_MAX} bytes are possible"
    )]
    Full { rows: usize, bytes: usize },
    #[error("label {label:?} of metric {metric:?} of tenant {tenant:?} is not demoted")]
    NotDemoted { tenant: String, metric: String, label: String },
}

impl DemotionTable {
    /// Adds a row without an end, and gives its beginning; that of the row that there is, if the label is demoted already.
    pub(super) fn demote(&mut self, row: DemotionRecord) -> Result<i64, DemotionError> {
        check("a tenant", &row.tenant, TENANT_BYTES_MAX)?;
        check("a metric", &row.metric, NAME_BYTES_MAX)?;
        check("a label", &row.label, NAME_BYTES_MAX)?;
        if row.label == "__name__" {
            return Err(DemotionError::MetricName);
        }
        if let Some(at) = self.active(&row.tenant, &row.metric, &row.label) {
            return Ok(self.0[at].from_ms);
        }
        let forgotten_ms = row.from_ms.saturating_sub(ENDED_KEPT_MS);
        self.0.retain(|other| other.until_ms >= forgotten_ms);
        if self.0.iter().filter(|other| other.is_of_metric(&row)).count() >= DEMOTIONS_OF_METRIC_MAX {
            return Err(DemotionError::ManyOfMetric { tenant: row.tenant, metric: row.metric });
        }
        let (rows, bytes) = (self.0.len(), self.0.iter().map(DemotionRecord::bytes).sum::<usize>());
        if rows >= ROWS_MAX || bytes + row.bytes() > TABLE_BYTES_MAX {
            return Err(DemotionError::Full { rows, bytes });
        }
        let from_ms = row.from_ms;
        self.0.push(DemotionRecord { until_ms: i64::MAX, ..row });
        Ok(from_ms)
    }

    /// Ends a row: samples from `until_ms` on keep the label. Gives that time, or the row's beginning if that is later; the end that was
    /// asked for before, if that is yet to come.
    pub(super) fn restore(
        &mut self,
        tenant: &str,
        metric: &str,
        label: &str,
        until_ms: i64,
    ) -> Result<i64, DemotionError> {
        let Some(at) = self.active(tenant, metric, label) else {
            let is_coming = |row: &&DemotionRecord| row.until_ms > until_ms.saturating_sub(LEAD_MS);
            if let Some(row) = self.0.iter().filter(|row| row.is_of(tenant, metric, label)).find(is_coming) {
                return Ok(row.until_ms);
            }
            let (tenant, metric, label) = (tenant.to_owned(), metric.to_owned(), label.to_owned());
            return Err(DemotionError::NotDemoted { tenant, metric, label });
        };
        let row = &mut self.0[at];
        row.until_ms = until_ms.max(row.from_ms);
        Ok(row.until_ms)
    }

    fn active(&self, tenant: &str, metric: &str, label: &str) -> Option<usize> {
        self.0.iter().position(|row| row.is_of(tenant, metric, label) && row.until_ms == i64::MAX)
    }

    /// The rows as everybody else knows them.
    pub fn rows(&self) -> Vec<Demotion> {
        let row = |r: &DemotionRecord| Demotion {
            of: LabelOfMetric { tenant: r.tenant.clone(), metric: r.metric.clone(), label: r.label.clone() },
            from_ms: r.from_ms,
            until_ms: r.until_ms,
        };
        self.0.iter().map(row).collect()
    }

    /// The table as writers use it.
    pub fn demotions(&self) -> Demotions {
        Demotions::new(&self.rows())
    }
}

fn check(what: &'static str, name: &str, bytes_max: usize) -> Result<(), DemotionError> {
    let bytes = name.len();
    if bytes == 0 || bytes > bytes_max { Err(DemotionError::Name { what, bytes, bytes_max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{Command, MetaState, Reply, decode, encode};

    fn row(metric: &str, label: &str, from_ms: i64) -> DemotionRecord {
        let (metric, label) = (metric.to_owned(), label.to_owned());
        DemotionRecord { tenant: "t".to_owned(), metric, label, from_ms, until_ms: i64::MAX }
    }

    fn demote(m: &mut MetaState, row: DemotionRecord) -> Reply {
        let command = Command::Demote(row);
        assert_eq!(decode::<Command>("command", &encode(&command)).unwrap(), command);
        m.apply(command)
    }

    fn restore(m: &mut MetaState, metric: &str, label: &str, until_ms: i64) -> Reply {
        let (tenant, metric, label) = ("t".to_owned(), metric.to_owned(), label.to_owned());
        m.apply(Command::Restore { tenant, metric, label, until_ms })
    }

    #[test]
    fn a_label_is_demoted_once_and_restored_once() {
        let mut m = MetaState::default();
        assert_eq!(demote(&mut m, row("m", "user", 100)), Reply::LabelFrom(100));
        assert_eq!(demote(&mut m, row("m", "user", 900)), Reply::LabelFrom(100), "repeating it changes nothing");
        assert!(matches!(restore(&mut m, "m", "job", 200), Reply::Refused(_)));
        assert_eq!(restore(&mut m, "m", "user", 200), Reply::LabelFrom(200));
        assert_eq!(restore(&mut m, "m", "user", 199 + LEAD_MS), Reply::LabelFrom(200), "its end is yet to come");
        assert!(matches!(restore(&mut m, "m", "user", 200 + LEAD_MS), Reply::Refused(_)), "it has ended");
        assert_eq!(demote(&mut m, row("m", "user", 300)), Reply::LabelFrom(300));
        assert_eq!(restore(&mut m, "m", "user", 250), Reply::LabelFrom(300), "it ends before it begins: it never was");
        let times: Vec<_> = m.demotions.0.iter().map(|r| (r.from_ms, r.until_ms)).collect();
        assert_eq!(times, [(100, 200), (300, 300)]);
        let table = m.demotions.demotions().of("t").unwrap();
        assert!(table.of_series(b"\x08__name__\x01m\x04user\x017").is_some());
    }

    #[test]
    fn names_are_checked_and_the_table_is_bounded() {
        let mut m = MetaState::default();
        for (tenant, metric, label) in
            [("", "m", "l"), ("t", "", "l"), ("t", "m", ""), ("t", "m", "__name__"), (&"t".repeat(151), "m", "l")]
        {
            let row = DemotionRecord { tenant: tenant.into(), ..row(metric, label, 0) };
            assert!(matches!(demote(&mut m, row), Reply::Refused(_)), "{tenant} {metric} {label}");
        }
        for i in 0..DEMOTIONS_OF_METRIC_MAX {
            assert_eq!(demote(&mut m, row("m", &format!("l{i}"), 0)), Reply::LabelFrom(0));
        }
        assert!(matches!(demote(&mut m, row("m", "more", 0)), Reply::Refused(_)));
        // Ended rows make room a day later.
        assert_eq!(restore(&mut m, "m", "l0", 5), Reply::LabelFrom(5));
        assert!(matches!(demote(&mut m, row("m", "more", 5 + ENDED_KEPT_MS)), Reply::Refused(_)));
        assert!(matches!(demote(&mut m, row("m", "more", 6 + ENDED_KEPT_MS)), Reply::LabelFrom(_)));
        for i in m.demotions.0.len()..ROWS_MAX {
            assert_eq!(demote(&mut m, row(&format!("m{i}"), "l", 0)), Reply::LabelFrom(0));
        }
        assert!(matches!(demote(&mut m, row("another", "l", 0)), Reply::Refused(_)), "rows");
        let mut m = MetaState::default();
        assert!(matches!(demote(&mut m, row(&"m".repeat(NAME_BYTES_MAX + 1), "l", 0)), Reply::Refused(_)));
        let long = |i: usize| row(&format!("{i}{}", "m".repeat(NAME_BYTES_MAX - 10)), "l", 0);
        let taken = (0..ROWS_MAX).take_while(|i| matches!(demote(&mut m, long(*i)), Reply::LabelFrom(_))).count();
        assert!((100..ROWS_MAX).contains(&taken), "{taken} rows: their bytes are bounded, too");
    }
}
