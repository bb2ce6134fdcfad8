//! Demoted labels.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The labels that samples of some metrics lose. Times are of samples, in Unix ms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminDemotions {
    /// In the order in which they were asked for; ended ones are forgotten a day later.
    pub demotions: Vec<AdminDemotion>,
}

/// A label that samples of a metric lose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminDemotion {
    pub tenant: String,
    pub metric: String,
    pub label: String,
    /// First sample time, in Unix ms.
    pub from_unix_ms: i64,
    /// The first sample time that keeps the label again, in Unix ms; none while it is demoted.
    pub until_unix_ms: Option<i64>,
    /// Whether samples of now lose the label.
    pub in_effect: bool,
}

/// A label to be demoted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DemotionRequest {
    /// `default` without.
    #[serde(default)]
    pub tenant: Option<String>,
    pub metric: String,
    pub label: String,
    /// Only say what would become of the series.
    #[serde(default)]
    pub dry_run: bool,
    /// Do it even if several sources that send now would become one series, or if nothing has the label now.
    #[serde(default)]
    pub force: bool,
}

/// A label that samples are to keep again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// `default` without.
    #[serde(default)]
    pub tenant: Option<String>,
    pub metric: String,
    pub label: String,
}

/// What becomes of a metric's series without a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DemotionOutcome {
    /// The row; none of a dry run.
    pub demotion: Option<AdminDemotion>,
    /// Series with the label that have a current sample.
    pub series: u64,
    /// Series that are left of them.
    pub series_left: u64,
    /// Of those, series that more than one source would send now.
    pub shared: u64,
    /// Most sources of one of them.
    pub sources_most: u64,
    /// Why it is refused without `force`, if it is.
    pub objection: Option<String>,
    /// What the counts lack.
    pub warnings: Vec<String>,
}
