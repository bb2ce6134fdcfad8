//! Loki's answers, key order and all.
use std::collections::BTreeMap;
use std::time::Duration;

use trine_query::logql::{LogAnswer, LogEntry, LogStats, LogStream, LogValue, Volume};
use trine_query::scatter::{Completeness, QueryContext};
use trine_store::model::Labels;

use crate::call::Outcome;
use crate::error::ApiError;
use crate::json::{push_json_list, push_json_map, push_json_str, push_json_strs};
use crate::number::{push_float_plain, push_seconds_short};
use crate::reply;
use crate::writer::Writer;

/// Loki names the charset.
const JSON: &str = "application/json; charset=UTF-8";
/// What an entry and a label of it weigh while entries are grouped by all of their labels.
const MERGED_ENTRY_BYTES: u64 = 64;
const MERGED_LABEL_BYTES: u64 = 128;

/// 200 with what a query found. `categorize` keeps the three kinds of labels apart.
pub(super) fn answer(ctx: &QueryContext, answer: &LogAnswer, categorize: bool, took: Duration) -> Outcome {
    let mut writer = Writer::new(&ctx.memory);
    let out = writer.text();
    out.push_str("{\"status\":\"success\"");
    let mut warnings = answer.warnings.clone();
    for missing in answer.completeness.warnings() {
        if !warnings.contains(&missing) {
            warnings.push(missing);
        }
    }
    if !warnings.is_empty() {
        out.push_str(",\"warnings\":");
        push_json_strs(out, warnings.iter().map(String::as_str));
    }
    out.push_str(",\"data\":");
    push_data(&mut writer, ctx, &answer.value, categorize)?;
    let out = writer.text();
    out.push_str(",\"stats\":");
    push_stats(out, &answer.stats, took);
    out.push_str("}}\n");
    Ok(reply::complete(writer.respond(JSON)?, &answer.completeness))
}

/// From the opening brace to the end of `result`.
fn push_data(writer: &mut Writer, ctx: &QueryContext, value: &LogValue, categorize: bool) -> Result<(), ApiError> {
    let out = writer.text();
    let kind = match value {
        LogValue::Streams(_) => "streams",
        LogValue::Vector(_) => "vector",
        LogValue::Matrix(_) => "matrix",
        LogValue::Scalar(..) => "scalar",
    };
    out.push_str("{\"resultType\":\"");
    out.push_str(kind);
    out.push('"');
    if categorize && matches!(value, LogValue::Streams(_)) {
        out.push_str(",\"encodingFlags\":[\"categorize-labels\"]");
    }
    out.push_str(",\"result\":");
    match value {
        LogValue::Streams(streams) if categorize => writer.list(streams, push_categorized),
        LogValue::Streams(streams) => push_merged(writer, ctx, streams),
        LogValue::Vector(samples) => writer.list(samples, |out, s| {
            push_metric(out, &s.labels);
            out.push_str(",\"value\":");
            push_point(out, s.time_ms, s.value);
            out.push('}');
        }),
        LogValue::Matrix(series) => writer.list(series, |out, s| {
            push_metric(out, &s.labels);
            out.push_str(",\"values\":");
            push_json_list(out, &s.points, |out, (time_ms, v)| push_point(out, *time_ms, *v));
            out.push('}');
        }),
        LogValue::Scalar(time_ms, v) => {
            push_point(out, *time_ms, *v);
            Ok(())
        }
    }
}

fn push_metric(out: &mut String, labels: &Labels) {
    out.push_str("{\"metric\":");
    push_json_map(out, labels.iter());
}

fn push_point(out: &mut String, time_ms: i64, value: f64) {
    out.push('[');
    push_seconds_short(out, time_ms);
    out.push_str(",\"");
    push_float_plain(out, value);
    out.push_str("\"]");
}

fn push_line(out: &mut String, entry: &LogEntry) {
    out.push_str("[\"");
    out.push_str(&entry.time_ns.to_string());
    out.push_str("\",");
    push_json_str(out, &entry.line);
}

fn push_categorized(out: &mut String, stream: &LogStream) {
    out.push_str("{\"stream\":");
    push_json_map(out, stream.labels.iter());
    out.push_str(",\"values\":");
    push_json_list(out, &stream.entries, |out, entry| {
        push_line(out, entry);
        out.push_str(",{");
        let kinds = [("structuredMetadata", &entry.structured_metadata), ("parsed", &entry.parsed)];
        for (i, (name, pairs)) in kinds.into_iter().filter(|(_, pairs)| !pairs.is_empty()).enumerate() {
            if i > 0 {
                out.push(',');
            }
            push_json_str(out, name);
            out.push(':');
            push_json_map(out, pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        }
        out.push_str("}]");
    });
    out.push('}');
}

/// Labels of an entry as one set: parsed hides structured metadata hides the stream's.
fn merged<'a>(stream: &'a LogStream, entry: &'a LogEntry) -> BTreeMap<&'a str, &'a str> {
    let mut all: BTreeMap<&str, &str> = stream.labels.iter().collect();
    all.extend(entry.structured_metadata.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    all.extend(entry.parsed.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    all
}

/// Entries with different labels are in different streams, as clients that set no flag expect.
fn push_merged(writer: &mut Writer, ctx: &QueryContext, streams: &[LogStream]) -> Result<(), ApiError> {
    let labels = |s: &LogStream, e: &LogEntry| s.labels.iter().count() + e.structured_metadata.len() + e.parsed.len();
    let entries = streams.iter().flat_map(|s| s.entries.iter().map(move |e| labels(s, e) as u64));
    let bytes = entries.map(|labels| labels * MERGED_LABEL_BYTES + MERGED_ENTRY_BYTES).sum();
    let _held = ctx.memory.charge(bytes).map_err(trine_query::Error::from)?;
    let mut groups: BTreeMap<BTreeMap<&str, &str>, Vec<&LogEntry>> = BTreeMap::new();
    for stream in streams {
        for entry in &stream.entries {
            groups.entry(merged(stream, entry)).or_default().push(entry);
        }
    }
    writer.list(groups, |out, (labels, entries)| {
        out.push_str("{\"stream\":");
        push_json_map(out, labels);
        out.push_str(",\"values\":");
        push_json_list(out, entries, |out, entry| {
            push_line(out, entry);
            out.push(']');
        });
        out.push('}');
    })
}

/// The statistics object; what Trine has no such thing of is zero.
pub(super) fn push_stats(out: &mut String, stats: &LogStats, took: Duration) {
    const CHUNK: &str = "\"chunk\":{\"headChunkBytes\":0,\"headChunkLines\":0,\"decompressedBytes\":0,\"decompressedLines\":0,\"compressedBytes\":0,\"totalDuplicates\":0,\"postFilterLines\":0,\"headChunkStructuredMetadataBytes\":0,\"decompressedStructuredMetadataBytes\":0}";
    const CACHES: [&str; 8] = [
        "chunk",
        "index",
        "result",
        "statsResult",
        "volumeResult",
        "seriesResult",
        "labelResult",
        "instantMetricResult",
    ];
    let seconds = took.as_secs_f64();
    let per_second = |n: u64| if seconds > 0.0 { (n as f64 / seconds) as u64 } else { 0 };
    out.push_str(&format!(
        "{{\"summary\":{{\"bytesProcessedPerSecond\":{},\"linesProcessedPerSecond\":{},\"totalBytesProcessed\":{},\"totalLinesProcessed\":{},\"execTime\":{seconds},\"queueTime\":0,\"subqueries\":0,\"totalEntriesReturned\":{},\"splits\":0,\"shards\":{},\"totalPostFilterLines\":{},\"totalStructuredMetadataBytesProcessed\":{}}}",
        per_second(stats.bytes_processed),
        per_second(stats.lines_processed),
        stats.bytes_processed,
        stats.lines_processed,
        stats.entries_returned,
        stats.shards,
        stats.post_filter_lines,
        stats.structured_metadata_bytes,
    ));
    let store = format!(
        "\"store\":{{\"totalChunksRef\":0,\"totalChunksDownloaded\":0,\"chunksDownloadTime\":0,\"queryReferencedStructuredMetadata\":false,{CHUNK},\"chunkRefsFetchTime\":0,\"congestionControlLatency\":0,\"pipelineWrapperFilteredLines\":0}}"
    );
    out.push_str(&format!(
        ",\"querier\":{{{store}}},\"ingester\":{{\"totalReached\":0,\"totalChunksMatched\":0,\"totalBatches\":0,\"totalLinesSent\":0,{store}}},\"cache\":{{"
    ));
    for (i, cache) in CACHES.into_iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        out.push_str(&format!(
            "{comma}\"{cache}\":{{\"entriesFound\":0,\"entriesRequested\":0,\"entriesStored\":0,\"bytesReceived\":0,\"bytesSent\":0,\"requests\":0,\"downloadTime\":0,\"queryLengthServed\":0}}"
        ));
    }
    out.push_str("},\"index\":{\"totalChunks\":0,\"postFilterChunks\":0,\"shardsDuration\":0,\"usedBloomFilters\":false,\"totalStreams\":0}}");
}

/// The beginning of `{"status":"success","data":…}`; [`close`] ends it.
pub(super) fn open(ctx: &QueryContext) -> Writer {
    let mut writer = Writer::new(&ctx.memory);
    writer.text().push_str("{\"status\":\"success\",\"data\":");
    writer
}

/// Ends what [`open`] began.
pub(super) fn close(mut writer: Writer, completeness: &Completeness) -> Outcome {
    let out = writer.text();
    let warnings = completeness.warnings();
    if !warnings.is_empty() {
        out.push_str(",\"warnings\":");
        push_json_strs(out, warnings.iter().map(String::as_str));
    }
    out.push('}');
    Ok(reply::complete(writer.respond(JSON)?, completeness))
}

/// Volumes as a vector, or as a matrix when asked over time.
pub(super) fn volumes(writer: &mut Writer, volumes: &[Volume], over_time: bool) -> Result<(), ApiError> {
    let kind = if over_time { "matrix" } else { "vector" };
    writer.text().push_str(&format!("{{\"resultType\":\"{kind}\",\"result\":"));
    writer.list(volumes, |out, v| {
        out.push_str("{\"metric\":");
        push_json_map(out, v.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let point = |out: &mut String, (time_ms, bytes): &(i64, u64)| {
            out.push('[');
            push_seconds_short(out, *time_ms);
            out.push_str(&format!(",\"{bytes}\"]"));
        };
        if over_time {
            out.push_str(",\"values\":");
            push_json_list(out, &v.points, point);
        } else {
            out.push_str(",\"value\":");
            point(out, v.points.last().unwrap_or(&(0, 0)));
        }
        out.push('}');
    })?;
    let out = writer.text();
    out.push_str(",\"stats\":");
    push_stats(out, &LogStats::default(), Duration::ZERO);
    out.push('}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> QueryContext {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        let memory = trine_query::memory::Account::unbounded();
        QueryContext { tenant: "t".into(), deadline, strict: false, no_cache: false, count_steps: false, memory }
    }

    fn stream() -> LogStream {
        let entry = |time_ns, line: &str, pairs: &[(&str, &str)]| LogEntry {
            time_ns,
            line: line.to_owned(),
            structured_metadata: pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            parsed: Vec::new(),
        };
        LogStream {
            labels: Labels::from_pairs([("app", "x")]).unwrap(),
            entries: vec![entry(2, "b", &[("id", "1")]), entry(1, "a", &[])],
        }
    }

    #[test]
    fn streams_with_and_without_categories() {
        let ctx = context();
        let mut out = Writer::new(&ctx.memory);
        push_data(&mut out, &ctx, &LogValue::Streams(vec![stream()]), true).unwrap();
        assert_eq!(
            out.text(),
            r#"{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{"stream":{"app":"x"},"values":[["2","b",{"structuredMetadata":{"id":"1"}}],["1","a",{}]]}]"#
        );
        let mut out = Writer::new(&ctx.memory);
        push_data(&mut out, &ctx, &LogValue::Streams(vec![stream()]), false).unwrap();
        assert_eq!(
            out.text(),
            r#"{"resultType":"streams","result":[{"stream":{"app":"x"},"values":[["1","a"]]},{"stream":{"app":"x","id":"1"},"values":[["2","b"]]}]"#
        );
    }

    #[test]
    fn the_statistics_are_json() {
        let mut out = String::new();
        push_stats(&mut out, &LogStats { bytes_processed: 10, ..LogStats::default() }, Duration::from_secs(2));
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value["summary"]["bytesProcessedPerSecond"], 5);
        assert_eq!(value["cache"]["instantMetricResult"]["requests"], 0);
    }
}
