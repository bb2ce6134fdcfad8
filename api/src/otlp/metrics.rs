//! Data points of an OTLP request as Prometheus series.
use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint, exemplar,
    number_data_point,
};
use trine_store::codec::{put_bytes, put_uvarint};
use trine_store::model::{LabelsBuilder, STALE_NAN_BITS};
use trine_store::part::SampleKind;

use super::names::{NameKind, label_name, metric_name, unit_text};
use super::value::text_of;
use crate::backend::ShardPart;
use crate::budget::Held;
use crate::error::ApiError;
use crate::number::{float_text, push_float_plain};
use crate::parts::{Blob, MetricsSplit, ShardOf};
use crate::prom::decode::WriteLimits;

/// Flag of a data point that only says that the series has no value now.
const NO_RECORDED_VALUE: u32 = 1;
/// Distance of `target_info` samples: half the default lookback.
const TARGET_INFO_STEP_MS: i64 = 150_000;
/// Most `target_info` samples of one resource and request.
const TARGET_INFO_MAX: usize = 1000;
/// Most characters of an exemplar's labels.
const EXEMPLAR_CHARS_MAX: usize = 128;
/// Longest help text that is kept.
const HELP_BYTES_MAX: usize = 4096;

/// A decoded request: parts, and what was left out of them with its reason.
#[derive(Debug, Default)]
pub(crate) struct Points {
    pub(crate) parts: Vec<ShardPart>,
    pub(crate) samples: u64,
    pub(crate) too_new: u64,
    pub(crate) too_old: u64,
    pub(crate) too_large: u64,
    /// Points of kinds that are not stored.
    pub(crate) unsupported: u64,
    /// One sentence for each reason among `unsupported`.
    pub(crate) reasons: Vec<String>,
}

type Pairs = Vec<(String, String)>;

struct Writer<'a> {
    split: MetricsSplit<'a>,
    limits: &'a WriteLimits,
    builder: LabelsBuilder,
    key: Vec<u8>,
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
    shard_of: ShardOf<'_>,
    held: &mut Held,
) -> Result<Points, ApiError> {
    let mut w = Writer {
        split: MetricsSplit::new(tenant, shard_of, held),
        limits,
        builder: LabelsBuilder::default(),
        key: Vec::new(),
        first_ms: i64::MAX,
        last_ms: i64::MIN,
        out: Points::default(),
    };
    for resource_metrics in &request.resource_metrics {
        let attributes = resource_metrics.resource.as_ref().map(|r| r.attributes.as_slice()).unwrap_or_default();
        let identity = identity_of(attributes);
        (w.first_ms, w.last_ms) = (i64::MAX, i64::MIN);
        for metric in resource_metrics.scope_metrics.iter().flat_map(|s| &s.metrics) {
            w.metric(metric, &identity);
        }
        w.target_info(attributes, &identity);
    }
    w.out.parts = w.split.finish()?;
    Ok(w.out)
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a AnyValue> {
    attributes.iter().find(|kv| kv.key == key).and_then(|kv| kv.value.as_ref())
}

/// `job` and `instance`, as far as the resource says.
fn identity_of(attributes: &[KeyValue]) -> Pairs {
    let text = |key| attribute(attributes, key).map(text_of).filter(|t| !t.is_empty());
    let mut pairs = Pairs::new();
    if let Some(name) = text("service.name") {
        let job = text("service.namespace").map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}"));
        pairs.push(("job".to_owned(), job));
    }
    if let Some(instance) = text("service.instance.id") {
        pairs.push(("instance".to_owned(), instance));
    }
    pairs
}

/// Attributes as labels in key order; two that map to one label are joined with `;`.
fn labels_of(attributes: &[KeyValue]) -> Pairs {
    let mut sorted: Vec<&KeyValue> = attributes.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let mut pairs = Pairs::new();
    let mut positions: HashMap<String, usize> = HashMap::new();
    for kv in sorted {
        let (name, value) = (label_name(&kv.key), kv.value.as_ref().map(text_of).unwrap_or_default());
        if name.is_empty() {
            continue;
        }
        if let Some(&at) = positions.get(&name) {
            let joined = &mut pairs[at].1;
            joined.push(';');
            joined.push_str(&value);
        } else {
            positions.insert(name.clone(), pairs.len());
            pairs.push((name, value));
        }
    }
    pairs
}

fn ms_of(time_ns: u64) -> i64 {
    (time_ns / 1_000_000) as i64
}

fn bits_of(value: f64, flags: u32) -> u64 {
    if flags & NO_RECORDED_VALUE != 0 { STALE_NAN_BITS } else { value.to_bits() }
}

impl Writer<'_> {
    fn refuse(&mut self, points: usize, reason: String) {
        if points > 0 {
            self.out.unsupported += points as u64;
            if self.out.reasons.len() < 10 && !self.out.reasons.contains(&reason) {
                self.out.reasons.push(reason);
            }
        }
    }

    fn metric(&mut self, metric: &Metric, identity: &Pairs) {
        let cumulative = |t: i32| t == AggregationTemporality::Cumulative as i32;
        let (kind, metric_type, points) = match &metric.data {
            Some(Data::Gauge(g)) => (NameKind::Gauge, 2, g.data_points.len()),
            Some(Data::Sum(s)) if cumulative(s.aggregation_temporality) && s.is_monotonic => {
                (NameKind::Counter, 1, s.data_points.len())
            }
            Some(Data::Sum(s)) if cumulative(s.aggregation_temporality) => (NameKind::Other, 2, s.data_points.len()),
            Some(Data::Histogram(h)) if cumulative(h.aggregation_temporality) => {
                (NameKind::Other, 3, h.data_points.len())
            }
            Some(Data::Summary(s)) => (NameKind::Other, 5, s.data_points.len()),
            Some(Data::Sum(s)) => return self.refuse(s.data_points.len(), wrong_temporality(metric)),
            Some(Data::Histogram(h)) => return self.refuse(h.data_points.len(), wrong_temporality(metric)),
            Some(Data::ExponentialHistogram(h)) => {
                let reason = format!("exponential histograms are not stored, metric {:?}", metric.name);
                return self.refuse(h.data_points.len(), reason);
            }
            None => return,
        };
        let Some(name) = metric_name(&metric.name, &metric.unit, kind) else {
            return self.refuse(points, format!("normalization for metric {:?} resulted in empty name", metric.name));
        };
        if points > 0 && metric.description.len() <= HELP_BYTES_MAX && name.len() <= HELP_BYTES_MAX {
            self.split.metadata(&name, metric_type, &metric.description, &unit_text(&metric.unit));
        }
        match &metric.data {
            Some(Data::Gauge(g)) => g.data_points.iter().for_each(|p| self.number(&name, p, identity)),
            Some(Data::Sum(s)) => s.data_points.iter().for_each(|p| self.number(&name, p, identity)),
            Some(Data::Histogram(h)) => h.data_points.iter().for_each(|p| self.histogram(&name, p, identity)),
            Some(Data::Summary(s)) => s.data_points.iter().for_each(|p| self.summary(&name, p, identity)),
            Some(Data::ExponentialHistogram(_)) | None => {}
        }
    }

    fn number(&mut self, name: &str, point: &NumberDataPoint, identity: &Pairs) {
        let value = match point.value {
            Some(number_data_point::Value::AsDouble(d)) => d,
            Some(number_data_point::Value::AsInt(i)) => i as f64,
            None => 0.0,
        };
        let labels = labels_of(&point.attributes);
        let exemplars: Vec<(i64, Vec<u8>)> = point.exemplars.iter().map(encode_exemplar).collect();
        let bits = bits_of(value, point.flags);
        self.sample(name, identity, &labels, None, ms_of(point.time_unix_nano), bits, &exemplars);
    }

    fn histogram(&mut self, name: &str, point: &HistogramDataPoint, identity: &Pairs) {
        let (labels, time_ms) = (labels_of(&point.attributes), ms_of(point.time_unix_nano));
        // By value, so that each bucket takes its own from the front.
        let mut sorted: Vec<&Exemplar> = point.exemplars.iter().collect();
        sorted.sort_by(|a, b| exemplar_value(a).total_cmp(&exemplar_value(b)));
        let mut exemplars = sorted.as_slice();
        let mut cumulative = 0u64;
        let bucket = format!("{name}_bucket");
        for (bound, count) in point.explicit_bounds.iter().zip(&point.bucket_counts) {
            cumulative = cumulative.saturating_add(*count);
            let mut le = String::new();
            push_float_plain(&mut le, *bound);
            let (here, above) = exemplars.split_at(exemplars.partition_point(|e| exemplar_value(e) <= *bound));
            exemplars = above;
            let here: Vec<(i64, Vec<u8>)> = here.iter().copied().map(encode_exemplar).collect();
            let bits = bits_of(cumulative as f64, point.flags);
            self.sample(&bucket, identity, &labels, Some(("le", &le)), time_ms, bits, &here);
        }
        let rest: Vec<(i64, Vec<u8>)> = exemplars.iter().copied().map(encode_exemplar).collect();
        let count = bits_of(point.count as f64, point.flags);
        self.sample(&bucket, identity, &labels, Some(("le", "+Inf")), time_ms, count, &rest);
        self.sample(&format!("{name}_count"), identity, &labels, None, time_ms, count, &[]);
        if let Some(sum) = point.sum {
            let bits = bits_of(sum, point.flags);
            self.sample(&format!("{name}_sum"), identity, &labels, None, time_ms, bits, &[]);
        }
    }

    fn summary(&mut self, name: &str, point: &SummaryDataPoint, identity: &Pairs) {
        let (labels, time_ms) = (labels_of(&point.attributes), ms_of(point.time_unix_nano));
        let sum = bits_of(point.sum, point.flags);
        let count = bits_of(point.count as f64, point.flags);
        self.sample(&format!("{name}_sum"), identity, &labels, None, time_ms, sum, &[]);
        self.sample(&format!("{name}_count"), identity, &labels, None, time_ms, count, &[]);
        for q in &point.quantile_values {
            let quantile = float_text(q.quantile);
            let bits = bits_of(q.value, point.flags);
            self.sample(name, identity, &labels, Some(("quantile", &quantile)), time_ms, bits, &[]);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one sample in full; a struct would only repeat these names")]
    fn sample(
        &mut self,
        name: &str,
        identity: &Pairs,
        labels: &Pairs,
        extra: Option<(&str, &str)>,
        time_ms: i64,
        bits: u64,
        exemplars: &[(i64, Vec<u8>)],
    ) {
        self.out.samples += 1;
        if time_ms > self.limits.newest_ms() {
            self.out.too_new += 1;
            return;
        }
        if time_ms < self.limits.oldest_ms() {
            self.out.too_old += 1;
            return;
        }
        self.builder.clear();
        self.builder.push("__name__", name);
        let taken = |n: &str| extra.is_some_and(|(e, _)| e == n);
        for (n, v) in identity.iter().filter(|(n, _)| !taken(n)) {
            self.builder.push(n, v);
        }
        // The resource's identity and the point's own bucket win over attributes of the same name.
        for (n, v) in
            labels.iter().filter(|(n, _)| !taken(n) && n != "__name__" && !identity.iter().any(|(i, _)| i == n))
        {
            self.builder.push(n, v);
        }
        if let Some((n, v)) = extra {
            self.builder.push(n, v);
        }
        self.key.clear();
        if self.builder.encode_into(&mut self.key).is_err() || self.key.len() > self.limits.series_bytes_max {
            self.out.too_large += 1;
            return;
        }
        self.first_ms = self.first_ms.min(time_ms);
        self.last_ms = self.last_ms.max(time_ms);
        let blobs: Vec<Blob<'_>> = exemplars
            .iter()
            .map(|(time_ms, payload)| Blob { kind: SampleKind::Exemplar, time_ms: *time_ms, payload })
            .collect();
        self.split.add(&self.key, &[(time_ms, bits)], &blobs);
    }

    /// The resource's other attributes, if it is identified and has any.
    fn target_info(&mut self, attributes: &[KeyValue], identity: &Pairs) {
        const IDENTIFYING: [&str; 3] = ["service.name", "service.namespace", "service.instance.id"];
        let others: Vec<KeyValue> =
            attributes.iter().filter(|kv| !IDENTIFYING.contains(&kv.key.as_str())).cloned().collect();
        if others.is_empty() || identity.is_empty() || self.first_ms > self.last_ms {
            return;
        }
        let (labels, last_ms) = (labels_of(&others), self.last_ms);
        let steps = (self.first_ms..last_ms).step_by(TARGET_INFO_STEP_MS as usize).take(TARGET_INFO_MAX);
        let times: Vec<i64> = steps.chain([last_ms]).collect();
        for time_ms in times {
            self.sample("target_info", identity, &labels, None, time_ms, 1f64.to_bits(), &[]);
        }
        self.split.metadata("target_info", 2, "Target metadata", "");
    }
}

fn wrong_temporality(metric: &Metric) -> String {
    format!("invalid temporality and type combination for metric {:?}: only cumulative is stored", metric.name)
}

fn exemplar_value(e: &Exemplar) -> f64 {
    match e.value {
        Some(exemplar::Value::AsDouble(d)) => d,
        Some(exemplar::Value::AsInt(i)) => i as f64,
        None => 0.0,
    }
}

/// Time in ms and a remote write Exemplar message.
fn encode_exemplar(e: &Exemplar) -> (i64, Vec<u8>) {
    let mut pairs = Pairs::new();
    for (name, id) in [("trace_id", &e.trace_id), ("span_id", &e.span_id)] {
        if !id.is_empty() {
            pairs.push((name.to_owned(), hex::encode(id)));
        }
    }
    let filtered = labels_of(&e.filtered_attributes);
    let chars = |pairs: &Pairs| pairs.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum::<usize>();
    if chars(&pairs) + chars(&filtered) <= EXEMPLAR_CHARS_MAX {
        pairs.extend(filtered);
    }
    let mut out = Vec::new();
    for (name, value) in &pairs {
        let mut label = vec![0x0a];
        put_bytes(&mut label, name.as_bytes());
        label.push(0x12);
        put_bytes(&mut label, value.as_bytes());
        out.push(0x0a);
        put_bytes(&mut out, &label);
    }
    let time_ms = ms_of(e.time_unix_nano);
    out.push(0x11);
    out.extend_from_slice(&exemplar_value(e).to_bits().to_le_bytes());
    out.push(0x18);
    put_uvarint(&mut out, time_ms as u64);
    (time_ms, out)
}

#[cfg(test)]
mod tests {
    use trine_store::model::{Labels, Slot};
    use trine_store::part::{MetricRecord, MetricsBody, PartRef};

    use super::*;
    use crate::otlp::json_metrics;

    fn run(metrics: &str) -> (Vec<String>, Points) {
        let json = format!(
            r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}},
            {{"key":"host.name","value":{{"stringValue":"h"}}}}]}},"scopeMetrics":[{{"metrics":[{metrics}]}}]}}]}}"#
        );
        let limits = WriteLimits { now_ms: 10_000, future_ms_max: 600_000, retention_ms: 0, series_bytes_max: 4096 };
        let points = decode(
            "t",
            &json_metrics::decode(json.as_bytes()).unwrap(),
            &limits,
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
                    MetricRecord::Blob { kind, .. } => lines.push(format!("{kind:?}")),
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
            {"name":"e","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{}]}}"#,
        );
        assert_eq!(
            lines,
            [
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
}
