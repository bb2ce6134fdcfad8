//! ExportLogsServiceRequest in OTLP/JSON.
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};

use super::json::{Object, Result, any_value, parse, resource, scope};

/// Decodes a body.
pub(crate) fn decode(body: &[u8]) -> Result<ExportLogsServiceRequest> {
    let value = parse(body)?;
    let resource_logs = Object::of(&value, "")?.list("resourceLogs", |o| {
        Ok(ResourceLogs {
            resource: o.message("resource", resource)?,
            scope_logs: o.list("scopeLogs", scope_logs)?,
            schema_url: o.string("schemaUrl")?,
        })
    })?;
    Ok(ExportLogsServiceRequest { resource_logs })
}

fn scope_logs(o: Object<'_>) -> Result<ScopeLogs> {
    Ok(ScopeLogs {
        scope: o.message("scope", scope)?,
        log_records: o.list("logRecords", record)?,
        schema_url: o.string("schemaUrl")?,
    })
}

fn record(o: Object<'_>) -> Result<LogRecord> {
    Ok(LogRecord {
        time_unix_nano: o.unsigned("timeUnixNano")?,
        observed_time_unix_nano: o.unsigned("observedTimeUnixNano")?,
        severity_number: o.enumeration("severityNumber", |n| SeverityNumber::from_str_name(n).map(|s| s as i32))?,
        severity_text: o.string("severityText")?,
        body: o.message("body", any_value)?,
        attributes: o.attributes("attributes")?,
        dropped_attributes_count: o.unsigned32("droppedAttributesCount")?,
        flags: o.unsigned32("flags")?,
        trace_id: o.id("traceId", 16)?,
        span_id: o.id("spanId", 8)?,
        event_name: o.string("eventName")?,
    })
}
