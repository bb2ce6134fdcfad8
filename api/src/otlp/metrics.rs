//! Data points of an OTLP request as Prometheus series.
mod exemplars;
mod labels;
mod native;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint, number_data_point,
};
use trine_store::model::{LabelsBuilder, STALE_NAN_BITS};

use self::labels::{Pairs, ResourceLabels, point_labels, scope_labels, set};
use super::delta::Deltas;
use super::names::{NameKind, metric_name, unit_text};
use crate::backend::ShardPart;
use crate::budget::Held;
use crate::config::OtlpConfig;
use crate::error::ApiError;
use crate::number::push_float_plain;
use crate::parts::{Blob, MetricsSplit, ShardOf};
use crate::prom::decode::WriteLimits;
use crate::prom::histogram::{self, Histogram};

/// Flag of a data point that only says that the series has no value now.
const NO_RECORDED_VALUE: u32 = 1;
/// Distance of `target_info` samples: half the default lookback.
const TARGET_INFO_STEP_MS: i64 = 150_000;
/// Most `target_info` samples of one resource and request.
const TARGET_INFO_MAX: usize = 1000;
/// Longest help text that is kept.
const HELP_BYTES_MAX: usize = 4096;
/// Reasons that are spelled out.
const REASONS_MAX: usize = 10;

/// A decoded request: parts, and what was left out of them with its reason.
#[derive(Debug, Default)]
pub(crate) struct Points {
    pub(crate) parts: Vec<ShardPart>,
    pub(crate) samples: u64,
    pub(crate) too_new: u64,
    pub(crate) too_old: u64,
    pub(crate) too_large: u64,
    /// Points that are not stored for what they are.
    pub(crate) unsupported: u64,
    /// One sentence for each reason among `unsupported`.
    pub(crate) reasons: Vec<String>,
}

/// How points become series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) config: &'a OtlpConfig,
    /// Used where `delta_to_cumulative` is set.
    pub(crate) deltas: &'a Deltas,
}

struct Writer<'a> {
    tenant: &'a str,
    rules: &'a Rules<'a>,
    split: MetricsSplit<'a>,
    limits: &'a WriteLimits,
    builder: LabelsBuilder,
    key: Vec<u8>,
    resource: ResourceLabels,
    scope: Pairs,
    /// Points of the metric are differences.
    is_delta: bool,
    /// Times of the resource's points, for `target_info`.
    first_ms: i64,
    last_ms: i64,
    out: Points,
}

/// Turns a request into parts.
pub(crate) fn decode(
    tenant: &str,
    request: &ExportMetricsServiceRequest,
    limits: &WriteLimits,
    rules: &Rules<'_>,
    shard_of: ShardOf<'_>,
    held: &mut Held,
) -> Result<Points, ApiError> {
    let mut w = Writer {
        tenant,
        rules,
        split: MetricsSplit::new(tenant, shard_of, held).demoting(limits.demotions.as_ref()),
        limits,
        builder: LabelsBuilder::default(),
        key: Vec::new(),
        resource: ResourceLabels::default(),
        scope: Pairs::new(),
        is_delta: false,
        first_ms: i64::MAX,
        last_ms: i64::MIN,
        out: Points::default(),
    };
    for of_resource in &request.resource_metrics {
        let attributes = of_resource.resource.as_ref().map(|r| r.attributes.as_slice()).unwrap_or_default();
        w.resource = ResourceLabels::of(attributes, rules.config);
        (w.first_ms, w.last_ms) = (i64::MAX, i64::MIN);
        for of_scope in &of_resource.scope_metrics {
            w.scope = scope_labels(of_scope.scope.as_ref(), &of_scope.schema_url, rules.config);
            of_scope.metrics.iter().for_each(|metric| w.metric(metric));
        }
        w.target_info();
    }
    w.out.parts = w.split.finish()?;
    Ok(w.out)
}

fn ms_of(time_ns: u64) -> i64 {
    (time_ns / 1_000_000) as i64
}

fn bits_of(value: f64, flags: u32) -> u64 {
    if flags & NO_RECORDED_VALUE != 0 { STALE_NAN_BITS } else { value.to_bits() }
}

/// What a metric is: how it is named, its type in metadata, how many points it has, and its temporality.
fn kind_of(metric: &Metric) -> Option<(NameKind, u8, usize, Option<i32>)> {
    Some(match metric.data.as_ref()? {
        Data::Gauge(g) => (NameKind::Gauge, 2, g.data_points.len(), None),
        Data::Sum(s) if s.is_monotonic => (NameKind::Counter, 1, s.data_points.len(), Some(s.aggregation_temporality)),
        Data::Sum(s) => (NameKind::Other, 2, s.data_points.len(), Some(s.aggregation_temporality)),
        Data::Histogram(h) => (NameKind::Other, 3, h.data_points.len(), Some(h.aggregation_temporality)),
        Data::ExponentialHistogram(h) => (NameKind::Other, 3, h.data_points.len(), Some(h.aggregation_temporality)),
        Data::Summary(s) => (NameKind::Other, 5, s.data_points.len(), None),
    })
}

impl Writer<'_> {
    fn refuse(&mut self, points: usize, reason: String) {
        if points > 0 {
            self.out.unsupported += points as u64;
            if self.out.reasons.len() < REASONS_MAX && !self.out.reasons.contains(&reason) {
                self.out.reasons.push(reason);
            }
        }
    }

    fn metric(&mut self, metric: &Metric) {
        let Some((kind, metric_type, points, temporality)) = kind_of(metric) else { return };
        let config = self.rules.config;
        self.is_delta = match temporality {
            None => false,
            Some(t) if t == AggregationTemporality::Cumulative as i32 => false,
            Some(t) if t == AggregationTemporality::Delta as i32 && config.delta_to_cumulative => true,
            Some(_) => {
                let reason = format!("invalid temporality and type combination for metric {:?}", metric.name);
                return self.refuse(points, reason);
            }
        };
        let Some(name) = metric_name(config.translation_strategy, &metric.name, &metric.unit, kind) else {
            return self.refuse(points, format!("normalization for metric {:?} resulted in empty name", metric.name));
        };
        if points > 0 && metric.description.len() <= HELP_BYTES_MAX && name.len() <= HELP_BYTES_MAX {
            self.split.metadata(&name, metric_type, &metric.description, &unit_text(&metric.unit));
        }
        match &metric.data {
            Some(Data::Gauge(g)) => g.data_points.iter().for_each(|p| self.number(&name, p)),
            Some(Data::Sum(s)) => s.data_points.iter().for_each(|p| self.number(&name, p)),
            Some(Data::Histogram(h)) if config.convert_histograms_to_nhcb => {
                for p in &h.data_points {
                    self.native(&name, &p.attributes, native::of_explicit(p), &p.exemplars);
                }
            }
            Some(Data::Histogram(h)) => h.data_points.iter().for_each(|p| self.classic(&name, p)),
            Some(Data::ExponentialHistogram(h)) => {
                for p in &h.data_points {
                    self.native(&name, &p.attributes, native::of_exponential(p), &p.exemplars);
                }
            }
            Some(Data::Summary(s)) => s.data_points.iter().for_each(|p| self.summary(&name, p)),
            None => {}
        }
    }

    fn labels(&self, attributes: &[KeyValue]) -> Pairs {
        point_labels(attributes, &self.resource, &self.scope, self.rules.config.translation_strategy)
    }

    fn number(&mut self, name: &str, point: &NumberDataPoint) {
        let value = match point.value {
            Some(number_data_point::Value::AsDouble(d)) => d,
            Some(number_data_point::Value::AsInt(i)) => i as f64,
            None => 0.0,
        };
        let labels = self.labels(&point.attributes);
        let exemplars: Vec<Blob<'_>> = point.exemplars.iter().map(exemplars::encode).collect();
        let bits = bits_of(value, point.flags);
        self.sample(name, &labels, None, (ms_of(point.time_unix_nano), bits), &exemplars);
    }

    /// One series a bucket, and those of count and sum.
    fn classic(&mut self, name: &str, point: &HistogramDataPoint) {
        let (labels, time_ms) = (self.labels(&point.attributes), ms_of(point.time_unix_nano));
        // By value, so that each bucket takes its own from the front.
        let mut sorted: Vec<&Exemplar> = point.exemplars.iter().collect();
        sorted.sort_by(|a, b| exemplars::value_of(a).total_cmp(&exemplars::value_of(b)));
        let mut rest = sorted.as_slice();
        let mut cumulative = 0u64;
        let bucket = format!("{name}_bucket");
        for (bound, count) in point.explicit_bounds.iter().zip(&point.bucket_counts) {
            cumulative = cumulative.saturating_add(*count);
            let mut le = String::new();
            push_float_plain(&mut le, *bound);
            let (here, above) = rest.split_at(rest.partition_point(|e| exemplars::value_of(e) <= *bound));
            rest = above;
            let here: Vec<Blob<'_>> = here.iter().copied().map(exemplars::encode).collect();
            let bits = bits_of(cumulative as f64, point.flags);
            self.sample(&bucket, &labels, Some(("le", &le)), (time_ms, bits), &here);
        }
        let above: Vec<Blob<'_>> = rest.iter().copied().map(exemplars::encode).collect();
        let count = bits_of(point.count as f64, point.flags);
        self.sample(&bucket, &labels, Some(("le", "+Inf")), (time_ms, count), &above);
        self.sample(&format!("{name}_count"), &labels, None, (time_ms, count), &[]);
        if let Some(sum) = point.sum {
            let bits = bits_of(sum, point.flags);
            self.sample(&format!("{name}_sum"), &labels, None, (time_ms, bits), &[]);
        }
    }

    fn native(
        &mut self,
        name: &str,
        attributes: &[KeyValue],
        made: Result<Histogram, native::Fault>,
        exemplars: &[Exemplar],
    ) {
        let mut made = match made {
            Ok(made) => made,
            Err(fault) => return self.refuse(1, format!("metric {name:?}: {fault}")),
        };
        let labels = self.labels(attributes);
        if !self.place(name, &labels, None, made.time_ms) {
            return;
        }
        if self.is_delta && !made.is_stale() {
            match self.rules.deltas.add_histogram(self.tenant, &self.key, self.limits.now_ms, &made) {
                Ok(sum) => made = sum,
                Err(refused) => return self.refuse(1, format!("metric {name:?}: {refused}")),
            }
        }
        match histogram::blob(&made) {
            Ok(blob) => {
                let mut blobs = vec![blob];
                blobs.extend(exemplars.iter().map(exemplars::encode));
                self.split.add(&self.key, &[], &blobs);
            }
            Err(fault) => self.refuse(1, format!("invalid native histogram of metric {name:?}: {fault}")),
        }
    }

    fn summary(&mut self, name: &str, point: &SummaryDataPoint) {
        let (labels, time_ms) = (self.labels(&point.attributes), ms_of(point.time_unix_nano));
        let sum = bits_of(point.sum, point.flags);
        let count = bits_of(point.count as f64, point.flags);
        self.sample(&format!("{name}_sum"), &labels, None, (time_ms, sum), &[]);
        self.sample(&format!("{name}_count"), &labels, None, (time_ms, count), &[]);
        for q in &point.quantile_values {
            let mut quantile = String::new();
            push_float_plain(&mut quantile, q.quantile);
            let bits = bits_of(q.value, point.flags);
            self.sample(name, &labels, Some(("quantile", &quantile)), (time_ms, bits), &[]);
        }
    }

    fn sample(
        &mut self,
        name: &str,
        labels: &Pairs,
        extra: Option<(&str, &str)>,
        (time_ms, mut bits): (i64, u64),
        exemplars: &[Blob<'_>],
    ) {
        if !self.place(name, labels, extra, time_ms) {
            return;
        }
        if self.is_delta && bits != STALE_NAN_BITS {
            let times = (time_ms, self.limits.now_ms);
            match self.rules.deltas.add(self.tenant, &self.key, times, f64::from_bits(bits)) {
                Ok(sum) => bits = sum.to_bits(),
                Err(refused) => return self.refuse(1, format!("metric {name:?}: {refused}")),
            }
        }
        self.split.add(&self.key, &[(time_ms, bits)], exemplars);
    }

    /// Whether a sample can be kept; its series is in `key` then.
    fn place(&mut self, name: &str, labels: &Pairs, extra: Option<(&str, &str)>, time_ms: i64) -> bool {
        self.out.samples += 1;
        if time_ms > self.limits.newest_ms() {
            self.out.too_new += 1;
            return false;
        }
        if time_ms < self.limits.oldest_ms {
            self.out.too_old += 1;
            return false;
        }
        self.builder.clear();
        self.builder.push("__name__", name);
        let is_set = |n: &str| n == "__name__" || extra.is_some_and(|(e, _)| e == n);
        for (n, v) in labels.iter().filter(|(n, _)| !is_set(n)) {
            self.builder.push(n, v);
        }
        if let Some((n, v)) = extra {
            self.builder.push(n, v);
        }
        self.key.clear();
        if self.builder.encode_into(&mut self.key).is_err() || self.key.len() > self.limits.series_bytes_max {
            self.out.too_large += 1;
            return false;
        }
        self.first_ms = self.first_ms.min(time_ms);
        self.last_ms = self.last_ms.max(time_ms);
        true
    }

    /// The resource's other attributes, if it is identified and has any.
    fn target_info(&mut self) {
        if self.resource.target_info.is_empty() || self.first_ms > self.last_ms {
            return;
        }
        self.is_delta = false;
        let mut labels = self.resource.target_info.clone();
        for (name, value) in self.resource.identity.clone() {
            set(&mut labels, &name, value);
        }
        let last_ms = self.last_ms;
        let steps = (self.first_ms..last_ms).step_by(TARGET_INFO_STEP_MS as usize).take(TARGET_INFO_MAX);
        let times: Vec<i64> = steps.chain([last_ms]).collect();
        for time_ms in times {
            self.sample("target_info", &labels, None, (time_ms, 1f64.to_bits()), &[]);
        }
        self.split.metadata("target_info", 2, "Target metadata", "");
    }
}

#[cfg(test)]
mod tests {
    use trine_store::model::{Labels, Slot};
    use trine_store::part::{MetricRecord, MetricsBody, PartRef, SampleKind};

    use super::*;
    use crate::config::{ApiConfig, TranslationStrategy};
    use crate::otlp::json_metrics;

    fn run(metrics: &str) -> (Vec<String>, Points) {
        run_with(metrics, &OtlpConfig::default(), &Deltas::default())
    }

    fn run_with(metrics: &str, config: &OtlpConfig, deltas: &Deltas) -> (Vec<String>, Points) {
        let json = format!(
            r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}},
            {{"key":"host.name","value":{{"stringValue":"h"}}}}]}},"scopeMetrics":[{{"scope":{{"name":"lib","version":"2"}},"metrics":[{metrics}]}}]}}]}}"#
        );
        let limits = WriteLimits::of(&ApiConfig::default(), 10_000);
        let points = decode(
            "t",
            &json_metrics::decode(json.as_bytes()).unwrap(),
            &limits,
            &Rules { config, deltas },
            &|_: Slot| 0,
            &mut crate::budget::Budget::new(64 << 20).take(0).unwrap(),
        )
        .unwrap();
        let mut lines = Vec::new();
        for p in &points.parts {
            let part = PartRef::decode(&p.part).unwrap();
            let mut body = MetricsBody::new(part.body, part.defs.len() as u32);
            while let Some(record) = body.next_record().unwrap() {
                match record {
                    MetricRecord::Floats { series, samples } => {
                        let labels = Labels::decode(part.defs[series as usize].key).unwrap();
                        lines.extend(samples.map(|(t, b)| format!("{labels} {} @{t}", f64::from_bits(b))));
                    }
                    MetricRecord::Metadata { family, metric_type, unit, .. } => {
                        lines.push(format!("# {family} {metric_type} {unit}"));
                    }
                    MetricRecord::Blob { kind: SampleKind::Exemplar, .. } => lines.push("Exemplar".to_owned()),
                    MetricRecord::Blob { series, payload, .. } => {
                        let labels = Labels::decode(part.defs[series as usize].key).unwrap();
                        let h = histogram::read(payload).unwrap();
                        let (spans, counts) = (&h.positive.spans, h.positive.absolute());
                        lines.push(format!("{labels} schema {} count {} {spans:?} {counts:?}", h.schema, h.count_int));
                    }
                }
            }
        }
        lines.sort();
        (lines, points)
    }

    #[test]
    fn sums_and_target_info() {
        let (lines, points) = run(
            r#"{"name":"http.requests","unit":"1","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[
            {"timeUnixNano":"9000000000","asInt":"3","attributes":[{"key":"a.b","value":{"intValue":1}},{"key":"a_b","value":{"stringValue":"x"}}],
             "exemplars":[{"timeUnixNano":"9000000000","asDouble":1,"traceId":"5bc8fbbcbde5c0994164d8399f767c45"}]}]}},
            {"name":"d","sum":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA","dataPoints":[{"asInt":1}]}},
            {"name":"e","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"scale":-5}]}}"#,
        );
        assert_eq!(
            lines,
            [
                "# e 3 ",
                "# http_requests_total 1 ",
                "# target_info 2 ",
                "Exemplar",
                r#"{__name__="http_requests_total", a_b="1;x", job="shop"} 3 @9000"#,
                r#"{__name__="target_info", host_name="h", job="shop"} 1 @9000"#,
            ]
        );
        assert_eq!((points.unsupported, points.reasons.len()), (2, 2));
    }

    #[test]
    fn histograms_and_summaries() {
        let (lines, _) = run(r#"{"name":"lat","unit":"ms","histogram":{"aggregationTemporality":2,"dataPoints":[
            {"timeUnixNano":"9000000000","count":"6","sum":12.5,"bucketCounts":["1","2","3"],"explicitBounds":[0.5,10]}]}},
            {"name":"rpc","summary":{"dataPoints":[{"timeUnixNano":"9000000000","count":2,"sum":3,"quantileValues":[{"quantile":0.5,"value":1}]}]}}"#);
        let has = |text: &str| assert!(lines.iter().any(|l| l == text), "{text} not in {lines:#?}");
        has(r#"{__name__="lat_milliseconds_bucket", job="shop", le="0.5"} 1 @9000"#);
        has(r#"{__name__="lat_milliseconds_bucket", job="shop", le="10"} 3 @9000"#);
        has(r#"{__name__="lat_milliseconds_bucket", job="shop", le="+Inf"} 6 @9000"#);
        has(r#"{__name__="lat_milliseconds_sum", job="shop"} 12.5 @9000"#);
        has(r#"{__name__="rpc", job="shop", quantile="0.5"} 1 @9000"#);
        has("# lat_milliseconds 3 milliseconds");
    }

    #[test]
    fn too_new_points_are_counted() {
        let (_, points) =
            run(r#"{"name":"g","gauge":{"dataPoints":[{"timeUnixNano":"700000000000000","asDouble":1}]}}"#);
        assert_eq!((points.too_new, points.samples), (1, 1));
    }

    #[test]
    fn exponential_histograms_are_native() {
        let point = r#"{"timeUnixNano":"9000000000","count":"6","sum":1.5,"scale":1,"zeroCount":"1","positive":{"offset":-1,"bucketCounts":["2","3"]}}"#;
        let metric = format!(
            r#"{{"name":"lat","unit":"s","exponentialHistogram":{{"aggregationTemporality":2,"dataPoints":[{point}]}}}}"#
        );
        let (lines, points) = run(&metric);
        let has = |text: &str| assert!(lines.iter().any(|l| l == text), "{text} not in {lines:#?}");
        has(r#"{__name__="lat_seconds", job="shop"} schema 1 count 6 [(0, 2)] [2, 3]"#);
        has("# lat_seconds 3 seconds");
        assert_eq!(points.unsupported, 0);
    }

    #[test]
    fn settings_change_names_labels_and_buckets() {
        let config = OtlpConfig {
            translation_strategy: TranslationStrategy::NoTranslation,
            promote_resource_attributes: vec!["host.name".to_owned()],
            keep_identifying_resource_attributes: true,
            convert_histograms_to_nhcb: true,
            promote_scope_metadata: true,
            ..OtlpConfig::default()
        };
        let metric = r#"{"name":"http.lat","unit":"s","histogram":{"aggregationTemporality":2,"dataPoints":[
            {"timeUnixNano":"9000000000","count":"6","sum":12.5,"bucketCounts":["1","2","3"],"explicitBounds":[0.5,10]}]}}"#;
        let (lines, _) = run_with(metric, &config, &Deltas::default());
        assert_eq!(
            lines,
            [
                "# http.lat 3 seconds",
                "# target_info 2 ",
                r#"{__name__="http.lat", host.name="h", job="shop", otel_scope_name="lib", otel_scope_version="2"} schema -53 count 6 [(0, 3)] [1, 2, 3]"#,
                r#"{__name__="target_info", host.name="h", job="shop", service.name="shop"} 1 @9000"#,
            ]
        );
    }

    #[test]
    fn differences_are_added_up_where_that_is_asked_for() {
        let config = OtlpConfig { delta_to_cumulative: true, ..OtlpConfig::default() };
        let deltas = Deltas::default();
        let sum = |time: u32, value: u32| {
            let metric = format!(
                r#"{{"name":"d","sum":{{"isMonotonic":true,"aggregationTemporality":1,"dataPoints":[{{"asInt":{value},"timeUnixNano":"{time}000000000"}}]}}}}"#
            );
            let (lines, points) = run_with(&metric, &config, &deltas);
            (lines.iter().find(|l| l.contains("d_total\"")).cloned().unwrap_or_default(), points.unsupported)
        };
        assert_eq!(sum(5, 3), (r#"{__name__="d_total", job="shop"} 3 @5000"#.to_owned(), 0));
        assert_eq!(sum(6, 4), (r#"{__name__="d_total", job="shop"} 7 @6000"#.to_owned(), 0));
        assert_eq!(sum(4, 4), (String::new(), 1));
        let (_, points) = run(r#"{"name":"d","sum":{"aggregationTemporality":1,"dataPoints":[{"asInt":1}]}}"#);
        assert_eq!(points.reasons, ["invalid temporality and type combination for metric \"d\""]);
    }
}
