//! `prometheus.ReadResponse`: one message in a snappy block.
use http::HeaderValue;
use http::header::CONTENT_ENCODING;
use trine_query::memory::{Charge, hold};
use trine_query::promql::{Found, SeriesRecords};
use trine_query::scatter::QueryContext;
use trine_store::codec::{put_bytes, put_uvarint};
use trine_store::part::SampleKind;

use super::stream::put_labels;
use crate::call::{Outcome, decode_off_thread};
use crate::error::ApiError;
use crate::reply;

/// All results in the order of the queries.
pub(super) async fn respond(ctx: &QueryContext, results: Vec<Found>, external: Vec<(String, String)>) -> Outcome {
    let completeness = results.iter().fold(trine_query::scatter::Completeness::default(), |mut all, found| {
        all.add_all(found.completeness.clone());
        all
    });
    let (memory, records) = (ctx.memory.clone(), results.iter().map(|found| found.records_read).sum::<u64>());
    let size = usize::try_from(records).unwrap_or(usize::MAX).saturating_mul(8);
    let encoded = decode_off_thread(size, move || {
        let mut held = memory.open();
        let mut message = Vec::new();
        for found in results {
            let result = result(&found, &external, &mut held)?;
            message.push(0x0a);
            put_bytes(&mut message, &result);
            held.set(message.capacity() as u64).map_err(trine_query::Error::from)?;
        }
        let block = snap::raw::max_compress_len(message.len());
        held.add(block as u64).map_err(trine_query::Error::from)?;
        snap::raw::Encoder::new()
            .compress_vec(&message)
            .map_err(|e| ApiError::Internal(format!("compress an answer of {} bytes: {e}", message.len())))
    })
    .await?;
    let body = hold(&ctx.memory, encoded.into()).map_err(trine_query::Error::from)?;
    let mut response = reply::with_type(http::StatusCode::OK, "application/x-protobuf", body);
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    Ok(reply::complete(response, &completeness))
}

fn result(found: &Found, external: &[(String, String)], held: &mut Charge) -> Result<Vec<u8>, ApiError> {
    let mut out = Vec::new();
    let (mut times, mut values) = (Vec::new(), Vec::new());
    let before = held.bytes();
    for series in &found.series {
        let one = time_series(series, external, (&mut times, &mut values))?;
        out.push(0x0a);
        put_bytes(&mut out, &one);
        let bytes = before + (out.capacity() + one.capacity() + times.capacity() * 16) as u64;
        held.set(bytes).map_err(trine_query::Error::from)?;
    }
    Ok(out)
}

fn time_series(
    series: &SeriesRecords,
    external: &[(String, String)],
    (times, values): (&mut Vec<i64>, &mut Vec<f64>),
) -> Result<Vec<u8>, ApiError> {
    series.floats_into(times, values)?;
    let mut out = Vec::with_capacity(times.len() * 20 + series.labels.as_bytes().len() * 2);
    put_labels(&mut out, &series.labels, external);
    let mut sample = Vec::new();
    for (time_ms, value) in times.iter().zip(values.iter()) {
        sample.clear();
        sample.push(0x09);
        sample.extend_from_slice(&value.to_bits().to_le_bytes());
        sample.push(0x10);
        put_uvarint(&mut sample, *time_ms as u64);
        out.push(0x12);
        put_bytes(&mut out, &sample);
    }
    let mut histograms = series.blobs(SampleKind::IntHistogram);
    histograms.extend(series.blobs(SampleKind::FloatHistogram));
    histograms.sort_by_key(|(time_ms, _)| *time_ms);
    for (_, payload) in histograms {
        out.push(0x22);
        put_bytes(&mut out, payload);
    }
    Ok(out)
}
