//! Documents of `/admin/v1/cardinality`.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who makes how many series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminCardinality {
    /// Those with the most series first.
    pub tenants: Vec<AdminTenantCardinality>,
    /// Tenants with metrics that were not looked at, having the fewest samples: name one to look at it.
    pub tenants_left_out: u64,
}

/// A tenant's series with samples in the last two hours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminTenantCardinality {
    pub tenant: String,
    pub series: u64,
    /// Series with samples in the last hour, less those of the hour before.
    pub growth: i64,
    /// Label names, and pairs of a label and a value.
    pub label_names: u64,
    pub label_pairs: u64,
    /// The label that makes the most series of one metric.
    pub offender: Option<AdminOffender>,
    /// Metrics with the most series.
    pub metrics: Vec<AdminMetricCardinality>,
    /// Labels with the most values.
    pub labels: Vec<AdminLabelCardinality>,
    /// Pairs of a label and a value with the most series.
    pub pairs: Vec<AdminPairCardinality>,
    /// What is missing from the counts.
    pub warnings: Vec<String>,
}

/// A label of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminOffender {
    pub metric: String,
    pub label: String,
    /// Values of the label in series of the metric.
    pub values: u64,
    /// Series of the metric.
    pub series: u64,
}

/// Series of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminMetricCardinality {
    pub metric: String,
    pub series: u64,
    /// Series with samples in the last hour, less those of the hour before.
    pub growth: i64,
    /// The metric's label with the most values, and how many these are; empty for a metric without labels.
    pub label: String,
    pub values: u64,
}

/// Values of a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminLabelCardinality {
    pub label: String,
    pub values: u64,
    pub series: u64,
}

/// Series with a value of a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminPairCardinality {
    pub label: String,
    pub value: String,
    pub series: u64,
}
