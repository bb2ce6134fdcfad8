"""Exports known spans, log records and metrics with OpenTelemetry's own SDK, and prints what it exported as JSON.

Usage: otel_sdk.py HOST:PORT-of-OTLP/gRPC URL-of-OTLP/HTTP

The spans are printed as OTLP/JSON, written here from the SDK's public properties rather than by its encoder.
"""

import json
import logging
import math
import sys
import time

import grpc
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.metrics import Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

# Searches leave out the last half minute.
AGE_NS = 90_000_000_000

EVERY_TYPE = {
    "string": "grün \u2028 \"quoted\"",
    "string.empty": "",
    "bool.true": True,
    "bool.false": False,
    "int": 42,
    "int.zero": 0,
    "int.min": -(2**63),
    "int.max": 2**63 - 1,
    "float": 2.5,
    "float.whole": 3.0,
    "float.tiny": 5e-324,
    "float.inf": math.inf,
    "float.nan": math.nan,
    "float.negative.zero": -0.0,
    "array.string": ["a", "", "b"],
    "array.bool": [True, False],
    "array.int": [1, -1, 2**62],
    "array.float": [0.5, -0.25],
    "array.empty": [],
    "array.none": ["a", None],
}


# What JSON has no number for, as protobuf's JSON spells it.
SPELLED = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def any_value(value):
    """One attribute value as OTLP/JSON."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else SPELLED[str(value)]}
    if isinstance(value, str):
        return {"stringValue": value}
    return {"arrayValue": {"values": [any_value(v) for v in value]}}


def attributes(of):
    return [{"key": k, "value": any_value(v)} for k, v in (of or {}).items()]


def flags(context):
    """Bit 8: whether the context is remote is known; bit 9: it is."""
    return 0x100 | (0x200 if context is not None and context.is_remote else 0)


def span_json(span):
    return {
        "traceId": f"{span.context.trace_id:032x}",
        "spanId": f"{span.context.span_id:016x}",
        "parentSpanId": f"{span.parent.span_id:016x}" if span.parent else "",
        "traceState": span.context.trace_state.to_header(),
        "flags": flags(span.parent),
        "name": span.name,
        "kind": span.kind.value + 1,
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": attributes(span.attributes),
        "events": [
            {"timeUnixNano": str(e.timestamp), "name": e.name, "attributes": attributes(e.attributes)}
            for e in span.events
        ],
        "links": [
            {
                "traceId": f"{link.context.trace_id:032x}",
                "spanId": f"{link.context.span_id:016x}",
                "traceState": link.context.trace_state.to_header(),
                "attributes": attributes(link.attributes),
                "flags": flags(link.context),
            }
            for link in span.links
        ],
        "status": {"code": span.status.status_code.value, "message": span.status.description or ""},
    }


def export_spans(resource, exporter):
    """A trace with each kind, status and attribute type, and one whose parent is elsewhere."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("otel_sdk", "1.2.3", schema_url="https://example.test/s", attributes={"a": 1})
    start = time.time_ns() - AGE_NS
    root = tracer.start_span("root", kind=SpanKind.SERVER, attributes=EVERY_TYPE, start_time=start)
    inside = trace.set_span_in_context(root)
    statuses = [Status(StatusCode.OK), Status(StatusCode.ERROR, "it broke"), Status(StatusCode.UNSET)]
    for n, kind in enumerate(SpanKind):
        link = Link(root.get_span_context(), {"n": n, "names": ["x", "y"]})
        child = tracer.start_span(f"child {n}", inside, kind, {"n": n}, [link], start_time=start + 1000 * n)
        child.add_event("note", {"deep": [1, 2], "ok": True}, timestamp=start + 1000 * n + 10)
        child.add_event("bare", timestamp=start + 1000 * n + 20)
        child.set_status(statuses[n % 3])
        child.end(start + 1000 * n + 777)
    root.record_exception(ValueError("no such item"), timestamp=start + 5)
    root.set_status(StatusCode.ERROR, "root failed")
    root.end(start + 1_000_000)
    state = TraceState([("vendor", "value"), ("other", "1")])
    far = SpanContext(int("00ab" * 8, 16), int("00cd" * 4, 16), True, TraceFlags(1), state)
    remote = trace.set_span_in_context(trace.NonRecordingSpan(far))
    tracer.start_span("from afar", remote, SpanKind.CONSUMER, start_time=start).end(start + 1)
    assert provider.force_flush(), "the spans were not exported in time"
    provider.shutdown()
    scope = {"name": "otel_sdk", "version": "1.2.3", "attributes": attributes({"a": 1})}
    spans = [span_json(s) for s in memory.get_finished_spans()]
    scoped = {"scope": scope, "spans": spans, "schemaUrl": "https://example.test/s"}
    return [{"resource": {"attributes": attributes(resource.attributes)}, "scopeSpans": [scoped]}]


def export_logs(resource, exporter):
    provider = LoggerProvider(resource=resource)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger("otel_sdk.logs", "4.5.6")
    start = time.time_ns() - AGE_NS
    severities = [SeverityNumber.INFO, SeverityNumber.ERROR, SeverityNumber.WARN, SeverityNumber.DEBUG]
    bodies = ["plain text", "grün\nand a second line", {"order": 7, "items": ["a", "b"]}, "last"]
    sent = []
    for n, (severity, body) in enumerate(zip(severities, bodies)):
        context = SpanContext(0xABC0 + n, 0xDEF0 + n, False, TraceFlags(1))
        record = LogRecord(
            timestamp=start + 1_000_001 * n,
            observed_timestamp=start + 1_000_001 * n + 5,
            context=trace.set_span_in_context(trace.NonRecordingSpan(context)),
            severity_number=severity,
            severity_text=severity.name,
            body=body,
            attributes={"http.route": f"/r{n}", "count": n, "ratio": 0.5, "ok": True},
        )
        logger.emit(record)
        sent.append(
            {
                "time_ns": record.timestamp,
                "observed_ns": record.observed_timestamp,
                "severity_number": severity.value,
                "severity_text": severity.name,
                "body": body,
                "trace_id": f"{context.trace_id:032x}",
                "span_id": f"{context.span_id:016x}",
                "route": f"/r{n}",
            }
        )
    assert provider.force_flush(), "the logs were not exported in time"
    provider.shutdown()
    return sent


def export_metrics(resource, exporter):
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    exponential = View(instrument_name="sdk.sizes", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider(resource=resource, metric_readers=[reader], views=[exponential])
    meter = provider.get_meter("otel_sdk.metrics", "7.8.9")
    meter.create_counter("sdk.requests", "1", "Requests served.").add(41, {"http.route": "/a"})
    meter.create_up_down_counter("sdk.inflight", "{request}").add(-3)
    sizes = meter.create_histogram("sdk.sizes", "By")
    for value in (1, 2, 3, 1000):
        sizes.record(value)
    histogram = meter.create_histogram("sdk.latency", "s", explicit_bucket_boundaries_advisory=[0.1, 0.5, 2.5])
    for value in [0.05, 0.2, 0.3, 1.0, 9.0]:
        histogram.record(value)
    meter.create_observable_gauge("sdk.heat", [lambda _: [Observation(36.6, {"where": "core"})]], "Cel")
    assert provider.force_flush(), "the metrics were not exported in time"
    provider.shutdown()


def main(grpc_at, http_at):
    # A refused export is only logged by the SDK: make it visible to whoever reads the test's output.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    plain = {"endpoint": grpc_at, "insecure": True}
    packed = {**plain, "compression": grpc.Compression.Gzip}

    def over_http(signal):
        return {"endpoint": f"{http_at}/v1/{signal}", "compression": Compression.Gzip}

    exporters = {
        "grpc": (GrpcSpans(**plain), GrpcLogs(**packed), GrpcMetrics(**plain)),
        "http": (HttpSpans(**over_http("traces")), HttpLogs(**over_http("logs")), HttpMetrics(**over_http("metrics"))),
    }
    sent = {}
    for protocol, (spans, logs, metrics) in exporters.items():
        resource = Resource.create(
            {
                "service.name": f"sdk-{protocol}",
                "service.namespace": "tests",
                "service.instance.id": "one",
                "numbers": [1, 2, 3],
            }
        )
        sent[protocol] = {
            "resourceSpans": export_spans(resource, spans),
            "logs": export_logs(resource, logs),
        }
        export_metrics(resource, metrics)
    json.dump(sent, sys.stdout, allow_nan=False)


main(*sys.argv[1:])
