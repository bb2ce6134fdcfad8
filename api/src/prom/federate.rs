//! `/federate`: the newest sample of every series that is asked for, as a target's page.
mod delimited;
mod format;
mod message;
mod names;
mod prototext;
mod text;

use trine_query::promql::{self, SeriesRecords};
use trine_store::index::Matcher;
use trine_store::model::{Labels, STALE_NAN_BITS};
use trine_store::part::SampleKind;

use self::format::{Encoding, negotiate};
use super::histogram::{self, Histogram, ResetHint};
use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::reply;

/// Samples that may be read for one page.
const SAMPLES_MAX: u64 = 50_000_000;
/// Selectors of a page.
const SELECTORS_MAX: usize = 1000;

/// A sample's value.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Float(f64),
    /// With bounds of its own, shown as a classic histogram.
    Classic(Histogram),
    /// Exponential buckets; only protobuf has them.
    Native(Histogram),
}

impl Value {
    /// Whether samples of both can stand in one family.
    fn is_like(&self, other: &Self) -> bool {
        let gauge = |h: &Histogram| h.reset_hint == ResetHint::Gauge;
        match (self, other) {
            (Self::Float(_), Self::Float(_)) => true,
            (Self::Classic(a) | Self::Native(a), Self::Classic(b) | Self::Native(b)) => gauge(a) == gauge(b),
            _ => false,
        }
    }
}

/// One series of the page; `labels` without the name and with the external ones.
#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    time_ms: i64,
    value: Value,
}

/// `GET /federate`.
pub(super) async fn federate(call: Call) -> Outcome {
    let selectors = call.params.distinct("match[]", SELECTORS_MAX)?;
    let sets: Vec<Vec<Matcher>> = selectors.into_iter().map(promql::parse_selector).collect::<Result<_, _>>()?;
    let format = negotiate(call.header("accept"));
    let ctx = call.context(None);
    let now_ms = call.api.now_ms();
    let range = (now_ms.saturating_sub(call.api.config().lookback_ms).saturating_add(1), now_ms);
    let found = promql::latest(&call.scatter(), &ctx, &sets, range, SAMPLES_MAX).await?;
    let external = &call.api.config().external_labels;
    let external: Vec<(&str, &str)> = external.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let mut samples: Vec<Sample> = Vec::new();
    for series in &found.series {
        samples.extend(sample_of(series, &external)?);
    }
    // Series without an order of their own keep that of labels.
    samples.sort_by(|a, b| a.name.cmp(&b.name));
    let body = match format.encoding {
        Encoding::Text => text::page(&samples, format.escaping).into_bytes(),
        Encoding::Delimited => delimited::page(&samples, format.escaping),
        Encoding::ProtoText(layout) => prototext::page(&samples, format.escaping, layout).into_bytes(),
    };
    let body = trine_query::memory::hold(&ctx.memory, body.into()).map_err(trine_query::Error::from)?;
    let mut response = reply::with_type(http::StatusCode::OK, "text/plain", body);
    if let Ok(content_type) = http::HeaderValue::from_str(&format.content_type()) {
        response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    }
    Ok(reply::complete(response, &found.completeness))
}

/// `None` for a series that has ended or has no name.
fn sample_of(series: &SeriesRecords, external: &[(&str, &str)]) -> Result<Option<Sample>, ApiError> {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    series.floats_into(&mut times, &mut values)?;
    let float = times.last().zip(values.last()).map(|(t, v)| (*t, Value::Float(*v)));
    let newest = |kind| series.blobs(kind).last().and_then(|(t, b)| Some((*t, histogram::read(b).ok()?)));
    let histogram = newest(SampleKind::IntHistogram).or_else(|| newest(SampleKind::FloatHistogram));
    let histogram = histogram.map(|(t, h)| (t, if h.is_custom() { Value::Classic(h) } else { Value::Native(h) }));
    let Some((time_ms, value)) = float.or(histogram) else { return Ok(None) };
    let is_stale = match &value {
        Value::Float(v) => v.to_bits() == STALE_NAN_BITS,
        Value::Classic(h) | Value::Native(h) => h.is_stale(),
    };
    let Some(name) = series.labels.get("__name__").filter(|_| !is_stale) else { return Ok(None) };
    Ok(Some(Sample { name: name.to_owned(), labels: labels_of(&series.labels, external), time_ms, value }))
}

/// External labels where a series does not have them, and an empty `instance`, so that the reader adds none of its own.
fn labels_of(labels: &Labels, external: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut added: Vec<(&str, &str)> = external.to_vec();
    if !external.iter().any(|(name, _)| *name == "instance") {
        added.push(("instance", ""));
    }
    added.sort_unstable();
    let own = labels.iter().filter(|(name, _)| *name != "__name__");
    let own = own.chain(added.into_iter().filter(|(name, _)| labels.get(name).is_none()));
    own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Samples that stand in one family, each with its position among all.
fn families(samples: &[Sample]) -> impl Iterator<Item = &[Sample]> {
    samples.chunk_by(|a, b| a.name == b.name && a.value.is_like(&b.value))
}

/// Upper bound and cumulative count of a histogram with bounds of its own, without the last bucket.
fn classic_buckets(h: &Histogram) -> Vec<(f64, f64)> {
    let mut counts = vec![0.0; h.custom.len() + 1];
    let (mut at, mut bucket, mut count) = (0i64, 0usize, 0i64);
    for (offset, length) in &h.positive.spans {
        at = at.saturating_add(*offset);
        for _ in 0..*length {
            count = count.wrapping_add(h.positive.deltas.get(bucket).copied().unwrap_or(0));
            let value = if h.is_float { h.positive.counts.get(bucket).copied() } else { Some(count as f64) };
            if let (Ok(at), Some(value)) = (usize::try_from(at), value)
                && let Some(slot) = counts.get_mut(at)
            {
                *slot = value;
            }
            bucket += 1;
            at += 1;
        }
    }
    let cumulative = counts.into_iter().scan(0.0, |sum, count| {
        *sum += count;
        Some(*sum)
    });
    h.custom.iter().copied().zip(cumulative).collect()
}

fn count_of(h: &Histogram) -> f64 {
    if h.is_float { h.count_float } else { h.count_int as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prom::histogram::Side;

    #[test]
    fn bounds_of_their_own_become_classic_buckets() {
        let h = Histogram {
            schema: -53,
            count_int: 9,
            custom: vec![0.5, 1.0, 2.0],
            positive: Side { spans: vec![(0, 1), (1, 2)], deltas: vec![3, -2, 4], counts: vec![] },
            ..Histogram::default()
        };
        assert_eq!(classic_buckets(&h), [(0.5, 3.0), (1.0, 3.0), (2.0, 4.0)]);
    }

    #[test]
    fn a_reader_adds_no_instance_of_its_own() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]).unwrap();
        let pairs = labels_of(&labels, &[("cluster", "x"), ("job", "z")]);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("job", "a"), ("cluster", "x"), ("instance", "")]);
    }
}
