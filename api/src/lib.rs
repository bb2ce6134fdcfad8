//! HTTP and gRPC surfaces: Prometheus, Loki, Tempo, OTLP, and Trine's own admin REST.
