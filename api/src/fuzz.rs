//! The decoders of requests as functions of bytes, for the fuzzer in `chaos-tests/fuzz`: whatever comes, no panic.
use axum::http::Uri;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use trine_store::model::{Slot, Spread, Spreads};

use crate::body::decode_content;
use crate::budget::{Budget, Held};
use crate::config::{ApiConfig, OtlpConfig, TranslationStrategy};
use crate::error::ApiError;
use crate::loki::entries::{Collector, EntryLimits};
use crate::otlp::Deltas;
use crate::otlp::metrics::Rules;
use crate::params::Params;
use crate::prom::SeriesCache;
use crate::prom::decode::{Context, WriteLimits, decode};
use crate::prom::histogram::{Histogram, Side};
use crate::prom::read::request::ReadRequest;
use crate::prom::search::SearchRequest;

/// Budget of a decoder, bytes.
const BUDGET_BYTES: usize = 64 << 20;
const NOW_MS: i64 = 1_700_000_000_000;

/// Name and function of a decoder.
pub type Decoder = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: [Decoder; 19] = [
    ("remote_write_v1", remote_write_v1),
    ("remote_write_v2", remote_write_v2),
    ("remote_read", remote_read),
    ("ha_replica", replica),
    ("stored_records", stored_records),
    ("snappy", |bytes| ignore(with_held(|held| crate::snappy::decode_block(bytes, 1 << 20, held)))),
    ("content_encodings", content_encodings),
    ("loki_protobuf", |bytes| loki(bytes, crate::loki::push_decode::decode_protobuf)),
    ("loki_json", |bytes| loki(bytes, crate::loki::push_decode::decode_json)),
    ("loki_legacy_json", |bytes| loki(bytes, crate::loki::push_decode::decode_legacy_json)),
    ("otlp_traces", |bytes| traces(ExportTraceServiceRequest::decode(bytes).map_err(protobuf))),
    ("otlp_logs", |bytes| logs(ExportLogsServiceRequest::decode(bytes).map_err(protobuf))),
    ("otlp_metrics", |bytes| metrics(ExportMetricsServiceRequest::decode(bytes).map_err(protobuf))),
    ("otlp_traces_json", |bytes| traces(crate::otlp::json_trace::decode(bytes))),
    ("otlp_logs_json", |bytes| logs(crate::otlp::json_logs::decode(bytes))),
    ("otlp_metrics_json", |bytes| metrics(crate::otlp::json_metrics::decode(bytes))),
    ("form", form),
    ("times", times),
    ("tempo_params", tempo_params),
];

/// Good inputs of a target; none for one of another crate.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "content_encodings" => encoded(b"some text, some text, some text"),
        "times" => ["1700000000.5", "2023-11-14T22:13:20.123Z", "1h30m", "-1.5s", "5m", "1d2h", "170000000000000000"]
            .map(|t| t.as_bytes().to_vec())
            .to_vec(),
        // One query of `up` and what does not match `a.*`, hinted to a part of its range, answered by chunks or samples.
        "remote_read" => vec![
            b"\x0a\x2a\x08\x0a\x10\x5a\x1a\x10\x08\x00\x12\x08__name__\x1a\x02up\x1a\x0c\x08\x03\x12\x03job\x1a\x03a.*\x22\x04\x18\x14\x20\x50\x12\x02\x01\x00"
                .to_vec(),
        ],
        // The same pair in both versions of the protocol.
        "ha_replica" => vec![
            b"\x0a\x24\x0a\x0c\x0a\x07cluster\x12\x01c\x0a\x10\x0a\x0b__replica__\x12\x01r\x12\x02\x10\x01".to_vec(),
            b"\x22\x00\x22\x07cluster\x22\x01c\x22\x0b__replica__\x22\x01r\x2a\x06\x0a\x04\x01\x02\x03\x04".to_vec(),
        ],
        "stored_records" => {
            let side = Side { spans: vec![(-2, 2), (3, 1)], deltas: vec![1, 2, -1], counts: Vec::new() };
            let h = Histogram { count_int: 6, schema: 9, positive: side.clone(), time_ms: 5, ..Histogram::default() };
            let custom = Histogram { schema: -53, custom: vec![0.5, 1.0, 2.0, 9.0], positive: side, ..h.clone() };
            vec![h.encode(), custom.encode(), b"\x0a\x06\x0a\x01a\x12\x01b\x11\0\0\0\0\0\0\xf0\x3f\x18\x05".to_vec()]
        }
        "tempo_params" => [
            "q=%7B%7D&start=1&end=2&limit=5&spss=7",
            "tags=a%3D1%20b%3D%22x%20y%22&minDuration=1.5s&maxDuration=1h",
            "service.name=a&limit=3",
            "since=1h",
        ]
        .map(|t| t.as_bytes().to_vec())
        .to_vec(),
        _ => Vec::new(),
    }
}

/// Each encoding of a text, behind the byte that chooses it.
fn encoded(text: &[u8]) -> Vec<Vec<u8>> {
    let gzip = compressed(text, |out| flate2::write::GzEncoder::new(out, flate2::Compression::fast()), |w| w.finish());
    let zlib =
        compressed(text, |out| flate2::write::ZlibEncoder::new(out, flate2::Compression::fast()), |w| w.finish());
    let zstd = zstd::bulk::compress(text, 1).ok();
    let lz4 = compressed(text, lz4_flex::frame::FrameEncoder::new, |w| w.finish().map_err(std::io::Error::other));
    let block = snap::raw::Encoder::new().compress_vec(text).ok();
    let framed = compressed(text, snap::write::FrameEncoder::new, |w| w.into_inner().map_err(|e| e.into_error()));
    let all = [gzip, zlib, zstd, lz4, block, framed];
    all.into_iter().zip(0u8..).filter_map(|(body, choice)| Some([&[choice][..], &body?].concat())).collect()
}

fn compressed<W: std::io::Write>(
    text: &[u8],
    open: impl FnOnce(Vec<u8>) -> W,
    finish: impl FnOnce(W) -> std::io::Result<Vec<u8>>,
) -> Option<Vec<u8>> {
    let mut writer = open(Vec::new());
    writer.write_all(text).ok()?;
    finish(writer).ok()
}

/// The protobuf message of an OTLP request in JSON; `target` names its signal.
pub fn otlp_protobuf(target: &str, json: &[u8]) -> Option<Vec<u8>> {
    match target {
        "otlp_traces" => crate::otlp::json_trace::decode(json).ok().map(|m| m.encode_to_vec()),
        "otlp_logs" => crate::otlp::json_logs::decode(json).ok().map(|m| m.encode_to_vec()),
        "otlp_metrics" => crate::otlp::json_metrics::decode(json).ok().map(|m| m.encode_to_vec()),
        _ => None,
    }
}

/// What came of it does not matter here.
fn ignore<T>(_: Result<T, ApiError>) {}

fn with_held<T>(f: impl FnOnce(&mut Held) -> Result<T, ApiError>) -> Result<T, ApiError> {
    f(&mut Budget::new(BUDGET_BYTES).take(0)?)
}

fn protobuf(error: prost::DecodeError) -> ApiError {
    ApiError::BadRequest(error.to_string())
}

fn shard_of(slot: Slot) -> u32 {
    u32::from(slot.0) % 4
}

fn write_limits() -> WriteLimits {
    let defaults = ApiConfig::default();
    WriteLimits { start_timestamps: true, ..WriteLimits::of(&defaults, NOW_MS) }
}

/// Entries of every stream, but for one of 2^64, have their own slot; the newest ones have none yet.
fn entry_limits() -> EntryLimits {
    let now_ns = NOW_MS * 1_000_000;
    let spread = Spread { hash: 1, from_ns: now_ns, slots: 4 };
    EntryLimits::new(&ApiConfig::default(), now_ns, Spreads::new(vec![spread], now_ns + 1_000_000_000))
}

fn remote_write_v1(bytes: &[u8]) {
    let (limits, cache) = (write_limits(), SeriesCache::new(1 << 16));
    let context = Context { tenant: "t", limits: &limits, shard_of: &shard_of, cache: &cache };
    let decode = || with_held(|held| decode(context, bytes, held)).map(|decoded| decoded.parts).ok();
    assert_eq!(decode(), decode(), "series that are known are decoded as they were at first");
}

fn remote_write_v2(bytes: &[u8]) {
    ignore(with_held(|held| crate::prom::decode_v2::decode("t", bytes, &write_limits(), &shard_of, held)));
}

/// The first byte chooses the encoding.
fn content_encodings(bytes: &[u8]) {
    const ENCODINGS: [&str; 6] = ["gzip", "deflate", "zstd", "lz4", "snappy", "x-snappy-framed"];
    let Some((choice, body)) = bytes.split_first() else { return };
    let encoding = ENCODINGS[usize::from(*choice) % ENCODINGS.len()];
    ignore(with_held(|held| decode_content(encoding, Bytes::copy_from_slice(body), 1 << 20, held).transpose()));
}

fn loki(bytes: &[u8], decode: fn(&[u8], &mut Collector<'_>) -> Result<(), ApiError>) {
    let limits = entry_limits();
    ignore(with_held(|held| {
        let mut collector = Collector::new("t", &limits, &shard_of, held);
        decode(bytes, &mut collector)?;
        collector.finish()
    }));
}

fn traces(request: Result<ExportTraceServiceRequest, ApiError>) {
    ignore(request.and_then(|r| with_held(|held| crate::otlp::trace::decode("t", r, 2048, &shard_of, held))));
}

fn logs(request: Result<ExportLogsServiceRequest, ApiError>) {
    let limits = entry_limits();
    ignore(request.and_then(|r| with_held(|held| crate::otlp::logs::decode("t", r, &limits, &shard_of, held))));
}

fn metrics(request: Result<ExportMetricsServiceRequest, ApiError>) {
    let Ok(request) = request else { return };
    let every = OtlpConfig {
        promote_all_resource_attributes: true,
        convert_histograms_to_nhcb: true,
        promote_scope_metadata: true,
        delta_to_cumulative: true,
        translation_strategy: TranslationStrategy::NoTranslation,
        ..OtlpConfig::default()
    };
    for config in [OtlpConfig::default(), every] {
        let rules = Rules { config: &config, deltas: &Deltas::default() };
        let limits = write_limits();
        ignore(with_held(|held| crate::otlp::metrics::decode("t", &request, &limits, &rules, &shard_of, held)));
    }
}

fn remote_read(bytes: &[u8]) {
    ignore(ReadRequest::decode(bytes).and_then(|request| request.response_type()));
}

/// As one version of the protocol and as the other.
fn replica(bytes: &[u8]) {
    for is_v2 in [false, true] {
        ignore(crate::prom::replica::of(bytes, is_v2, "cluster", "__replica__"));
    }
}

/// An exemplar and a histogram as they are read back.
fn stored_records(bytes: &[u8]) {
    ignore(crate::prom::exemplars::Exemplar::decode(bytes).map_err(ApiError::from));
    if let Ok(histogram) = crate::prom::histogram::read(bytes) {
        let again = crate::prom::histogram::read(&histogram.encode());
        assert!(again.is_ok(), "{histogram:?}");
        if let Ok((_, Ok(blob))) = crate::prom::histogram::check(bytes) {
            drop(blob);
        }
    }
}

/// A form body, and the same bytes as a URL's query where they can be one.
fn form(bytes: &[u8]) {
    let query = std::str::from_utf8(bytes).unwrap_or_default();
    let uri: Uri = format!("/x?{query}").parse().unwrap_or_default();
    let Ok(params) = Params::parse(bytes, &uri) else { return };
    for (name, value) in params.iter() {
        ignore(params.required(name));
        ignore(crate::time::prom_time_ms(value).ok_or(ApiError::Timeout));
        ignore(crate::tenant::check_name(value));
    }
    ignore(params.distinct("match[]", 10));
    search(&params);
}

/// Every short value, looked for by what the form asks for.
fn search(params: &Params) {
    const TEXTS_MAX: usize = 8;
    const TEXT_BYTES_MAX: usize = 256;
    let Ok(mut request) = SearchRequest::parse(params, NOW_MS) else { return };
    let texts = params.iter().map(|(_, text)| text).filter(|text| text.len() <= TEXT_BYTES_MAX);
    for score in texts.take(TEXTS_MAX).filter_map(|text| request.terms.score(text)) {
        assert!(score > 0.0 && score <= 1.0, "{score}");
    }
}

/// A time or duration as each protocol reads it.
fn times(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(ms) = crate::time::prom_time_ms(text) {
        assert!((crate::time::TIME_MS_MIN..=crate::time::TIME_MS_MAX).contains(&ms), "{text:?} is {ms} ms");
    }
    if let Some(ns) = crate::time::loki_time_ns(text) {
        drop(crate::time::rfc3339_text(ns));
    }
    if let Some(ms) = crate::time::prom_duration_ms(text) {
        assert!(ms.checked_mul(1_000_000).is_some(), "{text:?} is {ms} ms");
    }
    crate::time::rfc3339_time_ns(text);
    crate::time::seconds_or_duration_ms(text);
    crate::time::go_duration_ns(text);
}

fn tempo_params(bytes: &[u8]) {
    let Ok(params) = Params::parse(bytes, &Uri::from_static("/")) else { return };
    ignore(crate::tempo::search_of(&params, &ApiConfig::default(), NOW_MS * 1_000_000));
    for (name, _) in params.iter() {
        ignore(crate::tempo::trace_id_of(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_good_inputs() {
        let read = seeds("remote_read").remove(0);
        assert_eq!(ReadRequest::decode(&read).unwrap().queries.len(), 1);
        for (bytes, is_v2) in seeds("ha_replica").iter().zip([false, true]) {
            let pair = crate::prom::replica::of(bytes, is_v2, "cluster", "__replica__").unwrap();
            assert_eq!(pair, Some(("c".to_owned(), "r".to_owned())));
        }
        assert!(crate::prom::histogram::read(&seeds("stored_records")[0]).is_ok());
    }
}
