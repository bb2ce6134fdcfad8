//! ExportMetricsServiceRequest in OTLP/JSON.
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
    exemplar, number_data_point, summary_data_point,
};
use serde_json::Value;

use super::json::{Object, Result, double_of, parse, resource, scope, unsigned_of};
use crate::error::ApiError;

/// Decodes a body.
pub(crate) fn decode(body: &[u8]) -> Result<ExportMetricsServiceRequest> {
    let value = parse(body)?;
    let resource_metrics = Object::of(&value, "")?.list("resourceMetrics", |o| {
        Ok(ResourceMetrics {
            resource: o.message("resource", resource)?,
            scope_metrics: o.list("scopeMetrics", scope_metrics)?,
            schema_url: o.string("schemaUrl")?,
        })
    })?;
    Ok(ExportMetricsServiceRequest { resource_metrics })
}

fn scope_metrics(o: Object<'_>) -> Result<ScopeMetrics> {
    Ok(ScopeMetrics {
        scope: o.message("scope", scope)?,
        metrics: o.list("metrics", metric)?,
        schema_url: o.string("schemaUrl")?,
    })
}

fn temporality(o: Object<'_>) -> Result<i32> {
    o.enumeration("aggregationTemporality", |n| AggregationTemporality::from_str_name(n).map(|t| t as i32))
}

fn metric(o: Object<'_>) -> Result<Metric> {
    let data = if let Some(gauge) = o.message("gauge", |g| Ok(Gauge { data_points: g.list("dataPoints", number)? }))? {
        Some(Data::Gauge(gauge))
    } else if let Some(sum) = o.message("sum", sum)? {
        Some(Data::Sum(sum))
    } else if let Some(histogram) = o.message("histogram", histogram)? {
        Some(Data::Histogram(histogram))
    } else if let Some(histogram) = o.message("exponentialHistogram", exponential)? {
        Some(Data::ExponentialHistogram(histogram))
    } else {
        o.message("summary", |s| Ok(Summary { data_points: s.list("dataPoints", summary_point)? }))?.map(Data::Summary)
    };
    Ok(Metric {
        name: o.string("name")?,
        description: o.string("description")?,
        unit: o.string("unit")?,
        metadata: o.attributes("metadata")?,
        data,
    })
}

fn sum(o: Object<'_>) -> Result<Sum> {
    Ok(Sum {
        data_points: o.list("dataPoints", number)?,
        aggregation_temporality: temporality(o)?,
        is_monotonic: o.boolean("isMonotonic")?,
    })
}

fn histogram(o: Object<'_>) -> Result<Histogram> {
    Ok(Histogram { data_points: o.list("dataPoints", histogram_point)?, aggregation_temporality: temporality(o)? })
}

fn exponential(o: Object<'_>) -> Result<ExponentialHistogram> {
    let data_points = o.list("dataPoints", exponential_point)?;
    Ok(ExponentialHistogram { data_points, aggregation_temporality: temporality(o)? })
}

fn signed32(o: Object<'_>, key: &str) -> Result<i32> {
    let wrong = |_| ApiError::BadRequest(format!("invalid JSON: field {key:?} is not a 32-bit number"));
    i32::try_from(o.signed(key)?).map_err(wrong)
}

fn buckets(o: Object<'_>) -> Result<Buckets> {
    Ok(Buckets { offset: signed32(o, "offset")?, bucket_counts: numbers(o, "bucketCounts", unsigned_of)? })
}

fn exponential_point(o: Object<'_>) -> Result<ExponentialHistogramDataPoint> {
    Ok(ExponentialHistogramDataPoint {
        attributes: o.attributes("attributes")?,
        start_time_unix_nano: o.unsigned("startTimeUnixNano")?,
        time_unix_nano: o.unsigned("timeUnixNano")?,
        count: o.unsigned("count")?,
        sum: o.double("sum")?,
        scale: signed32(o, "scale")?,
        zero_count: o.unsigned("zeroCount")?,
        positive: o.message("positive", buckets)?,
        negative: o.message("negative", buckets)?,
        flags: o.unsigned32("flags")?,
        exemplars: o.list("exemplars", exemplar)?,
        min: o.double("min")?,
        max: o.double("max")?,
        zero_threshold: o.double("zeroThreshold")?.unwrap_or_default(),
    })
}

fn number(o: Object<'_>) -> Result<NumberDataPoint> {
    let value = match o.double("asDouble")? {
        Some(d) => Some(number_data_point::Value::AsDouble(d)),
        None if o.get("asInt").is_some() => Some(number_data_point::Value::AsInt(o.signed("asInt")?)),
        None => None,
    };
    Ok(NumberDataPoint {
        attributes: o.attributes("attributes")?,
        start_time_unix_nano: o.unsigned("startTimeUnixNano")?,
        time_unix_nano: o.unsigned("timeUnixNano")?,
        exemplars: o.list("exemplars", exemplar)?,
        flags: o.unsigned32("flags")?,
        value,
    })
}

fn exemplar(o: Object<'_>) -> Result<Exemplar> {
    let value = match o.double("asDouble")? {
        Some(d) => Some(exemplar::Value::AsDouble(d)),
        None if o.get("asInt").is_some() => Some(exemplar::Value::AsInt(o.signed("asInt")?)),
        None => None,
    };
    Ok(Exemplar {
        filtered_attributes: o.attributes("filteredAttributes")?,
        time_unix_nano: o.unsigned("timeUnixNano")?,
        span_id: o.id("spanId", 8)?,
        trace_id: o.id("traceId", 16)?,
        value,
    })
}

fn numbers<T>(o: Object<'_>, key: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>> {
    let wrong = || ApiError::BadRequest(format!("invalid JSON: field {key:?} is not an array of numbers"));
    o.values(key)?.iter().map(|v| read(v).ok_or_else(wrong)).collect()
}

fn histogram_point(o: Object<'_>) -> Result<HistogramDataPoint> {
    Ok(HistogramDataPoint {
        attributes: o.attributes("attributes")?,
        start_time_unix_nano: o.unsigned("startTimeUnixNano")?,
        time_unix_nano: o.unsigned("timeUnixNano")?,
        count: o.unsigned("count")?,
        sum: o.double("sum")?,
        bucket_counts: numbers(o, "bucketCounts", unsigned_of)?,
        explicit_bounds: numbers(o, "explicitBounds", double_of)?,
        exemplars: o.list("exemplars", exemplar)?,
        flags: o.unsigned32("flags")?,
        min: o.double("min")?,
        max: o.double("max")?,
    })
}

fn summary_point(o: Object<'_>) -> Result<SummaryDataPoint> {
    Ok(SummaryDataPoint {
        attributes: o.attributes("attributes")?,
        start_time_unix_nano: o.unsigned("startTimeUnixNano")?,
        time_unix_nano: o.unsigned("timeUnixNano")?,
        count: o.unsigned("count")?,
        sum: o.double("sum")?.unwrap_or_default(),
        quantile_values: o.list("quantileValues", |q| {
            Ok(summary_data_point::ValueAtQuantile {
                quantile: q.double("quantile")?.unwrap_or_default(),
                value: q.double("value")?.unwrap_or_default(),
            })
        })?,
        flags: o.unsigned32("flags")?,
    })
}
