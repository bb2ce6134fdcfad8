//! `query_exemplars`: the exemplars of every series that a selector of the expression matches.
use trine_query::promql;
use trine_query::promql::SeriesRecords;
use trine_store::part::SampleKind;

use super::query::time_param;
use super::render::{close, metadata_warnings, open, push_labels};
use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::json::{push_json_list, push_json_map};
use crate::number::{push_float, push_seconds};
use crate::reply;
use crate::time::{TIME_MS_MAX, TIME_MS_MIN};
use crate::wire::{Field, WireError, fields};

/// Exemplars that the shards may read for one question.
const EXEMPLARS_MAX: u64 = 1_000_000;

/// An exemplar as remote write spells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Exemplar<'a> {
    /// In name order.
    pub(crate) labels: Vec<(&'a str, &'a str)>,
    pub(crate) value: f64,
    pub(crate) time_ms: i64,
}

impl<'a> Exemplar<'a> {
    /// Reads a `prometheus.Exemplar`. Labels that are not UTF-8 are an error.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut exemplar = Self::default();
        let mut walk = fields(bytes, "Exemplar");
        while let Some((number, field)) = walk.next_field()? {
            match (number, field) {
                (1, Field::Bytes(label)) => exemplar.labels.push(label_of(label)?),
                (2, Field::Fixed64(bits)) => exemplar.value = f64::from_bits(bits),
                (3, Field::Varint(time_ms)) => exemplar.time_ms = time_ms as i64,
                _ => {}
            }
        }
        exemplar.labels.sort_unstable();
        Ok(exemplar)
    }
}

/// Most characters of an exemplar's labels, names and values together.
pub(crate) const CHARS_MAX: usize = 128;

/// The time of an exemplar that is kept: its labels are no longer than Prometheus takes them.
pub(super) fn kept_time_ms(bytes: &[u8]) -> Result<Option<i64>, WireError> {
    let exemplar = Exemplar::decode(bytes)?;
    let chars: usize = exemplar.labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
    Ok((chars <= CHARS_MAX).then_some(exemplar.time_ms))
}

fn label_of(bytes: &[u8]) -> Result<(&str, &str), WireError> {
    let (mut name, mut value) = ("", "");
    let mut walk = fields(bytes, "Label");
    let text = |b| std::str::from_utf8(b).map_err(|_| WireError { message: "Label" });
    while let Some((number, field)) = walk.next_field()? {
        match (number, field) {
            (1, Field::Bytes(b)) => name = text(b)?,
            (2, Field::Bytes(b)) => value = text(b)?,
            _ => {}
        }
    }
    Ok((name, value))
}

/// `/api/v1/query_exemplars`.
pub(super) async fn exemplars(call: Call) -> Outcome {
    let p = &call.params;
    let start_ms = time_param(p, "start", Some(TIME_MS_MIN))?;
    let end_ms = time_param(p, "end", Some(TIME_MS_MAX))?;
    if end_ms < start_ms {
        return Err(ApiError::BadRequest("end timestamp must not be before start timestamp".to_owned()));
    }
    let sets = promql::selectors(p.get("query").unwrap_or_default())?;
    if sets.is_empty() {
        return Ok(reply::empty(http::StatusCode::NO_CONTENT));
    }
    let ctx = call.context(None);
    let kinds = &[SampleKind::Exemplar];
    let found = promql::records(&call.scatter(), &ctx, &sets, (start_ms, end_ms), kinds, EXEMPLARS_MAX).await?;
    let mut writer = open(&ctx.memory);
    writer.list(&found.series, push_series)?;
    close(writer, &metadata_warnings(false, &found.completeness), &[], &found.completeness)
}

/// Grafana attaches the labels while it reads, so they come first.
fn push_series(out: &mut String, series: &SeriesRecords) {
    out.push_str("{\"seriesLabels\":");
    push_labels(out, &series.labels);
    out.push_str(",\"exemplars\":");
    // Bytes were checked when they were taken in.
    let readable = series.blobs(SampleKind::Exemplar).into_iter().filter_map(|(_, b)| Exemplar::decode(b).ok());
    push_json_list(out, readable, push_exemplar);
    out.push('}');
}

fn push_exemplar(out: &mut String, exemplar: Exemplar<'_>) {
    out.push_str("{\"labels\":");
    push_json_map(out, exemplar.labels.iter().copied());
    out.push_str(",\"value\":\"");
    push_float(out, exemplar.value);
    out.push_str("\",\"timestamp\":");
    push_seconds(out, exemplar.time_ms);
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exemplar_is_written_as_prometheus_does() {
        let mut bytes = Vec::new();
        for (name, value) in [("trace_id", "ab"), ("a", "1")] {
            let label = [&[0x0a, name.len() as u8], name.as_bytes(), &[0x12, value.len() as u8], value.as_bytes()];
            let label = label.concat();
            bytes.extend_from_slice(&[0x0a, label.len() as u8]);
            bytes.extend_from_slice(&label);
        }
        bytes.push(0x11);
        bytes.extend_from_slice(&6f64.to_le_bytes());
        bytes.push(0x18);
        trine_store::codec::put_uvarint(&mut bytes, 1_600_096_945_479);
        let mut out = String::new();
        push_exemplar(&mut out, Exemplar::decode(&bytes).unwrap());
        assert_eq!(out, r#"{"labels":{"a":"1","trace_id":"ab"},"value":"6","timestamp":1600096945.479}"#);
        assert!(Exemplar::decode(&[0x0a, 3, 0x0a, 1, 0xff]).is_err());
    }
}
